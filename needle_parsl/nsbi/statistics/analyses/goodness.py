"""Whether the model describes unbinned data, by toys that are thrown from it after the fit, and fitted again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import tee

import numpy as np
import numpy.typing as npt
from scipy import stats

from needle_parsl.nsbi.statistics import two_sample
from needle_parsl.nsbi.statistics.dataset import Dataset
from needle_parsl.nsbi.statistics.fits.fitting import minimise
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
from needle_parsl.nsbi.statistics.model.reweighting import predicted
from needle_parsl.nsbi.statistics.results import GoodnessOfFit, RegionGoodness
from needle_parsl.nsbi.statistics.results.goodness import ComparedStatistic
from needle_parsl.nsbi.statistics.toys.fitting import fitted
from needle_parsl.nsbi.statistics.toys.pool import MOST_VETOED, Draw, ToyPool, drawn
from needle_parsl.nsbi.statistics.two_sample import CLASSIFIER, Placed, Sums

Floats = npt.NDArray[np.float64]
MOST = 100_000
"""Simulated events of a region that are looked at."""
FEWEST = 20
"""Toys that tell a p-value, at least."""


@dataclass(frozen=True)
class ComparedEvents:
    """An unbinned region whose data are compared with the model."""

    data: Dataset
    simulation: Dataset
    features: Sequence[str]
    """Names of the features."""


@dataclass(frozen=True)
class _Looked:
    """A region, ready to be compared."""

    how: two_sample.Comparison
    placed: Placed
    """Simulated events."""
    rows: slice
    """Which of those of all regions these are."""
    sample: npt.NDArray[np.int64]

    def expected(self, weight: Floats) -> Sums:
        return self.placed.sums(weight[self.rows], self.how.sizes)

    def drawn(self, rows: npt.NDArray[np.int64]) -> Sums:
        own = rows[(rows >= self.rows.start) & (rows < self.rows.stop)] - self.rows.start
        return self.placed.sums(np.ones(len(own)), self.how.sizes, own)

    def anew(self, weight: Floats, generator: np.random.Generator) -> Sums:
        """Expect what another simulation would: each event counts as often as Poisson says, and the sum of a process stays."""
        own = weight[self.rows]
        again = own * generator.poisson(1.0, len(own))
        size = len(np.bincount(self.sample))
        before, after = np.bincount(self.sample, own, size), np.bincount(self.sample, again, size)
        scale = np.divide(before, after, out=np.ones(size), where=after > 0)
        return self.placed.sums(again * scale[self.sample], self.how.sizes)


FEWEST_EVENTS = 10.0
"""Expected in each region after the fit, at least."""


def describe_data(
    likelihood: Likelihood,
    regions: Mapping[str, ComparedEvents],
    build: Callable[[Mapping[str, Dataset]], Likelihood],
    parameter: str,
    *,
    toys: int = 200,
    seed: int = 0,
) -> GoodnessOfFit:
    """Compare the data of unbinned regions with the model after the fit; see `two_sample`.

    Toys are drawn from simulated events, weighted to the best fit, with auxiliary measurements and binned regions, and fitted as the data are;
    what they are compared with is a simulation that is thrown anew, too. A p-value is the tail of the gamma distribution that has the
    mean and the variance of the toys; that of the smallest one over L statistics is 1 - (1 - p)^k, where the effective number k of
    independent ones comes from the smallest of each toy.

    Args:
        likelihood: Of the data.
        regions: The unbinned ones, in their order.
        build: Makes the likelihood of other events in them, which are behind Z_j, too; with the binned regions.
        parameter: The parameter of interest.
        toys: How many are thrown.
        seed: Of everything that is random.
    """
    if any((own.data.weight != 1).any() for own in regions.values()):
        return _nothing("observed events have weights, which toys do not have")
    best = minimise(likelihood, likelihood.rates)
    if not best.converged:
        return _nothing("the fit of the data did not converge")
    chosen = {name: two_sample.some(own.simulation, MOST, seed) for name, own in regions.items()}
    events = build(chosen)
    sample = np.concatenate([own.sample for own in chosen.values()])
    weight = predicted(events, best.theta, sample).weight
    vetoed = float(np.maximum(-weight, 0.0).sum())
    if reason := _untellable(list(np.split(weight, _starts(chosen)[1:])), vetoed):
        return _nothing(reason)
    looked = _looked(regions, chosen, weight, seed)
    seen = [own.how.place(region.data) for own, region in zip(looked, regions.values(), strict=True)]
    values = [
        own.how.statistics(data.sums(np.ones(data.bins.shape[1]), own.how.sizes), own.expected(weight))
        for own, data in zip(looked, seen, strict=True)
    ]
    pool = ToyPool(events.thinned(best.theta), np.maximum(weight, 0.0), vetoed)
    thrown = np.array(list(_thrown(pool, events, sample, looked, parameter, best.theta, toys, seed)), dtype=object)
    if len(thrown) < FEWEST:
        return _nothing(f"the fits of {toys - len(thrown)} of {toys} toys did not converge")
    found = {
        name: _judged(own.how.names, value, np.array([toy[k] for toy in thrown], np.float64))
        for k, (name, own, value) in enumerate(zip(regions, looked, values, strict=True))
    }
    return GoodnessOfFit(regions=found, toys=len(thrown), failed=toys - len(thrown))


def _nothing(reason: str) -> GoodnessOfFit:
    return GoodnessOfFit(regions={}, toys=0, failed=0, reason=reason)


def _starts(regions: Mapping[str, Dataset]) -> npt.NDArray[np.int64]:
    """Give the row of all simulated events with which each region begins."""
    return np.cumsum([0, *(len(own.weight) for own in regions.values())])[:-1]


def _untellable(weights: Sequence[Floats], vetoed: float) -> str:
    """Say why no toys of regions with these weights can be compared, if so."""
    fewest = min(float(own.sum()) for own in weights)
    if fewest < FEWEST_EVENTS:
        return f"{fewest:.3g} events are expected in a region after the fit, of which no shape can be told"
    if vetoed > MOST_VETOED * sum(float(own.sum()) for own in weights):
        return "toys cannot be drawn from simulated events with so many negative weights"
    return ""


def _looked(
    regions: Mapping[str, ComparedEvents], chosen: Mapping[str, Dataset], weight: Floats, seed: int
) -> list[_Looked]:
    """Prepare the comparison of each region."""
    found, start = [], 0
    for name, region in regions.items():
        rows = slice(start, start + len(chosen[name].weight))
        how, placed = two_sample.Comparison.of(chosen[name], weight[rows], region.features, seed)
        found.append(_Looked(how, placed, rows, chosen[name].sample))
        start = rows.stop
    return found


def _thrown(
    pool: ToyPool,
    events: Likelihood,
    sample: npt.NDArray[np.int64],
    looked: Sequence[_Looked],
    parameter: str,
    theta: Floats,
    toys: int,
    seed: int,
) -> Iterator[list[Floats]]:
    """Throw toys and fit them; give the statistics of each region, of those whose fit converges."""
    draws, again = tee(drawn(pool, theta, [seed + number for number in range(toys)]))
    rates, fits = events.rates, fitted(pool.likelihood, draws, parameter, theta)
    for number, (draw, fit) in enumerate(zip(again, fits, strict=True)):
        if fit.converged:
            values = dict(zip(rates.parameters, fit.values, strict=True))
            weight = predicted(events, rates.at(values), sample).weight
            yield _compared(draw, weight, looked, np.random.default_rng([seed, number]))


def _compared(draw: Draw, weight: Floats, looked: Sequence[_Looked], generator: np.random.Generator) -> list[Floats]:
    return [own.how.statistics(own.drawn(draw.rows), own.anew(weight, generator)) for own in looked]


def _judged(names: Sequence[str], value: Floats, toys: Floats) -> RegionGoodness:
    """Turn the statistics of data, shape (L,), and of toys, shape (T, L), into p-values."""
    mean, variance = toys.mean(axis=0), np.maximum(toys.var(axis=0, ddof=1), 1e-300)
    tail = stats.gamma(mean**2 / variance, scale=variance / np.maximum(mean, 1e-300))
    p_values, smallest = tail.sf(value), tail.sf(toys).min(axis=1)
    # -ln(1 - p) of the smallest of k uniform numbers is exponential with the mean 1 / k.
    looks = float(np.clip(-1 / np.log1p(-np.minimum(smallest, 1 - 1e-12)).mean(), 1.0, len(names)))
    comparisons = tuple(
        ComparedStatistic(name=n, value=float(v), mean=float(m), deviation=float(np.sqrt(s)), above=int((t >= v).sum()), p_value=float(p))
        for n, v, m, s, t, p in zip(names, value, mean, variance, toys.T, p_values, strict=True)
    )  # fmt: skip
    others = [own for own in comparisons if own.name != CLASSIFIER]
    shown = [CLASSIFIER, *([min(others, key=lambda own: own.p_value).name] if others else [])]
    combined = float(-np.expm1(looks * np.log1p(-min(float(p_values.min()), 1 - 1e-16))))
    drawn = {name: [float(t) for t in toys[:, names.index(name)]] for name in shown}
    return RegionGoodness(comparisons=comparisons, p_value=combined, looks=looks, toys=drawn)
