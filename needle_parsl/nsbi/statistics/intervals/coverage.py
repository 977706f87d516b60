"""What toys of known truth say of a measurement: bias, pulls, and how often its intervals hold the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2

from needle_parsl.nsbi.statistics.intervals.hypothesis_tests import TIE, too_large
from needle_parsl.nsbi.statistics.results import Belt, CoveragePoint, Linearity, ToyEstimates
from needle_parsl.nsbi.statistics.toys.block import Block

Floats = npt.NDArray[np.float64]


def points(
    block: Block,
    parameter: str,
    levels: Sequence[float],
    belt: Belt | None = None,
    inflation: float | None = None,
) -> list[CoveragePoint]:
    """Sum up the toys of one truth.

    An interval holds the truth if t there is at most the chi-squared quantile (profile), or the critical value (Neyman).

    Args:
        block: All toys of this truth.
        parameter: The parameter of interest.
        levels: Confidence levels.
        belt: The coverage of its intervals is given, too, at a truth within its grid.
        inflation: k at the truth, where ensemble weights have an error; the coverage of the profile intervals that contain it,
            those where t / k is at most the quantile, is given, too.

    Returns:
        One entry per method and level. Toys whose fits failed are counted and are in no other number.
    """
    good, estimates = block.converged, asdict(_estimates(block, parameter))
    found = []
    for method, level, height, t in _heights(block, parameter, levels, belt, inflation):
        share, error = _share(t[good] <= height + TIE)
        found.append(
            CoveragePoint(
                **estimates,
                truth=dict(zip(block.parameters, block.truth.tolist(), strict=True)),
                toys=int(good.sum()),
                failed=int((~good).sum()),
                events=float(block.events.mean()),
                pool_effective=block.effective if np.isfinite(block.effective) else None,
                vetoed=block.vetoed,
                method=method,
                level=level,
                inflation=inflation if method == "profile_ensemble" else None,
                coverage=share,
                error=error,
            )
        )
    return found


def _heights(
    block: Block, parameter: str, levels: Sequence[float], belt: Belt | None, inflation: float | None
) -> list[tuple[str, float, float, Floats]]:
    """List methods and levels, each with the largest statistic in its interval, and the statistics of the toys, shape (T,)."""
    truth, values, _ = block.column(parameter)
    own = too_large(block.t, values, truth) if belt and belt.statistic == "q_mu" else block.t
    quantiles = [(level, float(chi2.ppf(level, 1))) for level in levels]
    found = [("profile", level, value, block.t) for level, value in quantiles]
    if inflation is not None:
        found += [("profile_ensemble", level, inflation * value, block.t) for level, value in quantiles]
    return found + [("neyman", level, value, own) for level, value in _critical(truth, levels, belt)]


def repeated(blocks: Sequence[Block], parameter: str, levels: Sequence[float], kind: str) -> list[CoveragePoint]:
    """Sum up toys of one truth that are fitted with ratios of their own, replica by replica.

    Toys of one replica share its ratios: errors are those of the mean over replicas, or what independent toys would have where that
    is larger.

    Args:
        blocks: One per replica; one without toys had too few members and is left out.
        parameter: The parameter of interest.
        levels: Confidence levels.
        kind: What was made again, for the name of the method.
    """
    kept = [block for block in blocks if len(block.t)]
    if not kept:
        return []
    each = [points(block, parameter, levels) for block in kept]
    return [
        replace(
            whole,
            method=f"profile_{kind}",
            replicas=len(kept),
            error=_scattered(whole.error, [own[place].coverage for own in each]),
            bias_error=_scattered(whole.bias_error, [own[place].bias for own in each]),
            pull_mean_error=_scattered(whole.pull_mean_error, [own[place].pull_mean for own in each]),
        )
        for place, whole in enumerate(points(Block.join(kept), parameter, levels))
    ]


def _scattered(error: float | None, replicas: Sequence[float | None]) -> float | None:
    """Give the error of a mean over replicas, where that is larger than the error of independent toys."""
    means = [value for value in replicas if value is not None]
    _, scatter = _mean(np.array(means))
    return error if scatter is None or error is None else max(error, scatter / np.sqrt(len(means)))


def linearity(points: Sequence[CoveragePoint], parameter: str) -> Linearity | None:
    """Fit a straight line to the mean best value against the truth; a right measurement has slope 1 and offset 0.

    Args:
        points: As `points` gives them; truths that differ in other parameters count, too.
        parameter: The parameter of interest.

    Returns:
        Slope and offset at the mean truth, with errors and chi-squared; None for fewer than three truths.
    """
    one = {p.truth[parameter]: (p.bias, p.bias_error) for p in points if p.bias_error}
    if len(one) < 3:
        return None
    truth = np.array(list(one))
    found = np.array([bias for bias, _ in one.values()], np.float64)
    error = np.array([error for _, error in one.values()], np.float64)
    weight = 1 / error**2
    middle = float(truth @ weight / weight.sum())
    design = np.stack([np.ones(len(truth)), truth - middle])
    covariance = np.linalg.inv((design * weight) @ design.T)
    offset, slope = covariance @ (design * weight) @ found
    left = found - offset - slope * (truth - middle)
    return Linearity(
        slope=1 + float(slope),
        slope_error=float(np.sqrt(covariance[1, 1])),
        offset=float(offset),
        offset_error=float(np.sqrt(covariance[0, 0])),
        at=middle,
        chi2=float(weight @ left**2),
        truths=len(one),
    )


def _critical(truth: float, levels: Sequence[float], belt: Belt | None) -> list[tuple[float, float]]:
    """Interpolate the critical values of a belt at a truth, by level; nothing outside its grid."""
    grid = [point.value for point in belt.points] if belt else []
    if not belt or not grid or not grid[0] <= truth <= grid[-1]:
        return []
    columns = [[point.critical[f"{level:g}"] for point in belt.points] for level in levels]
    return [(level, float(np.interp(truth, grid, column))) for level, column in zip(levels, columns, strict=True)]


def _share(held: npt.NDArray[np.bool_]) -> tuple[float | None, float | None]:
    """Give the covered fraction and its binomial error; at 0 and 1 that of half a toy, which is not 0."""
    n = len(held)
    if not n:
        return None, None
    share = float(held.mean())
    inside = min(max(share, 0.5 / n), 1 - 0.5 / n)
    return share, float(np.sqrt(inside * (1 - inside) / n))


def _estimates(block: Block, parameter: str) -> ToyEstimates:
    """Bias, spread and pulls; a fit on a bound has a value, and no error to pull with."""
    truth, values, errors = block.column(parameter)
    good = block.converged
    inside = good & np.isfinite(errors)
    pulls = block.pulls[inside, block.parameters.index(parameter)]
    shift, spread = _mean(values[good] - truth)
    mean, width = _mean(pulls)
    n, count = max(int(good.sum()), 1), max(len(pulls), 1)
    return ToyEstimates(
        bias=shift,
        bias_error=None if spread is None else spread / np.sqrt(n),
        spread=spread,
        mean_error=float(errors[inside].mean()) if inside.any() else None,
        at_bound=int((good & ~inside).sum()),
        pull_mean=mean,
        pull_mean_error=None if width is None else width / np.sqrt(count),
        pull_width=width,
        pull_width_error=None if width is None else width / np.sqrt(2 * count),
    )


def _mean(values: Floats) -> tuple[float | None, float | None]:
    """Give mean and standard deviation; None where there are not enough values."""
    if len(values) < 2:
        return None, None
    return float(values.mean()), float(values.std(ddof=1))
