"""The toys of a run as MPI programs: the same bytes as on Parsl's workers."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from needle_parsl import files, handover, rundir
from needle_parsl.errors import InputError, TaskError
from needle_parsl.plan import Task, specs, stages
from needle_parsl.records import Record
from needle_parsl.workflow import mpi, worker

MPIEXEC = Path(sys.executable).parent / "mpiexec"
TOYS = """
[intervals]
method         = "neyman"
grid           = [0.5, 1.0, 1.5]
toys_per_point = 10
rounds         = 1
[toys]
block    = 4
pool     = 1
generate = "physics.py:pseudo_data"
count    = 6
"""
SITE = """
description = "this machine, toys by MPI"
executor    = "htex"
[cpu]
[mpi]
workers_per_node = 2
"""
LATE = ("toys", "neyman", "coverage")
"""Stages that are done again."""
NAMES = ("intervals/neyman.json", "intervals/coverage.json")
needs_mpi = pytest.mark.skipif(
    not MPIEXEC.exists() and not shutil.which("mpiexec"), reason="there is no mpiexec; install the extra `mpi`"
)


@pytest.mark.mpi
@needs_mpi
def test_mpi_programs_give_the_bytes_of_a_run(small_inputs: Path, tmp_path: Path, needle: Callable[..., Any]) -> None:
    """One run as usual; a copy of it without its toys goes on with a site for MPI."""
    app = shutil.copytree(small_inputs, tmp_path / "app")
    analysis = app / "analysis.toml"
    analysis.write_text(analysis.read_text() + TOYS)
    assert (ended := needle("run", app, "--until", "coverage", "--out", tmp_path / "whole")).code == 0, ended.err
    kept = [line for line in (tmp_path / "whole" / rundir.LEDGER).read_text().splitlines() if json.loads(line)["stage"] not in LATE]  # fmt: skip
    (tmp_path / "mine.toml").write_text(SITE)
    root = shutil.copytree(tmp_path / "whole", tmp_path / "mpi")
    shutil.rmtree(root / "toys")
    shutil.rmtree(root / "intervals")
    (root / rundir.LEDGER).write_text("\n".join(kept) + "\n")
    ended = needle("run", app, "--until", "coverage", "--site", tmp_path / "mine.toml", "--out", root)
    assert ended.code == 0, ended.err
    assert list(root.glob(f"{mpi.FOLDER}/*.tasks"))
    for path in NAMES:
        assert (root / path).read_bytes() == (tmp_path / "whole" / path).read_bytes()
    done = [json.loads(line)["key"] for line in (root / rundir.LEDGER).read_text().splitlines()]
    assert len(done) == len(set(done))


def test_mpi_programs_have_one_thread_before_numpy_is_there() -> None:
    """Sums of more than some 10,000 numbers depend on it."""
    look = (
        "import sys, os, builtins\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'numpy': print(os.environ.get('OPENBLAS_NUM_THREADS')); os._exit(0)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "import needle_parsl.workflow.mpi\nimport numpy\n"
    )
    text = mpi.program("run", "a", "b", (), None, None, None)
    command = text.split("$PARSL_MPI_PREFIX ")[1].split()[:4]
    ended = subprocess.run([*command, sys.executable, "-c", look], capture_output=True, text=True, check=False)
    assert ended.stdout.strip() == "1", ended.stderr


def task(name: str, *after: str, stage: str = "toys") -> Task:
    fit = specs.FitSpec(dataset="asimov", model=None, shapes=())  # type: ignore[arg-type]  not looked at
    spec = specs.ToysSpec(
        fit=fit,
        poi="mu",
        truth=(("mu", 1.0),),
        profiled=True,
        source="model",
        thrower=None,
        least=1.0,
        salt=0,
        first=0,
        count=3,
    )
    return Task(stage=stages.STAGES[stage], name=name, key=name, spec=spec, after=after)


def test_toys_of_a_round_stand_together_after_all_they_need() -> None:
    todo = [task("fit", stage="fit"), task("a0", "fit"), task("a1", "a0"), task("b0", "fit"), task("b1", "b0"),
            task("belt", "a0", "a1", "b0", "b1", stage="neyman"), task("c0"), task("last", "belt")]  # fmt: skip
    found = [[t.name for t in batch] for batch in mpi.batches(todo, 2)]
    assert found == [["fit"], ["a0", "b0"], ["c0"], ["a1", "b1"], ["belt"], ["last"]]


def test_a_program_goes_on_where_it_was_killed_and_tells_what_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[str] = []

    def call(_work: str, root: str, own: Task) -> Record:
        called.append(own.name)
        if own.name == "bad":
            raise InputError("toys: too few events")
        files.write_text(Path(root) / own.place, own.name)
        return Record(
            key=own.key,
            stage=own.stage.name,
            what=own.name,
            worker="w",
            seconds=0.1,
            output=own.place,
            digest=files.digest(Path(root) / own.place),
        )

    monkeypatch.setattr(worker, "call", call)
    todo = [task(name) for name in ("one", "bad", "two")]
    name, digest = mpi.write(tmp_path, todo)
    assert mpi.read(tmp_path, name, digest) == todo
    mpi.throw(str(tmp_path), todo[:2])
    mpi.throw(str(tmp_path), todo)
    assert called == ["one", "bad", "bad", "two"]
    assert handover.thrown(str(tmp_path), todo[2], 0).what == "two"
    with pytest.raises(InputError, match="too few events"):
        handover.thrown(str(tmp_path), todo[1], 0)


def test_a_file_of_tasks_that_somebody_has_changed_is_not_opened(tmp_path: Path) -> None:
    name, digest = mpi.write(tmp_path, [task("one")])
    (tmp_path / name).write_bytes(b"something else")
    with pytest.raises(TaskError, match="is not what this run has written"):
        mpi.read(tmp_path, name, digest)


ADDED = """
name = "added"
[stages.added]
command = "python added.py {part} {result}"
over = { part = [1, 2, 3] }
needs = "mpi"
merge = "sum"
"""
PROGRAM = """
import json, sys
from mpi4py import MPI

world = MPI.COMM_WORLD
found = world.reduce(int(sys.argv[1]) * (world.rank + 1))
if world.rank == 0:
    json.dump(found, open(sys.argv[2], "w"))
assert sys.argv[1] != "0", "nothing to add"
"""


@pytest.mark.mpi
@needs_mpi
def test_commands_of_stages_are_mpi_programs(tmp_path: Path, needle: Callable[..., Any]) -> None:
    for name, text in (("analysis.toml", ADDED), ("added.py", PROGRAM), ("mine.toml", SITE)):
        (tmp_path / name).write_text(text)
    for site, expected in ((tmp_path / "mine.toml", 6 * (1 + 2)), ("local", 6)):
        root = tmp_path / f"run-{expected}"
        ended = needle("run", tmp_path, "--site", site, "--out", root, "--json")
        assert ended.code == 0, ended
        assert files.read_json(root / "stages" / "added" / "merged" / "result.json") == expected
    zero = needle("run", tmp_path, "--site", tmp_path / "mine.toml", "--set", "stages.added.over.part=[0, 4]", "--json")
    assert zero.code == 1, zero
    assert "nothing to add" in zero.out + zero.err
