"""Packages that only some analyses need, each an extra of the distribution.

What an analysis asks for by name is missed at `needle check`, with the key that asks. What only makes a run faster or nicer is a
note there, and the run goes on without.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

from needle_parsl.analysis import catalogue, space

if TYPE_CHECKING:
    from needle_parsl.analysis.tables import Analysis

MODULES = {
    "calibration": ("sklearn",),
    "flows": ("zuko",),
    "hist": ("hist",),
    "onnx": ("onnx", "onnxruntime"),
    "plots": ("matplotlib",),
    "search": ("cmaes", "optuna"),
    "serve": ("grpc", "onnx", "onnxruntime"),
    "toys": ("numba",),
}
"""By extra, what must be there to import."""
PACKAGES = {"grpc": "grpcio", "sklearn": "scikit-learn"}
"""What is installed under another name."""
WITHOUT = {
    "onnx": "estimators are not exported to ONNX",
    "plots": "the report has no figures",
    "toys": "perceptrons are trained by torch, and toys are fitted some fifty times slower",
}
"""What a run lacks without an extra that nothing asks for by name."""


def here(extra: str) -> bool:
    """Whether an extra is installed."""
    return all(find_spec(name) for name in MODULES[extra])


def remedy(extra: str) -> str:
    """Say what is missing, and how it is installed."""
    names = " and ".join(PACKAGES.get(name, name) for name in MODULES[extra])
    return f'needs {names}, not installed here; pip install "needle-parsl[{extra}]"'


def demanded(analysis: Analysis) -> Iterator[tuple[str, str]]:
    """List what the analysis asks for and is not there: keys, and a message for each."""
    for stage, own in analysis.stages.items():
        for output, kind in own.outputs.items():
            if kind == "hist" and not here("hist"):
                yield f"stages.{stage}.outputs.{output}", f'"hist" {remedy("hist")}, or choose another format'
    for key, name in _calibrations(analysis):
        calibration = catalogue.CALIBRATIONS.get(name)
        if calibration and calibration.extra and not here(calibration.extra):
            yield key, f'"{name}" {remedy(calibration.extra)}, or say "histogram"'
    if analysis.search and not here("search"):
        yield "search", f"{remedy('search')}, or leave the table out"
    for name, key in {table.architecture()[0]: key for key, table in reversed(analysis.training.each())}.items():
        extra = catalogue.network(name).extra
        if extra and not here(extra):
            yield f"{key}.network", f'"{name}" {remedy(extra)}, or choose another network'


def _calibrations(analysis: Analysis) -> Iterator[tuple[str, str]]:
    """List the calibrations that may be made, each with its key."""
    yield "ensemble.calibration", analysis.ensemble.calibration
    varied = space.flat(analysis.search.space).get("ensemble.calibration", "") if analysis.search else ""
    yield from (("search.space.ensemble.calibration", name) for name in catalogue.CALIBRATIONS if name in varied)


def wished() -> list[str]:
    """List what a run lacks because an extra is not there."""
    return [f"{lack}: that {remedy(extra)}" for extra, lack in WITHOUT.items() if not here(extra)]
