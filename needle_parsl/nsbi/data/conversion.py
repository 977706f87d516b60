"""From input files to events: selection, features, weights and ids, in bounded chunks."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from needle_parsl import expressions
from needle_parsl.errors import InputError
from needle_parsl.nsbi.data import hashing, readers
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.data.readers import Columns

STEP = 100_000
"""Rows read at a time: chunks of this size stay in the processor's cache."""


@dataclass(frozen=True)
class InputFile:
    """One file to read."""

    path: str
    tree: str
    label: str
    """What the ids of its events are made from, where no column names them: the digest of its content."""


@dataclass(frozen=True)
class Recipe:
    """What to make of the rows of a sample's files."""

    sample: str
    features: tuple[str, ...]
    weight: str | float
    selections: tuple[str, ...]
    """Expressions that must all hold."""
    id: tuple[str, ...]
    """Columns that name an event; empty: content of the file and row."""
    derived: tuple[tuple[str, str], ...] = ()
    """Names and expressions of computed columns, each after those it uses."""

    def columns(self) -> list[str]:
        """List the columns that must be read, in a fixed order."""
        names = set(self.features) | set(self.id)
        for text in (*self.selections, self.weight, *(text for _, text in self.derived)):
            names |= expressions.parse(text).names() if isinstance(text, str) else set()
        return sorted(names - {name for name, _ in self.derived})

    def known(self, columns: Iterable[str]) -> list[str]:
        """List the names that expressions may use: the columns of a file, and the derived ones."""
        return [*columns, *(name for name, _ in self.derived)]


def convert(files: tuple[InputFile, ...], recipe: Recipe) -> Events:
    """Read a sample.

    Args:
        files: Where its events are.
        recipe: What to keep of them.

    Returns:
        The selected events, in the order of the files.

    Raises:
        InputError: A file, column or value is bad, or nothing is left; the message names file, sample and column.
    """
    return judge(Events.join([part for file in files for part in read(file, recipe)], recipe.features), files, recipe)


def judge(events: Events, files: tuple[InputFile, ...], recipe: Recipe) -> Events:
    """Refuse a sample that is empty as a whole, repeats its ids, or has no positive sum of weights."""
    if len(events) == 0:
        raise InputError(f"sample {recipe.sample}: no event is left in {_listed(files)}{_after(recipe)}")
    _unique(events, recipe)
    if events.weight.sum() <= 0:
        raise InputError(f"sample {recipe.sample}: the weights add up to {events.weight.sum():g}; expected more than 0")
    return events


def _after(recipe: Recipe) -> str:
    selections = " and ".join(f'"{expressions.shorten(s)}"' for s in recipe.selections)
    return f" after the selection {selections}" if selections else ""


def _listed(files: tuple[InputFile, ...]) -> str:
    more = f" and {len(files) - 1} more files" if len(files) > 1 else ""
    return f"{files[0].path}{more}"


def _unique(events: Events, recipe: Recipe) -> None:
    """Two events of one name would share their fate in every split and bootstrap."""
    repeated = len(events) - len(np.unique(events.id))
    if recipe.id and repeated:
        raise InputError(
            f"sample {recipe.sample}: {repeated} of {len(events)} events repeat the id of another; "
            f"name more columns in split.id than {list(recipe.id)}, or leave it out"
        )


def read(file: InputFile, recipe: Recipe) -> Iterator[Events]:
    """Read one file, chunk by chunk, so that a caller may stop early."""
    path, names, row = Path(file.path), recipe.columns(), 0
    with readers.open_file(path, file.tree) as reader:
        where = f"{path}: sample {recipe.sample}"
        readers.require(reader, where, names, recipe.known(reader.columns()))
        distinct(recipe, reader.columns(), where)
        for chunk in reader.iterate(names, STEP):
            rows = len(next(iter(chunk.values())))
            yield _chunk(chunk, np.arange(row, row + rows, dtype=np.uint64), file, recipe)
            row += rows


def distinct(recipe: Recipe, columns: Container[str], where: str) -> None:
    """Refuse a derived column that has the name of a column of the file: nobody could tell which is meant."""
    for name, _ in recipe.derived:
        if name in columns:
            raise InputError(f'{where}: has a column "{name}" like the derived one; give the derived one another name')


def select(columns: Columns, recipe: Recipe, where: str) -> Events:
    """Apply a recipe to columns that are in memory.

    Args:
        columns: Arrays of shape (N,).
        recipe: What to keep of them.
        where: Where they come from, for messages.
    """
    rows = len(next(iter(columns.values())))
    return _chunk(columns, np.arange(rows, dtype=np.uint64), InputFile(where, "", ""), recipe)


def _chunk(columns: Columns, rows: hashing.Hashes, file: InputFile, recipe: Recipe) -> Events:
    columns = _derive(columns, len(rows), file, recipe)
    keep = np.ones(len(rows), dtype=bool)
    for text in recipe.selections:
        keep &= np.broadcast_to(_condition(text, columns, file, recipe), keep.shape)
    kept = {name: column[keep] for name, column in columns.items()}
    x = np.empty((int(keep.sum()), len(recipe.features)), dtype=np.float32)
    for place, name in enumerate(recipe.features):
        column = _finite(kept[name], f'column "{name}"', file, recipe)
        with np.errstate(over="ignore"):
            x[:, place] = column
        if not np.isfinite(x[:, place]).all():
            raise InputError(
                f'{file.path}: sample {recipe.sample}: column "{name}" has values beyond 3.4e38, the largest float32'
            )
    weight = recipe.weight if isinstance(recipe.weight, float) else _evaluate(recipe.weight, kept, file, recipe)
    weight = _finite(np.broadcast_to(np.asarray(weight), (len(x),)), "the weight", file, recipe)
    return Events(recipe.features, x, weight.astype(np.float64), _ids(kept, rows[keep], file, recipe))


def _derive(columns: Columns, rows: int, file: InputFile, recipe: Recipe) -> Columns:
    """Add the derived columns; where events are selected away they may be NaN."""
    for name, text in recipe.derived:
        columns = {**columns, name: np.broadcast_to(_evaluate(text, columns, file, recipe), (rows,))}
    return columns


def _ids(columns: Columns, rows: hashing.Hashes, file: InputFile, recipe: Recipe) -> hashing.Hashes:
    if not recipe.id:
        return hashing.mix(rows, hashing.key("file", file.label))
    try:
        return hashing.identify([columns[name] for name in recipe.id])
    except ValueError as error:
        raise InputError(f"{file.path}: sample {recipe.sample}: an id column of {list(recipe.id)} {error}") from error


def _evaluate(text: str, columns: Columns, file: InputFile, recipe: Recipe) -> np.typing.NDArray[np.generic]:
    tree = expressions.parse(text)
    try:
        with np.errstate(all="ignore"):
            return np.asarray(tree({name: _wide(columns[name]) for name in tree.names()}))
    except (TypeError, ValueError, ArithmeticError, np.exceptions.DTypePromotionError) as error:
        raise InputError(
            f'{file.path}: sample {recipe.sample}: "{expressions.shorten(text)}" cannot be computed: {error}'
        ) from error


def _wide(column: np.typing.NDArray[np.generic]) -> np.typing.NDArray[np.generic]:
    """Widen numbers to 64 bits before arithmetic: counters of 8 bits, or without a sign, would wrap around."""
    if column.dtype.kind in "biu":
        return column.astype(np.int64)
    return column.astype(np.float64) if column.dtype.kind == "f" else column


def _condition(text: str, columns: Columns, file: InputFile, recipe: Recipe) -> np.typing.NDArray[np.bool_]:
    found = _evaluate(text, columns, file, recipe)
    if found.dtype.kind not in "biuf":
        raise InputError(
            f'{file.path}: sample {recipe.sample}: the selection "{expressions.shorten(text)}" is no condition; '
            "compare the column with something"
        )
    kept: np.typing.NDArray[np.bool_] = np.nan_to_num(found).astype(bool)  # NaN is no yes
    return kept


def _finite(
    column: np.typing.NDArray[np.generic], what: str, file: InputFile, recipe: Recipe
) -> np.typing.NDArray[np.generic]:
    if column.dtype.kind not in "biuf":
        raise InputError(f"{file.path}: sample {recipe.sample}: {what} holds no numbers ({column.dtype})")
    bad = int((~np.isfinite(column)).sum()) if column.dtype.kind == "f" else 0
    if bad:
        raise InputError(
            f"{file.path}: sample {recipe.sample}: {what} is NaN or infinite in {bad} of {len(column)} events; "
            "mend the file, or select these events away"
        )
    return column
