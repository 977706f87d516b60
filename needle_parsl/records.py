"""What a finished task leaves behind: its output under its final name, and one line for the ledger."""

from __future__ import annotations

import os
import socket
import threading
import time
import warnings as python_warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from needle_parsl import files
from needle_parsl.errors import TaskError
from needle_parsl.plan import Task
from needle_parsl.processes import devices


@dataclass(frozen=True, kw_only=True)
class Record:
    """A finished task, done or failed."""

    key: str
    stage: str
    what: str
    worker: str
    """Host, process and thread, and its GPU if it has one."""
    seconds: float
    """Wall time of the work."""
    output: str
    """Relative to the run directory."""
    digest: str
    """Of the output; empty for a failed task."""
    reason: str = ""
    """Why it failed; empty for a task that is done."""
    warnings: str = ""
    """What was warned of while it ran: a line for each kind, "3 RuntimeWarning: ...", with how often."""
    lacks: str = ""
    """Missing inputs, such as lost members; it is done again as soon as that is there."""
    log: str = ""
    """A file that says more about a failure, relative to the run directory."""
    detail: str = ""
    """What of the task has failed, such as a member."""
    engine: str = ""
    """What trained the members of a pack: `native`, `sequential`, `stacked` or `lightning`."""
    evaluator: str = ""
    """What evaluated networks: `torch`, or the inference server; both, where the server was lost. Never in the key."""


def name() -> str:
    """Name the worker that runs this: host, process and thread, and its GPU if it has one."""
    gpu = f":gpu{devices.own()}" if devices.own() else ""
    return f"{socket.gethostname()}:{os.getpid()}:{threading.current_thread().name}{gpu}"


def without(result: Any, before: Iterable[object]) -> Any:
    """Note in a record what the records before it lack or failed to do."""
    lacking = [f"{r.what}: {r.lacks or r.reason}" for r in before if isinstance(r, Record) and (r.lacks or r.reason)]
    return replace(result, lacks=lacking[0]) if lacking and isinstance(result, Record) else result


@dataclass
class Output:
    """An output in the making."""

    task: Task
    path: Path
    """A temporary name while it is written."""
    started: float = field(default_factory=time.time)
    heard: Counter[str] = field(default_factory=Counter)
    """Warnings so far."""

    def record(self, root: str) -> Record:
        """Record the finished output."""
        place = self.task.place
        seconds = round(time.time() - self.started, 3)
        if not (Path(root) / place).exists():
            raise TaskError(
                f"{place}: was not written, although its program has ended well; the user's code may have ended it"
            )
        digest = files.digest(Path(root) / place)
        warnings = "\n".join(f"{count} {text}" for text, count in sorted(self.heard.items()))
        return Record(
            key=self.task.key,
            stage=self.task.stage.name,
            what=self.task.name,
            worker=name(),
            seconds=seconds,
            output=place,
            digest=digest,
            warnings=warnings,
            evaluator=", ".join(dict.fromkeys(name() for name in _ASKED.names)),
        )


@contextmanager
def writing(root: str, task: Task) -> Iterator[Output]:
    """Give a task a temporary name to write to; the output has its own name only if all went well."""
    started, _ASKED.names = time.time(), []
    with listening() as heard, files.atomic(Path(root) / task.place) as temporary:
        yield Output(task, temporary, started, heard)


class _Asked(threading.local):
    """Of each thread: what its task has had evaluate networks."""

    def __init__(self) -> None:
        self.names: list[Callable[[], str]] = []


_ASKED = _Asked()


def evaluated_by(name: Callable[[], str]) -> None:
    """Note what evaluates networks for the task of this thread; it is asked for its name in the end."""
    _ASKED.names.append(name)


def warnings(records: Iterable[Record]) -> list[str]:
    """Sum up what was warned of: a sentence for each kind, with how often and where first."""
    counts: Counter[str] = Counter()
    places: dict[str, list[str]] = {}
    for record in records:
        for line in record.warnings.splitlines():
            count, _, text = line.partition(" ")
            counts[text] += int(count) if count.isdecimal() else 1
            places.setdefault(text, []).append(f"{record.stage} {record.what}")
    return [f"{text} ({_often(counts[text])}, in {_first(places[text])})" for text in sorted(counts)]


def _often(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _first(places: list[str]) -> str:
    return f"{places[0]} and {len(places) - 1} more tasks" if len(places) > 1 else places[0]


_HEARD = threading.local()
_PRINT = python_warnings.showwarning


@contextmanager
def listening() -> Iterator[Counter[str]]:
    """Count the warnings of this thread; those of others are none of this task's."""
    _HEARD.counts = counts = Counter[str]()
    if python_warnings.showwarning is not _hear:
        python_warnings.showwarning = _hear
        # Behind all other filters: Python would otherwise show a warning once per line of code, whoever comes there.
        python_warnings.simplefilter("always", append=True)
    try:
        yield counts
    finally:
        del _HEARD.counts


def _hear(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
    counts = getattr(_HEARD, "counts", None)
    if counts is None:
        _PRINT(message, category, *place, **more)
    else:
        counts[f"{category.__name__}: {' '.join(str(message).split())}"] += 1


def _inside(output: str) -> bool:
    """Whether an output lies in the run directory: nobody's ledger makes us read the files of others."""
    return "\0" not in output and not Path(output).is_absolute() and ".." not in Path(output).parts


def holds(root: Path, record: Record) -> bool:
    """Whether a task is done and its output is still what it was."""
    path = root / record.output
    final = record.output and not record.reason and not record.lacks
    try:
        return bool(final) and path.exists() and files.digest(path) == record.digest
    except OSError:  # a name that no file system takes, or a file that cannot be read
        return False
