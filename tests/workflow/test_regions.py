"""Binned regions, from files to the fit: what is counted, what is hidden, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot

from needle_parsl import plan
from needle_parsl.analysis import load
from needle_parsl.errors import InputError
from needle_parsl.nsbi.statistics.model import regions

EDGES = [-2.0, -1.0, 0.0, 1.0, 3.0]
REGION = f"""
[model.regions.side]
selection = "x1 <= -0.3"
binning   = {{ column = "x2", edges = {EDGES} }}
"""


@pytest.fixture
def folder(small_inputs: Path, tmp_path: Path) -> Path:
    made = shutil.copytree(small_inputs, tmp_path / "analysis")
    text = (made / "analysis.toml").read_text().replace('"x1 > -10"', '"x1 > -0.3"')
    text = text.replace("min_events = 300", "min_events = 200")
    (made / "analysis.toml").write_text(text + REGION)
    return made


def test_region_is_counted_and_fitted_with_the_events(folder: Path, needle: Callable[..., Any], tmp_path: Path) -> None:
    """Counts are those of the files, scaled to the stated yield; the nuisance's response is that of the varied files."""
    ended = needle("run", folder, "--until", "fit", "--set", "training.members=1", "--json")
    assert ended.code == 0, ended.err
    found = json.loads((tmp_path / "runs/small/regions/side.json").read_text())
    for name, files, expected in [("signal", ["signal_1", "signal_2"], 80.0), ("background", ["background"], 400.0)]:
        columns = [uproot.open(folder / f"{file}.root")["events"].arrays(["x1", "x2"], library="np") for file in files]
        x1, x2 = (np.concatenate([c[key] for c in columns]).astype(np.float32) for key in ("x1", "x2"))
        scale = expected / (x1 > -0.3).sum()
        counted = np.histogram(x2[x1 <= -0.3], EDGES)[0] * scale
        np.testing.assert_allclose(found["expected"][name], counted, rtol=1e-9)
    assert sum(found["observed"]) > 50
    fits = {
        name: json.loads((tmp_path / f"runs/small/fits/{name}.json").read_text()) for name in ("observed", "asimov")
    }
    assert all(fit["converged"] for fit in fits.values())
    assert fits["asimov"]["parameters"]["mu"]["value"] == pytest.approx(1, abs=0.3)  # of a region's Asimov counts, too


def stores(folder: Path, *settings: str) -> set[str]:
    return set(plan.sources(load(folder, list(settings)).analysis))


def test_observed_counts_stay_hidden_while_the_analysis_is_blind(folder: Path) -> None:
    assert {"observed", "observed@side"} <= stores(folder)
    assert not {"observed", "observed@side"} & stores(folder, "fit.blind=true")
    shown = stores(folder, "fit.blind=true", "model.regions.side.sensitive=false")
    assert "observed@side" in shown
    assert "observed" not in shown


FULL = (np.array([3.0, 4.0]), np.array([3.0, 4.0]))


@pytest.mark.parametrize(
    ("expected", "overlap", "message"),
    [
        (
            {"signal": FULL},
            {"signal": {"[features] selection": 7}},
            "7 events of signal are in this region and in [features] selection",
        ),
        (
            {"signal": FULL},
            {"signal": {"region top": 0, "region z": 3}},
            "3 events of signal are in this region and in region z",
        ),
        ({"signal": (np.zeros(2), np.zeros(2))}, {}, "model.regions.side: no simulated event is in its bins"),
        (
            {"signal": FULL, "b.jes.up": (np.array([3.0, -1.0]), np.ones(2))},
            {},
            "b.jes.up has the negative expectation -1",
        ),
    ],
)
def test_region_that_cannot_be_is_refused(
    expected: dict[str, regions.Histogram], overlap: dict[str, dict[str, int]], message: str
) -> None:
    with pytest.raises(InputError) as raised:
        regions.count("side", [0.0, 1.0, 2.0], expected, None, overlap)
    assert message in str(raised.value)


def test_region_without_events_is_said_by_check(folder: Path, needle: Callable[..., Any]) -> None:
    ended = needle("check", folder, "--set", "model.regions.side.selection='x1 < -1000'")
    assert ended.code == 2
    assert "model.regions.side: no simulated event is left after the selection 'x1 < -1000'" in ended.err


LOOKED = f"""
[model.regions.looked]
validation = true
selection  = "x1 <= -0.6"
binning    = {{ column = "x2", edges = {EDGES} }}
"""


@pytest.mark.slow
def test_validation_region_is_looked_at_and_fitted_to_nothing(
    folder: Path, needle: Callable[..., Any], tmp_path: Path
) -> None:
    text = (folder / "analysis.toml").read_text()
    (folder / "analysis.toml").write_text(text.replace('"x1 <= -0.3"', '"x1 <= -0.3 and x1 > -0.6"') + LOOKED)
    settings = ("--set", "training.members=1", "--set", "fit.goodness=25")
    ended = needle("run", folder, *settings)
    assert ended.code in (0, 3), ended.err
    run = tmp_path / "runs/small"
    found = json.loads((run / "fits/validation.json").read_text())
    counted = json.loads((run / "regions/looked.json").read_text())
    assert found["judged"] == "postfit"
    assert found["regions"]["looked"]["observed"] == counted["observed"]
    assert set(json.loads((run / "fits/distributions.json").read_text())["regions"]) == {"side"}
    assert json.loads((run / "fits/goodness.json").read_text())["toys"] == 25
    page = (run / "report/index.html").read_text()
    assert '<h2 id="validation">' in page
    assert '<h2 id="goodness">' in page


def test_validation_region_shares_no_event_with_a_fitted_one(folder: Path, needle: Callable[..., Any]) -> None:
    (folder / "analysis.toml").write_text((folder / "analysis.toml").read_text() + LOOKED)
    ended = needle("run", folder, "--until", "count")
    assert ended.code != 0
    assert "events of signal are in this region and in region side" in ended.err
