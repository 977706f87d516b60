"""What surrounds a task in the process that runs it: it ends with its parent, and its failures survive the way back."""

from __future__ import annotations

import multiprocessing
import os
import pkgutil
import signal
import threading
import time
import traceback
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from needle_parsl import addresses, files, ownership, refs, rundir
from needle_parsl.errors import Blame, CrashError, InputError, NeedleError, TaskError, bounded, said
from needle_parsl.plan import Task, specs
from needle_parsl.processes import devices, supervised, time_limit
from needle_parsl.processes.stopping import STOPPING, TRAINING, StoppedError
from needle_parsl.records import Record, name, without
from needle_parsl.workflow import user_process

ENDED = 128 + signal.SIGTERM
"""Exit code of a worker that was asked to end."""


def call(work: str, root: str, task: Task, *before: Any) -> Any:
    """Run a task on a worker.

    Args:
        work: The function, `module:function`.
        root: The run directory.
        task: What to do.
        before: Records of the tasks before it.

    Raises:
        NeedleError: It failed; whatever was raised has become one of ours, and says where it happened.
    """
    if task.part:
        return _of_part(work, root, task, before)
    own_process = multiprocessing.parent_process() is not None or user_process.here()
    if not own_process and specs.own_code(task):
        return user_process.call(call, work, root, task, *before, limit=task.limit, said=task.stage.limit_key)
    if own_process:
        _settle()
        _keep_private(Path(root))
    try:
        devices.choose()
        if own_process and specs.own_code(task) and not user_process.here():
            with time_limit.limited(task.limit, task.stage.limit_key):
                return _done(work, root, task, before)
        return _done(work, root, task, before)
    except BaseException as error:  # noqa: BLE001  raised again, as one that survives the way back
        known = foreseen(error, root)
        known.blame = Blame(name(), _log(root, task, error), _notes(error))
        if own_process and STOPPING.is_set():
            os._exit(ENDED)
    # What it came from is in the log; here it would be pickled where a library has made such chains picklable.
    known.__cause__ = known.__context__ = None
    raise known


def _of_part(work: str, root: str, task: Task, before: tuple[Any, ...]) -> Any:
    """Run a task of the analysis of a stage in the folder of that; what comes back names places in the run directory."""
    try:
        done = call(work, str(Path(root) / task.folder), task.own(), *before)
    except NeedleError as error:
        if error.blame.log:
            error.blame = replace(error.blame, log=f"{task.folder}{error.blame.log}")
        raise
    if not isinstance(done, Record):
        return done
    return replace(done, what=task.name, output=task.folder + done.output, log=done.log and task.folder + done.log)


def command(root: str, task: Task) -> list[str]:
    """Give the command line of a task that is one."""
    words: list[str] = _function(task.stage.command)(str(Path(root) / task.folder), task.own())
    return words


def _done(work: str, root: str, task: Task, before: tuple[Any, ...]) -> Any:
    function = _function(work)
    if not specs.own_code(task):
        return without(function(root, task, *before), before)
    if task.code:  # the networks of the user are found by name from then on
        refs.grant(task.code.names, task.code.source, task.code.path)
    with refs.alone():
        return without(function(root, task, *before), before)


@cache
def _function(work: str) -> Any:
    return pkgutil.resolve_name(work)


def _keep_private(root: Path) -> None:
    """Make what a task writes as private as its run directory; one that has gone was."""
    try:
        open_to_others = root.stat().st_mode & ownership.PRIVATE
    except OSError:
        open_to_others = 0
    if not open_to_others:
        os.umask(ownership.PRIVATE)


def foreseen(error: BaseException, root: str) -> NeedleError:
    """Turn whatever a task raised into an exception that the submitting process knows."""
    if isinstance(error, NeedleError):
        # A class of the user's own cannot be read where only needle is installed.
        return (
            error if type(error).__module__.startswith("needle_parsl.") else InputError(said(error).partition(": ")[2])
        )
    text = said(error).strip().splitlines()[0]
    if files.full(error):
        return files.no_space(Path(root))
    if isinstance(error, (SystemExit, KeyboardInterrupt)):
        return InputError(f"the user's code ended the worker: {text}")
    if isinstance(error, OSError) and error.strerror:
        return TaskError(f"{error.filename or root}: {error.strerror}")
    return CrashError(f"{text} ({_where(error)})")


def _notes(error: BaseException) -> str:
    """Give what was noted of an exception; the user's code may have noted anything."""
    notes = getattr(error, "__notes__", ())
    return bounded("; ".join(note for note in notes if isinstance(note, str))) if isinstance(notes, list) else ""


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1] if frames else None
    return f"{Path(last.filename).name}, line {last.lineno}, in {last.name}" if last else "nowhere"


def _log(root: str, task: Task, error: BaseException) -> str:
    """Write down where an error came from; give the file's name, relative to the run directory."""
    if isinstance(error, StoppedError):
        return ""
    place = f"{rundir.LOGS}/{task.stage.name}.{task.name}.log"
    try:
        text = bounded("".join(traceback.format_exception(error)))
        files.write_text(Path(root) / place, f"{name()}\n{addresses.shown(text)}")
    except OSError:  # the disk is full: the error itself is said
        return ""
    return place


@cache
def _settle() -> None:
    """Make this process end with its parent, and give a training the time to write its state. Once per process."""
    follow_parent()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: _end())


def follow_parent() -> None:
    """End this process when its parent has gone."""
    threading.Thread(target=_follow, args=(os.getppid(),), daemon=True).start()


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(supervised.LOOK)
    _end()
    time.sleep(supervised.GRACE)
    if os.getpgrp() == parent:  # the group is the pool's, and nobody else is left to end it
        os.killpg(parent, signal.SIGKILL)


def _end() -> None:
    """End soon: when the running training has written its state, else at once."""
    STOPPING.set()
    if not TRAINING.locked():
        os._exit(ENDED)
    leave = threading.Timer(supervised.GRACE, os._exit, (ENDED,))
    leave.daemon = True
    leave.start()
