"""What input files are: their state and digest, how many rows they have, where these may be cut, and whether they agree."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from needle_parsl.errors import InputError
from needle_parsl.nsbi.data import conversion
from needle_parsl.nsbi.data.readers import source
from needle_parsl.nsbi.data.readers.columns import TEXT
from needle_parsl.nsbi.data.recipes import InputFile, Recipe

APART = 50_000
"""Rows between two borders that are kept, at least."""
THREADS = 8
"""Files that are looked at side by side; most of it is waiting for a disk or a server."""

A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True)
class FileState:
    """The bytes of an input file."""

    digest: str
    stamp: list[Any]
    """The state of the file: equal stamps, equal content."""
    size: int
    links: tuple[str, ...] = ()
    """Other files from which it takes data; digest and stamp are of these, too."""


@dataclass(frozen=True)
class Header:
    """What a sample needs to know of a file before it is read."""

    kinds: Mapping[str, str]
    """Types of the columns that will be read."""
    borders: list[int]
    """Rows at which reading may start, from 0 to their number, not all too close to each other."""


def states(
    paths: Sequence[str], known: Mapping[str, Any], allowed: Collection[str] = ()
) -> dict[str, FileState | InputError]:
    """Fingerprint files.

    Args:
        paths: Where they are.
        known: Earlier states as tables, by path; a file in the same state is not read again.
        allowed: Other files from which HDF5 files may take data.

    Returns:
        By path its state, or why there is none.
    """
    unique = list(dict.fromkeys(paths))
    return dict(zip(unique, side_by_side(lambda path: _state(path, known.get(path), allowed), unique), strict=True))


def _state(path: str, known: Mapping[str, Any] | None, allowed: Collection[str]) -> FileState:
    size = source.locate(path).size if source.is_remote(path) else Path(path).stat().st_size
    reached = _reached(path, allowed) if allowed and not source.is_remote(path) else ()
    stamp = source.stamp(path, reached)
    if known and known["stamp"] == stamp and tuple(known.get("links", ())) == reached:
        return FileState(**{**known, "links": reached})
    return FileState(source.digest(path, reached), stamp, size, reached)


def _reached(path: str, allowed: Collection[str]) -> tuple[str, ...]:
    from needle_parsl.nsbi.data.readers import links  # noqa: PLC0415  with h5py, for HDF5 files whose links are allowed

    return tuple(links.reached(path, allowed))


def headers(files: Sequence[InputFile], recipe: Recipe) -> list[Header | InputError]:
    """Open files, and look whether they have what a sample needs."""
    return side_by_side(lambda file: _header(file, recipe), files)


def _header(file: InputFile, recipe: Recipe) -> Header:
    names = recipe.columns()
    with conversion.opened(file, recipe) as reader:
        borders = [0]
        for border in reader.borders(names):
            if border >= borders[-1] + APART:
                borders.append(border)
        if len(borders) > 1 and borders[-1] != reader.entries:
            borders.pop()
        return Header({name: reader.kind(name) for name in names}, [*borders, reader.entries])


def side_by_side(work: Callable[[A], B], items: Sequence[A]) -> list[B | InputError]:
    """Do the same for several files at a time; what is wrong with one is its result."""

    def attempt(item: A) -> B | InputError:
        try:
            return work(item)
        except InputError as error:
            return error

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(attempt, items))


def disagreements(found: Mapping[str, Header], sample: str) -> tuple[list[str], list[str]]:
    """Compare the types of columns between the files of a sample.

    Args:
        found: Headers by path.
        sample: For the messages.

    Returns:
        What cannot be: text in one file and numbers in another; and what can: float in one and double in another.
    """
    problems, notes = [], []
    first: dict[str, tuple[str, str]] = {}
    for path, header in found.items():
        for name, kind in header.kinds.items():
            other_path, other = first.setdefault(name, (path, kind))
            said = f'{path}: sample {sample}: column "{name}" is {kind}, and {other} in {other_path}'
            if (kind == TEXT) != (other == TEXT):
                problems.append(f"{said}; expected the same type in all files")
            elif kind != other:
                notes.append(f"{said}; both are read as numbers")
    return problems, notes
