"""Files that are whole or not there: written under another name and renamed; their digests; JSON."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import xxhash

from needle_parsl import addresses
from needle_parsl.errors import InputError, TaskError, said

LARGEST_JSON = 2**27
"""Characters of a JSON file; no run writes such a large one."""


FULL = (errno.ENOSPC, errno.EDQUOT)
"""What a full disk is called."""


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a temporary name next to `path`, and rename it to `path` if all went well; works for folders, too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        if temporary.is_dir() and path.exists():
            shutil.rmtree(path)
        temporary.replace(path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file under a temporary name, then rename it."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file under a temporary name, then rename it; without passwords of addresses."""
    try:
        text = json.dumps(addresses.cleaned(value), indent=2, allow_nan=False)
    except ValueError as error:
        raise TaskError(f"{path.name}: {_not_finite(value) or error}; no file was written") from error
    write_text(path, text + "\n")


def _not_finite(value: Any, place: str = "") -> str:
    """Say where a table has a number that is none; empty if it has no such."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else ()
    if isinstance(value, float) and not math.isfinite(value):
        return f"{place} is {value}"
    return next(filter(None, (_not_finite(one, f"{place}.{name}" if place else str(name)) for name, one in inner)), "")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: It is missing or damaged.
    """
    try:
        if not path.is_file():
            raise FileNotFoundError("no file is there")
        with path.open(encoding="utf-8") as file:
            return json.loads(file.read(LARGEST_JSON))  # what is longer is no JSON any more
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read ({error}); remove it, and the next run makes it again") from error


def full(error: BaseException) -> bool:
    """Whether a full disk is behind an error; HDF5 says so only in its text."""
    return getattr(error, "errno", None) in FULL or any(f"errno = {number}" in said(error) for number in FULL)


def no_space(root: Path) -> TaskError:
    """Say that the disk is full."""
    return TaskError(f"{root}: no space left on its disk; make some, and the same command goes on from here")


def digest_of(content: bytes) -> str:
    """Fingerprint bytes as `digest` does a file's."""
    return xxhash.xxh3_128(content).hexdigest()


def digest(path: Path) -> str:
    """Fingerprint a file, or all files of a folder with their names: 128 bits of XXH3, as hex."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, xxhash.xxh3_128).hexdigest()
    total = xxhash.xxh3_128()
    for file_path in sorted(p for p in path.rglob("*") if p.is_file()):
        total.update(f"{file_path.relative_to(path)} {digest(file_path)}\n".encode())
    return total.hexdigest()
