"""How dask-awkward reads a chunk: only the columns that are used. Needs the extra `dask`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import awkward as ak
from dask_awkward.lib.io.columnar import ColumnProjectionMixin

from needle_parsl.nsbi.data import readers
from needle_parsl.nsbi.data.readers.awkward_columns import to_awkward
from needle_parsl.nsbi.data.readers.columns import JAGGED


class Reading(ColumnProjectionMixin):  # type: ignore[misc]  # it comes without types
    """Reads rows of a file as an awkward array; dask-awkward asks for a copy that reads fewer columns."""

    use_optimization = True
    behavior, attrs = None, None

    def __init__(self, kinds: Mapping[str, str], tree: str) -> None:
        """Choose what is read.

        Args:
            kinds: Types of the columns by name, "float32" or "jagged float32".
            tree: The TTree, RNTuple or HDF5 group.
        """
        self.kinds, self.tree = dict(kinds), tree

    @property
    def form(self) -> Any:
        """Describe the array that is read."""
        contents = [
            ak.forms.ListOffsetForm("i64", ak.forms.NumpyForm(kind.removeprefix(JAGGED)))
            if kind.startswith(JAGGED)
            else ak.forms.NumpyForm(kind)
            for kind in self.kinds.values()
        ]
        return ak.forms.RecordForm(contents, list(self.kinds))

    def project_columns(self, columns: frozenset[str]) -> Reading:
        """Read fewer columns; at least one, which has the number of rows."""
        kept = {name: kind for name, kind in self.kinds.items() if name in columns}
        return Reading(kept or dict(list(self.kinds.items())[:1]), self.tree)

    def project_manually(self, columns: frozenset[str]) -> Reading:
        """Read the columns that the user has named."""
        return self.project_columns(columns)

    def __call__(self, piece: tuple[str, int, int]) -> Any:
        """Read a chunk: a file, and the first and last of its rows."""
        path, start, stop = piece
        with readers.open_file(path, self.tree) as reader:
            chunks = [
                ak.zip({name: to_awkward(columns[name]) for name in self.kinds}, depth_limit=1)
                for columns in reader.iterate(list(self.kinds), start, stop, max(stop - start, 1))
            ]
        return ak.concatenate(chunks) if chunks else self.form.length_zero_array()
