"""What several tables are held against."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from needle_parsl import expressions
from needle_parsl.analysis.tables import WALL
from needle_parsl.errors import InputError, closest
from needle_parsl.refs import split

if TYPE_CHECKING:
    from needle_parsl.analysis.tables import Analysis, Data, Nuisance, Sample

    Complain = Callable[[str, str], None]


NO_NAME = 'is no name; use letters, digits, "-", "_" and "+", and no "-" in front'


def is_name(name: str) -> bool:
    """Whether a name can be that of a file or folder, and is no option where it stands on a command line."""
    return bool(name) and name[0] != "-" and all(c.isalnum() or c in "-_+" for c in name)


def known_as(name: str, known: Collection[str], what: str, key: str, complain: Complain) -> None:
    """Complain of a name that is not there, with the closest one."""
    if name not in known:
        complain(key, f'"{name}" is no {what}{closest(name, known)}')


def parsed(text: str | float, key: str, complain: Complain) -> expressions.Expression | None:
    """Parse an expression; what cannot be read is complained of, and None."""
    if not isinstance(text, str):
        return expressions.number(text)
    try:
        return expressions.parse(text)
    except InputError as error:
        complain(key, str(error))
        return None


def refers(analysis: Analysis, reference: str, key: str, complain: Complain) -> None:
    """Complain of a function's or class's name that cannot be split, or that is of another file than `physics`."""
    if not reference:
        return
    try:
        module, _ = split(reference)
    except InputError as error:
        complain(key, str(error))
        return
    if module.endswith(".py") and module != analysis.physics:
        complain(key, f'"{module}" is not the analysis\' physics file; set physics = "{module}" at the top of the file')


def comes_from(analysis: Analysis, source: Sample | Data, key: str, complain: Complain) -> None:
    """Complain of both files and a function, or neither."""
    if source.files and source.generate:
        complain(key, "has both files and generate; leave one of them out")
    elif not source.files and not source.generate:
        complain(f"{key}.files", "is missing; name files, or a function with generate")
    refers(analysis, source.generate, f"{key}.generate", complain)


def ascends(key: str, start: float, stop: float, complain: Complain) -> None:
    """Complain of a range that does not ascend."""
    if not start < stop:
        complain(key, f"runs from {start:g} to {stop:g}; expected start below stop")


def stays_inside(analysis: Analysis, name: str, values: Collection[float], key: str, complain: Complain) -> None:
    """Values of a parameter must be within its bounds; nuisance parameters end at their walls."""
    parameters = analysis.model.parameters
    if name not in parameters and name not in analysis.model.nuisances:
        return  # said elsewhere
    low, high = parameters[name].bounds if name in parameters else _range(analysis.model.nuisances[name])
    outside = [value for value in values if not low <= value <= high]
    if outside:
        complain(key, f"{outside[0]:g} leaves the bounds [{low:g}, {high:g}] of {name}")


def _range(nuisance: Nuisance) -> tuple[float, float]:
    """Give the range of a nuisance parameter; a log-normal one is positive."""
    if nuisance.constraint != "lognormal":
        return nuisance.bounds or (-WALL, WALL)
    wall = math.exp(WALL * nuisance.sigma)
    low, high = nuisance.bounds or (0.0, wall)
    return max(low, 1 / wall), high


def nominal(analysis: Analysis, nuisance: str) -> float:
    """Give the nominal value of a nuisance parameter: 0, and 1 of a log-normal one."""
    known = analysis.model.nuisances.get(nuisance)
    return 1.0 if known is not None and known.constraint == "lognormal" else 0.0


def is_parameter(analysis: Analysis, name: str, key: str, complain: Complain) -> None:
    """Complain of a name that is no parameter of the model."""
    known_as(name, analysis.model.parameters, "parameter of the model", key, complain)


def interesting(analysis: Analysis) -> list[str]:
    """Name the parameters of interest."""
    return [name for name, parameter in analysis.model.parameters.items() if parameter.role == "poi"]


def measured(analysis: Analysis) -> str:
    """Name the parameter that gets an interval; empty if there is none, which is said elsewhere."""
    return analysis.poi() if interesting(analysis) or analysis.intervals.parameter else ""


def all_measured(analysis: Analysis) -> tuple[str, ...]:
    """Name the parameters that get intervals; empty if there are none, which is said elsewhere."""
    return analysis.pois() if measured(analysis) else ()


def value_at(tree: expressions.Expression, values: dict[str, float]) -> float:
    """Evaluate an expression at numbers; NaN where it has no value."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            return float(tree(values))
        except (ArithmeticError, TypeError, ValueError):
            return math.nan
