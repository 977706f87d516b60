"""Programs that look at an analysis or try its code, in a child process: what they answer, or whose code has kept them from it."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from needle_parsl import ownership, refs
from needle_parsl.analysis.file import Loaded
from needle_parsl.errors import InputError, NeedleError, Problem, TaskError
from needle_parsl.processes import python

INSPECTION = "needle_parsl.nsbi.programs.inspect_inputs"
TRIAL = "needle_parsl.nsbi.programs.try_network"
TIMING = "needle_parsl.nsbi.programs.time_training"
COMBINATION = "needle_parsl.nsbi.programs.try_combiner"
STAGES = "needle_parsl.nsbi.programs.try_stages"
WHAT = {
    INSPECTION: "the inspection of the input files",
    TRIAL: "the trial of the network",
    TIMING: "the timing of the network",
    COMBINATION: "the trial of what combines members",
    STAGES: "the look at the stages",
}
SAID = 8192
"""Characters of what a program prints that are read at a time; the last few are kept."""


def ask(loaded: Loaded, request: Mapping[str, Any], program: str, limit: float = math.inf) -> dict[str, Any]:
    """Ask a program; it may execute the user's code, and print what it likes.

    Args:
        loaded: The analysis.
        request: Its question.
        program: Its module.
        limit: Seconds that it may take.

    Raises:
        InputError: The user's code has ended its process.
        TaskError: It was killed, has failed, or has taken too long.
    """
    with ownership.temporary() as folder:
        output = folder / "answer.json"
        code, words = _run(python.module(program, str(output)), json.dumps(request), limit)
        if code != 0 or not output.exists():
            raise _ended(loaded, program, code, words, refs.called(output), limit)
        answer: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
    return answer


def _ended(loaded: Loaded, program: str, code: int | None, words: str, called: str, limit: float) -> NeedleError:
    """Say how a program has ended that should have answered: which of the user's code it was running, and the key that names that."""
    last = next((f": {line}" for line in reversed(words.splitlines()) if line.strip()), "")
    how = f"{_how(code, limit)}{last if code is not None else ''}"
    if not called:
        return TaskError(f"{WHAT[program]} {how}")
    shown, key = _named(loaded, called)
    remedy = "; let it return, or raise an exception that says what is wrong" if code is not None and code >= 0 else ""
    problem = Problem(f'"{shown}" {how}{remedy}', *loaded.places.find(key), key)
    return InputError.of([problem]) if remedy else TaskError(str(problem))


def _how(code: int | None, limit: float) -> str:
    if code is None:
        return f"has taken longer than {limit:g} s, as limits.check allows; it was ended"
    return f"was killed by signal {-code}" if code < 0 else f"ended the process with exit code {code}"


def _named(loaded: Loaded, called: str) -> tuple[str, str]:
    """Give the name of some code as the analysis has it, and the key there; its file stands for what is called while that is imported."""
    shown = loaded.analysis.physics if Path(called).is_absolute() and loaded.analysis.physics else called
    named = (shown, ".".join(shown.rsplit(":", 1)))
    return shown, next((key for key, value in _texts(loaded.table) if value in named), "")


def _texts(table: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """List all texts of a table, by the keys under which they stand."""
    if isinstance(table, str):
        yield key, table
    elif isinstance(table, Mapping):
        for name, value in table.items():
            yield from _texts(value, f"{key}.{name}" if key else str(name))
    elif isinstance(table, list):
        for place, value in enumerate(table):
            yield from _texts(value, f"{key}[{place}]")


def _run(program: list[str], request: str, limit: float) -> tuple[int | None, str]:
    """Run a program; give its exit code, None if it has taken too long, and the end of what it has said."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with subprocess.Popen(program, start_new_session=True, text=True, errors="replace", **pipes) as child:  # type: ignore[call-overload]
        words: deque[str] = deque(maxlen=8)
        listening = threading.Thread(
            target=lambda: words.extend(iter(partial(child.stderr.read, SAID), "")), daemon=True
        )
        listening.start()
        code = None
        try:
            with suppress(BrokenPipeError):  # it has ended already, and has said why
                child.stdin.write(request)
                child.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                code = child.wait(None if limit == math.inf else limit)
        finally:
            with suppress(ProcessLookupError):  # what the user's code has started, and left
                os.killpg(child.pid, signal.SIGKILL)
            listening.join(1)
        return code, "".join(words)
