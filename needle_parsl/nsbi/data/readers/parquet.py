"""Parquet files, through pyarrow; page checksums are verified where the file has them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Self

import numpy as np
from pyarrow import parquet

from needle_parsl.errors import InputError
from needle_parsl.nsbi.data.jagged import ends
from needle_parsl.nsbi.data.readers.arrow import ArrowColumns
from needle_parsl.nsbi.data.readers.columns import Columns
from needle_parsl.nsbi.data.readers.protocol import guarded
from needle_parsl.nsbi.data.readers.source import InputSource


class ParquetFile:
    """A Parquet file of columns and lists."""

    def __init__(self, source: InputSource, tree: str) -> None:
        self.path = source.name
        if tree:
            raise InputError(f'{self.path}: is a Parquet file and has no tree "{tree}"; leave the key tree out')
        self.file = guarded(
            self.path,
            "no readable Parquet file",
            lambda: parquet.ParquetFile(
                source.file,
                page_checksum_verification=True,
                buffer_size=2**20,
                # Reading ahead would hold whole row groups; it pays where every request takes a while.
                pre_buffer=not isinstance(source.file, str),
            ),
        )
        self.entries = int(self.file.metadata.num_rows)
        self.table = ArrowColumns(self.path, self.file.schema_arrow)
        self.names = self.table.names
        # Not from `file.schema`: it and the metadata would hold each other, megabytes for many row groups.
        metadata = self.file.metadata
        columns = range(metadata.num_columns if metadata.num_row_groups else 0)
        self.paths = [metadata.row_group(0).column(i).path_in_schema for i in columns]

    def kind(self, name: str) -> str:
        """Name the type of a column."""
        return self.table.kind(name)

    def borders(self, names: Sequence[str]) -> Sequence[int]:
        """List the ends of the row groups."""
        del names
        metadata = self.file.metadata
        rows = np.array([metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)], np.int64)
        borders: list[int] = ends(rows).tolist()
        return borders

    def iterate(self, names: Sequence[str], start: int, stop: int, step: int) -> Iterator[Columns]:
        """Read columns in chunks; a row group is unpacked from its beginning."""
        borders = self.borders(names)
        groups = [i for i in range(len(borders) - 1) if borders[i + 1] > start and borders[i] < stop]
        if not groups or start >= stop:
            return
        # A batch may end with its row group, so that rows are counted, and not batches.
        batches = self.file.iter_batches(
            batch_size=step,
            row_groups=groups,
            columns=self.table.leaves(names, self.paths),
            use_threads=False,  # tasks are the parallelism, and every thread holds memory of its own
        )
        row = borders[groups[0]]
        while (batch := guarded(self.path, "damaged", lambda: next(batches, None))) is not None:
            first, last = max(start - row, 0), min(stop - row, len(batch))
            row += len(batch)
            if last > first:
                kept = batch.slice(first, last - first)
                yield {name: self.table.array(name, kept) for name in names}
            if row >= stop:
                return

    def __enter__(self) -> Self:
        """Stay open."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.file.close()
