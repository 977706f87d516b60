"""The loss of docs/training.md and the combiner of docs/estimators.md, as they stand there: checked, run, evaluated, and refused where they are broken."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet

from needle_parsl import refs
from needle_parsl.nsbi.data import store
from needle_parsl.nsbi.estimators import files

DOCS = Path(__file__).parent.parent / "docs"


def example(page: str) -> tuple[str, str]:
    """The Python code and the TOML of the first section of a page that has both."""
    found = re.search(r"```python\n(.*?)```\n\n```toml\n(.*?)```", (DOCS / page).read_text("utf-8"), flags=re.DOTALL)
    assert found
    return found[1], found[2]


@pytest.fixture
def analysis(small_inputs: Path, tmp_path: Path) -> Path:
    folder = shutil.copytree(small_inputs, tmp_path / "analysis")
    (loss, training), (combiner, ensemble) = example("training.md"), example("estimators.md")
    with (folder / "physics.py").open("a") as physics:
        physics.write(f"\n\n{loss}\n\n{combiner}")
    text = (folder / "analysis.toml").read_text()
    for lines in (training, ensemble):
        header = lines.partition("\n")[0]
        text = text.replace(header, lines.rstrip()) if header in text else f"{text}\n{lines}"
    (folder / "analysis.toml").write_text(text)
    return folder


def test_examples_of_the_pages_run(analysis: Path, needle: Callable[..., Any], tmp_path: Path) -> None:
    settings = ("training.members=3", "training.folds=1", "training.epochs=4")
    choices = [word for choice in settings for word in ("--set", choice)]
    root = tmp_path / "run"
    ended = needle("run", analysis, *choices, "--until", "evaluate", "--out", root)
    assert ended.code == 0, ended.err
    lines = [json.loads(line) for line in (root / "ledger.jsonl").read_text().splitlines()]
    assert {line["engine"] for line in lines if line["stage"] == "train"} == {"sequential"}
    refs.grant(["physics.py:trimmed"], (analysis / "physics.py").read_text(), str(analysis / "physics.py"))
    made = files.read(root / "estimators" / "signal" / "estimator.h5")
    assert refs.own_name(made.combine) == "trimmed"
    x = store.read(root / "events" / "background.h5").x[:100]
    middle = np.median(made.members(x), axis=0)  # of three, what is left without the lowest and the highest
    np.testing.assert_allclose(made.log_ratio(x), made.slope * middle - made.log_norm, atol=1e-12)
    note = json.loads((root / "estimators" / "signal" / "export.json").read_text())
    said = "its members are combined by trimmed, code of yours that ONNX cannot hold; estimator.h5 has it"
    assert note["exported"] is False
    assert note["reason"] == said
    ended = needle("evaluate", root, "--events", analysis / "background.root", "-o", tmp_path / "o.parquet")
    assert ended.code == 0, ended.err
    ours = parquet.read_table(tmp_path / "o.parquet")["signal.log_ratio"].to_numpy()
    assert len(ours) == 3000
    assert np.isfinite(ours).all()


def test_broken_ones_are_refused_together_with_file_line_and_key(analysis: Path, needle: Callable[..., Any]) -> None:
    text = (analysis / "physics.py").read_text()
    for whole, broken in (("logits)).mean()", "logits))"), ("ordered[1:-1].mean(axis=0)", "ordered[1:-1]")):
        assert whole in text
        text = text.replace(whole, broken)
    (analysis / "physics.py").write_text(text)
    ended = needle("check", analysis)
    assert (ended.code, ended.out) == (2, "")
    assert [re.sub(r"^\S*analysis.toml:\d+: ", "", line) for line in ended.err.splitlines()] == [
        "training.loss: exponential gives shape (64,) for 64 events; expected one number, such as a mean over them",
        "ensemble.combine: trimmed gives shape (3, 64) for 5 members and 64 events; expected ln r of each event, shape (64,)",
    ]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training.loss=phsics.py:f", '"phsics.py" is not the analysis\' physics file; set physics = "phsics.py"'),
        ("training.loss=physics.py:", '"physics.py:" is no reference; write "physics.py:name" or "module:name"'),
        ("ensemble.combine=phsics.py:f", '"phsics.py" is not the analysis\' physics file'),
        ("training.loss=crl", '"mlc" or "alice" or "regression" or "multiclass" or a function of yours, "physics.py:name"'),
        ("training.loss=crl", '; did you mean "carl"?'),
    ],
)  # fmt: skip
def test_a_name_that_is_none_is_refused(
    small_inputs: Path, inside: Callable[..., Any], setting: str, message: str
) -> None:
    ended = inside("check", small_inputs, "--set", setting)
    assert (ended.code, ended.out) == (2, "")
    assert message in ended.err
    assert f"{setting.partition('=')[0]}: " in ended.err
