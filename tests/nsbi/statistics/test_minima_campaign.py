"""The deepest minimum of random likelihoods of ten kinds: needle's fit against many random starts of scipy."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest
from problems.random_likelihoods import KINDS, Independent, Problem, drawn
from scipy.optimize import minimize

from needle_parsl.nsbi.statistics.fits.descent import descend
from needle_parsl.nsbi.statistics.fits.fitting import minimise
from needle_parsl.nsbi.statistics.intervals import limits, profile
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
from needle_parsl.nsbi.statistics.model.normalisation import NOTHING, Simulation
from needle_parsl.nsbi.statistics.model.responses import ResponseEntry, Responses

STARTS = 24
"""Random starts of the search, shared by the sides of the kinks."""
CLOSE = 1e-4
"""By which -ln L of a fit may be above what was found otherwise."""
KNOWN, KNOWN_TO = 1e-2, 0.1
"""Z_j at least, and its relative error at most, where a likelihood means something: a tenth is ten units of -ln L in a hundred events."""


@dataclass(frozen=True)
class Found:
    """One likelihood."""

    excess: float
    """-ln L of the fit above the deepest value that was found by the search."""
    single: float
    """The same of one descent from the nominal values."""
    seconds: float
    relative: float
    """Time of the fit over that of the single descent."""
    minima: int
    converged: bool
    held: float
    """The excess of a fit with the first parameter held, as tests of a value far from the best do."""


def sides(likelihood: Likelihood, box: np.ndarray) -> list[np.ndarray]:
    """Cut a box where -ln L is not smooth: to both sides of every kink."""
    kinked = np.flatnonzero(likelihood.kinked) if likelihood.kinked is not None else []
    found = []
    for signs in product((-1, 1), repeat=len(kinked)):
        own = box.copy()
        for k, sign in zip(kinked, signs, strict=True):
            own[k] = (own[k, 0], min(0.0, own[k, 1])) if sign < 0 else (max(0.0, own[k, 0]), own[k, 1])
        found.append(own)
    return found


def searched(likelihood: Likelihood, seed: int, held: float | None = None) -> float:
    """Go down from random points with L-BFGS-B, and from the best of them with the simplex of Nelder and Mead.

    Args:
        likelihood: What is minimised.
        seed: Of the points.
        held: The first parameter, where it is held.

    Returns:
        The smallest -ln L; infinite where nothing is known of it at any minimum.
    """
    rng, whole = np.random.default_rng(seed), np.array(likelihood.rates.limits())
    whole[0] = whole[0] if held is None else held
    boxes, found = sides(likelihood, whole), []
    for k in range(max(STARTS, 4 * len(boxes)) if held is None else max(STARTS // 2, 2 * len(boxes))):
        box = boxes[k % len(boxes)]
        inner = np.clip(box, *([[-3.0], [3.0]] if k % 2 else [[-np.inf], [np.inf]]))
        inner[: likelihood.rates.physics] = box[: likelihood.rates.physics]
        end = minimize(
            likelihood, rng.uniform(*inner.T), jac=True, bounds=box, method="L-BFGS-B", options={"maxiter": 400}
        )
        found.append((float(end.fun), end.x))
    told = [own for own in found if allowed(likelihood, own[1])]
    if not told:  # with the parameter held far away, say
        return np.inf
    lowest, theta = min(told, key=lambda own: own[0])
    end = minimize(lambda x: likelihood(x)[0], theta, bounds=whole, method="Nelder-Mead")
    return min(lowest, float(end.fun)) if allowed(likelihood, end.x) else lowest


def allowed(likelihood: Likelihood, theta: np.ndarray) -> bool:
    """Whether something is expected in all bins and events, and the simulation knows Z_j: not where all its responses have come to their floor."""
    f, alpha = likelihood.rates.factors(theta)[0], likelihood.alpha(theta)
    known = [own for table in likelihood.tables for own in (z(alpha) for z in table.simulation)]
    told = all(own.value > KNOWN and own.error < KNOWN_TO * own.value for own in known)
    return told and all((table.densities(f, alpha) > 0).all() for table in likelihood.tables)


def compare(kind: str, seed: int) -> Found:
    likelihood = drawn(kind, seed).likelihood()
    free = np.ones(len(likelihood.rates.parameters), np.bool_)
    started = time.process_time()
    single = descend(likelihood, likelihood.rates, likelihood.rates.start, free)
    once = time.process_time() - started
    best = minimise(likelihood, likelihood.rates)
    taken = time.process_time() - started - once
    lowest = searched(likelihood, seed)
    name, rates = likelihood.rates.parameters[0], likelihood.rates
    low, high = rates.bounds[0]
    place = float(np.random.default_rng(seed).uniform(low, high))
    test = limits.Test(likelihood, best, name)
    test.misses(place)
    held = test.nll(place) - searched(likelihood, seed, rates.inward(name, place))
    return Found(best.nll - lowest, single.nll - lowest, taken, taken / once, len(best.minima), best.converged, held)


def values(likelihood: Likelihood, theta: np.ndarray) -> dict[str, float]:
    return dict(zip(likelihood.rates.parameters, likelihood.rates.outward(theta).tolist(), strict=True))


def check_independent(made: Problem, seed: int, starts: int) -> float:
    """Search with a likelihood that shares nothing with needle's; give by how much the fit is above, in the latter's -ln L."""
    likelihood, other = made.likelihood(), Independent(made)
    rates, rng = likelihood.rates, np.random.default_rng(seed)
    box = np.array(rates.limits())
    offset = other(values(likelihood, rates.start)) - likelihood(rates.start)[0]
    best = minimise(likelihood, rates)
    for theta in (best.theta, *rng.uniform(*np.clip(box, -2, 2).T, size=(4, len(box)))):  # it is the same function
        if allowed(likelihood, theta):
            assert other(values(likelihood, theta)) - offset == pytest.approx(likelihood(theta)[0], abs=1e-6)

    def nll(theta: np.ndarray) -> float:
        return min(other(values(likelihood, theta)), 1e9)

    ends = [
        minimize(
            nll,
            rng.uniform(*np.clip(box, -3, 3).T),
            bounds=box,
            method="Nelder-Mead",
            options={"maxiter": 4000, "xatol": 1e-5, "fatol": 1e-7},
        )
        for _ in range(starts)
    ]
    return best.nll + offset - min(float(end.fun) for end in ends if allowed(likelihood, end.x))


MISSED = (("one-sided", 32), ("shapes in bins", 18), ("shapes in bins", 29), ("shapes of events", 14))
"""Once missed: from a start on a bound; minima apart in several parameters; far from the best value, where another minimum is the deepest."""


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "seed"), [*((kind, 0) for kind in KINDS), *MISSED])
def test_fit_is_as_deep_as_a_search(kind: str, seed: int) -> None:
    found = compare(kind, seed)
    assert found.converged
    assert found.excess < CLOSE
    assert found.held < CLOSE


@pytest.mark.slow
def test_scan_follows_the_deepest_minimum_back_from_far_away() -> None:
    """Outward from the best value the fits stay in a minimum that is not the deepest any more."""
    likelihood = drawn("shapes in bins", 29).likelihood()
    rates = likelihood.rates
    best = minimise(likelihood, rates)
    points = profile.profile(likelihood, best, "mu", np.linspace(0.1, 3.0, 7))
    for point in points[:3]:
        assert point.nll < searched(likelihood, 29, rates.inward("mu", point.value)) + CLOSE


def test_where_simulated_responses_add_up_to_nothing_a_process_has_no_density() -> None:
    """Polynomials through responses of e^8 go down to -4000 between 0 and one sigma; 1 / Z_j would be a deep minimum there."""
    responses = Responses.of([ResponseEntry(0, 0, "poly6_exp", np.full(50, -1.5), np.full(50, 8.0))], 50)
    simulation = Simulation(0, np.full(50, 0.02), responses)
    found = simulation(np.array([0.5]), second=True)
    assert found.value == NOTHING
    assert not found.first.any()
    assert not found.second.any()
    assert simulation(np.array([1.0])).value == pytest.approx(np.exp(-1.5))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_likelihood_is_the_one_of_the_formulae(kind: str) -> None:
    assert check_independent(drawn(kind, 1), 1, starts=1) < CLOSE


@pytest.mark.campaign
@pytest.mark.parametrize("kind", KINDS)
def test_fits_of_fifty_likelihoods_are_as_deep_as_searches(kind: str) -> None:
    found = [compare(kind, seed) for seed in range(50)]
    missed = [seed for seed, own in enumerate(found) if own.excess > CLOSE]
    lost = [seed for seed, own in enumerate(found) if not own.converged]
    held = [seed for seed, own in enumerate(found) if own.held > CLOSE]
    print(
        f"\n{kind}: {len(found)} likelihoods, {len(missed)} missed {missed} (one start: {sum(f.single > CLOSE for f in found)}), "
        f"not converged {lost}, largest excess {max(f.excess for f in found):.1e}, "
        f"with a parameter held {len(held)} missed {held}, largest {max(f.held for f in found):.1e}; several minima in {sum(f.minima > 1 for f in found)}, "
        f"{1e3 * np.median([f.seconds for f in found]):.0f} ms, {np.median([f.relative for f in found]):.1f} of one start"
    )
    assert not missed
    assert not held


@pytest.mark.campaign
@pytest.mark.parametrize("kind", KINDS)
def test_fits_are_as_deep_as_searches_with_another_likelihood(kind: str) -> None:
    excess = [check_independent(drawn(kind, seed), seed, starts=12) for seed in range(6)]
    print(f"\n{kind}: largest excess over the independent search {max(excess):.1e} of {len(excess)}")
    assert max(excess) < CLOSE
