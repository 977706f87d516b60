"""A run with replicas: they are tasks like others, and end in the errors of its fits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SETTINGS = (
    "training.members=2",
    "training.folds=1",
    "fit.minos=false",
    "fit.impacts=[]",
    "bootstrap={replicas=3,repeats=2,members=1}",
    'ensemble.combine="wifi"',
    "toys={count=20,pool=0.1,retrained=true,refitted=2}",
)


@pytest.mark.usefixtures("no_figures")
def test_replicas_of_a_run(
    small_inputs: Path, needle: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [word for setting in SETTINGS for word in ("--set", setting)]
    ended = needle("run", small_inputs, *words, "--until", "bootstrap")
    assert ended.code == 0, ended.err
    root = tmp_path / "runs" / "small"
    found = json.loads((root / "fits" / "bootstrap.json").read_text())
    assert set(found["fits"]) == {"observed", "asimov"}
    assert set(found["log_ratio"]) == {"signal", "background.jes.up", "background.jes.down"}
    for numbers in (found["fits"]["observed"]["mu"], found["fits"]["asimov"]["mu"], found["log_ratio"]["signal"]):
        assert numbers["total"] ** 2 > 0
        assert np.isclose(numbers["total"] ** 2, numbers["training"] ** 2 + numbers["simulation"] ** 2)
    assert len(set(found["fits"]["observed"]["mu"]["resampled"])) == 3
    kept = (root / "bootstrap" / "replica-0001.h5").read_bytes()
    (root / "bootstrap" / "replica-0001.h5").unlink()  # lost: done again, from its packs, and nothing else is
    ended = needle("run", small_inputs, *words, "--json")
    assert ended.code == 0, ended.err
    stages = [json.loads(line)["stage"] for line in (root / "ledger.jsonl").read_text().splitlines()]
    assert stages.count("replica") == 6
    assert stages.count("train") == len(
        {
            (t["what"])
            for t in map(json.loads, (root / "ledger.jsonl").read_text().splitlines())
            if t["stage"] == "train"
        }
    )
    assert (root / "bootstrap" / "replica-0001.h5").stat().st_size == len(kept)
    assert json.loads((root / "fits" / "bootstrap.json").read_text()) == found
    summary = json.loads((root / "report" / "summary.json").read_text())
    assert summary["bootstrap_error"] == found["fits"]["observed"]["mu"]["total"]
    assert "bootstrap" in summary["checks"]
    points = json.loads((root / "intervals" / "coverage.json").read_text())["points"]
    toys = {(point["method"], point.get("replicas")): point["toys"] + point["failed"] for point in points}
    assert (
        toys.pop(("profile", None)) == toys.pop(("profile_ensemble", None)) == toys.pop(("profile_refitted", 2)) == 20
    )
    assert toys == {("profile_retrained", 3): 21}
    shares = {
        (root / "toys" / f"coverage/mu=1/{name}.h5").read_bytes()
        for name in ("refitted.0000", "refitted.0001", "retrained.0001")
    }
    assert len(shares) == 3
    page = (root / "report" / "index.html").read_text()
    assert "3 replicas with the events of the parts train and combine resampled, 2 with other seeds alone" in page
    _a_replica_below_its_quorum_throws_nothing(small_inputs, root, words, monkeypatch)


def _a_replica_below_its_quorum_throws_nothing(
    inputs: Path, root: Path, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from needle_parsl import plan
    from needle_parsl.analysis import load
    from needle_parsl.errors import TaskError
    from needle_parsl.tasks import replicas
    from needle_parsl.tasks import toys as throwing
    from needle_parsl.workflow import probe

    def too_few(*_: object) -> None:
        raise TaskError("ratio signal: 0 of 1 members have trained")

    loaded = load(inputs, words[1::2])
    tasks = plan.build(loaded.analysis, probe.probe(loaded)[0], 8).tasks
    spec = next(t.of(plan.ToysSpec) for t in tasks if isinstance(t.spec, plan.ToysSpec) and t.spec.again)
    assert len(throwing.block(str(root), spec).t) == spec.count
    monkeypatch.setattr(replicas, "remade", too_few)
    assert len(throwing.block(str(root), spec).t) == 0
