"""What the protocol calls the numbers of arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

KINDS: dict[str, Any] = {
    "FP32": np.float32,
    "FP64": np.float64,
    "INT32": np.int32,
    "INT64": np.int64,
    "BOOL": np.bool_,
}
"""NumPy's types by the protocol's names."""
NAMES: dict[Any, str] = {np.dtype(kind): name for name, kind in KINDS.items()}
