"""Memory is blamed only if the kernel says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from needle_parsl.processes import memory, worker_exit


@pytest.mark.parametrize(
    ("line", "file", "text"),
    [
        ("0::/a/b", "a/b/memory.events", "low 0\noom 3\noom_kill 2\n"),
        ("4:memory:/a/b", "memory/a/b/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
    ],
    ids=["version 2", "version 1"],
)
def test_kills_are_counted(tmp_path: Path, line: str, file: str, text: str) -> None:
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(text)
    (tmp_path / "own").write_text(f"9:name=systemd:/\n{line}\n")
    assert memory.kills(tmp_path / "own", tmp_path) == 2
    assert memory.kills(tmp_path / "none", tmp_path) == 0


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("3,1,2,-;Out of memory: Killed process 4711 (python) total-vm:1kB", True),
        ("3,1,2,-;oom-kill:constraint=CONSTRAINT_MEMCG,task=python,pid=4711,uid=0", True),
        ("3,1,2,-;Out of memory: Killed process 14711 (python)", False),
        ("3,1,2,-;process 4711 did something else", False),
    ],
)
def test_kernel_log_is_read_for_this_process(tmp_path: Path, line: str, found: bool) -> None:
    (tmp_path / "log").write_text(f"something\n{line}\n")
    assert memory.in_kernel_log(4711, tmp_path / "log") is found
    assert not memory.in_kernel_log(4711, tmp_path / "none")


@pytest.mark.parametrize(
    ("code", "told", "words"),
    [
        (-9, True, "was killed by signal 9: out of memory"),
        (-9, False, "was killed by signal 9, possibly out of memory"),
        (-11, False, "was killed by signal 11 ("),
        (3, False, "ended with exit code 3 ("),
    ],
)
def test_memory_is_blamed_only_on_evidence(code: int, told: bool, words: str) -> None:
    assert words in worker_exit.Death("host", 1, 4711, code, told).sentence()
