"""Commands believe no file of a run: nothing of it reaches a scheduler, a process or a terminal unchecked."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import planting
import psutil
import pytest

from needle_parsl.analysis import file
from needle_parsl.cli import terminal
from needle_parsl.errors import InputError, legible
from needle_parsl.workflow import driver as detached
from needle_parsl.workflow import ledger, lock

Needle = Callable[..., Any]


@pytest.mark.parametrize(
    "planted",
    [
        {"host": "h", "job": "--user=victim", "scheduler": "slurm"},
        {"host": "h", "job": "-u", "scheduler": "slurm"},
        {"host": "h", "job": "1 2", "scheduler": "slurm"},
        {"host": "h", "job": "1\n--user=x", "scheduler": "slurm"},
        {"host": "h", "job": "1;reboot", "scheduler": "pbs"},
        {"host": "h", "job": "$(id)", "scheduler": "pbs"},
        {"host": "h", "job": 7, "scheduler": "slurm"},
        {"host": "h", "job": "7", "scheduler": "lsf"},
        {"host": "h", "job": "7"},
        {"host": "h", "pid": -1, "born": 1.0},
        {"host": "h", "pid": 0},
        {"host": "h", "pid": True, "born": 1.0},
        {"host": "h", "pid": "1", "born": 1.0},
        {"host": "h", "pid": 1, "born": "x"},
        {"host": "h", "pid": 2**80, "born": 1.0},
        {"host": "\x1b[2J", "pid": 1, "born": 1.0},
        {"host": "h", "pid": 1, "born": 1.0, "shell": "id"},
        {"pid": 1},
        ["h", 1],
    ],
)
def test_what_is_no_driver_reaches_nobody(
    planted: Any, tmp_path: Path, inside: Needle, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = planting.run(tmp_path)
    (root / "driver.json").write_text(json.dumps(planted))

    def never(*arguments: Any, **_: Any) -> None:
        raise AssertionError(arguments)

    monkeypatch.setattr(subprocess, "run", never)
    monkeypatch.setattr(os, "kill", never)
    for command in ("cancel", "attach"):
        ended = inside(command, root)
        assert ended.code == 2
        assert "names no driver" in ended.err
        assert "\x1b" not in ended.err


@pytest.mark.parametrize("note", ["lock", "driver.json"])
@pytest.mark.parametrize(
    "command", [["sleep", "60"], [sys.executable, "-c", "import time; time.sleep(60)", "needle_parsl", "run"]]
)
def test_a_process_that_is_not_the_runs_driver_is_left_alone(
    note: str, command: list[str], tmp_path: Path, inside: Needle
) -> None:
    root = planting.run(tmp_path)
    victim = subprocess.Popen(command, cwd=root)
    try:
        born = psutil.Process(victim.pid).create_time()
        who = {"host": lock.Holder.myself().host, "pid": victim.pid, "born": born}
        (root / note).write_text(json.dumps({**who, "since": "now"} if note == "lock" else who))
        ended = inside("cancel", root)
        assert (ended.code, victim.poll()) == (2, None), ended
        assert "which it is not; nothing was ended" in ended.err
    finally:
        victim.kill()
        victim.wait()


def test_a_driver_with_a_file_of_the_run_open_is_ended(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    code = "import time; time.sleep(60)"
    with (tmp_path / "logs" / "driver.log").open("w") as log:
        driver = subprocess.Popen([sys.executable, "-c", code, "needle_parsl", "run"], stdout=log)
    try:
        time.sleep(0.5)
        who = detached.Driver(lock.Holder.myself().host, driver.pid, psutil.Process(driver.pid).create_time())
        detached.end(who, tmp_path)
        assert driver.wait(10) != 0
    finally:
        driver.kill()


@pytest.mark.parametrize(("name", "ended"), [("interactive", False), ("needle-driver-run", True)])
def test_a_job_that_is_no_driver_is_left_alone(
    name: str, ended: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = tmp_path / "calls"
    for program, said in (("squeue", name), ("scancel", "")):
        path = tmp_path / program
        path.write_text(f'#!/bin/sh\necho {program} "$@" >> {calls}\ncase "$*" in *%t*) ;; *) echo {said} ;; esac\n')
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    driver = detached.Driver("h", job="77", scheduler="slurm")
    if ended:
        detached.end(driver, tmp_path)
    else:
        with pytest.raises(InputError, match="is no driver of needle's; nothing was ended"):
            detached.end(driver, tmp_path)
    assert ("scancel 77" in calls.read_text()) == ended


def test_a_run_of_somebody_else_is_not_ended(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("gives a folder to another user: needs root")
    os.chown(tmp_path, 65534, 65534)
    with pytest.raises(InputError, match="only its owner ends it"):
        detached.end(detached.Driver("h", job="77", scheduler="slurm"), tmp_path)


@pytest.mark.parametrize("name", ["run.json", "ledger.jsonl", "driver.json", "lock", "logs/driver.log"])
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(name: str, tmp_path: Path, inside: Needle) -> None:
    root = planting.run(tmp_path)
    (root / "logs").mkdir()
    (root / name).unlink(missing_ok=True)
    os.mkfifo(root / name)
    if name != "run.json":
        assert inside("logs", root).code == 0
    assert inside("status", root).code in (0, 2)
    assert inside("cancel", root).code == 2


def test_text_from_files_does_not_steer_the_terminal(
    tmp_path: Path, inside: Needle, capfd: pytest.CaptureFixture[str]
) -> None:
    root = planting.run(tmp_path)
    (root / "logs").mkdir()
    (root / "logs" / "driver.log").write_text("one\x1b]8;;http://evil\x07\ttwo\nthree\u202e")
    ended = inside("logs", root)
    assert ended.out == "one\\x1b]8;;http://evil\\x07\ttwo\nthree\\u202e"
    facts = {
        "analysis": "a\x1b[31m", "processes": ["b"], "features": [{"name": "x", "unit": "\x1b[31mred"}], "ratios": [], "files": [], "versions": {}, "written": []
    }  # fmt: skip
    terminal.exported(
        {**facts, "ratios": [dict.fromkeys(("name", "members", "network", "combine", "calibration"), "\x1b[0m\x9b")]}
    )
    assert not {"\x1b", "\x9b"} & set(capfd.readouterr().out)
    assert legible("a\tb\nc ± d") == "a\tb\nc ± d"


@pytest.mark.parametrize("name", ["run.json", "driver.json", "ledger.jsonl", "lock"])
def test_files_of_any_size_are_no_trouble(name: str, tmp_path: Path, inside: Needle) -> None:
    root = planting.run(tmp_path)
    with (root / name).open("wb") as file:
        file.truncate(2**40)
    for command in ("status", "cancel", "logs"):
        assert "Traceback" not in inside(command, root).err
    if name == "ledger.jsonl":
        with pytest.raises(InputError, match="more than any ledger"):
            ledger.lines(root)


def test_names_are_no_options(tmp_path: Path) -> None:
    text = planting.ANALYSIS.format(top="", features="", training="")
    (tmp_path / "analysis.toml").write_text(text.replace('"planted"', '"--help"'))
    with pytest.raises(InputError, match='"--help" is no name'):
        file.load(tmp_path / "analysis.toml")


def test_pipes_that_stand_for_an_analysis_are_not_waited_for(tmp_path: Path, inside: Needle) -> None:
    os.mkfifo(tmp_path / "analysis.toml")
    assert inside("check", tmp_path / "analysis.toml").code == 2
    os.mkfifo(tmp_path / "physics.py")
    (tmp_path / "analysis.toml").unlink()
    text = planting.ANALYSIS.format(top='physics = "physics.py"', features="", training="")
    (tmp_path / "analysis.toml").write_text(text)
    with pytest.raises(InputError, match=r"physics.py.*it is a pipe, and no file"):
        raise InputError.of(file.load(tmp_path / "analysis.toml").problems)


NAMED = {
    "samples.signal.files": ["check", "--set", 'samples.signal.files=["x.parquet"]'],
    "a pattern": ["check", "--set", 'samples.signal.files=["x.par*"]'],
    "resources": ["check", "--set", 'resources=["x.parquet"]'],
    "links": ["check", "--set", 'links=["x.parquet"]'],
    "fit.data": ["plan", "--set", "fit.blind=false", "--set", 'fit.data.files=["x.parquet"]'],
    "physics": ["check", "--set", "physics=x.parquet"],
    "training.initial": ["check", "--set", "training.initial=x.parquet"],
    "init": ["init", "new", "--data", "x.parquet"],
    "init, to": ["init", "x.parquet", "--from", "gaussian"],
    "evaluate": ["evaluate", "run", "--events", "x.parquet", "-o", "out.parquet"],
    "evaluate, to": ["evaluate", "run", "--events", "new.parquet", "-o", "x.parquet/out.parquet"],
    "site": ["plan", "--site", "site.toml"],
    "analysis": ["check", "site.toml"],
}
"""Everything on the command line or in an analysis that names a file or a folder."""


@pytest.mark.slow
@pytest.mark.parametrize("thing", ["folder", *planting.THINGS])
@pytest.mark.parametrize("key", NAMED)
def test_what_is_no_file_is_called_what_it_is(key: str, thing: str, tmp_path: Path, inside: Needle) -> None:
    if thing == "folder" and key in ("init, to", "evaluate, to", "training.initial", "analysis"):
        pytest.skip("a folder may stand there")
    planting.run(tmp_path)
    for name in ("signal", "background"):
        planting.events(tmp_path).replace(tmp_path / f"{name}.parquet")
    planting.events(tmp_path)
    (tmp_path / "analysis.toml").write_text(planting.ANALYSIS.format(top="", features="", training=""))
    for name in ("x.parquet", "site.toml"):
        (tmp_path / name).mkdir() if thing == "folder" else planting.put(tmp_path / name, thing)
    command, *more = NAMED[key]
    named = ["analysis.toml"] if command in ("check", "plan") and "site.toml" not in more[:1] else []
    ended = inside(command, *named, *more)
    assert (ended.code, ended.out) == (2, "")
    assert f"is a {thing}" in ended.err
    assert "no such file" not in ended.err
    assert any(word in ended.err for word in ("; name ", "and name that", "choose another", "expected a file"))


@pytest.mark.parametrize("thing", ["folder", *planting.THINGS])
@pytest.mark.parametrize(
    "name", ["estimators/signal/estimator.h5", "physics.py", "analysis.toml", "estimators/all.json"]
)
def test_what_is_no_file_in_a_run_is_not_waited_for(name: str, thing: str, tmp_path: Path, inside: Needle) -> None:
    root = planting.run(tmp_path, training='network = "physics.py:Net"' if name == "physics.py" else "")
    (root / name).unlink(missing_ok=True)
    (root / name).mkdir() if thing == "folder" else planting.put(root / name, thing)
    for arguments in (
        ("export", root, "--to", "to"),
        ("evaluate", root, "--events", planting.events(tmp_path), "-o", "out.parquet"),
    ):
        ended = inside(*arguments)
        assert ended.code in (0, 2), ended
        assert "Traceback" not in ended.err


def test_a_process_is_known_again_although_the_clock_was_set() -> None:
    """psutil counts from the start of the machine, which moves when the clock does."""
    own = psutil.Process().create_time()
    for moved, found in ((0.0, True), (1.0, True), (-1.5, True), (60.0, False)):
        driver = detached.Driver(socket.gethostname(), os.getpid(), own + moved)
        assert detached.alive(driver) is found
