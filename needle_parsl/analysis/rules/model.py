"""Parameters, processes and nuisances."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import TYPE_CHECKING

from needle_parsl import expressions
from needle_parsl.analysis.rules import degenerate
from needle_parsl.analysis.rules.common import interesting, known_as, parsed, value_at
from needle_parsl.analysis.tables import COMPONENTS
from needle_parsl.errors import InputError, closest

if TYPE_CHECKING:
    from needle_parsl.analysis.rules.common import Complain
    from needle_parsl.analysis.tables import Analysis, Nuisance


def check(analysis: Analysis, complain: Complain) -> None:
    """Check what is fitted."""
    for part in (_parameters, _processes, _nuisances, degenerate.check):
        part(analysis, complain)


def _parameters(analysis: Analysis, complain: Complain) -> None:
    for name, parameter in analysis.model.parameters.items():
        low, high = parameter.bounds
        if not low < high:
            complain(f"model.parameters.{name}.bounds", f"found [{low:g}, {high:g}], expected [smaller, larger]")
        elif not low <= parameter.nominal <= high:
            complain(f"model.parameters.{name}.nominal", f"{parameter.nominal:g} is outside [{low:g}, {high:g}]")
        elif parameter.background is not None and not low <= parameter.background < high:
            complain(
                f"model.parameters.{name}.background",
                f"{parameter.background:g} leaves the bounds [{low:g}, {high:g}]; it is the value without a signal, and limits lie above it",
            )
    if not interesting(analysis):
        complain("model.parameters", 'has no parameter with role = "poi"')


def _processes(analysis: Analysis, complain: Complain) -> None:
    if not analysis.model.processes:
        complain("model.processes", "is empty; name at least one sample")
    used: set[str] = set()
    values: list[float] = []
    for name, multiplier in analysis.model.processes.items():
        key = f"model.processes.{name}"
        known_as(name, analysis.samples, "sample", key, complain)
        targets = analysis.ratios.targets
        if name in analysis.samples and targets and name not in targets and not analysis.reference_of(name):
            complain(key, f'has no density ratio; add "{name}" to ratios.targets')
        if (tree := parsed(multiplier, key, complain)) is not None:
            used |= tree.names()
            values += _nominal(analysis, tree)
            _multiplier(analysis, tree, key, complain)
    if values and max(values) <= 0:
        complain("model.processes", "no multiplier is above 0 at the nominal parameters, so that no event is expected")
    for name, parameter in analysis.model.parameters.items():
        if name not in used and name not in analysis.simulated and analysis.model.processes:
            role = "parameter of interest" if parameter.role == "poi" else "parameter"
            complain(f"model.parameters.{name}", f"no process depends on this {role}")


def _nominal(analysis: Analysis, tree: expressions.Expression) -> list[float]:
    """Evaluate a multiplier at the nominal parameters; one may be negative, as those of morphing bases are. Empty without a value."""
    nominal = {name: parameter.nominal for name, parameter in analysis.model.parameters.items()}
    return [value_at(tree, nominal)] if tree.names() <= set(nominal) else []


def _multiplier(analysis: Analysis, tree: expressions.Expression, key: str, complain: Complain) -> None:
    unknown = sorted(tree.names() - set(analysis.model.parameters))
    for name in unknown:
        known_as(name, analysis.model.parameters, "parameter of the model", key, complain)
    try:
        for name in tree.names():
            tree.derivative(name)
    except InputError as error:
        complain(key, str(error))
        return
    if not unknown:
        _values(analysis, tree, key, complain)


def _values(analysis: Analysis, tree: expressions.Expression, key: str, complain: Complain) -> None:
    """Evaluate a multiplier where fits will go: along the bounds of each parameter. It may be negative, where the total is not."""
    parameters = analysis.model.parameters
    nominal = {name: parameter.nominal for name, parameter in parameters.items()}
    for name in sorted(tree.names()):
        low, high = parameters[name].bounds
        for x in (nominal[name], low, *(low + (high - low) * i / 8 for i in range(1, 8)), high):
            if not math.isfinite(value_at(tree, nominal | {name: x})):
                complain(key, f"has no number as its value at {name} = {x:g}; change it, or the bounds of {name}")
                return


def _nuisances(analysis: Analysis, complain: Complain) -> None:
    varied = {nuisance for name in analysis.model.processes for nuisance in _variations(analysis, name)}
    for name, nuisance in analysis.model.nuisances.items():
        key = f"model.nuisances.{name}"
        _constraint(nuisance, key, complain)
        if nuisance.group in COMPONENTS:
            complain(f"{key}.group", f'"{nuisance.group}" is a row of the breakdown by itself; choose another name')
        if name in analysis.model.parameters:
            complain(key, "is a parameter of the model, too; choose another name")
        if not nuisance.rate and name not in varied:
            complain(
                key, f"has no effect: no process has variations.{name}, and there is no rate{closest(name, varied)}"
            )
        for process, sides in nuisance.rate.items():
            known_as(process, analysis.model.processes, "process of the model", f"{key}.rate", complain)
            if min(sides) <= 0:
                complain(f"{key}.rate.{process}", f"found {list(sides)}, expected relative yields above 0")
    for name in sorted(varied - set(analysis.model.nuisances)):
        complain("model.nuisances", f'"{name}" varies a sample but is not listed; add nuisances.{name} = {{}}')


def _constraint(nuisance: Nuisance, key: str, complain: Complain) -> None:
    """Bounds must hold the nominal value, and a constraint only has the numbers that belong to it."""
    nominal = 1.0 if nuisance.constraint == "lognormal" else 0.0
    if nuisance.bounds:
        low, high = nuisance.bounds
        if not low < high:
            complain(f"{key}.bounds", f"found [{low:g}, {high:g}], expected [smaller, larger]")
        elif not low <= nominal <= high:
            complain(f"{key}.bounds", f"leave out {nominal:g}, the nominal value; widen them")
    for name, kind in (("sigma", "lognormal"), ("events", "poisson")):
        default = type(nuisance).__dataclass_fields__[name].default
        if nuisance.constraint != kind and getattr(nuisance, name) != default:
            complain(
                f"{key}.{name}", f'has no meaning with constraint = "{nuisance.constraint}"; it belongs to "{kind}"'
            )


def _variations(analysis: Analysis, sample: str) -> Collection[str]:
    return analysis.samples[sample].variations if sample in analysis.samples else ()
