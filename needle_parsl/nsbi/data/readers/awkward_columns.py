"""Columns as awkward arrays, and back."""

from __future__ import annotations

from typing import Any

import awkward as ak
import numpy as np

from needle_parsl.nsbi.data.jagged import Jagged
from needle_parsl.nsbi.data.readers.columns import Array, nulls, plain


def from_awkward(array: Any) -> Array | Jagged:
    """Take the buffers of an awkward array of one or two dimensions."""
    if array.ndim == 1:
        found: Array = ak.to_numpy(array)
        null = nulls(found)
        whole = null is None or (found.dtype.kind in "iu" and bool(null.any()))
        return found if whole else plain(found)
    layout = ak.to_packed(ak.from_regular(array, axis=1)).layout.to_ListOffsetArray64(True)  # noqa: FBT003  its signature
    return Jagged(ak.to_numpy(layout.content), np.asarray(layout.offsets.data, np.int64))


def to_awkward(column: Array | Jagged) -> Any:
    """Make an awkward array of a column, without copying numbers."""
    if not isinstance(column, Jagged):
        return ak.Array(plain(column))
    content = ak.contents.NumpyArray(np.ascontiguousarray(column.values))
    return ak.Array(ak.contents.ListOffsetArray(ak.index.Index64(column.offsets), content))
