"""The estimators of a run, to evaluate events."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from needle_parsl.nsbi.estimators import opening
from needle_parsl.nsbi.estimators.opening import Opened
from needle_parsl.serving import endpoint
from needle_parsl.tasks.inputs.stores import path


def opened(root: str, ratios: Sequence[str]) -> Opened:
    """Open the estimators of ratios, which the server of the run evaluates if it has one; what needs weights alone reads the files itself."""
    paths = {name: path(root, "combine", name) for name in ratios}
    return opening.estimators(paths, endpoint.of_run(Path(root)))
