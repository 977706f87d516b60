"""Columns as needle reads them beside those that uproot reads."""

from __future__ import annotations

import awkward as ak
import numpy as np

from needle_parsl.nsbi.data import readers
from needle_parsl.nsbi.data.jagged import Jagged
from needle_parsl.nsbi.data.readers.columns import flat, jagged


def as_awkward(column: np.ndarray | Jagged) -> ak.Array:
    return ak.unflatten(column.values, column.counts) if isinstance(column, Jagged) else ak.Array(column)


def equal(reader: readers.Reader, tree: object, name: str) -> bool:
    """Compare a column with what uproot itself reads; False if needle does not read its type."""
    kind = reader.kind(name)
    if not flat(kind) and not jagged(kind):
        return False
    chunks = [as_awkward(chunk[name]) for chunk in reader.iterate([name], 0, min(reader.entries, 500), 200)]
    found = ak.concatenate(chunks).to_list() if chunks else []
    if hasattr(tree, "branches"):
        path = reader.names.columns[reader.names.number(name)][-1]
        branches = dict(
            tree.items(recursive=True)
        )  # two branches of one name, one with columns, hide these from `tree[path]`
        expected = branches[path].array(entry_stop=500).to_list()
    else:
        parts = reader._fields[reader.names.number(name)].parts
        expected = tree.arrays([parts[0]], entry_stop=500)
        for part in parts:
            expected = expected[part]
        expected = expected.to_list()
    np.testing.assert_equal(found, expected, err_msg=name)
    return True
