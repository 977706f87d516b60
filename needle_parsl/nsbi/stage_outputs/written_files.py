"""Files that the user's code writes outside of its output: seen by Python's audit hook, and warned of."""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SYSTEM = ("/proc/", "/sys/", "/dev/")
CACHES = ("__pycache__", ".cache", ".config", ".numba_cache", ".matplotlib", "matplotlib")
"""Folders in which libraries keep what they make once."""
MOST = 3
"""Files that are named."""


class Written:
    """Hears of files that are opened to write them, while it is on; a hook of Python's cannot be taken away."""

    def __init__(self) -> None:
        self.paths: set[str] | None = None

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Note a file that is opened to write it."""
        if event != "open" or self.paths is None:
            return
        path, mode, flags = arguments
        writes = (flags or 0) & (os.O_WRONLY | os.O_RDWR) or (
            isinstance(mode, str) and any(one in mode for one in "wax+")
        )
        if writes and isinstance(path, (str, bytes)):
            self.paths.add(os.path.realpath(os.fsdecode(path)))


_WRITTEN = Written()
_HOOKED: list[bool] = []


@contextmanager
def watched(root: Path, folder: Path) -> Iterator[None]:
    """Warn of files that are written outside of a folder while this is open.

    Args:
        root: The run directory.
        folder: Where outputs go.
    """
    if not _HOOKED:
        sys.addaudithook(_WRITTEN.hear)
        _HOOKED.append(True)
    _WRITTEN.paths = found = set[str]()
    try:
        yield
    finally:
        _WRITTEN.paths = None
    beside = os.path.realpath(folder.parent)
    allowed = (*SYSTEM, f"{os.path.realpath(tempfile.gettempdir())}{os.sep}")
    outside = sorted(
        path
        for path in found
        if not path.startswith(f"{beside}{os.sep}{folder.name}")
        and (not path.startswith(allowed) or path.startswith(f"{os.path.realpath(root)}{os.sep}"))
        and not any(part in CACHES for part in Path(path).parts)
    )
    if outside:
        more = f" and {len(outside) - MOST} more" if len(outside) > MOST else ""
        warnings.warn(
            f"wrote outside of its output: {', '.join(outside[:MOST])}{more}; needle neither keeps nor checks that; make it an output",
            stacklevel=2,
        )
