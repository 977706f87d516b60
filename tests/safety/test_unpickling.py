"""What needle reads is never unpickled: a run, and all that looks at it afterwards, in processes that hear of every pickle that is opened."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from needle_parsl.errors import TaskError
from needle_parsl.handover import FOLDER
from needle_parsl.workflow import mpi

HEARD = """
import json, os, sys
from pathlib import Path

def hear(event, arguments):
    if event != "pickle.find_class":
        return
    frame, files = sys._getframe(1), []
    while frame is not None:
        files.append(frame.f_code.co_filename)
        frame = frame.f_back
    with open(os.environ["HEARD"], "a") as out:
        out.write(json.dumps([list(map(str, arguments)), files]) + chr(10))

sys.addaudithook(hear)
"""
OWN = ("numba/core/caching.py", "needle_parsl/workflow/user_process.py")
"""Whose pickles never leave the user's own cache of compiled code, and the pipe between a process and its own child."""
TOYS = """
[intervals]
method         = "neyman"
grid           = [0.5, 1.0, 1.5]
toys_per_point = 10
[toys]
block    = 5
pool     = 1
generate = "physics.py:pseudo_data"
count    = 2
"""


def heard(folder: Path, *commands: list[str]) -> list[tuple[list[str], list[str]]]:
    """Give needle commands in a process each; list what was unpickled: the class, and the files of the code that did it."""
    log = folder / "heard.jsonl"
    log.touch()
    for command in commands:
        code = f"{HEARD}\nfrom needle_parsl import cli\nsys.argv = {['needle', *command]!r}\ncli.main()"
        env = {**os.environ, "HEARD": str(log)}
        ended = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, env=env, check=False, timeout=900
        )
        assert ended.returncode == 0, ended.stderr
    return [tuple(json.loads(line)) for line in log.read_text().splitlines()]


def of_others(found: list[tuple[list[str], list[str]]]) -> list[tuple[list[str], list[str]]]:
    return [one for one in found if not any(part in file for file in one[1] for part in OWN)]


def test_the_hook_hears_of_a_pickle(tmp_path: Path) -> None:
    """Else the test below could not fail."""
    log = tmp_path / "heard"
    code = f"{HEARD}\nimport pickle\npickle.loads(b'cos\\ngetpid\\n.')"
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "HEARD": str(log)}, check=True)
    ((found, files),) = [json.loads(line) for line in log.read_text().splitlines()]
    assert found == ["os", "getpid"]
    assert of_others([(found, files)])


@pytest.mark.slow
@pytest.mark.usefixtures("no_figures")
def test_a_run_and_all_that_looks_at_it_unpickle_nothing(finished_inputs: Path, tmp_path: Path) -> None:
    """On threads, where tasks read each other's stores, packs, states, estimators, ratios and toys in the process of the run."""
    told = [str(finished_inputs), "--out", "run"]
    found = heard(
        tmp_path,
        ["run", *told, "--until", "combine"],
        ["run", *told],
        ["plan", *told],
        ["status", "run"],
        ["report", "run"],
        ["export", "run"],
        ["evaluate", "run", "--events", str(finished_inputs / "signal_1.root"), "-o", "ratios.parquet"],
    )
    assert (tmp_path / "run" / "toys").is_dir()
    assert of_others(found) == []


@pytest.fixture
def finished_inputs(small_inputs: Path, tmp_path: Path) -> Path:
    """An analysis with toys, in a folder of its own."""
    folder = tmp_path / "app"
    folder.mkdir()
    for path in small_inputs.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    with (folder / "analysis.toml").open("a") as file:
        file.write(TOYS)
    return folder


def test_a_round_of_mpi_programs_is_no_pickle(tmp_path: Path) -> None:
    """Not even where its digest is that of what lies there."""
    opened = tmp_path / "opened"
    content = f"cos\nsystem\n(S'touch {opened}'\ntR.".encode()
    (tmp_path / FOLDER).mkdir(parents=True)
    (tmp_path / FOLDER / "a.tasks").write_bytes(content)
    with pytest.raises(TaskError, match="is not what this run has written"):
        mpi.read(tmp_path, f"{FOLDER}/a.tasks", "0" * 32)
    with pytest.raises(ValueError, match="Expecting value"):
        mpi.read(tmp_path, f"{FOLDER}/a.tasks", mpi.digest_of(content))
    assert not opened.exists()
