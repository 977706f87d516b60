"""The estimators of a run, to evaluate events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from needle_parsl import records
from needle_parsl.nsbi.estimators import opening
from needle_parsl.nsbi.estimators.estimator import Estimator
from needle_parsl.serving import endpoint
from needle_parsl.tasks.inputs.stores import path


def opened(root: str, ratios: Sequence[str]) -> Mapping[str, Estimator]:
    """Open the estimators of ratios, which the server of the run evaluates if it has one; the record says who did.

    What needs weights alone reads the files itself.
    """
    paths = {name: path(root, "combine", name) for name in ratios}
    found = opening.estimators(paths, endpoint.of_run(Path(root)))
    records.evaluated_by(lambda: found.evaluator)
    return found.estimators
