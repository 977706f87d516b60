"""Where compiled code is kept: functions that numba compiles once per type of processor and state of their sources.

Without fast mathematics every operation is rounded as NumPy rounds it, so that results do not depend on what else is compiled.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, TypeVar

from needle_parsl import ownership
from needle_parsl.analysis import extras
from needle_parsl.errors import InputError

F = TypeVar("F", bound=Callable[..., Any])

AVAILABLE = extras.here("toys")
"""Whether numba is installed, an extra."""
EXACT = {"nogil": True, "error_model": "numpy"}
"""Divisions as NumPy does them: a check for zero would keep loops out of vector registers. Other threads may run meanwhile."""
_HERE = threading.RLock()
_HELD: set[Path] = set()
"""Folders whose lock this process holds; the thread that has `_HERE` does."""


def features() -> str:
    """Name what the processor can do, in LLVM's words; `NUMBA_CPU_FEATURES` overrules it."""
    import llvmlite.binding as llvm  # noqa: PLC0415  comes with numba
    import numba  # noqa: PLC0415  an extra

    return str(numba.config.CPU_FEATURES or llvm.get_host_cpu_features().flatten())


def folder(package: Path) -> Path:
    """Give the folder of a package's compiled code.

    numba looks at the time of one file alone, while a function is compiled together with those of other files; and two types
    of processors that share a folder could take each other's code.
    """
    import llvmlite.binding as llvm  # noqa: PLC0415  comes with numba

    state = hashlib.blake2b(f"{features()} {llvm.llvm_version_info}".encode(), digest_size=8)
    for source in (Path(__file__), *sorted(package.glob("*.py"))):
        state.update(source.read_bytes())
    above = os.environ.get("NUMBA_CACHE_DIR") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "needle", "numba")
    return Path(above).expanduser() / f"{llvm.get_host_cpu_name()}-{state.hexdigest()}"


def inlined(function: F) -> F:
    """Compile a function into those that call it."""
    import numba  # noqa: PLC0415  an extra

    with _configured(numba.config, DISABLE_JIT=0):
        made: F = numba.njit(**EXACT)(function)
    return made


def compiled(function: F, fastmath: Collection[str] = ()) -> F:
    """Compile a function when it is first called, and keep the code for other processes where that can be written.

    Args:
        function: What to compile.
        fastmath: What LLVM may do with its numbers, in LLVM's words.
    """
    import numba  # noqa: PLC0415  an extra

    place = folder(Path(function.__code__.co_filename).parent)
    with _configured(numba.config, CACHE_DIR=str(place), DISABLE_JIT=0):
        # A copy of its own in each caller: else the one that was loaded first serves all, and copies differ in their order of sums.
        # Both are said in any case: what is not said is the caller's, where the caller happens to be compiled first.
        own = {"fastmath": set(fastmath), "forceinline": bool(fastmath)}
        cached = _writable(place)
        made: F = numba.njit(**EXACT, cache=cached, **own)(function)
    if cached:
        _in_turn(made, place)
    return made


@contextmanager
def _configured(config: Any, **wanted: object) -> Iterator[None]:
    """Set what numba is told, whatever the environment or a file of the current folder says of it: these functions need it so."""
    before = {name: getattr(config, name) for name in wanted}
    vars(config).update(wanted)
    try:
        yield
    finally:
        vars(config).update(before)


def _in_turn(made: Any, place: Path) -> None:
    """Let one process at a time compile what none has compiled: many workers begin together, and the others take what it keeps."""
    compiling, name = made.compile, f"*/*.{made.py_func.__qualname__}-*.nbc"

    def compile_in_turn(signature: object) -> object:
        with nullcontext() if next(place.glob(name), None) else _turn(place):
            return compiling(signature)

    made.compile = compile_in_turn


@contextmanager
def _turn(place: Path) -> Iterator[None]:
    """Hold a folder's lock; a function that is compiled for another one has it already. Without locks in that folder, go on."""
    with _HERE, ExitStack() as stack:
        if place not in _HELD:
            with suppress(OSError):
                fcntl.flock(stack.enter_context((place / "lock").open("w")), fcntl.LOCK_EX)
            _HELD.add(place)
            stack.callback(_HELD.remove, place)
        yield


def _writable(place: Path) -> bool:
    """Whether a folder is there, or can be made, takes files, and is the user's alone: numba executes what is in it."""
    try:
        ownership.private(place)
    except OSError:
        return False
    except InputError as error:
        warnings.warn(f"{error}; compiled code is not kept", stacklevel=2)
        return False
    return os.access(place, os.W_OK)
