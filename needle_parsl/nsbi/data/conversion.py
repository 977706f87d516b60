"""From input files to events: selection, features, weights and ids, in bounded chunks."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import replace

import numpy as np

from needle_parsl import salts
from needle_parsl.errors import InputError
from needle_parsl.nsbi.data import formulas, hashing, particles, readers, values
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.data.readers import Columns, Reader
from needle_parsl.nsbi.data.readers.columns import length, plain
from needle_parsl.nsbi.data.recipes import FileRange, InputFile, JointColumns, Recipe

STEP = 100_000
"""Rows read at a time, at most."""
CHUNK = 16 * 2**20
"""Bytes read at a time, about: the columns of a chunk stay in the processor's cache."""


def convert(piece: FileRange, recipe: Recipe) -> Events:
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
    reader = readers.open_file(file.path, file.tree, file.links)
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
    distinct(recipe, set(reader.names), where)


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
    return _chunk(
        columns, np.arange(length(columns), dtype=np.uint64), InputFile(path=where, tree="", label=""), recipe
    )


def _chunk(
    columns: Columns, rows: hashing.Hashes, file: InputFile, recipe: Recipe, out: values.Rows | None = None
) -> Events:
    where = f"{file.path}: sample {recipe.sample}"
    if recipe.computed:
        from needle_parsl.nsbi.data import computed_columns  # noqa: PLC0415  with awkward, for columns that functions of the user compute

        columns = computed_columns.compute(columns, len(rows), recipe, where)
    columns = formulas.derive(columns, len(rows), recipe.derived, where)
    keep = np.ones(len(rows), dtype=bool)
    for text in recipe.selections:
        keep &= np.broadcast_to(formulas.condition(text, columns, where), keep.shape)
    if not keep.all():
        columns, rows = {name: column[keep] for name, column in columns.items()}, rows[keep]
    weight = recipe.weight if isinstance(recipe.weight, float) else formulas.evaluate(recipe.weight, columns, where)
    weight = values.finite(np.broadcast_to(plain(np.asanyarray(weight)), rows.shape), "the weight", where)
    x = np.empty((len(rows), len(recipe.features)), np.float32) if out is None else out[: len(rows)]
    values.fill([plain(columns[name]) for name in recipe.features], recipe.features, x, where, recipe.nan)
    jets = particles.gather(columns, recipe.particles, where, recipe.nan) if recipe.particles else None
    joint = {known.ratio: _joint(columns, len(rows), known, where) for known in recipe.joint}
    if recipe.content:
        ids = hashing.content(x[:, [recipe.features.index(name) for name in recipe.content]])
    else:
        ids = _ids(columns, rows, file, recipe, where)
    return Events(names=recipe.features, x=x, weight=weight.astype(np.float64), id=ids, particles=jets, joint=joint)


def _joint(columns: Columns, rows: int, known: JointColumns, where: str) -> np.typing.NDArray[np.float32]:
    """Evaluate what is known of the events of a ratio; a score is a probability."""
    what = f"ratios.joint of {known.ratio}"
    found = np.broadcast_to(plain(formulas.evaluate(known.text, columns, where)), (rows,))
    values.finite(found, what, where, largest=float(np.finfo(np.float32).max))
    if known.score:
        values.probability(found, what, where)
    values.resolved(found, what, where)
    return found.astype(np.float32)


def _ids(columns: Columns, rows: hashing.Hashes, file: InputFile, recipe: Recipe, where: str) -> hashing.Hashes:
    if not recipe.id:
        return hashing.mix(rows, salts.key("file", file.label))
    try:
        return hashing.identify([columns[name] for name in recipe.id])
    except ValueError as error:
        raise InputError(f"{where}: an id column of {list(recipe.id)} {error}") from error
