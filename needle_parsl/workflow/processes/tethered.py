"""A program that runs another one, and never lets it outlive the process it works for.

`python -m needle_parsl.workflow.processes.tethered OWNER LOG PROGRAM ...` gives the program a process group of its own, which the keys of
a terminal do not reach. The group ends when the program does, when the owner is gone, even by `kill -9`, or on SIGTERM.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil

from needle_parsl.workflow.processes import python

LOOK = 0.25
"""Seconds between two looks at the owner."""
GRACE = 4.0
"""Seconds that the group has to end after SIGTERM: a pack writes its state in them."""
INHERIT = "-"
"""In the place of the log file: output goes where this program's own goes."""


def command(owner: int, log: str, program: list[str]) -> list[str]:
    """Give the command line that runs a program tethered to a process."""
    return python.module("needle_parsl.workflow.processes.tethered", str(owner), log, *program)


def gone(process: psutil.Process) -> bool:
    """Whether a process has ended; its number may be another's by now, and its parent may not have noticed."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def end_group(group: int, grace: float = GRACE) -> None:
    """End the processes of a group: ask, wait, then kill. The caller may be one of them, and is not waited for."""
    _signal(group, signal.SIGTERM)
    ended = time.monotonic() + grace
    while time.monotonic() < ended and _others(group):
        time.sleep(0.05)
    if _others(group):
        _signal(group, signal.SIGKILL)


def _signal(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:  # it has ended by itself
        return


def _others(group: int) -> list[int]:
    return [pid for pid in psutil.pids() if pid != os.getpid() and _in(group, pid)]


def _in(group: int, pid: int) -> bool:
    try:
        return os.getpgid(pid) == group and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False


def main(arguments: list[str]) -> int:
    """Run the program; give its exit code, or 143 if it was ended."""
    owner, log, *program = arguments
    os.setsid()
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    output = None if log == INHERIT else open(log, "ab")  # noqa: SIM115, PTH123  the program's, to its end
    try:
        master = psutil.Process(int(owner))
        child = subprocess.Popen(program, stdout=output, stderr=output)
    except (psutil.NoSuchProcess, OSError) as error:
        sys.stderr.write(f"{program[0]}: {error}\n")
        return 127
    while child.poll() is None and not asked and not gone(master):
        try:
            child.wait(LOOK)
        except subprocess.TimeoutExpired:
            continue
    code = child.poll()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end_group(os.getpgrp())
    return 128 + signal.SIGTERM if code is None else code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
