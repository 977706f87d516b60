"""`needle evaluate` and `needle export` on a finished run."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from needle_parsl.nsbi.estimators import files
from needle_parsl.nsbi.statistics import pseudomodel

Needle = Callable[..., Any]
ROWS = 5000


@pytest.fixture(scope="module")
def made(small_inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run up to its exported estimators, and new events in a folder beside it."""
    folder = tmp_path_factory.mktemp("made")
    settings = ["--set", "features.units={x1='GeV'}", "--set", "features.selection='x1 > -1'"]
    command = [sys.executable, "-m", "needle_parsl", "run", str(small_inputs), "--until", "export", *settings]
    subprocess.run(command, cwd=folder, check=True, timeout=300)
    rng = np.random.default_rng(3)
    columns = {name: rng.normal(size=ROWS) for name in ("x4", "other", "x2", "x3", "x1")}
    parquet.write_table(pa.table(columns), folder / "new_1.parquet", row_group_size=1000)
    parquet.write_table(pa.table({name: column[:700] for name, column in columns.items()}), folder / "new_2.parquet")
    parquet.write_table(pa.table({name: columns[name] for name in ("x1", "x2", "x4")}), folder / "lacking.parquet")
    return folder


def features(path: Path) -> np.ndarray:
    table = parquet.read_table(path)
    return np.column_stack([table[name].to_numpy() for name in ("x1", "x2", "x3", "x4")]).astype(np.float32)


@pytest.mark.parametrize("engine", ["onnxruntime", "torch"])
def test_ratios_of_new_files(made: Path, needle: Needle, engine: str) -> None:
    run = made / "runs" / "small"
    if engine == "torch":
        run = shutil.copytree(run, made / "plain", dirs_exist_ok=True)
        (run / "estimators" / "all.onnx").unlink(missing_ok=True)
    elif not (run / "estimators" / "all.onnx").exists():
        pytest.skip("the extra onnx is not installed")
    ended = needle("evaluate", run, "--events", "new_*.parquet", "-o", f"{engine}.parquet", "--json", cwd=made)
    assert ended.code == 0, ended.err
    x = [features(made / name) for name in ("new_1.parquet", "new_2.parquet")]
    kept = [np.flatnonzero(part[:, 0] > -1) for part in x]
    facts = ended.json()
    assert (facts["rows"], facts["events"], facts["engine"]) == (ROWS + 700, sum(map(len, kept)), engine)
    found = parquet.read_table(made / f"{engine}.parquet")
    np.testing.assert_array_equal(found["row"].to_numpy(), np.concatenate(kept))
    assert [Path(name).name for name in found["file"].unique().to_pylist()] == ["new_1.parquet", "new_2.parquet"]
    for name in ("signal", "background.jes.up"):
        one = files.read(run / "estimators" / name / "estimator.h5")
        for kind, evaluate in (("log_ratio", one.log_ratio), ("log_ratio_error", one.log_ratio_error)):
            expected = np.concatenate([evaluate(part[rows]) for part, rows in zip(x, kept, strict=True)])
            np.testing.assert_allclose(found[f"{name}.{kind}"].to_numpy(), expected, atol=1e-5)
    assert not [path for path in made.glob(".needle-*") if path.is_dir()]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--events", "lacking.parquet", "-o", "o.parquet"], 'lacking.parquet: sample events: has no column "x3" (known: x1, x2, x4)'),
        (["--events", "nothing_*.parquet", "-o", "o.parquet"], "--events nothing_*.parquet: no file matches"),
        (["--events", "new_1.parquet", "-o", "o.parquet", "--ratio", "signl"], 'has no ratio "signl"; did you mean "signal"?'),
        (["--events", "new_1.parquet", "-o", "o.root"], "--out o.root: is no name of a Parquet file; end it with .parquet"),
    ],
)  # fmt: skip
def test_what_cannot_be_evaluated_is_said(made: Path, needle: Needle, arguments: list[str], message: str) -> None:
    ended = needle("evaluate", made / "runs" / "small", *arguments, cwd=made)
    assert ended.code == 2
    assert message in ended.err
    assert ended.err.count("\n") == 1
    assert not (made / "o.parquet").exists()
    assert not [path for path in made.glob(".needle-*") if path.is_dir()]


def test_export_says_what_is_inside(made: Path, needle: Needle) -> None:
    facts = needle("export", made / "runs" / "small", "--json").json()
    assert facts["features"] == [{"name": "x1", "unit": "GeV"}, *({"name": f"x{k}", "unit": ""} for k in (2, 3, 4))]
    assert {ratio["name"]: ratio["members"] for ratio in facts["ratios"]} == dict.fromkeys(
        ("signal", "background.jes.up", "background.jes.down"), 6
    )
    assert {"needle", "torch", "numpy"} <= set(facts["versions"])
    text = needle("export", made / "runs" / "small").out
    assert "0  x1  [GeV]" in text
    assert "mean_log" in text


def test_files_for_colleagues(made: Path, needle: Needle, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    ended = needle("export", made / "runs" / "small", "--to", tmp_path / "out", "--format", "onnx", "--format", "h5")
    assert ended.code == 0, ended.err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "all.h5", "all.onnx", "signal.onnx", "background.jes.up.onnx", "background.jes.down.onnx",
        ".needle-written.json",
    }  # fmt: skip
    model = pseudomodel.read(tmp_path / "out" / "all.h5")
    x = features(made / "new_1.parquet")
    from needle_parsl.nsbi.estimators.exporting.runtime import Session

    session = Session(tmp_path / "out" / "all.onnx")
    np.testing.assert_allclose(session.evaluate(x)["signal"]["log_ratio"], model.log_ratio(x)["signal"], atol=1e-5)
    assert (model.response("background", x, {"jes": 0.5}) > 0).all()
    note = json.loads((made / "runs" / "small" / "estimators" / "all.json").read_text())
    assert note["exported"]
    assert note["largest_difference"] < 1e-5


def test_formats_that_do_not_exist(made: Path, needle: Needle, tmp_path: Path) -> None:
    ended = needle("export", made / "runs" / "small", "--to", tmp_path / "out", "--format", "onx")
    assert (ended.code, ended.err) == (2, '--format: "onx" is no format; expected onnx, h5, pt2, safetensors, triton\n')
    assert needle("export", made / "runs" / "small", "--format", "onnx").code == 2
    assert not (tmp_path / "out").exists()


def test_a_model_for_servers(made: Path, needle: Needle) -> None:
    pytest.importorskip("onnx")
    arguments = ("export", "small", "--format", "triton", "-o", "models", "--json")
    ended = needle(*arguments, cwd=made)
    assert ended.code == 0, ended.err
    (written,) = ended.json()["written"]
    assert written == "models/small/1"
    facts = json.loads((made / written / "needle.json").read_text())
    assert facts["run"] == str(made / "runs" / "small")
    assert facts["facts"]["features"] == ["x1", "x2", "x3", "x4"]
    assert facts["facts"]["units"]["x1"] == "GeV"
    assert 0 < facts["facts"]["parity"]["largest_difference"] < 1e-5
    assert needle(*arguments, cwd=made).json()["written"] == [written], "equal estimators are no new version"
    named = needle(*arguments, "--name", "other", "--gpus", "2", cwd=made)
    assert named.json()["written"] == ["models/other/1"]
    assert "gpus: 1" in (made / "models" / "other" / "config.pbtxt").read_text()
    for more, message in (
        (("--name", "a/b", "--format", "triton"), '"a/b" is no name of a model'),
        (("--name", "a"), "--name, --gpus and --instances are of models that are served; say --format triton, too"),
    ):
        ended = needle("export", "small", "-o", "models", *more, cwd=made)
        assert (ended.code, len(ended.err.splitlines())) == (2, 1)
        assert message in ended.err


def test_the_page_on_serving_is_true(made: Path, needle: Needle, tmp_path: Path) -> None:
    """Its commands and programs, one after the other."""
    for name in ("onnx", "onnxruntime", "grpc"):
        pytest.importorskip(name)
    text = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8").replace("gaussian", "small")
    (shell,), (client, function) = (re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL) for kind in ("sh", "python"))
    shutil.copytree(made / "runs", tmp_path / "runs")
    *commands, serve = [line.split("#")[0].split()[1:] for line in shell.splitlines()]
    for arguments in commands:
        ended = needle(*arguments)
        assert ended.code == 0, ended.err
    command = [sys.executable, "-m", "needle_parsl", *serve, "--builtin"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline().startswith("the built-in server serves small 1")
            checks = "assert ratios.name == 'built-in', ratios.name\nassert members.shape[1] == 50_000\n"
            subprocess.run([sys.executable, "-c", client + checks], cwd=tmp_path, check=True, timeout=120)
            server.terminate()
            server.wait(60)
        finally:
            server.kill()
    subprocess.run([sys.executable, "-c", function], cwd=tmp_path, check=True, timeout=120)
    assert [one["name"] for one in needle("models", "models", "--json").json()["models"]] == ["pairs", "small"]
