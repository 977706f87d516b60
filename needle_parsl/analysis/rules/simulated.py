"""Parameters of the simulation that are fitted: what the fit needs of them, and what does not go together with them."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from needle_parsl.analysis import catalogue

if TYPE_CHECKING:
    from needle_parsl.analysis.rules.common import Complain
    from needle_parsl.analysis.tables import Analysis

FEWEST = 3
"""Values of a grid."""


def check(analysis: Analysis, complain: Complain) -> None:
    """Check parameters of the model that are inputs of networks."""
    for name, parameter in analysis.model.parameters.items():
        key = f"model.parameters.{name}.grid"
        if parameter.grid is not None and name not in analysis.features.parameters:
            complain(key, "is for a parameter of the simulation; name it in features.parameters, or leave grid out")
        elif parameter.grid is not None:
            _grid(parameter.grid, parameter.bounds, key, complain)
    if analysis.simulated:
        _fitted(analysis, complain)


def _grid(grid: tuple[float, ...], bounds: tuple[float, float], key: str, complain: Complain) -> None:
    if len(grid) < FEWEST or any(a >= b for a, b in pairwise(grid)):
        complain(key, f"found {list(grid)}, expected {FEWEST} or more ascending numbers")
    elif grid[0] > bounds[0] or grid[-1] < bounds[1]:
        complain(
            key, f"goes from {grid[0]:g} to {grid[-1]:g}, and the bounds from {bounds[0]:g} to {bounds[1]:g}; fits go to the bounds, so must the grid"
        )  # fmt: skip


def _fitted(analysis: Analysis, complain: Complain) -> None:
    names = ", ".join(analysis.simulated)
    if len(analysis.simulated) > 1:
        complain(
            "features.parameters",
            f"one parameter of the simulation can be fitted, found {names}; leave the others out of [model]",
        )
    for process in (name for name in analysis.model.processes if analysis.parametrised(name)):
        sample = analysis.samples.get(process)
        if sample and sample.yield_ is None:
            complain(
                f"samples.{process}.yield", f"is missing: weights add up over all values of {names}; state what is expected at the nominal one"
            )  # fmt: skip
        if sample and sample.variations:
            complain(
                f"samples.{process}.variations", f"cannot be fitted together with {names}, on which {process} depends; a rate of the nuisance parameter can"
            )  # fmt: skip
    toys = analysis.toys
    given = {
        "model.regions": bool(analysis.model.regions),
        "bootstrap": analysis.bootstrap is not None,
        "toys.refitted": bool(toys and toys.refitted),
        "toys.retrained": bool(toys and toys.retrained),
        "ensemble.combine": catalogue.combiner(analysis.ensemble.combine).fitted,
    }
    for key in (key for key, there in given.items() if there):
        complain(key, f"knows no parameters of the simulation; leave it out, or {names} out of [model]")
    if toys and toys.source == "simulation" and not toys.generate:
        _drawn(analysis, complain)


def _drawn(analysis: Analysis, complain: Complain) -> None:
    """Simulated events stand for the nominal value alone."""
    for number, point in enumerate(analysis.toys.at if analysis.toys else ()):
        for name in analysis.simulated:
            nominal = analysis.model.parameters[name].nominal
            if point.get(name, nominal) != nominal:
                complain(
                    f"toys.at[{number}].{name}", f'is not {nominal:g}, for which events of the simulation are weighted; set toys.source = "model"'
                )  # fmt: skip
