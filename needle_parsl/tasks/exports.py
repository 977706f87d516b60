"""What `needle export` does with the estimators of a run: says what they are, and writes torch's own files of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from needle_parsl import files
from needle_parsl.errors import InputError
from needle_parsl.nsbi.estimators.estimator import Estimator
from needle_parsl.nsbi.estimators.exporting import torch_file
from needle_parsl.nsbi.statistics import pseudomodel
from needle_parsl.serving import publishing
from needle_parsl.serving.publishing import Interface, TensorShape
from needle_parsl.serving.repository import ESTIMATOR

WRITERS = {"pt2": torch_file.write_program, "safetensors": torch_file.write_weights}


def describe(path: Path) -> dict[str, Any]:
    """Say what is in the file of all estimators: the analysis, features with units, processes, and ratios."""
    model = pseudomodel.read(path)
    return {
        "analysis": model.name,
        "features": [{"name": name, "unit": model.units.get(name, "")} for name in model.features],
        "processes": list(model.processes),
        "ratios": [
            {
                "name": name,
                "members": len(ratio.weights),
                "combine": ratio.combine,
                "calibration": ratio.calibration.kind if ratio.calibration else "none",
                "network": ", ".join(dict.fromkeys(shape.network for shape in (ratio.shape, *ratio.shapes))),
            }
            for name, ratio in model.ratios.items()
        ],
    }


def write(path: Path, folder: Path, kind: str) -> list[Path]:
    """Write a file of each ratio, of a kind that torch has."""
    written = []
    for name, ratio in pseudomodel.read(path).ratios.items():
        target = folder / f"{name}.{kind}"
        with files.atomic(target) as temporary:
            WRITERS[kind](temporary, ratio)
        written.append(target)
    return written


def publish(path: Path, folder: Path, name: str, run: str, gpus: int = 0, instances: int = 1) -> str:
    """Add the estimators of a run to a model repository, as one model; give where its version is."""
    from needle_parsl.nsbi.estimators.exporting import served_graph  # noqa: PLC0415  with onnx, an extra

    model = pseudomodel.read(path)
    if not model.ratios:
        raise InputError(f"{path}: has no ratios, so that there is nothing to serve")
    return str(
        publishing.publish(
            folder,
            name or model.name,
            ESTIMATOR,
            interface(model.ratios, gpus, instances),
            lambda target: served_graph.write(target / "model.onnx", model.ratios, model.units),
            run,
        ).folder
    )


def interface(estimators: Mapping[str, Estimator], gpus: int = 0, instances: int = 1) -> Interface:
    """Say what the model of estimators takes and gives."""
    features = max(len(one.features) for one in estimators.values())
    return Interface(
        inputs=(TensorShape("features", "float32", (features,)),),
        outputs=(
            TensorShape("log_ratio", "float64", (len(estimators),)),
            TensorShape("log_ratio_std", "float64", (len(estimators),)),
            TensorShape("members", "float32", (-1,)),
        ),
        gpus=gpus,
        instances=instances,
    )
