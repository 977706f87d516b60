"""Estimators as one model of a repository, that a server serves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from needle_parsl.nsbi.estimators.estimator import Estimator
from needle_parsl.serving import publishing
from needle_parsl.serving.publishing import Interface, TensorShape
from needle_parsl.serving.repository import ESTIMATOR, Version


class Processes(NamedTuple):
    """By how many a model is served."""

    gpus: int = 0
    """One instance on each of so many GPUs; 0 for the CPU."""
    instances: int = 1
    """Per GPU, or on the CPU."""


ONE = Processes()


def publish(
    folder: Path,
    name: str,
    estimators: Mapping[str, Estimator],
    units: Mapping[str, str],
    run: str,
    how: Processes = ONE,
) -> Version:
    """Add estimators to a repository, as a version of one model.

    Args:
        folder: The repository.
        name: Of the model.
        estimators: By ratio.
        units: Of features, where they are known.
        run: Which run made them.
        how: By how many processes it is served.

    Raises:
        TaskError: ONNX cannot hold them.
    """
    from needle_parsl.nsbi.estimators.exporting import served_graph  # noqa: PLC0415  with onnx, an extra

    return publishing.publish(
        folder,
        name,
        ESTIMATOR,
        interface(estimators, how),
        lambda target: served_graph.write(target / "model.onnx", estimators, units),
        run,
    )


def interface(estimators: Mapping[str, Estimator], how: Processes = ONE) -> Interface:
    """Say what the model of estimators takes and gives."""
    features, ratios = max(len(one.features) for one in estimators.values()), len(estimators)
    return Interface(
        inputs=(TensorShape("features", "float32", (features,)),),
        outputs=(
            TensorShape("log_ratio", "float64", (ratios,)),
            TensorShape("log_ratio_std", "float64", (ratios,)),
            TensorShape("members", "float32", (-1,)),
        ),
        gpus=how.gpus,
        instances=how.instances,
    )
