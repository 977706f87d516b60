"""Code of the user's, where tasks are threads of the driver: in processes beside it, which it can neither end nor change.

Each thread has a process of its own, which is kept for its next task. `python -m needle_parsl.workflow.user_process` is such a process: functions
with their arguments come on standard input, what they give goes back on standard output, and what they print goes to standard error.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from needle_parsl.errors import CrashError, InputError, NeedleError, TaskError
from needle_parsl.processes import python, supervised
from needle_parsl.processes.stopping import STOPPING, StoppedError

T = TypeVar("T")
MODULE = "needle_parsl.workflow.user_process"
ENDS = 5.0
"""Seconds within which a process that has said no more has ended."""
OUTPUT = 16_000_000
"""Bytes that the user's code may print in one of these processes; what is beyond is left out."""
LOOK = 0.5
"""Seconds between looks at a process that has not answered."""
HEAD, MARK = struct.Struct("<8sQ"), b"needle-a"
"""What an answer begins with: a mark, and its length."""
CLOSED = 76
"""Exit code of a process whose files the user's code has closed."""
_OWN = threading.local()
_INSIDE = threading.Event()
_ALL: list[subprocess.Popen[bytes]] = []


class LongError(TaskError):
    """A task of the user's code has taken longer than its limit."""


def here() -> bool:
    """Whether this is a process for the user's code."""
    return _INSIDE.is_set()


def call(function: Callable[..., T], *arguments: Any, limit: float = float("inf"), said: str = "") -> T:
    """Call a function that calls the user's code, in the process of this thread.

    Args:
        function: Of an importable module.
        arguments: What travels as a pickle between the two.
        limit: Seconds that it may take.
        said: Which key says so.

    Raises:
        NeedleError: What the function raised; or its process was ended, or has taken too long.
    """
    child = _living()
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        pickle.dump((function, arguments), child.stdin)
        child.stdin.flush()
        good, result = _answer(child, time.monotonic() + limit)
    except TimeoutError as error:
        end(child)
        raise LongError(f"the user's code has taken longer than {limit:g} s, as {said} allows; it was ended") from error
    except (EOFError, OSError, pickle.UnpicklingError) as error:
        raise _ended(child) from error
    if not good:
        raise result
    found: T = result
    return found


def _answer(child: subprocess.Popen[bytes], end_of_time: float) -> Any:
    """Read what a process answers; of what the user's code writes in its place, nothing is believed.

    Raises:
        EOFError: There is none; what the process has started may hold its files open for ever.
        TimeoutError: It takes too long.
        pickle.UnpicklingError: It is none.
    """
    head = _read(child, HEAD.size, end_of_time)
    mark, size = HEAD.unpack(head)
    if mark != MARK:
        raise pickle.UnpicklingError("no answer")
    return pickle.loads(_read(child, size, end_of_time))  # noqa: S301  what this process itself has sent


def _read(child: subprocess.Popen[bytes], size: int, end_of_time: float) -> bytes:
    """Read so many bytes, and look from time to time whether anybody writes them."""
    assert child.stdout is not None
    found = bytearray()
    while len(found) < size:
        over = child.poll() is not None  # before the look: what it has written until then is still there
        ready, _, _ = select.select([child.stdout], [], [], max(0.0, min(LOOK, end_of_time - time.monotonic())))
        if ready:
            if not (more := os.read(child.stdout.fileno(), size - len(found))):
                raise EOFError
            found += more
        elif over:
            raise EOFError
        if time.monotonic() > end_of_time:
            raise TimeoutError
    return bytes(found)


def _living() -> subprocess.Popen[bytes]:
    """Give the process of this thread; begin it if there is none."""
    child: subprocess.Popen[bytes] | None = getattr(_OWN, "child", None)
    if child is None or child.poll() is not None:
        bounds = supervised.bounded(float("inf"), OUTPUT, "")
        command = supervised.command(os.getpid(), supervised.INHERIT, python.module(MODULE), bounds)
        child = _OWN.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        _ALL.append(child)
    return child


def _ended(child: subprocess.Popen[bytes]) -> NeedleError:
    """Say how a process has ended that should have answered."""
    with suppress(subprocess.TimeoutExpired):
        child.wait(ENDS)
    code = child.poll()
    end(child)
    if STOPPING.is_set():
        return StoppedError("stopped with the run")
    if code in (None, CLOSED):
        return InputError("the user's code has closed the files of its process, or written to them; it was ended")
    if code > 128:
        return CrashError(f"the process of the user's code was killed by signal {code - 128}")
    return InputError(f"the user's code ended its process with exit code {code}")


def end(child: subprocess.Popen[bytes]) -> None:
    """End a process and all that it has started, at once."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.kill()
    child.wait()
    for stream in (child.stdin, child.stdout):
        with suppress(OSError):
            if stream is not None:
                stream.close()
    if child in _ALL:
        _ALL.remove(child)


def close() -> None:
    """End the processes of all threads."""
    for child in _ALL:
        end(child)


def main() -> None:
    """Do what comes on standard input, until it ends."""
    commands, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    _INSIDE.set()
    where, process = os.getcwd(), os.getpid()  # noqa: PTH109  for os.chdir
    while True:
        try:
            function, arguments = pickle.load(commands)  # noqa: S301  what the driver has sent
        except EOFError:
            os._exit(0)  # threads of the user's may go on for ever
        os.chdir(where)
        try:
            answer = True, function(*arguments)
        except NeedleError as error:
            answer = False, error
        finally:
            if os.getpid() != process:
                os._exit(0)  # a fork that came back: its parent answers
        try:
            text = pickle.dumps(answer)
            answers.write(HEAD.pack(MARK, len(text)) + text)
            answers.flush()
        except OSError:
            os._exit(CLOSED)


if __name__ == "__main__":
    sys.modules[MODULE] = sys.modules["__main__"]
    main()
