"""Fits of toys: many at once in compiled code, and what that cannot do one by one with NumPy and iminuit."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from needle_parsl.nsbi.statistics.fits.fitting import DEEPER, minimise
from needle_parsl.nsbi.statistics.fits.starts import separate
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
from needle_parsl.nsbi.statistics.toys.compiled import compilation
from needle_parsl.nsbi.statistics.toys.pool import Draw

Floats = npt.NDArray[np.float64]
BATCH = 50
"""Toys that compiled code is given at a time."""
CODES = ("converged", "higher", "wall", "limit", "stuck", "broken")
"""How a compiled fit has ended, as in `compiled.newton`; one that has not converged is done again by iminuit."""


class ToyFit(NamedTuple):
    """What the fits of one toy say."""

    events: int
    """In the unbinned regions; in the bins, where there are these alone."""
    values: Floats
    """Best values of the parameters, shape (P,)."""
    errors: Floats
    """Standard errors, shape (P,); NaN at a bound."""
    pulls: Floats
    """Best value minus truth over the error, in the coordinate of the fit, shape (P,); NaN at a bound."""
    t: float
    """-2 ln of the profile likelihood ratio at the true value of the parameter of interest, and of those that are held with it."""
    nll: float
    converged: bool
    others: Floats
    """The same ratio at the tested values, shape (V,); NaN where that fit did not converge."""
    code: int
    """Place in `CODES` of the worst of the compiled fits; 0 where there was none."""
    retried: bool
    """Whether iminuit has fitted this toy."""


def fit(
    toy: Likelihood,
    parameter: str,
    truth: Floats,
    tested: Sequence[float] = (),
    code: int = 0,
    also: Sequence[str] = (),
) -> ToyFit:
    """Fit a toy with NumPy and iminuit: with the parameter of interest at its true value, and freely from there.

    Args:
        toy: Its likelihood.
        parameter: The parameter of interest.
        truth: theta, shape (P,).
        tested: Further values at which it is held.
        code: How a compiled fit has ended before.
        also: Parameters that are held at their truth together with it.
    """
    rates = toy.rates
    true = dict(zip(rates.parameters, rates.outward(truth).tolist(), strict=True))
    beside, values = {name: true[name] for name in also}, (true[parameter], *tested)
    held = [minimise(toy, rates, start=truth, fixed={parameter: v, **beside}, errors=False) for v in values]
    lowest = min(held, key=lambda found: (not found.converged, found.nll))
    free = minimise(toy, rates, start=lowest.theta)
    errors = np.array([free.error(name) for name in rates.parameters])
    t = [max(2 * (found.nll - free.nll), 0.0) if found.converged and free.converged else np.nan for found in held]
    pulls = (free.theta - truth) * np.abs(rates.stretch(free.theta)) / errors
    kind = "bins" if toy.binned else "events"
    events = round(sum(float(table.count.sum()) for table in toy.of_kind(kind)))
    good = held[0].converged and free.converged and not (held[0].on_wall or free.on_wall)
    own = t[0] if good else max(2 * (held[0].nll - free.nll), 0.0)
    return ToyFit(
        events=events, values=free.values, errors=errors, pulls=pulls, t=own, nll=free.nll, converged=good,
        others=np.array(t[1:]), code=code, retried=True,
    )  # fmt: skip


def fitted(
    events: Likelihood,
    toys: Iterable[Draw],
    parameter: str,
    truth: Floats,
    tested: Sequence[float] = (),
    also: Sequence[str] = (),
) -> Iterator[ToyFit]:
    """Fit toys, in compiled code where numba is installed and knows the model.

    Args:
        events: Likelihood over the events of all toys.
        toys: Which of them make each toy.
        parameter: The parameter of interest.
        truth: theta, shape (P,).
        tested: Further values at which it is held.
        also: Parameters that are held at their truth together with it.
    """
    if reason := slow(events):
        warnings.warn(f"toys are fitted by NumPy and iminuit, some fifty times slower: {reason}", stacklevel=2)
        for toy in toys:
            yield fit(events.take(*toy), parameter, truth, tested, also=also)
        return
    yield from _compiled(events, toys, parameter, truth, tested, also)


def _events(events: Likelihood, draw: Draw) -> int:
    """Count the events of a toy."""
    return round(sum(own.sum() for own in draw.counts)) if events.binned else len(draw.rows)


def slow(events: Likelihood) -> str:
    """Say why toys cannot be fitted in compiled code; empty if they can."""
    if not compilation.AVAILABLE:
        return "numba is not installed, see the extra `toys`"
    from needle_parsl.nsbi.statistics.toys.compiled.preparation import unsupported  # noqa: PLC0415  with numba, an extra, or iminuit: a worker loads the one that it uses

    unknown = unsupported(events)
    return f"compiled fits do not know {unknown}" if unknown else ""


def _compiled(
    events: Likelihood,
    toys: Iterable[Draw],
    parameter: str,
    truth: Floats,
    tested: Sequence[float],
    also: Sequence[str],
) -> Iterator[ToyFit]:
    from needle_parsl.nsbi.statistics.toys.compiled.engine import CompiledFits  # noqa: PLC0415  with numba, an extra, or iminuit: a worker loads the one that it uses

    engine, rates, source = CompiledFits.of(events), events.rates, iter(toys)
    value = float(rates.outward(truth)[rates.parameters.index(parameter)])
    starts = separate(rates, events.bent, events.kinked)
    while batch := list(islice(source, BATCH)):
        found = engine.fit(batch, truth, parameter, (value, *tested), starts, also)
        stretch = np.abs([rates.stretch(theta) for theta in found.theta])
        sigma = np.where(found.sigma > 0, found.sigma, np.nan)
        t = np.maximum(2 * (found.held - found.nll[:, None]), 0.0)
        pulls = (found.theta - truth) / sigma
        for place, draw in enumerate(batch):
            code = int(found.code[place].max())
            deeper = bool((found.held[place] < found.nll[place] - DEEPER).any())
            if code or deeper:
                yield fit(events.take(*draw), parameter, truth, tested, code, also)
                continue
            yield ToyFit(
                events=_events(events, draw), values=rates.outward(found.theta[place]), errors=stretch[place] * sigma[place],
                pulls=pulls[place], t=float(t[place, 0]), nll=float(found.nll[place]), converged=True, others=t[place, 1:],
                code=0, retried=False,
            )  # fmt: skip
