from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from needle_parsl.errors import InputError
from needle_parsl.workflow import lock

HOLDS = "import sys, time; from pathlib import Path; from needle_parsl.workflow import lock\nwith lock.held(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"


@pytest.fixture
def other(tmp_path: Path):
    """Another process that holds the lock."""
    process = subprocess.Popen([sys.executable, "-c", HOLDS, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def wait_for(there: Callable[[], bool]) -> None:
    """Wait for something that comes soon; on a loaded machine, later."""
    ended = time.monotonic() + 60
    while not there():
        assert time.monotonic() < ended
        time.sleep(0.02)


def write(root: Path, holder: lock.Holder, silent: float = 0.0) -> None:
    path = root / "lock"
    path.write_text(json.dumps(asdict(holder)))
    os.utime(path, (time.time() - silent,) * 2)


def test_lock_is_there_while_it_is_held_and_gone_afterwards(tmp_path: Path) -> None:
    with lock.held(tmp_path):
        found = lock.holder(tmp_path)
        assert found is not None
        assert (found.host, found.pid) == (socket.gethostname(), os.getpid())
    assert lock.holder(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_second_run_is_refused_and_told_who_holds_it(tmp_path: Path, other) -> None:
    for attempt in (lambda: lock.refuse(tmp_path), lambda: lock.held(tmp_path).__enter__()):
        with pytest.raises(InputError, match=rf"process {other.pid} on {socket.gethostname()}, since 20\d\d-"):
            attempt()


def test_lock_of_a_killed_process_is_taken_at_once(tmp_path: Path, other) -> None:
    other.kill()
    other.wait()
    assert (tmp_path / "lock").exists()
    assert lock.holder(tmp_path) is None
    with lock.held(tmp_path):
        assert lock.holder(tmp_path).pid == os.getpid()


def test_unnoticed_death_counts_as_death(tmp_path: Path, other) -> None:
    """A zombie still has its number."""
    other.kill()
    wait_for(lambda: lock.holder(tmp_path) is None)
    assert json.loads((tmp_path / "lock").read_text())["pid"] == other.pid


def test_number_that_another_process_has_now_is_not_the_holder(tmp_path: Path) -> None:
    write(tmp_path, replace(lock.Holder.myself(), born=1.0))
    assert lock.holder(tmp_path) is None


@pytest.mark.parametrize(("silent", "lives"), [(0.0, True), (200.0, True), (301.0, False)])
def test_other_host_is_believed_until_it_is_silent(tmp_path: Path, silent: float, lives: bool) -> None:
    write(tmp_path, replace(lock.Holder.myself(), host="elsewhere", pid=1), silent)
    if lives:
        with pytest.raises(InputError, match="process 1 on elsewhere"):
            lock.held(tmp_path).__enter__()
    else:
        with lock.held(tmp_path):
            assert lock.holder(tmp_path).host == socket.gethostname()


def test_heart_beats(tmp_path: Path) -> None:
    with lock.held(tmp_path, beat=0.05):
        os.utime(tmp_path / "lock", (0, 0))
        wait_for(lambda: (tmp_path / "lock").stat().st_mtime > 0)
        assert time.time() - (tmp_path / "lock").stat().st_mtime < 60


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pid": 1}', b"\xff\xfe", b"cos\nsystem\n(S'true'\ntR."])
def test_damaged_lock_is_nobodys(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "lock").write_bytes(content)
    with lock.held(tmp_path):
        assert lock.holder(tmp_path) is not None


def test_many_at_once_one_wins(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", HOLDS, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(5)
    ]  # fmt: skip
    wait_for(lambda: sum(process.poll() is None for process in processes) == 1)
    (winner,) = (process for process in processes if process.poll() is None)
    assert winner.stdout.readline() == "held\n"
    for process in processes:
        process.kill()
        process.communicate()
