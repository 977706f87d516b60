"""CSV files, through pyarrow; the first line names the columns."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Self

from pyarrow import csv

from needle_parsl.errors import InputError
from needle_parsl.nsbi.data.readers.arrow import ArrowColumns
from needle_parsl.nsbi.data.readers.columns import Columns
from needle_parsl.nsbi.data.readers.protocol import guarded
from needle_parsl.nsbi.data.readers.source import InputSource

BLOCK = 2**22
"""Bytes that are parsed at a time; the types of the columns follow from the first of them."""
NUMERIC = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
CHANGED = "damaged, or a column is something else further down"


class CsvFile:
    """A table of text."""

    def __init__(self, source: InputSource, tree: str) -> None:
        self.path, self.source = source.name, source
        if tree:
            raise InputError(f'{self.path}: is a CSV file and has no tree "{tree}"; leave the key tree out')
        self.table = ArrowColumns(self.path, self._open().schema)
        self.names = self.table.names
        self._judge()

    def _judge(self) -> None:
        """Refuse what is no table of commas with a line of names.

        Raises:
            InputError: It is none.
        """
        if len(self.names) == 1 and (other := [mark for mark in ";\t|" if mark in self.names[0]]):
            raise InputError(f"{self.path}: its columns are separated by {other[0]!r}; expected commas")
        if self.names and all(NUMERIC.fullmatch(name.strip()) for name in self.names):
            raise InputError(f"{self.path}: its first line holds numbers; expected the names of the columns")

    @cached_property
    def entries(self) -> int:
        """Count the rows; takes a pass over the file."""
        return sum(len(batch) for batch in self._batches(self.names[:1]))

    def kind(self, name: str) -> str:
        """Name the type of a column."""
        return self.table.kind(name)

    def borders(self, names: Sequence[str]) -> Sequence[int]:
        """Say that lines are only found by counting from the first."""
        del names
        return [0, self.entries]

    def iterate(self, names: Sequence[str], start: int, stop: int, step: int) -> Iterator[Columns]:
        """Read columns in chunks; the lines before `start` are parsed, too."""
        row = 0
        for batch in self._batches(names):
            first, last = max(start - row, 0), min(stop - row, len(batch))
            row += len(batch)
            for begin in range(first, last, step):
                kept = batch.slice(begin, min(step, last - begin))
                yield {name: self.table.array(name, kept) for name in names}
            if row >= stop:
                return

    def _batches(self, names: Sequence[str]) -> Iterator[Any]:
        batches = self._open(names)
        while (batch := guarded(self.path, CHANGED, lambda: next(batches, None))) is not None:
            yield batch

    def _open(self, names: Sequence[str] | None = None) -> Any:
        reading = csv.ReadOptions(block_size=BLOCK, use_threads=False)
        converting = csv.ConvertOptions(include_columns=list(names or []))
        return guarded(
            self.path,
            "no readable CSV file",
            lambda: csv.open_csv(self.source.again(), read_options=reading, convert_options=converting),
        )

    def __enter__(self) -> Self:
        """Stay open."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave nothing open."""
