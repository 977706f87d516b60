"""A column that an ensemble has learned: its log ratio for each event, as an expression may cut on it."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np

from needle_parsl import stamps
from needle_parsl.nsbi.estimators import files
from needle_parsl.nsbi.estimators.estimator import Estimator, Floats


def log_ratio(events: Any, estimator: str) -> Floats:
    """Evaluate an ensemble.

    Args:
        events: An awkward array of N events with the features of the ensemble.
        estimator: Its file.

    Returns:
        ln r of each event, shape (N,).
    """
    path = Path(estimator)
    found = _read(path, tuple(stamps.of(path.stat())))
    columns = [ak.to_numpy(events[name], allow_missing=False) for name in found.features]
    return found.log_ratio(np.stack(columns, axis=1).astype(np.float32))


@lru_cache(maxsize=4)
def _read(path: Path, _state: object) -> Estimator:
    return files.read(path)
