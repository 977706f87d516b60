"""References in a config, `"physics.py:signal"` or `"package.module:name"`, turned into Python objects."""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
import threading
import types
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from needle_parsl import ownership
from needle_parsl.errors import InputError, closest, printable

_LOADING = threading.Lock()
_GRANTED: set[str] = set()
"""What files of this analysis may name, as `located` gives it."""
_RUNNING: list[str] = []
"""Names of the user's code that is running, the innermost last."""
_NOTES: list[Path] = []
"""Where that is written down."""


@contextmanager
def alone(what: str = "") -> Iterator[None]:
    """Run the user's code; a fork of it that comes back ends here, since the work is its parent's.

    Args:
        what: Its name, for whoever finds this process ended.
    """
    process = os.getpid()
    _RUNNING.append(what)
    _note()
    try:
        yield
    finally:
        if os.getpid() != process:
            os._exit(0)
        _RUNNING.pop()
        _note()


def note_calls(output: str) -> None:
    """Write down from now on, beside a file that this process will write, what of the user's code it is running."""
    _NOTES.append(_beside(output))


def called(output: Path) -> str:
    """Give what a process was running that should have written a file, as `alone` names it; empty if that was none of the user's code."""
    note = _beside(output)
    return note.read_text(encoding="utf-8", errors="surrogateescape") if note.is_file() else ""


def _beside(output: str | Path) -> Path:
    return Path(output).with_suffix(".running")


def _note() -> None:
    for path in _NOTES:
        what = next((what for what in reversed(_RUNNING) if what), "")
        path.write_text(what, encoding="utf-8", errors="surrogateescape")


def leave() -> None:
    """End this process well, although the user's code may have left threads that never end, or work for its exit."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(0)


def split(reference: str) -> tuple[str, str]:
    """Cut `"physics.py:signal"` into file or module, and attribute.

    Raises:
        InputError: There is no colon, or one side is empty.
    """
    module, _, attribute = reference.rpartition(":")
    if not module or not attribute.isidentifier():
        raise InputError(f'"{reference}" is no reference; write "physics.py:name" or "module:name"')
    return module, attribute


def load_source(source: str, path: str) -> types.ModuleType:
    """Execute a user's file that may have travelled as text.

    Modules next to the file can be imported by it, where the folder exists on this machine.

    Args:
        source: The text of the file.
        path: Where it came from, for tracebacks and sibling imports.
    """
    # The name holds the content: two analyses may each have a physics.py, and dataclasses look their module up by name.
    name = f"{Path(path).stem}_{hashlib.blake2b(source.encode(), digest_size=8).hexdigest()}"
    with _LOADING:
        if name in sys.modules:
            return sys.modules[name]
        module = sys.modules[name] = types.ModuleType(name)
        module.__file__ = path
        _reach(path)
        try:
            with alone(path):
                exec(compile(source, path, "exec"), module.__dict__)  # noqa: S102  the user's own code, named by the user
        except BaseException:
            del sys.modules[name]
            raise
    return module


def resolve(reference: str, source: str = "", path: str = "") -> Any:
    """Find the object behind a reference.

    Args:
        reference: `"physics.py:name"` (taken from `source`) or `"package.module:name"`.
        source: The text of the analysis' `physics` file.
        path: That file, or the analysis; modules beside it can be imported.

    Raises:
        InputError: The module cannot be imported or has no such name.
    """
    found, (name, attribute) = module(reference, source, path), split(reference)
    if not hasattr(found, attribute):
        raise InputError(f'{name} has no "{attribute}"{closest(attribute, public(found))}')
    return getattr(found, attribute)


def module(reference: str, source: str = "", path: str = "") -> types.ModuleType:
    """Import the module of a reference; the arguments are those of `resolve`.

    Raises:
        InputError: It cannot be imported.
    """
    name, _ = split(reference)
    _reach(path)
    try:
        with alone(reference):
            return load_source(source, path) if name.endswith(".py") else importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise InputError(f"{name} cannot be imported: {type(error).__name__}: {error}") from error


def located(reference: str, source: str = "", path: str = "") -> str:
    """Load a user's file, and give the reference by which files may name the object from now on, in this process.

    Args:
        reference: `"physics.py:name"`, `"package.module:name"`, or `"package.module.name"`.
        source: The text of the analysis' `physics` file.
        path: That file, or the analysis; modules beside it can be imported.

    Raises:
        InputError: There is no such object.
    """
    if ":" not in reference and "." in reference:
        reference = ":".join(reference.rpartition(".")[::2])
    resolve(reference, source, path)
    module, attribute = split(reference)
    found = f"{load_source(source, path).__name__}:{attribute}" if module.endswith(".py") else reference
    _GRANTED.add(found)
    return found


def grant(references: Iterable[str], source: str, path: str) -> None:
    """Let files name some objects of the user's analysis from now on, in this process; they name nothing else.

    Args:
        references: As the analysis names them.
        source: The text of its `physics` file.
        path: That file, or the analysis.
    """
    for reference in references:
        located(reference, source, path)


def named_by_file(reference: str) -> Any:
    """Find what a file of a run names, which is nothing but what the user's analysis names, too.

    Raises:
        InputError: It does not, and nothing was imported.
    """
    if reference not in _GRANTED:
        raise InputError(
            f'the file names "{printable(reference)[:200]}", which is code, and not of the analysis that was given; nothing was '
            "executed (what is needle's has a name without a colon)"
        )
    return resolve(reference)


def own_name(reference: str) -> str:
    """Give what a reference names its own name, without that of a module that may have been loaded from text."""
    return reference.rpartition(":")[2]


def digest(source: str) -> str:
    """Fingerprint the text of a file."""
    return hashlib.blake2b(source.encode(), digest_size=16).hexdigest()


def _reach(path: str) -> None:
    """Let modules beside a file be imported."""
    folder = str(Path(path).parent)
    if path and folder not in sys.path:
        if wrong := ownership.bytecode(Path(folder)):
            raise InputError(wrong)
        sys.path.append(folder)


def public(module: types.ModuleType) -> list[str]:
    """List the names that a module offers."""
    return sorted(name for name in vars(module) if not name.startswith("_"))
