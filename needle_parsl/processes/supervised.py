"""A program that runs another one, and never lets it outlive the process it works for.

`python -m needle_parsl.processes.supervised OWNER LOG PROGRAM ...` gives the program a process group of its own, which the keys of
a terminal do not reach. The group ends when the program does, when the owner is gone, even by `kill -9`, or on SIGTERM. OWNER may be followed by
`,SECONDS,BYTES,KEY`: what the program takes longer than that ends it, as KEY allows, and of what it prints so much is passed on; without a KEY,
of its standard error alone.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import Any

import psutil

from needle_parsl.processes import python

LOOK = 0.25
"""Seconds between two looks at the owner."""
GRACE = 4.0
"""Seconds that the group has to end after SIGTERM: a pack writes its state in them."""
INHERIT = "-"
"""In the place of the log file: output goes where this program's own goes."""


def command(owner: int, log: str, program: list[str], bounds: str = "") -> list[str]:
    """Give the command line that runs a program tethered to a process.

    Args:
        owner: The process.
        log: The file for what the program prints, or `INHERIT`.
        program: Its command line.
        bounds: From `bounded`.
    """
    return python.module("needle_parsl.processes.supervised", f"{owner}{bounds}", log, *program)


def bounded(seconds: float, size: float, key: str) -> str:
    """Say how long a program may take, as a key of the analysis says, and how many bytes it may print; without a key, as its standard error."""
    return f",{seconds:g},{size:.0f},{key}"


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
    if os.getpgrp() != group:
        _signal(group, signal.SIGKILL)
        return
    while left := _others(group):  # one by one, since the caller has something to say yet
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


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
    told, log, *program = arguments
    owner, *bounds = told.split(",")
    seconds, size = (float(bounds[0]), int(bounds[1])) if bounds else (math.inf, 0)
    os.setsid()
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    output = None if log == INHERIT else open(log, "ab")  # noqa: SIM115, PTH123  the program's, to its end
    try:
        master = psutil.Process(int(owner))
        piped = ("stdout", "stderr") if size and bounds[2] else ("stderr",) if size else ()
        pipes = {name: subprocess.PIPE if name in piped else output for name in ("stdout", "stderr")}
        child = subprocess.Popen(program, stdout=pipes["stdout"], stderr=pipes["stderr"])
    except (psutil.NoSuchProcess, OSError) as error:
        sys.stderr.write(f"{program[0]}: {error}\n")
        return 127
    passing = [_passing(source, target, size) for source, target in ((child.stdout, 1), (child.stderr, 2)) if source]
    ends = time.monotonic() + seconds
    while child.poll() is None and not asked and not gone(master) and time.monotonic() < ends:
        try:
            child.wait(LOOK)
        except subprocess.TimeoutExpired:
            continue
    code = child.poll()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end_group(os.getpgrp())
    for thread in passing:  # what it has started and set apart may hold its output open
        thread.join(LOOK)
    if code is None and time.monotonic() >= ends:
        os.write(
            2, f"the user's code has taken longer than {seconds:g} s, as {bounds[2]} allows; it was ended\n".encode()
        )
        return 1
    return 128 + signal.SIGTERM if code is None else code if code >= 0 else 128 - code


def _passing(source: Any, target: int, size: int) -> threading.Thread:
    """Pass a program's output on, up to a size; the rest is read and dropped, so that it does not wait."""

    def work() -> None:
        left = size
        while chunk := os.read(source.fileno(), 65_536):
            if left > 0:
                left -= len(chunk)
                more = b"" if left > 0 else f"\n... what it printed beyond {size} bytes is left out\n".encode()
                with suppress(OSError):  # on a full disk, too, it must not wait
                    os.write(target, chunk[: left + len(chunk)] + more)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
