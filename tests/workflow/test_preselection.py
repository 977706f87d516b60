"""A region that a network defines, trained in the same run: the fit of its events is held against the exact densities within the region."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cluster
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from pyarrow import parquet
from scipy import stats

from needle_parsl import files
from needle_parsl.nsbi.estimators import files as estimators
from needle_parsl.nsbi.statistics import dataset

Floats = npt.NDArray[np.float64]
MEANS = {"signal": (1.2, 0.6), "background": (0.0, 0.0)}
YIELDS = {"signal": 60.0, "background": 2000.0}
EVENTS = 20_000
CUT = 0.5
PRESELECTION = """
name = "preselection"
[features]
names = ["x", "y"]
[samples.signal]
files = ["raw/training_signal.parquet"]
[samples.background]
files = ["raw/training_background.parquet"]
[ratios]
reference = ["background"]
targets = ["signal", "background"]
[training]
layers = 2
nodes = 16
members = 1
"""
ANALYSIS = f"""
name = "region"
[stages.preselection]
analysis = "preselection.toml"
[features.computed.score]
ratio = "preselection.signal"
[features]
names = ["x", "y"]
selection = "score > {CUT}"
[samples.signal]
files = ["raw/signal.parquet"]
weight = "weight"
[samples.background]
files = ["raw/background.parquet"]
weight = "weight"
[ratios]
reference = ["background"]
targets = ["signal", "background"]
[split]
min_events = 300
[model]
parameters.mu = {{ nominal = 1.0, bounds = [0.0, 5.0], role = "poi" }}
processes.signal = "mu"
processes.background = "1"
[model.regions.control]
selection = "score <= {CUT}"
binning = {{ column = "x", edges = [-10.0, 10.0] }}
"""


def drawn(sample: str, events: int, seed: int) -> Floats:
    return np.random.default_rng(seed).normal(MEANS[sample], 1.0, (events, 2)).astype("float32").astype(float)


def density(sample: str, x: Floats) -> Floats:
    return np.exp(stats.norm(MEANS[sample]).logpdf(x).sum(axis=1))


def written(folder: Path) -> None:
    (folder / "raw").mkdir()
    for number, sample in enumerate(MEANS):
        for name, seed in ((sample, 10 + number), (f"training_{sample}", 20 + number)):
            x = drawn(sample, EVENTS, seed)
            weight = np.full(EVENTS, YIELDS[sample] / EVENTS)
            table = pa.table({"x": x[:, 0], "y": x[:, 1], "weight": weight})
            parquet.write_table(table, folder / "raw" / f"{name}.parquet")
    (folder / "analysis.toml").write_text(ANALYSIS)
    (folder / "preselection.toml").write_text(PRESELECTION)


@pytest.mark.slow
@pytest.mark.usefixtures("no_figures")
def test_fit_within_a_region_of_a_network_is_that_of_the_exact_densities(
    needle: Callable[..., Any], tmp_path: Path
) -> None:
    written(tmp_path)
    ended = needle("run", tmp_path, "--json")
    assert ended.code in (0, 1), ended
    root = tmp_path / "runs" / "region"
    network = estimators.read(root / "analyses" / "preselection" / "estimators" / "signal" / "estimator.h5")
    acceptance, sample = {}, {}
    for number, name in enumerate(MEANS):
        x = drawn(name, 500_000, 30 + number)
        sample[name] = x[network.log_ratio(x.astype("float32")) > CUT]
        acceptance[name] = len(sample[name]) / len(x)
    assert acceptance["background"] < 0.35  # it selects something
    assert acceptance["signal"] > 0.6
    asimov = dataset.read(root / "ratios" / "asimov.h5")
    assert (network.log_ratio(asimov.x.astype("float32")) > CUT).all()

    def exact(x: Floats) -> Floats:
        ratio = np.log(density("signal", x) / density("background", x))
        return ratio + np.log(acceptance["background"] / acceptance["signal"])

    # Ratios: those of densities that are normalised within the region.
    off = asimov.ratios["signal"] - exact(asimov.x.astype(float))
    weight = asimov.weight / asimov.weight.sum()
    assert abs((weight * off).sum()) < 0.05
    assert np.sqrt((weight * off**2).sum()) < 0.12
    # The error of mu: that of the Fisher information of exact densities within the region, from other events.
    x = sample["background"]
    r = YIELDS["signal"] * density("signal", x) / (YIELDS["background"] * density("background", x))
    information = YIELDS["background"] / 500_000 * (r**2 / (1 + r)).sum()
    outside = {name: YIELDS[name] * (1 - acceptance[name]) for name in MEANS}  # the one bin of the control region
    information += outside["signal"] ** 2 / sum(outside.values())
    fit = files.read_json(root / "fits" / "asimov.json")["parameters"]["mu"]
    assert fit["value"] == pytest.approx(1.0, abs=0.02)
    # Twenty thousand events know the yields within the region to 1 %, and the error of mu follows.
    assert fit["error"] == pytest.approx(information**-0.5, rel=0.04)
    page = (root / "report" / "index.html").read_text()
    assert "4 input files" in page
    assert "[stages.preselection] analysis" in page
    # The networks of the region are judged like any others: a section with numbers and the checks of ratios.
    section = files.read_json(root / "analyses" / "preselection" / "section.json")
    assert '<h2 id="section-1">Networks of preselection</h2>' in page
    (row,) = section["tables"][0]["rows"]
    assert row[0] == "signal"
    assert row[3] == pytest.approx(1.0, abs=0.05)  # normalised over the reference
    assert {check["state"] for check in section["checks"]} <= {"pass", "no power", "warning"}
    assert any("calibrated" in check["sentence"] for check in section["checks"])
    again = needle("run", tmp_path, "--json")
    assert again.json()["done"] == 0
    assert ended.json()["done"] > 0


@pytest.mark.campaign
@pytest.mark.slurm
def test_networks_of_a_region_are_the_same_on_nodes(
    needle: Callable[..., Any], slurm: dict[str, str], tmp_path: Path
) -> None:
    written(tmp_path)
    digests = []
    for name, site, env in (("here", "local", {}), ("there", cluster.written(tmp_path), slurm)):
        ended = needle(
            "run",
            tmp_path,
            "--site",
            site,
            "--out",
            tmp_path / name,
            "--until",
            "fit",
            "--set",
            "split.min_events=10",
            env=env,
        )
        assert ended.code == 0, ended
        digests.append(files.digest(tmp_path / name / "fits" / "asimov.json"))
    assert digests[0] == digests[1]
