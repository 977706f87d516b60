"""Each kind of transform, fitted to the values of one column, and the choice among them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from needle_parsl.errors import InputError
from needle_parsl.nsbi.transforms.quantiles import Floats, Sorted
from needle_parsl.nsbi.transforms.transform import Column

LOW, MIDDLE, HIGH = math.erfc(1 / math.sqrt(2)) / 2, 0.5, 1 - math.erfc(1 / math.sqrt(2)) / 2
"""Shares of a Gaussian below -1, 0 and 1 standard deviations."""
FAR = 1e-3
"""Share of the weight beyond which values are far."""
HEAVY = 6.0
"""(q99.9 - q50) / (q84 - q50) from which on a tail is heavy: 3.1 for a Gaussian, 5.5 for an exponential, 6.4 for Student's t with
4 degrees of freedom, 12 for a log-normal of width 1, 28 for Pareto's 1 / x^3."""
LOGARITHMIC = 8.0
"""What the tails of a logarithm stay below; those of Pareto's become an exponential's."""
DECADES = 30.0
"""q99.9 / q0.1 of a positive feature from which on a logarithm is tried."""
CATEGORIES = 64
"""Most distinct whole numbers of a count, or categories."""
PEAK = 0.015
"""Shortest interval with a tenth of the weight, in units of q84 - q16, below which a column is a narrow peak on something wide:
0.13 for a Gaussian, 0.06 for an exponential, 0.02 for Pareto's 1 / x^2."""
KNOTS = 64
TAU = 2 * math.pi
RANGES = ((-math.pi, TAU), (0.0, TAU), (-180.0, 360.0), (0.0, 360.0))
"""Begin and length of the ranges of angles; those in degrees only where they are asked for."""


def chosen(name: str, sample: Sorted) -> Column:
    """Choose a kind from the values of a column, and fit it."""
    if period := _full_turn(sample):
        return Column(name=name, kind="cyclic", period=period)
    if _is_count(sample):
        return standard(name, sample)
    core = sample.core()
    narrow = PEAK * float(np.diff(core.quantiles([LOW, HIGH]))[0])
    if _shortest(core)[1] < narrow:
        several = _shortest(_beside(core))[1] < narrow
        return quantile(name, sample) if several else _peak(name, sample)
    if tail(sample) < HEAVY:
        return robust(name, sample)
    return log(name, sample) if _is_logarithmic(sample) else arcsinh(name, sample)


def _is_logarithmic(sample: Sorted) -> bool:
    """Whether a column is positive, extends over decades, and has a logarithm without heavy tails."""
    low, high = sample.quantiles([FAR, 1 - FAR])
    if sample.values[0] <= 0 or high < DECADES * low:
        return False
    return tail(Sorted(np.log(sample.values), sample.weight)) < LOGARITHMIC


def tail(sample: Sorted) -> float:
    """Measure the heavier tail: how far the last per mille is, in units of the distance of the median to one standard deviation."""
    below, middle, above = sample.core().quantiles([LOW, MIDDLE, HIGH])
    low, high = sample.quantiles([FAR, 1 - FAR])
    if not below < middle < above:
        return 0.0
    return float(max((high - middle) / (above - middle), (middle - low) / (middle - below)))


def _is_count(sample: Sorted) -> bool:
    """Whether a column holds few whole numbers."""
    if (np.rint(sample.values) != sample.values).any():
        return False
    return len(sample.runs()[0]) <= CATEGORIES


def _full_turn(sample: Sorted) -> float:
    """Give the period of an angle in radians that fills its range up to both ends; 0 for anything else."""
    for begin, period in RANGES[:2]:
        turns = (sample.values - begin) / period
        if turns[0] >= -1e-6 and turns[-1] <= 1 + 1e-6:
            shares = [float(sample.weight[side].sum()) for side in (turns < 0.02, turns > 0.98)]
            few, total = 0.2 * 0.02 * sample.weight.sum(), sum(shares)
            ends = turns[0] < 0.005 and turns[-1] > 0.995
            if ends and min(shares) > few and min(shares) > total / 6:
                return period
    return 0.0


def _beside(sample: Sorted) -> Sorted:
    """Leave out a peak, if it is not everything."""
    middle, width = _shortest(sample)
    kept = np.abs(sample.values - middle) > 20 * width
    return Sorted(sample.values[kept], sample.weight[kept]) if kept.any() else sample


def _shortest(sample: Sorted, share: float = 0.1) -> tuple[float, float]:
    """Give middle and length of the shortest interval that holds a share of the weight."""
    starts = np.linspace(0, 1 - share, 901)
    low, high = sample.quantiles(starts), sample.quantiles(starts + share)
    k = int((high - low).argmin())
    return float(low[k] + high[k]) / 2, float(high[k] - low[k])


def standard(name: str, sample: Sorted) -> Column:
    """Scale with mean and standard deviation."""
    mean, width = sample.moments()
    return Column(name=name, kind="standard", shift=mean, width=width) if width > 0 else constant(name, sample)


def constant(name: str, sample: Sorted) -> Column:
    """Give zeros."""
    return Column(name=name, kind="constant", shift=float(sample.values[0]))


def robust(name: str, sample: Sorted) -> Column:
    """Scale with the median and half the distance of the quantiles that are one standard deviation away in a Gaussian."""
    below, middle, above = sample.core().quantiles([LOW, MIDDLE, HIGH])
    width = (above - below) / 2
    if not width > 0:
        return standard(name, sample)
    return Column(name=name, kind="robust", shift=float(middle), width=float(width))


def arcsinh(name: str, sample: Sorted) -> Column:
    """Scale robustly, and squeeze the tails."""
    column = robust(name, sample)
    return column if column.kind == "constant" else _squeezed(name, sample, column.shift, column.width)


def _peak(name: str, sample: Sorted) -> Column:
    """Spread a narrow peak: a tenth of a Gaussian is in a quarter of its standard deviation."""
    middle, width = _shortest(sample.core())
    return _squeezed(name, sample, middle, 4 * width) if width > 0 else arcsinh(name, sample)


def _squeezed(name: str, sample: Sorted, centre: float, unit: float) -> Column:
    scaled = robust(name, Sorted(np.arcsinh((sample.values - centre) / unit), sample.weight))
    return Column(name=name, kind="arcsinh", shift=scaled.shift, width=scaled.width, centre=centre, unit=unit)


def log(name: str, sample: Sorted) -> Column:
    """Take the logarithm, scaled robustly; below the first per mille its tangent.

    Raises:
        InputError: There are values that have none.
    """
    few = int((sample.values <= 0).sum())
    if few:
        raise InputError(
            f'feature "{name}" has values down to {sample.values[0]:g}, 0 or less in {few} of {len(sample.values)} events, '
            f'which have no logarithm; say "arcsinh" in features.transform.{name}, or list what is missing in features.missing'
        )
    floor = float(sample.quantiles(FAR))
    scaled = robust(name, Sorted(np.log(np.maximum(sample.values, floor)), sample.weight))
    return constant(name, sample) if scaled.kind == "constant" else Column(
        name=name, kind="log", shift=scaled.shift, width=scaled.width, floor=floor
    )  # fmt: skip


def quantile(name: str, sample: Sorted) -> Column:
    """Map quantiles to those of a standard Gaussian, with straight tails."""
    most = math.sqrt(2 * math.log(max(len(sample.values) / 10, 2)))  # some ten events beyond, or a few more
    scores = np.linspace(-most, most, KNOTS + 1)
    values = sample.quantiles([math.erfc(-z / math.sqrt(2)) / 2 for z in scores])
    knots, first = np.unique(values, return_inverse=True)
    if len(knots) < 2:
        return constant(name, sample)
    means = np.bincount(first, scores) / np.bincount(first)
    slopes = [_slope(knots, means, side) for side in (1, -1)]
    return Column(
        name=name, kind="quantile", knots=_numbers(knots), values=_numbers(means), below=slopes[0], above=slopes[1]
    )


def _slope(knots: Floats, values: Floats, side: int) -> float:
    """Give the mean slope over the last standard deviation on one side."""
    ends, far = (values[0], values[0] + 1) if side > 0 else (values[-1], values[-1] - 1)
    inner = int(np.clip(np.searchsorted(values, far), 1, len(values) - 2)) if len(values) > 2 else int(side > 0)
    at = 0 if side > 0 else len(values) - 1
    return float((values[inner] - ends) / (knots[inner] - knots[at]))


def cyclic(name: str, sample: Sorted) -> Column:
    """Turn an angle into cosine and sine.

    Raises:
        InputError: It is none.
    """
    for begin, period in RANGES:
        inside = sample.values[0] >= begin - 1e-3 and sample.values[-1] <= begin + period + 1e-3
        if inside and (period == TAU or sample.values[-1] - sample.values[0] > 0.9 * period):
            return Column(name=name, kind="cyclic", period=period)
    raise InputError(
        f'feature "{name}" has values from {sample.values[0]:g} to {sample.values[-1]:g}, which is no angle of one turn; '
        f'expected -pi to pi, 0 to 2 pi, or the same in degrees, from one end to the other; say "auto" in features.transform.{name}'
    )


def onehot(name: str, sample: Sorted) -> Column:
    """Give each category a column.

    Raises:
        InputError: There are too many, or they are no whole numbers.
    """
    values = sample.runs()[0]
    broken = values[np.rint(values) != values]
    if len(broken):
        raise InputError(
            f'feature "{name}" has the value {broken[0]:g}, and categories are whole numbers; say "auto" in '
            f"features.transform.{name}"
        )
    if len(values) > CATEGORIES:
        raise InputError(
            f'feature "{name}" has {len(values)} categories, and at most {CATEGORIES} become columns; say "auto" in '
            f"features.transform.{name}"
        )
    return Column(name=name, kind="onehot", knots=_numbers(values))


def none(name: str, sample: Sorted) -> Column:  # noqa: ARG001  all kinds take the values
    """Leave a feature as it is."""
    return Column(name=name, kind="none")


def _numbers(values: Floats) -> tuple[float, ...]:
    return tuple(values.tolist())


FITTED: dict[str, Callable[[str, Sorted], Column]] = {
    "auto": chosen,
    "none": none,
    "standard": standard,
    "robust": robust,
    "log": log,
    "arcsinh": arcsinh,
    "quantile": quantile,
    "cyclic": cyclic,
    "onehot": onehot,
}
"""By the words of `[features.transform]`."""
