"""What `needle export` does with the estimators of a run: says what they are, and writes torch's own files of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from needle_parsl import files
from needle_parsl.errors import InputError
from needle_parsl.nsbi.estimators import model_export
from needle_parsl.nsbi.estimators.exporting import torch_file
from needle_parsl.nsbi.estimators.model_export import Processes
from needle_parsl.nsbi.statistics import pseudomodel

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
    model = pseudomodel.read(path)
    if not model.ratios:
        raise InputError(f"{path}: has no ratios, so that there is nothing to serve")
    how = Processes(gpus, instances)
    return str(model_export.publish(folder, name or model.name, model.ratios, model.units, run, how).folder)
