"""The estimators of a run, to evaluate events."""

from __future__ import annotations

from collections.abc import Sequence

from needle_parsl.nsbi.estimators import opening
from needle_parsl.nsbi.estimators.opening import Opened
from needle_parsl.tasks.inputs.stores import path


def opened(root: str, ratios: Sequence[str]) -> Opened:
    """Open the estimators of ratios; what needs their weights alone reads their files itself."""
    return opening.estimators({name: path(root, "combine", name) for name in ratios})
