"""From input files to events: selection, features, weights and ids, in bounded chunks."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from needle_parsl import expressions, refs
from needle_parsl.errors import InputError
from needle_parsl.nsbi.data import hashing, particles, readers
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.data.particles import ParticleRecipe
from needle_parsl.nsbi.data.readers import Columns, Reader
from needle_parsl.nsbi.data.readers.columns import length, to_awkward

STEP = 100_000
"""Rows read at a time, at most."""
CHUNK = 16 * 2**20
"""Bytes read at a time, about: the columns of a chunk stay in the processor's cache."""
STRIP = 8192
"""Rows that are turned from columns into rows at a time: what is read and written then stays in the nearest cache."""
EXACT = 2**24
"""The largest whole number up to which float32 holds all of them."""

Rows = np.typing.NDArray[np.float32]


@dataclass(frozen=True)
class InputFile:
    """One file to read."""

    path: str
    tree: str
    label: str
    """What the ids of its events are made from, where no column names them: the digest of its content."""
    stamp: tuple[object, ...] = ()
    """Its state when it was looked at; empty for a file that nobody else writes."""
    share: float = 0.0
    """Its part of the bytes of the sample."""


@dataclass(frozen=True)
class Piece:
    """A range of rows of a file."""

    file: InputFile
    start: int = 0
    stop: int | None = None
    """None: to the end of the file."""


@dataclass(frozen=True)
class Computed:
    """A column that a function of the user makes."""

    name: str
    function: str
    """`"physics.py:NAME"`; it takes an awkward array of events and returns a number for each."""
    columns: tuple[str, ...]
    """What it is given, flat or jagged."""


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
    """Names and expressions of derived columns, each after those it uses."""
    computed: tuple[Computed, ...] = ()
    """Columns that functions of the user make; derived ones may use them."""
    particles: ParticleRecipe | None = None
    physics: tuple[str, str] = ("", "")
    """Text and path of the file that the functions are in."""

    @staticmethod
    def of(spec: Mapping[str, Any], physics: tuple[str, str]) -> Recipe:
        """Make a recipe of the plain values of a plan's spec."""
        jets = spec["particles"]
        chosen = (
            ParticleRecipe(tuple(jets["names"]), jets["collection"], jets["max"], jets["sort"], jets["selection"])
            if jets
            else None
        )
        return Recipe(
            spec["sample"],
            tuple(spec["features"]),
            spec["weight"],
            tuple(spec["selections"]),
            tuple(spec["id"]),
            tuple((name, text) for name, text in spec["derived"]),
            tuple(Computed(name, how["function"], tuple(how["columns"])) for name, how in spec["computed"]),
            chosen,
            physics,
        )

    def columns(self) -> list[str]:
        """List the columns that must be read, in a fixed order."""
        names = set(self.features) | set(self.id)
        for text in (*self.selections, self.weight, *(text for _, text in self.derived)):
            names |= expressions.parse(text).names() if isinstance(text, str) else set()
        made = {name for name, _ in self.derived} | {column.name for column in self.computed}
        return sorted(names - made)

    def lists(self) -> list[str]:
        """List the columns that may be jagged, in a fixed order."""
        used = {name for column in self.computed for name in column.columns}
        return sorted(used - set(self.columns()) | set(self.particles.columns() if self.particles else ()))

    def known(self, columns: Iterable[str]) -> list[str]:
        """List the names that expressions may use: the columns of a file, and the derived ones."""
        return [*columns, *(name for name, _ in self.derived), *(column.name for column in self.computed)]


def convert(piece: Piece, recipe: Recipe) -> Events:
    """Read a piece into memory.

    Args:
        piece: Where events are.
        recipe: What to keep of them.

    Returns:
        The selected events, in the order of the file.

    Raises:
        InputError: The file, a column or a value is bad; the message names file, sample and column.
    """
    with opened(piece.file, recipe) as reader:
        stop = reader.entries if piece.stop is None else min(piece.stop, reader.entries)
        # Rows are put where they stay: to join chunks would cost a sixth of the conversion.
        x = np.empty((max(stop - piece.start, 0), len(recipe.features)), np.float32)
        chunks: list[Events] = []
        filled = 0
        for columns, rows in _chunks(reader, recipe, piece.start, stop):
            chunks.append(_chunk(columns, rows, piece.file, recipe, x[filled:]))
            filled += len(chunks[-1])
    # Events.join would copy the features, which are in their place.
    rest = Events.join([replace(chunk, x=chunk.x[:, :0]) for chunk in chunks], ())
    return replace(rest, names=recipe.features, x=x[:filled])


def read(file: InputFile, recipe: Recipe) -> Iterator[tuple[int, Events]]:
    """Read one file, chunk by chunk, so that a caller may stop early.

    Yields:
        How many rows were read, and the events that were selected from them.
    """
    with opened(file, recipe) as reader:
        for columns, rows in _chunks(reader, recipe, 0, reader.entries):
            yield len(rows), _chunk(columns, rows, file, recipe)


def opened(file: InputFile, recipe: Recipe) -> Reader:
    """Open a file, and check that it has the columns of a recipe."""
    reader = readers.open_file(file.path, file.tree)
    require(reader, recipe)
    return reader


def _chunks(reader: Reader, recipe: Recipe, start: int, stop: int) -> Iterator[tuple[Columns, hashing.Hashes]]:
    """Read the columns of a recipe and the numbers of their rows."""
    names = list(dict.fromkeys([*recipe.columns(), *recipe.lists()]))
    for columns in reader.iterate(names, start, stop, step(len(names))):
        rows = np.arange(start, start + length(columns), dtype=np.uint64)
        start += len(rows)
        yield columns, rows


def step(columns: int) -> int:
    """Choose how many rows are read at a time."""
    return min(STEP, max(1000, CHUNK // (8 * columns)))


def require(reader: Reader, recipe: Recipe) -> None:
    """Check that a file has the columns of a recipe.

    Raises:
        InputError: Columns are missing, of the wrong kind, or have the name of a derived one; one line for each.
    """
    where = f"{reader.path}: sample {recipe.sample}"
    jagged = recipe.particles.columns() if recipe.particles else []
    either = [name for name in recipe.lists() if name not in jagged]
    readers.require(reader, where, recipe.columns(), recipe.known(reader.names), jagged, either)
    distinct(recipe, reader.names, where)


def judge(sample: Events, files: Sequence[str], recipe: Recipe) -> None:
    """Refuse a sample that is empty as a whole, repeats its ids, or has no positive sum of weights.

    Raises:
        InputError: It is one of these.
    """
    accept(len(sample), len(sample) - len(np.unique(sample.id)), float(sample.weight.sum()), files, recipe)


def accept(rows: int, repeated: int, weight: float, files: Sequence[str], recipe: Recipe) -> None:
    """Judge a sample by its counts.

    Args:
        rows: Selected events.
        repeated: How many of them have the id of another. Two events of one name would share their fate in every split.
        weight: Sum of their weights.
        files: Where they come from, for the message.
        recipe: How they were selected.

    Raises:
        InputError: The sample is empty, repeats its ids, or has no positive sum of weights.
    """
    if rows == 0:
        raise InputError(f"sample {recipe.sample}: no event is left in {_listed(files)}{_after(recipe)}")
    if recipe.id and repeated:
        raise InputError(
            f"sample {recipe.sample}: {repeated} of {rows} events repeat the id of another; "
            f"name more columns in split.id than {list(recipe.id)}, or leave it out"
        )
    if weight <= 0:
        raise InputError(f"sample {recipe.sample}: the weights add up to {weight:g}; expected more than 0")


def _after(recipe: Recipe) -> str:
    selections = " and ".join(f'"{expressions.shorten(s)}"' for s in recipe.selections)
    return f" after the selection {selections}" if selections else ""


def _listed(files: Sequence[str]) -> str:
    return f"{files[0]} and {len(files) - 1} more files" if len(files) > 1 else files[0]


def distinct(recipe: Recipe, columns: Container[str], where: str) -> None:
    """Refuse a derived column that has the name of a column of the file: nobody could tell which is meant."""
    for name in recipe.known([]):
        if name in columns:
            raise InputError(f'{where}: has a column "{name}" like the derived one; give the derived one another name')


def select(columns: Columns, recipe: Recipe, where: str) -> Events:
    """Apply a recipe to columns that are in memory.

    Args:
        columns: Arrays of shape (N,).
        recipe: What to keep of them.
        where: Where they come from, for messages.
    """
    return _chunk(columns, np.arange(length(columns), dtype=np.uint64), InputFile(where, "", ""), recipe)


def _chunk(columns: Columns, rows: hashing.Hashes, file: InputFile, recipe: Recipe, out: Rows | None = None) -> Events:
    columns = _derive(_compute(columns, len(rows), file, recipe), len(rows), file, recipe)
    keep = np.ones(len(rows), dtype=bool)
    for text in recipe.selections:
        keep &= np.broadcast_to(_condition(text, columns, file, recipe), keep.shape)
    if not keep.all():
        columns, rows = {name: column[keep] for name, column in columns.items()}, rows[keep]
    weight = recipe.weight if isinstance(recipe.weight, float) else _evaluate(recipe.weight, columns, file, recipe)
    weight = _finite(np.broadcast_to(np.asarray(weight), rows.shape), "the weight", file, recipe)
    x = np.empty((len(rows), len(recipe.features)), np.float32) if out is None else out[: len(rows)]
    _features([columns[name] for name in recipe.features], x, file, recipe)
    where = f"{file.path}: sample {recipe.sample}"
    jets = particles.gather(columns, recipe.particles, where) if recipe.particles else None
    return Events(recipe.features, x, weight.astype(np.float64), _ids(columns, rows, file, recipe), jets)


def _features(columns: list[Any], x: Rows, file: InputFile, recipe: Recipe) -> None:
    """Turn columns into rows of float32, all of them finite."""
    for name, column in zip(recipe.features, columns, strict=True):
        _numbers(column, f'column "{name}"', file, recipe)
        _exact(column, f'column "{name}"', file, recipe)
    with np.errstate(over="ignore"):
        for start in range(0, len(x), STRIP):
            for place, column in enumerate(columns):
                x[start : start + STRIP, place] = column[start : start + STRIP]
    if not np.isfinite(x).all():
        for name, column in zip(recipe.features, columns, strict=True):
            _finite(column, f'column "{name}"', file, recipe, largest=float(np.finfo(np.float32).max))


def _compute(columns: Columns, rows: int, file: InputFile, recipe: Recipe) -> Columns:
    """Add the columns that functions of the user make of an awkward array."""
    for column in recipe.computed:
        import awkward as ak

        function = refs.resolve(column.function, *recipe.physics)
        where = f'{file.path}: sample {recipe.sample}: {column.function} for "{column.name}"'
        events = ak.zip({name: to_awkward(columns[name]) for name in column.columns}, depth_limit=1)
        try:
            found = ak.to_numpy(function(events), allow_missing=False)
        except Exception as error:
            raise InputError(f"{where} failed: {type(error).__name__}: {error}") from error
        if found.shape != (rows,):
            raise InputError(f"{where} has shape {found.shape}; expected ({rows},), one number per event")
        columns = {**columns, column.name: found}
    return columns


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
    column: np.typing.NDArray[np.generic], what: str, file: InputFile, recipe: Recipe, largest: float = np.inf
) -> np.typing.NDArray[np.generic]:
    _numbers(column, what, file, recipe)
    bad = int((~np.isfinite(column)).sum()) if column.dtype.kind == "f" else 0
    if bad:
        raise InputError(
            f"{file.path}: sample {recipe.sample}: {what} is NaN or infinite in {bad} of {len(column)} events; "
            "mend the file, or select these events away"
        )
    if largest < np.inf and bool((np.abs(column.astype(np.float64)) > largest).any()):
        raise InputError(
            f"{file.path}: sample {recipe.sample}: {what} has values beyond {largest:.2g}, the largest float32"
        )
    return column


def _numbers(column: np.typing.NDArray[np.generic], what: str, file: InputFile, recipe: Recipe) -> None:
    if column.dtype.kind not in "biuf":
        raise InputError(f"{file.path}: sample {recipe.sample}: {what} holds no numbers ({column.dtype})")


def _exact(column: np.typing.NDArray[np.generic], what: str, file: InputFile, recipe: Recipe) -> None:
    """Refuse whole numbers that float32 would round."""
    if column.dtype.kind in "iu" and column.dtype.itemsize > 2 and len(column):
        far = max(abs(int(column.min())), abs(int(column.max())))
        if far > EXACT:
            raise InputError(
                f"{file.path}: sample {recipe.sample}: {what} has whole numbers up to {far}; "
                f"a feature holds them exactly only up to {EXACT}"
            )
