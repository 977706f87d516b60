"""Two parameters of interest together: planes and Neyman regions, against closed forms and iminuit."""

from __future__ import annotations

import numpy as np
import pytest
from iminuit import Minuit
from problems import gaussian_plane as gaussian
from problems.toys import block
from scipy import stats

from needle_parsl.analysis import Model, Nuisance, Parameter, Plane
from needle_parsl.errors import InputError, TaskError
from needle_parsl.nsbi.statistics import analyses
from needle_parsl.nsbi.statistics.fits import degeneracy
from needle_parsl.nsbi.statistics.fits.fitting import minimise
from needle_parsl.nsbi.statistics.intervals import neyman_region, planes
from needle_parsl.nsbi.statistics.model.builder import Builder, Counts
from needle_parsl.nsbi.statistics.results import NeymanRegion
from needle_parsl.nsbi.statistics.toys import fitting
from needle_parsl.nsbi.statistics.toys import pool as toys
from needle_parsl.nsbi.statistics.toys.block import Block

LEVELS = (0.6827, 0.95)
BEST = np.array([1.001, 0.999])


def thrown(count: int, seed: int, truth: np.ndarray) -> Block:
    events = gaussian.likelihood()
    theta = events.rates.at(dict(zip(gaussian.NAMES, truth.tolist(), strict=True)))
    seeds = [10**6 * seed + n for n in range(count)]
    return analyses.throw_block(toys.no_pool(events), "mu", theta, seeds, also=("k",))


def exact(points: int, count: int, seed: int = 1) -> tuple[dict[str, np.ndarray], list[Block], np.ndarray]:
    """A Gaussian measurement: t of toys is chi-squared of two degrees of freedom wherever they are thrown."""
    grid, rng = gaussian.grid(points, BEST), np.random.default_rng(seed)
    made = [block(rng.chisquare(2, count)) for _ in range(points * points)]
    return grid, made, gaussian.distance(grid["mu"], grid["k"], BEST)


def built(points: int, count: int, *, smoothed: bool = True) -> NeymanRegion:
    return neyman_region.region(*exact(points, count), LEVELS, gaussian.likelihood().rates, smoothed=smoothed)


def test_quantiles_of_a_plane_are_those_of_two_degrees_of_freedom() -> None:
    learned = gaussian.likelihood()
    best = minimise(learned, learned.rates)
    found = planes.join([planes.strip(learned, best, Plane(gaussian.NAMES, 5), (0, 5))], LEVELS)
    assert found.heights == {"0.6827": pytest.approx(2.296, abs=1e-3), "0.95": pytest.approx(5.991, abs=1e-3)}
    x, y = (np.unique([getattr(p, name) for p in found.points]) for name in "xy")
    t = np.array([p.t for p in found.points]).reshape(5, 5)
    assert t == pytest.approx(
        gaussian.distance(x, y, np.ones(2)), rel=0.02, abs=0.02
    )  # counts are Gaussian to 1/sqrt(10^6)


def test_contour_is_that_of_iminuit() -> None:
    """Of few counts, far from Gaussian: at the points of `mncontour` our t is the quantile."""
    model = Model(
        {name: Parameter(1.0, (0.0, 6.0)) for name in gaussian.NAMES},
        {"a": "mu", "b": "k ** 2", "background": "1"},
        {"norm": Nuisance(rate={"background": (1.2, 0.85)})},
    )
    few = {name: own / 1e4 for name, own in gaussian.EXPECTED.items()}
    learned = Builder.of(model, []).counting([Counts("region", few, np.array([70.0, 85.0, 80.0]))])
    best = minimise(learned, learned.rates)
    minuit = Minuit(
        lambda theta: learned(theta)[0], best.theta, grad=lambda theta: learned(theta)[1], name=learned.rates.parameters
    )
    minuit.errordef, minuit.limits = 0.5, learned.rates.limits()
    minuit.migrad()
    for level in LEVELS:
        for mu, k in minuit.mncontour("mu", "k", cl=level, size=8, interpolated=False):
            held = minimise(learned, learned.rates, fixed={"mu": mu, "k": k}, errors=False)
            assert 2 * (held.nll - best.nll) == pytest.approx(stats.chi2.ppf(level, 2), rel=0.01)


def test_direction_that_data_cannot_tell_is_named() -> None:
    """Two processes of one distribution: the multipliers differ, and only the data do not tell them apart."""
    model = Model(
        {name: Parameter(1.0, (0.0, 6.0)) for name in gaussian.NAMES}, {"a": "mu", "b": "k", "background": "1"}
    )
    same = {"a": np.array([100.0, 50.0]), "b": np.array([50.0, 25.0]), "background": np.array([60.0, 80.0])}
    learned = Builder.of(model, []).counting([Counts("region", same)])
    found = minimise(learned, learned.rates)
    assert not found.converged
    assert degeneracy.sentence(found.degenerate).endswith("; mu + 0.5 k is measured, mu - 2 k is not")


def test_both_parameters_are_held_in_fits_of_toys() -> None:
    """Compiled fits are those of iminuit, and t follows chi-squared of two degrees of freedom; the 68 % region covers."""
    found = thrown(1500, 1, np.array([1.0, 1.0]))
    assert found.converged.all()
    assert stats.kstest(found.t, stats.chi2(2).cdf).pvalue > 1e-3
    for level in LEVELS:
        covered = float((found.t <= stats.chi2.ppf(level, 2)).mean())
        assert covered == pytest.approx(level, abs=2.5 * np.sqrt(level * (1 - level) / 1500))
    events, truth = gaussian.likelihood(), np.array([1.0, 1.0, 0.0])
    pool, seeds = toys.no_pool(events), [10**6 + n for n in range(20)]
    slow = [fitting.fit(events.take(*draw), "mu", truth, also=("k",)) for draw in toys.drawn(pool, truth, seeds)]
    assert found.t[:20] == pytest.approx([one.t for one in slow], abs=1e-3)
    if not fitting.slow(events):
        assert not found.retried.any()


def test_region_of_a_gaussian_is_its_ellipse() -> None:
    """Area and extents, as far as 1,000 toys at each of 15 x 15 points tell the quantile; beside it, the same without a surface."""
    v = gaussian.covariance()
    found, rough = built(15, 1000), built(15, 1000, smoothed=False)
    assert found.smooth == {"0.6827": True, "0.95": True}
    assert rough.smooth == {"0.6827": False, "0.95": False}
    for level in LEVELS:
        name, q = f"{level:g}", stats.chi2.ppf(level, 2)
        error = np.sqrt(level * (1 - level) / 1000) / stats.chi2.pdf(q, 2)  # of one critical value
        x, y, own = neyman_region.excess(found, name)
        area = (own <= 0).sum() * (x[1] - x[0]) * (y[1] - y[0])
        # The surface has six parameters of 225 values: its error is that of one times sqrt(6 / 225), on average.
        assert area == pytest.approx(np.pi * q * np.sqrt(np.linalg.det(v)), rel=4 * error / q * np.sqrt(6 / 225) + 0.01)
        for n, parameter in enumerate(gaussian.NAMES):
            low, high = found.extents[name][parameter]
            ends = BEST[n] + np.sqrt(q * v[n, n]) * np.array([-1, 1])
            assert (low, high) == pytest.approx(tuple(ends), abs=np.sqrt(v[n, n]) * (0.03 + error / q / 2 * np.sqrt(q)))
        wrong = [
            p for p in rough.points
            if p.accepted[name] != (p.t <= q) and abs(p.t - q) > 4 * error
        ]  # fmt: skip
        assert not wrong
    assert found.open == ()
    assert NeymanRegion.from_json(found.to_json()) == found


def test_surface_needs_to_describe_the_critical_values() -> None:
    grid, made, observed = exact(9, 400)
    steps = [block(one.t * (3.0 if n % 2 else 1.0)) for n, one in enumerate(made)]
    found = neyman_region.region(grid, steps, observed, [0.95], gaussian.likelihood().rates)
    assert found.smooth == {"0.95": False}


def test_region_that_leaves_the_grid_is_open() -> None:
    (grid, made, _), rates = exact(5, 200), gaussian.likelihood().rates
    moved = gaussian.distance(grid["mu"], grid["k"], np.array([grid["mu"][-1], 1.0]))
    assert neyman_region.region(grid, made, moved, LEVELS, rates).open == ("0.6827", "0.95")
    with pytest.raises(
        InputError, match=r"no point is accepted at level 0\.6827; t of the data is smallest at mu = 1\.0"
    ):
        neyman_region.region(grid, made, moved + 30, LEVELS, rates)
    lost = [block(np.ones(3), np.zeros(3, bool)), *made[1:]]
    assert neyman_region.region(grid, lost, moved, LEVELS, rates).points[0].p_value is None  # so far from the region
    moved = gaussian.distance(grid["mu"], grid["k"], np.array([grid["mu"][0], grid["k"][0]]))
    with pytest.raises(TaskError, match=r"no toy thrown at mu = 0\.988.* has a fit that converged"):
        neyman_region.region(grid, lost, moved, LEVELS, rates)


def test_whole_construction_of_counts() -> None:
    """From a likelihood and toys of it at each point: t of the data is the closed form, and critical values those of chi-squared."""
    observed = np.random.default_rng(4).poisson(sum(gaussian.EXPECTED.values())).astype(float)
    data = gaussian.likelihood(observed)
    best = minimise(data, data.rates)
    center = np.array([best.value(name) for name in gaussian.NAMES])
    grid = gaussian.grid(5, center, 2.6)
    made = [
        thrown(200, 10 + 5 * i + j, np.array([x, y])) for i, x in enumerate(grid["mu"]) for j, y in enumerate(grid["k"])
    ]
    found = analyses.build_region(data, grid, made, LEVELS, dataset="observed")
    t = np.array([p.t for p in found.points]).reshape(5, 5)
    assert t == pytest.approx(gaussian.distance(grid["mu"], grid["k"], center), rel=0.03, abs=0.03)
    for level in LEVELS:
        q = stats.chi2.ppf(level, 2)
        error = np.sqrt(level * (1 - level) / 5000) / stats.chi2.pdf(q, 2)
        assert np.mean(found.limits(f"{level:g}")) == pytest.approx(q, abs=4 * error)
    assert found.best == {name: best.value(name) for name in gaussian.NAMES}


@pytest.mark.campaign
def test_regions_cover_over_many_measurements() -> None:
    """Toys at one truth give critical values, and others, as data, are covered: at 68.27 and 95 % within 2.5 binomial errors."""
    truth, count = np.array([1.0015, 0.998]), 20_000
    limits, data = thrown(100_000, 1, truth), thrown(count, 2, truth)
    for level in LEVELS:
        (value, _) = neyman_region.critical(limits.t, level)
        for limit in (value, stats.chi2.ppf(level, 2)):
            covered = float((data.t <= limit).mean())
            assert covered == pytest.approx(level, abs=2.5 * np.sqrt(level * (1 - level) / count))
