"""How far a run is: a bar per stage on a terminal, a line now and then in a file."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from needle_parsl.cli.terminal import ERR, alike

if TYPE_CHECKING:
    from rich.progress import Progress

    from needle_parsl.plan import Task
    from needle_parsl.records import Record
    from needle_parsl.workflow.prepared_run import Prepared

EACH = 30.0
"""Seconds between two lines."""


class Shown(Protocol):
    """What is told of each task that ends."""

    def add(self, stage: str, seconds: float) -> None:
        """Count a task of a stage that took so long."""


class _Nothing:
    """Somebody wants the answer alone, or there is nothing to do."""

    def add(self, stage: str, seconds: float) -> None:
        """Show nothing."""


class _Lines:
    def __init__(self, total: Counter[str], done: Counter[str], pause: float) -> None:
        self.total, self.done, self.pause = total, done, pause
        self.begun = self.said = time.monotonic()
        self.lock = threading.Lock()  # tasks may end at the same time, each in a thread of Parsl's

    def add(self, stage: str, seconds: float) -> None:  # noqa: ARG002  a line has counts alone; bars show the seconds, too
        """Count, and print all stages if the last line is some time ago."""
        with self.lock:
            self.done[stage] += 1
            now = time.monotonic()
            if now - self.said >= self.pause:
                self.said = now
                counts = ", ".join(f"{name} {self.done[name]} of {count}" for name, count in self.total.items())
                ERR.print(f"{timedelta(seconds=round(now - self.begun))}: {counts}")


class _Bars:
    def __init__(self, bars: Progress, total: Counter[str], done: Counter[str]) -> None:
        self.bars, self.seconds = bars, defaultdict[str, float](float)
        self.rows = {name: bars.add_task(name, total=n, completed=done[name], seconds=0.0) for name, n in total.items()}

    def add(self, stage: str, seconds: float) -> None:
        """Move the bar of the stage."""
        self.seconds[stage] += seconds
        self.bars.update(self.rows[stage], advance=1, seconds=self.seconds[stage])


@contextmanager
def shown(prepared: Prepared, *, quiet: bool, pause: float = EACH) -> Iterator[Callable[[Task, Record], None]]:
    """Show how far a run is while it goes on, and why tasks fail.

    Args:
        prepared: The run.
        quiet: Whether failures alone are shown.
        pause: Seconds between two lines, where there is no terminal.

    Yields:
        What is to be called for each task that ends.
    """
    with _kind(prepared, quiet=quiet, pause=pause) as kind:
        said: set[tuple[str, str]] = set()

        def on_end(task: Task, record: Record) -> None:
            kind.add(task.stage.name, record.seconds)
            if record.reason and (task.stage.name, alike(record.reason)) not in said:
                said.add((task.stage.name, alike(record.reason)))  # equal ones are counted at the end
                ERR.print(f"failed: {task.stage.name} {task.name}: {record.reason}")

        yield on_end


@contextmanager
def _kind(prepared: Prepared, *, quiet: bool, pause: float) -> Iterator[Shown]:
    total = Counter(prepared.plan.stages())
    done = total - Counter(task.stage.name for task in prepared.todo())
    if quiet or done == total:
        yield _Nothing()
    elif not ERR.is_terminal:
        yield _Lines(total, done, pause)
    else:
        with _progress() as bars:
            yield _Bars(bars, total, done)


def _progress() -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415  where there is nothing to do, no bar is loaded

    return Progress(
        TextColumn("{task.description:10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[seconds]:7.1f} s of work"),
        TimeRemainingColumn(),
        console=ERR,
    )
