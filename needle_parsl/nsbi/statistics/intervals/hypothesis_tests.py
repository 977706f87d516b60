"""p-values from toys: of one value, of no signal (discovery), and CLs with the upper limits that follow.

    q_mu = t_mu for best mu <= mu, else 0            (large where mu is too large)
    q_0  = t at no signal for best mu above it, else 0
    CLs  = P(q_mu >= observed | mu) / P(q_mu >= observed | no signal)

References:
    G. Cowan et al., arXiv:1007.1727; A. L. Read, J. Phys. G 28 (2002) 2693.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.stats import chi2, norm

from needle_parsl.nsbi.statistics.results import AsymptoticTest, ClsLimits, ClsPoint, ToyDiscovery
from needle_parsl.nsbi.statistics.toys.block import Block

Floats = npt.NDArray[np.float64]
TIE = 1e-4
"""t that differ by less are equal: the minimiser's own error, which would split the ties of discrete data."""
FEW = 20
"""Toys beyond the observed value that are needed for a p-value by counting, and in a tail for one that is fitted."""
BANDS = (-2.0, -1.0, 0.0, 1.0, 2.0)
"""Standard deviations at which an expectation is given, from the median."""
TAIL = 0.1
"""Share of the toys that a tail is fitted to."""


def p_value(statistics: Floats, observed: float) -> tuple[float, float]:
    """Count the toys that are at least as extreme; give the share and its binomial error, which is never 0.

    Args:
        statistics: Of toys, shape (T,).
        observed: Of the data.
    """
    n = max(len(statistics), 1)
    share = float((statistics >= observed - TIE).sum() / n)
    inside = min(max(share, 0.5 / n), 1 - 0.5 / n)
    return share, float(np.sqrt(inside * (1 - inside) / n))


def too_large(t: Floats, best: Floats, tested: float) -> Floats:
    """Give q_mu: t where the best value is not above the tested one, else 0."""
    return np.where(best <= tested, t, 0.0)


def too_small(t: Floats, best: Floats, without: float) -> Floats:
    """Give q_0: t of no signal where the best value is above it, else 0."""
    return np.where(best > without, t, 0.0)


def discovery(background: Block, parameter: str, observed: float) -> ToyDiscovery:
    """Say how rarely toys without a signal look as much like one as the data do.

    Args:
        background: Toys thrown without a signal.
        parameter: The parameter of interest.
        observed: q_0 of the data.
    """
    without, values, _ = background.column(parameter)
    good = background.converged
    q = too_small(background.t[good], values[good], without)
    share, error = p_value(q, observed)
    beyond = int((q >= observed - TIE).sum())
    extrapolated = beyond < FEW and observed > 0 and TAIL * len(q) >= FEW and np.quantile(q, 1 - TAIL) > 0
    if extrapolated:
        share, error = tail(q, observed)
    asymptotic = float(chi2.sf(observed, 1) / 2)
    return ToyDiscovery(
        q_0=observed,
        toys=len(q),
        failed=int((~good).sum()),
        beyond=beyond,
        p_value=share,
        error=error,
        significance=float(norm.isf(share)) if 0 < share < 1 else None,
        extrapolated=bool(extrapolated),
        asymptotic=AsymptoticTest(asymptotic, float(norm.isf(asymptotic))),
    )


def tail(q: Floats, observed: float) -> tuple[float, float]:
    """Extrapolate a p-value: beyond its upper tenth, q / c follows the tail of chi-squared, with c from maximum likelihood.

    Args:
        q: Of toys, positive in its upper tenth, shape (T,).
        observed: Where, farther out than toys reach.

    Returns:
        The p-value, and its error from that of c and from the number of toys in the tail; the whole of it where they do not fix c.
    """
    ordered = np.sort(q)[::-1]
    count = int(TAIL * len(q))
    start = float(ordered[count])
    above = ordered[:count]

    def minus_log(c: float) -> float:
        return float(-(chi2.logpdf(above / c, 1) - np.log(c) - chi2.logsf(start / c, 1)).sum())

    best = float(minimize_scalar(minus_log, bounds=(0.2, 5.0), method="bounded").x)
    step = 1e-3 * best
    bend = (minus_log(best + step) - 2 * minus_log(best) + minus_log(best - step)) / step**2
    share = count / len(q)
    found = [share * float(np.exp(chi2.logsf(observed / c, 1) - chi2.logsf(start / c, 1))) for c in (best, best + step)]
    slope = (found[1] - found[0]) / step
    spread = slope**2 / bend if bend > 0 else found[0] ** 2
    return found[0], float(np.sqrt(spread + found[0] ** 2 * (1 - share) / count))


def limits(
    parameter: str,
    grid: Floats,
    toys: Sequence[Block],
    background: Block,
    observed: Floats,
    best: float,
    levels: Sequence[float],
) -> ClsLimits:
    """Give CLs along the grid and the upper limits.

    Args:
        parameter: The parameter of interest.
        grid: Its values, ascending, shape (G,).
        toys: Those thrown at each value.
        background: Toys without a signal, tested at each value.
        observed: t of the data at each value, shape (G,).
        best: The best value of the data.
        levels: Confidence levels.
    """
    _, values, _ = background.column(parameter)
    points: list[ClsPoint] = []
    for place, (tested, block) in enumerate(zip(grid, toys, strict=True)):
        _, own, _ = block.column(parameter)
        seen = float(observed[place]) if best <= tested else 0.0
        if np.isnan(seen):
            points.append(ClsPoint(value=float(tested)))
            continue
        good = background.converged & np.isfinite(background.others[:, place])
        with_signal = too_large(block.t[block.converged], own[block.converged], tested)
        without = too_large(background.others[good, place], values[good], tested)
        both, both_error = p_value(with_signal, seen)
        alone, alone_error = p_value(without, seen)
        cls = both / alone if alone else None
        relative = np.hypot(both_error / max(both, 1e-12), alone_error / max(alone, 1e-12))
        points.append(
            ClsPoint(
                value=float(tested),
                q=seen,
                p_signal=both,
                p_background=alone,
                cls=cls,
                cls_error=None if cls is None else float(max(cls, both_error) * min(relative, 1.0)),
                expected=_expected(with_signal, without),
            )
        )
    return ClsLimits(tuple(points), {f"{level:g}": _crossing(points, best, 1 - level) for level in levels})


def _expected(with_signal: Floats, without: Floats) -> tuple[float, ...] | None:
    """Give CLs that toys without a signal see: in `BANDS` of their own spread, from the smallest; None without such toys."""
    if not len(without):
        return None
    seen = np.quantile(without, norm.cdf(BANDS)[::-1])
    return tuple(p_value(with_signal, float(q))[0] / p_value(without, float(q))[0] for q in seen)


def _crossing(points: Sequence[ClsPoint], best: float, height: float) -> float | None:
    """Find where CLs, which is 1 up to the best value, falls below a height, on straight lines; None where it does not."""
    known = [(p.value, p.cls) for p in points if p.cls is not None]
    for (low, above), (high, below) in pairwise(known):
        if high > best and above >= height > below:
            return float(low + (high - low) * (above - height) / (above - below))
    return None
