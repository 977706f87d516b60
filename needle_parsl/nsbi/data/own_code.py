"""What the user's code consists of: modules that it imports, from wherever they are not installed, and files that it opens."""

from __future__ import annotations

import os
import stat
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from hashlib import blake2b
from importlib.util import source_from_cache
from pathlib import Path
from types import FrameType
from typing import Any

INSTALLED = ("site-packages", "dist-packages")
SHOWING = ("linecache.py", "tokenize.py")
"""Modules of Python's that open code only to show lines of it."""
IMPORTING = "<frozen importlib._bootstrap>"
SYSTEM = ("/proc/", "/sys/", "/dev/")


@cache
def _places() -> tuple[str, ...]:
    """List the folders of Python itself and of needle."""
    library = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib")}
    return (*(f"{place}{os.sep}" for place in library), f"{Path(__file__).parents[2]}{os.sep}")


def own(path: str) -> bool:
    """Whether a file of code is the user's: below the project, or an editable install, and not an installed package."""
    return (
        bool(path) and path[0] != "<" and not path.startswith(_places()) and not any(part in path for part in INSTALLED)
    )


def modules(names: set[str], named: set[str]) -> list[str]:
    """List the files of the modules that are the user's, or that the analysis names."""
    found = []
    for name in sorted(names):
        path = getattr(sys.modules.get(name), "__file__", None) or ""
        if path and (name in named or own(path)) and Path(path).is_file():
            found.append(path)
    return found


def digest(path: str) -> str:
    """Fingerprint a file."""
    return blake2b(Path(path).read_bytes(), digest_size=16).hexdigest()


def _source(path: str) -> str:
    """Give the source of a compiled file: code that is loaded by its path is no module that is found by its name."""
    try:
        return source_from_cache(path) if path.endswith(".pyc") else path
    except ValueError:
        return path


class Opened:
    """Hears of files that the user's code opens, while it is on; a hook of Python's cannot be taken away."""

    def __init__(self) -> None:
        self.paths: set[str] | None = None
        self.known: set[str] = set()
        self.since = 0.0

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Note a file that is opened to read it, by code of the user's."""
        if event != "open" or self.paths is None:
            return
        path, _, flags = arguments
        if (
            isinstance(path, (str, bytes))
            and not (flags or 0) & (os.O_WRONLY | os.O_RDWR)
            and self._is_data(_source(os.fsdecode(path)))
        ):
            self.paths.add(str(Path(_source(os.fsdecode(path))).resolve()))

    def _is_data(self, path: str) -> bool:
        if path.startswith(SYSTEM) or not own(path) or not self._by_user():
            return False
        try:
            found = Path(path).stat()
        except OSError:
            return False
        return stat.S_ISREG(found.st_mode) and found.st_ctime < self.since  # what it has written itself is none

    def _by_user(self) -> bool:
        frame: FrameType | None = sys._getframe(3)  # noqa: SLF001  no other way to know who opens
        if frame is not None and frame.f_code.co_filename.endswith(SHOWING):
            return False
        library = False
        while frame is not None:
            name = frame.f_code.co_filename
            if name not in self.known and own(name):
                return True
            library |= any(part in name for part in INSTALLED)
            if library and name == IMPORTING:  # a cache that a library reads as it is imported
                return False
            frame = frame.f_back
        return False


_OPENED = Opened()
_HOOKED: list[bool] = []


@contextmanager
def watching() -> Iterator[set[str]]:
    """Collect the data files that the user's code opens."""
    if not _HOOKED:
        sys.addaudithook(_OPENED.hear)
        _HOOKED.append(True)
    _OPENED.known = {getattr(module, "__file__", None) or "" for module in list(sys.modules.values())}
    _OPENED.since, _OPENED.paths = time.time(), set()
    paths = _OPENED.paths
    try:
        yield paths
    finally:
        _OPENED.paths = None
