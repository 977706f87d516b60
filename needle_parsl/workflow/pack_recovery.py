"""A pack that is worth another try: its future always succeeds with a record, whatever happens to the workers on the way.

A lost worker is forgiven once (`retries`). Then the pack is trained in two halves, and a half that is lost again in two of its own, until
the member that kills its workers is alone. It is recorded as lost; the others are kept, and the quorum decides.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from functools import partial

from needle_parsl.errors import CrashError
from needle_parsl.plan import Task, specs
from needle_parsl.records import Record
from needle_parsl.workflow import retries

Submit = Callable[..., Future[Record]]
"""Submits the work of a stage: its name, the task, and the records or futures before it."""
Why = Callable[[BaseException], str]
"""Says in a sentence why a task failed."""


def train(submit: Submit, why: Why, task: Task, *before: Record | Future[Record]) -> Future[Record]:
    """Train a pack.

    Args:
        submit: Submits work to Parsl.
        why: Words for a failure.
        task: The pack.
        before: What it needs.

    Returns:
        A future that succeeds even if members were lost. It fails only if what comes before it failed, or if it would fail
        again: wrong input, a full disk.
    """
    result: Future[Record] = Future()
    submit("", task, *before).add_done_callback(_noting(result, partial(_go_on, submit, why, task, result)))
    return result


def _go_on(submit: Submit, why: Why, task: Task, result: Future[Record], error: BaseException) -> None:
    """Decide what becomes of a pack whose training ended with an error."""
    if not retries.lost(error) and not isinstance(error, CrashError):
        result.set_exception(error)
        return
    reasons = [_piece(submit, why, half) for half in _halves(task)] if retries.lost(error) else []
    gathered = submit("gather", task, why(error), *reasons)
    gathered.add_done_callback(_noting(result, result.set_exception))


def _piece(submit: Submit, why: Why, task: Task) -> Future[str]:
    """Train some members, each alone if need be: a future that always succeeds, with "" if all have come through."""
    words: Future[str] = Future()

    def ended(done: Future[Record]) -> None:
        error = done.exception()
        halves = _halves(task) if retries.lost(error) else []
        if not halves:
            words.set_result(why(error) if error else "")
            return
        one, other = (_piece(submit, why, half) for half in halves)
        one.add_done_callback(lambda a: other.add_done_callback(lambda b: words.set_result(a.result() or b.result())))

    submit("piece", task).add_done_callback(ended)
    return words


def _halves(task: Task) -> list[Task]:
    spec = task.of(specs.Train)
    middle = (len(spec.members) + 1) // 2
    halves = [part for part in (spec.members[:middle], spec.members[middle:]) if part]
    return [replace(task, spec=replace(spec, members=part)) for part in halves] if len(halves) > 1 else []


def _noting(result: Future[Record], failed: Callable[[BaseException], None]) -> Callable[[Future[Record]], None]:
    """Pass a record on, or a failure; called in Parsl's threads, where an exception would be lost."""

    def note(done: Future[Record]) -> None:
        try:
            error = done.exception()
            if error is None:
                result.set_result(done.result())
            else:
                failed(error)
        except BaseException as error:  # noqa: BLE001  raised again in the thread of the flow
            result.set_exception(error)

    return note
