"""Columns that stages make: of the networks of another analysis, which the run trains first, and of a function that takes what other stages have made."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from needle_parsl import files
from needle_parsl.nsbi.data.store import Store
from needle_parsl.nsbi.estimators import columns
from needle_parsl.nsbi.estimators import files as estimators
from needle_parsl.workflow import ledger

TRAINING = "[training]\nlayers = 1\nnodes = 8\nmembers = 2\nepochs = 2\n[split]\nmin_events = 100\n"
SAMPLES = '[samples.signal]\nfiles = ["signal.parquet"]\n[samples.background]\nfiles = ["background.parquet"]\n'
PRESELECTION = f"""
name = "preselection"
[features]
names = ["x", "total"]
derived = {{ total = "x + both", both = "y + 1" }}
{SAMPLES}
[ratios]
reference = ["background"]
targets = ["signal", "background"]
{TRAINING}
"""
ANALYSIS = f"""
name = "columns"
physics = "physics.py"

[stages.factors]
function = "physics.py:factors"
over = {{ part = [1.0, 2.0] }}
params = {{ scale = 1.5 }}
merge = "sum"
outputs = {{ factors = "arrays" }}

[stages.preselection]
analysis = "preselection.toml"

[stages.ratios]
function = "physics.py:ratios"
after = ["preselection"]
before = ["convert"]

[stages.last]
function = "physics.py:last"
after = ["combine"]

[features]
names = ["x", "corrected", "score"]
selection = "score > -0.5"

[features.computed.score]
ratio = "preselection.signal"

[features.computed.corrected]
function = "physics.py:corrected"
columns = ["y"]
after = ["factors"]

{SAMPLES}
[ratios]
reference = ["background"]
targets = ["signal"]
{TRAINING}
"""
PHYSICS = """
import numpy as np

def factors(part, scale):
    return {"factor": np.array([part * scale])}

def corrected(events, factors):
    return events.y * factors["factor"][0]

def ratios(preselection):
    return {name: path.rpartition("/")[2] for name, path in preselection.items()}

def last(combine):
    return len(combine)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed, (name, mean) in enumerate((("signal", 0.7), ("background", 0.0))):
        x, y = np.random.default_rng(seed).normal(mean, 1.0, (2, 1500))
        parquet.write_table(pa.table({"x": x, "y": y}), tmp_path / f"{name}.parquet")
    parquet.write_table(pa.table({"x": x, "q": x}), tmp_path / "thin.parquet")
    for name, text in (("analysis.toml", ANALYSIS), ("preselection.toml", PRESELECTION), ("physics.py", PHYSICS)):
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.slow
@pytest.mark.usefixtures("no_figures")
def test_columns_are_those_of_the_networks_and_of_the_stages(folder: Path, needle: Callable[..., Any]) -> None:
    planned = needle("plan", folder, "--json").json()
    assert (planned["more"], planned["networks"], planned["own"]) == (True, 20, ["factors"])
    first = needle("run", folder, "--until", "preselection", "--json")
    assert first.code == 0, first
    root = folder / "runs" / "columns"
    path = root / "analyses" / "preselection" / "estimators" / "signal" / "estimator.h5"
    assert path.exists()
    assert not (root / "stages").exists()
    ended = needle("run", folder, "--json")
    assert ended.code == 0, ended
    assert files.read_json(root / "stages" / "ratios" / "all" / "result.json") == {"signal": "estimator.h5"}
    lines = [record.stage for record in ledger.lines(root)]
    assert lines.index("ratios") < lines.index("convert", lines.index("combine"))  # those of the run wait for it
    table = parquet.read_table(folder / "signal.parquet").to_pydict()
    x, y = np.array(table["x"]), np.array(table["y"])
    score = estimators.read(path).log_ratio(np.stack([x, x + y + 1], axis=1).astype("float32"))
    kept = score > -0.5
    assert 100 < kept.sum() < 1500
    expected = np.stack([x, 4.5 * y, score], axis=1)[kept]
    with Store(root / "events" / "signal.h5") as store:
        found = np.asarray(store.read().x)
    np.testing.assert_allclose(
        found[np.argsort(found[:, 0])], expected[np.argsort(expected[:, 0])], rtol=2e-5, atol=1e-6
    )
    assert needle("run", folder, "--json").json()["done"] == 0
    # New events get the same columns.
    written = needle("evaluate", root, "--events", folder / "signal.parquet", "--out", folder / "new.parquet")
    assert written.code == 0, written
    assert parquet.read_table(folder / "new.parquet").num_rows == kept.sum()
    # Another correction makes the stores again and not the networks of the preselection, and other networks all.
    changed = needle(
        "run", folder, "--set", "stages.factors.params.scale=1.0", "--force", "--until", "convert", "--json"
    )
    assert changed.json()["done"] == 3 + 2
    (folder / "preselection.toml").write_text(PRESELECTION.replace("epochs = 2", "epochs = 3"))
    changed = needle("run", folder, "--force", "--until", "convert", "--json")
    # The factors, as they were first; three packs, the ensemble, what is measured of it and said in the report; what is made of that; two stores.
    assert changed.json()["done"] == 3 + 3 + 1 + 1 + 1 + 1 + 2, changed


def test_columns_that_a_ratio_needs_are_looked_for_first(folder: Path, inside: Callable[..., Any]) -> None:
    path = folder / "analysis.toml"
    path.write_text(
        path.read_text().replace('columns = ["y"]', 'columns = ["x"]').replace("background.parquet", "thin.parquet")
    )
    ended = inside("check", folder)
    assert ended.code == 2, ended
    assert "features.computed.score.ratio: sample background: " in ended.err
    assert 'has no column "y"' in ended.err


def test_events_without_a_log_ratio_are_warned_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Ensemble:
        features, ratios = ("x", "y"), ("signal",)

        def log_ratios(self, x: np.ndarray, names: tuple[str, ...]) -> dict[str, np.ndarray]:
            return dict.fromkeys(names, x.sum(axis=1).astype(float))

    monkeypatch.setattr(columns.opening, "column", lambda _: Ensemble())
    events = ak.Array({"x": [1.0, np.nan, 3.0], "y": [2.0, 2.0, 4.0]})
    with pytest.warns(UserWarning, match="x is no finite number in some events, and so the log ratio of signal"):
        found = columns.log_ratio(events, str(folder / "analysis.toml"))
    np.testing.assert_array_equal(found, [3.0, np.nan, 7.0])


@pytest.mark.parametrize(
    ("file", "before", "after", "words"),
    [
        ("analysis", '"preselection.toml"', '"preselect.toml"', "stages.preselection.analysis: .*preselect.toml.* no such file"),
        ("analysis", '"preselection.signal"', '"preselection.sgnal"', 'features.computed.score.ratio: "sgnal" is no ratio of "preselection"; did you mean "signal"'),
        ("analysis", '"preselection.signal"', '"preselection"', '"preselection" has 2 ratios; write "preselection.RATIO"'),
        ("analysis", '"preselection.signal"', '"preselecton.signal"', '"preselecton" is no stage of yours; did you mean "preselection"'),
        ("analysis", '"preselection.signal"', '"factors.signal"', 'the stage "factors" has no analysis'),
        ("analysis", 'merge = "sum"', "", 'the stage "factors" has several outputs; give it a merge of all'),
        ("analysis", 'after = ["factors"]', 'after = ["last"]', 'the stage "last" comes after "combine", and so cannot make a column'),
        ("analysis", 'ratio = "preselection.signal"', 'ratio = "preselection.signal"\ncolumns = ["x"]', "has a ratio, which knows its columns itself"),
        ("analysis", 'ratio = "preselection.signal"', "", "features.computed.score: has neither function nor ratio"),
        ("analysis", 'analysis = "preselection.toml"', 'analysis = "preselection.toml"\nover = { a = [1] }', "stages.preselection.over: has no meaning beside analysis"),
        ("analysis", 'analysis = "preselection.toml"', 'analysis = "preselection.toml"\ncommand = "true"', "has command and analysis; leave all but one out"),
        ("analysis", 'analysis = "preselection.toml"', 'analysis = "analysis.toml"', "analysis.toml has stages of its own"),
        ("analysis", 'columns = ["y"]', 'columns = ["z"]', 'has no column "z"'),
        ("analysis", 'files = ["signal.parquet"]', 'files = ["thin.parquet"]', 'features.computed.(corrected.columns|score.ratio): sample signal: .*has no column "y"'),
        ("preselection", '"x + both"', '"x + bath"', 'no column "bath"'),
        ("preselection", 'names = ["x"', 'names = ["w"', 'no column "w"'),
        ("preselection", "members = 2", "members = -2", "preselection.toml:.*training.members"),
        ("physics", "def corrected(events, factors)", "def corrected(events)", "unexpected keyword argument 'factors'"),
    ],
)  # fmt: skip
def test_mistakes_are_said_with_their_place(
    file: str, before: str, after: str, words: str, folder: Path, inside: Callable[..., Any], needle: Callable[..., Any]
) -> None:
    path = next(folder.glob(f"{file}.*"))
    text = path.read_text()
    assert text.count(before) == 1, text.count(before)
    path.write_text(text.replace(before, after))
    ended = inside("check", folder) if file != "physics" else needle("run", folder)
    assert ended.code == 2, ended
    assert re.search(words, ended.err), ended.err
    assert "Traceback" not in ended.err
