"""A column that an ensemble has learned: its log ratio for each event, as an expression may cut on it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np

from needle_parsl.nsbi.estimators import opening
from needle_parsl.nsbi.estimators.protocol import Floats


def log_ratio(events: Any, estimator: str) -> Floats:
    """Evaluate an ensemble.

    Args:
        events: An awkward array of N events with the features of the ensemble.
        estimator: Its file.

    Returns:
        ln r of each event, shape (N,); NaN where a feature is no finite number, of which a warning tells.
    """
    found = opening.column(Path(estimator))
    (ratio,) = found.ratios
    x = np.stack([ak.to_numpy(events[name], allow_missing=False) for name in found.features], axis=1).astype(np.float32)
    wrong = ~np.isfinite(x)
    for name in (found.features[column] for column in np.flatnonzero(wrong.any(axis=0))):
        warnings.warn(
            f"{name} is no finite number in some events, and so the log ratio of {ratio}, whatever a selection makes of that",
            stacklevel=2,
        )
    return np.where(wrong.any(axis=1), np.nan, found.log_ratios(np.where(wrong, 0, x), found.ratios)[ratio])
