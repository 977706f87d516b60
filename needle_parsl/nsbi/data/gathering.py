"""The work of one task of conversion: pieces of files, read into memory, with what was lost of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from needle_parsl import addresses
from needle_parsl.errors import InputError
from needle_parsl.nsbi.data import conversion
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.data.readers import source
from needle_parsl.nsbi.data.recipes import FileRange, InputFile, Recipe
from needle_parsl.nsbi.data.store import Lost, StoredSource


@dataclass(frozen=True)
class Gathered:
    """Events of some pieces."""

    events: Events
    sources: tuple[StoredSource, ...]
    lost: tuple[Lost, ...]


def gather(pieces: Sequence[FileRange], recipe: Recipe, *, skip: bool = False) -> Gathered:
    """Read pieces of a sample.

    Args:
        pieces: Where its events are.
        recipe: What to keep of them.
        skip: Leave out what belongs to a bad file, and say so.

    Raises:
        InputError: A file is bad, or has changed since it was looked at.
    """
    found: dict[str, list[tuple[FileRange, Events]]] = {}
    lost: dict[str, Lost] = {}
    for piece in pieces:
        try:
            with unchanged(piece.file):
                found.setdefault(piece.file.path, []).append((piece, conversion.convert(piece, recipe)))
        except InputError as error:
            if not skip:
                raise
            lost[piece.file.path] = Lost(addresses.shown(piece.file.path), str(error).splitlines()[0], piece.file.share)
    kept = [pair for path, pairs in found.items() if path not in lost for pair in pairs]
    sources = dict.fromkeys(StoredSource(addresses.shown(piece.file.path), piece.file.label) for piece, _ in kept)
    events = Events.join([events for _, events in kept], recipe.features)
    return Gathered(events, tuple(sources), tuple(lost.values()))


@contextmanager
def unchanged(file: InputFile) -> Iterator[None]:
    """Insist that a file is what was looked at, before it is read and after.

    Raises:
        InputError: It is another.
    """
    _insist(file)
    yield
    _insist(file)


def _insist(file: InputFile) -> None:
    """Compare the state of a file; where that differs, as after a copy, its content decides."""
    if not file.stamp or tuple(source.stamp(file.path, file.links)) == file.stamp:
        return
    source.locate(file.path)
    if source.digest(file.path, file.links) != file.label:
        raise InputError(f"{file.path}: has changed since it was looked at; run the same command again")
