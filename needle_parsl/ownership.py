"""Whose a file or folder is, and who else may change it: what is kept for one user is refused where somebody else has a hand in it."""

from __future__ import annotations

import os
import pwd
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from needle_parsl.errors import InputError

PRIVATE = 0o077
"""The umask under which nobody else may do anything."""
OTHERS = stat.S_IWGRP | stat.S_IWOTH


def mine(path: Path) -> bool:
    """Whether a file or folder belongs to the user."""
    return path.stat().st_uid == os.geteuid()


def owner(path: Path) -> str:
    """Name the owner of a file."""
    number = path.stat().st_uid
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def fault(path: Path, *, shared: bool = False) -> str:
    """Say why a folder cannot be trusted to hold what the user alone has written; empty if it can.

    Args:
        path: A folder, or a link to one.
        shared: Whether the user wants others to write there, too.
    """
    if path.is_symlink() and path.lstat().st_uid not in (0, os.geteuid()):
        return "is somebody else's link"
    if not mine(path):
        return f"belongs to {owner(path)}"
    mode = path.stat().st_mode
    if mode & OTHERS and not shared:
        return f"may be written to by others (mode {stat.S_IMODE(mode):04o})"
    return ""


def insist(path: Path, *, shared: bool = False, instead: str) -> None:
    """Refuse a folder that is not the user's own.

    Args:
        path: A folder that is there.
        shared: Whether others may write to it.
        instead: What to do.

    Raises:
        InputError: It is somebody else's, or others may write to it.
    """
    if wrong := fault(path, shared=shared):
        raise InputError(f"{path}: {wrong}, who could replace what needle keeps there; {instead}")


def private(path: Path, instead: str = "remove it, or take away their right to write (chmod go-w)") -> Path:
    """Make a folder that is the user's alone, whatever the umask; one that is there must be.

    Raises:
        InputError: It is somebody else's, or others may write to it.
    """
    with under(PRIVATE):
        path.mkdir(parents=True, exist_ok=True)
    insist(path, instead=instead)
    return path


@contextmanager
def temporary() -> Iterator[Path]:
    """Make a folder that is the user's alone, and remove it in the end.

    Raises:
        InputError: Whoever may write to the folder of temporary files could put another one in its place.
    """
    above = Path(tempfile.gettempdir())
    found = above.stat()
    if found.st_uid not in (0, os.geteuid()) or (found.st_mode & OTHERS and not found.st_mode & stat.S_ISVTX):
        raise InputError(f"{above}: others may remove what is in it; set TMPDIR to a folder of your own")
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@contextmanager
def under(umask: int) -> Iterator[None]:
    """Make files and folders under a umask; it is that of the whole process."""
    before = os.umask(umask)
    try:
        yield
    finally:
        os.umask(before)


def bytecode(folder: Path) -> str:
    """Say why Python's compiled files of a folder cannot be trusted as far as the folder itself; empty if they can."""
    cache = folder / "__pycache__"
    try:
        here, there = folder.stat(), cache.lstat()
    except OSError:
        return ""
    if there.st_uid not in (0, os.geteuid(), here.st_uid):
        return f"{cache}: belongs to somebody else, and Python would execute what is there; remove it"
    if there.st_mode & OTHERS & ~here.st_mode and not stat.S_ISLNK(there.st_mode):
        return f"{cache}: may be written to by others, and Python would execute what is there; remove it"
    return ""
