"""A stage that only a plan knows: nothing else has to know of it."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from needle_parsl import rundir
from needle_parsl.plan import Plan, Task, digest
from needle_parsl.plan.stages import Stage
from needle_parsl.records import Record, holds
from needle_parsl.site import Site
from needle_parsl.workflow import cost, failure_reasons, flow, ledger

MODULE = """
import json
from pathlib import Path

from needle_parsl.records import writing

def double(root, task, *before):
    with writing(root, task) as out:
        if task.spec.value < 0:
            raise ValueError("a negative number")
        earlier = [json.loads((Path(root) / record.output).read_text()) for record in before]
        out.path.write_text(json.dumps(2 * task.spec.value + sum(earlier)))
    return out.record(root)
"""
DOUBLE = Stage(name="stages.double", version=3, place="doubled/{}.json", work="stage_of_a_test:double", needs="cpu")


@dataclass(frozen=True)
class Number:
    value: int


def task(name: str, value: int, *after: Task) -> Task:
    keys = tuple(one.key for one in after)
    key = digest([DOUBLE.name, DOUBLE.version, name, Number(value), keys])
    return Task(stage=DOUBLE, name=name, key=key, spec=Number(value), after=keys)  # type: ignore[arg-type]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    code, root = tmp_path / "code", tmp_path / "run"
    code.mkdir()
    (code / "stage_of_a_test.py").write_text(MODULE)
    monkeypatch.syspath_prepend(code)
    monkeypatch.setenv("PYTHONPATH", ":".join(filter(None, sys.path)))  # for workers that are programs of their own
    rundir.create(root)
    (root / rundir.LOGS).mkdir()
    return root


@pytest.mark.slow
@pytest.mark.parametrize(
    "site",
    [Site(description="threads"), Site(description="htex", executor="htex", workers_per_node=1)],
    ids=["threads", "htex"],
)
def test_stage_that_only_a_plan_knows_runs_is_recorded_and_costed(run: Path, site: Site) -> None:
    one, wrong = task("one", 20), task("wrong", -1)
    two = task("two", 1, one)
    plan, ended = Plan((one, two, wrong), 0), []

    def finished(done: Task, record: Record | None, error: BaseException | None) -> None:
        found = record or failure_reasons.record(done, error, run)
        ledger.append(run, found)
        ended.append(found)

    assert plan.stages() == {"stages.double": 3}
    assert plan.until("stages.double") == plan
    with ThreadPoolExecutor(1) as pool:  # not in the thread of the test, whose signals Parsl would take
        pool.submit(flow.run, run, list(plan.tasks), {}, site, finished).result()
    assert (run / "doubled" / "two.json").read_text() == "42"
    records = {record.what: record for record in ledger.lines(run)}
    assert {record.stage for record in records.values()} == {"stages.double"}
    assert holds(run, records["two"])
    assert not holds(run, records["wrong"])
    assert "a negative number" in records["wrong"].reason
    assert (run / "logs" / "stages.double.wrong.log").exists()
    assert cost.stages([two], run, site)["stages.double"].units == 1
