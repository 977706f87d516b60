"""Ctrl-C, SIGTERM and a closed terminal: children ended, state written, exit 130, and the next run goes on."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from frail import PATIENCE, Run, family, left, make

SLOW = ("training.epochs=5000",)
"""Never done by itself."""


def training(run: Run, process: subprocess.Popen[str]) -> None:
    """Wait until a pack is being trained: its first state is written."""
    run.until(process, lambda run: any((run.root / "packs" / "states").rglob("[!.]*.h5")))


def test_interrupted_run_is_clean_and_goes_on_to_the_same_bytes(undisturbed: Run, frail: Run) -> None:
    process = frail.start("local-htex")
    frail.until(process, lambda run: len(run.ledger()) >= 8)  # in the middle: the trainings come next
    processes = family(process)
    os.kill(process.pid, signal.SIGTERM)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, errors
    assert left(processes)[0] == []
    assert "interrupted; the same command goes on from here" in errors
    assert "Traceback" not in errors
    assert json.loads((frail.root / "run.json").read_text())["status"] == "interrupted"
    assert not (frail.root / "lock").exists()
    assert not [entry for entry in frail.ledger() if entry["reason"]]
    ended = frail.finish("local", "--until", "precision")
    assert ended.returncode == 0, ended.stderr
    assert frail.fits() == undisturbed.fits()
    assert frail.repeated() == []


@pytest.fixture
def slow(tmp_path: Path) -> Run:
    return make(tmp_path, *SLOW)


@pytest.mark.campaign
@pytest.mark.parametrize(
    ("site", "number"), [("local", signal.SIGINT), ("local-htex", signal.SIGTERM), ("local-htex", signal.SIGHUP)]
)
def test_once_ends_cleanly_and_writes_the_state(slow: Run, site: str, number: int) -> None:
    process = slow.start(site)
    training(slow, process)
    processes = family(process)
    os.kill(process.pid, number)
    asked = time.monotonic()
    _, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, time.monotonic() - asked < 10) == (130, True)
    assert left(processes, 2)[0] == []
    assert "interrupted; the same command goes on from here" in errors
    assert "Traceback" not in errors
    assert json.loads((slow.root / "run.json").read_text())["status"] == "interrupted"
    assert not (slow.root / "lock").exists()
    assert slow.oldest_state() > 0  # there is a state
    assert not [entry for entry in slow.ledger() if entry["reason"]]


@pytest.mark.campaign
def test_twice_ends_at_once(slow: Run) -> None:
    process = slow.start("local-htex")
    training(slow, process)
    processes = family(process)
    os.kill(process.pid, signal.SIGINT)
    time.sleep(0.6)
    if process.poll() is None:
        os.kill(process.pid, signal.SIGINT)
    asked = time.monotonic()
    process.communicate(timeout=PATIENCE)
    assert (process.returncode, time.monotonic() - asked < 1.5) == (130, True)
    assert left(processes, 2)[0] == []


@pytest.mark.campaign
def test_signal_that_is_sent_twice_is_one(slow: Run) -> None:
    """`timeout` sends its signal to the process and to its group."""
    process = slow.start("local")
    training(slow, process)
    for _ in range(2):
        os.kill(process.pid, signal.SIGTERM)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert json.loads((slow.root / "run.json").read_text())["status"] == "interrupted"


def in_terminal(run: Run) -> tuple[subprocess.Popen[str], int]:
    """Start a run in the foreground of a terminal of its own; give the process and our end of the terminal."""
    try:
        ours, theirs = pty.openpty()
    except OSError as error:
        pytest.skip(f"no terminal can be opened here: {error}")
    takes = "import os, fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    code = f"{takes}os.execv({sys.executable!r}, {run.command('local-htex')!r})"
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=run.folder, stdin=theirs, stdout=theirs, stderr=theirs, text=True, start_new_session=True
    )  # fmt: skip
    os.close(theirs)
    return process, ours


@pytest.mark.campaign
def test_keys_of_a_terminal_reach_only_the_run(slow: Run) -> None:
    """Ctrl-C goes to every process of the foreground group; Parsl's own would print over the terminal."""
    process, ours = in_terminal(slow)
    training(slow, process)
    processes = family(process)
    os.write(ours, b"\x03")
    said = b""
    with contextlib.suppress(OSError):  # its other end has gone
        while chunk := os.read(ours, 65536):
            said += chunk
    os.close(ours)
    assert process.wait(timeout=PATIENCE) == 130
    assert b"interrupted" in said
    assert b"Traceback" not in said
    assert left(processes, 2)[0] == []


@pytest.mark.campaign
def test_closed_terminal_leaves_nothing_behind(slow: Run) -> None:
    process, ours = in_terminal(slow)
    training(slow, process)
    processes = family(process)
    os.close(ours)
    assert process.wait(timeout=PATIENCE) == 130
    assert left(processes, 2)[0] == []
    assert json.loads((slow.root / "run.json").read_text())["status"] == "interrupted"


@pytest.mark.campaign
def test_nohup_survives_a_closed_terminal(frail: Run) -> None:
    process = frail.start("local", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    frail.until(process, lambda run: len(run.ledger()) >= 2)
    os.kill(process.pid, signal.SIGHUP)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
