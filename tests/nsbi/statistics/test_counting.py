"""Small experiments: no observed event, and binned regions alone, against the Poisson likelihood in closed form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from problems.poisson import BACKGROUND, FC, exact, t
from scipy.optimize import brentq
from scipy.stats import chi2

from needle_parsl.analysis import Model, Nuisance, Parameter
from needle_parsl.densities import Shape
from needle_parsl.nsbi.data import store
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.statistics.dataset import Dataset, nothing
from needle_parsl.nsbi.statistics.fits import distributions, impacts
from needle_parsl.nsbi.statistics.fits.distributions import RegionEvents
from needle_parsl.nsbi.statistics.fits.fitting import minimise
from needle_parsl.nsbi.statistics.intervals import corrections, limits, neyman, profile
from needle_parsl.nsbi.statistics.model.builder import Builder, Counts
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
from needle_parsl.nsbi.statistics.model.reweighting import asimov
from needle_parsl.nsbi.statistics.toys import fitting
from needle_parsl.nsbi.statistics.toys import pool as toys
from needle_parsl.nsbi.statistics.toys.block import Block

MODEL = Model({"mu": Parameter(1.0, (0.0, 20.0))}, {"signal": "mu", "background": "1"}, {})
NONE = np.empty(0, np.int64)


def counting(observed: float | None, model: Model = MODEL) -> Likelihood:
    seen = None if observed is None else np.array([float(observed)])
    expected = {"signal": np.array([1.0]), "background": np.array([BACKGROUND])}
    return Builder.of(model, []).counting([Counts("signal region", expected, seen)])


@pytest.mark.parametrize("n", [0, 3, 7])
def test_scan_of_a_count_is_the_poisson_likelihood(n: int) -> None:
    learned = counting(n)
    best = minimise(learned, learned.rates)
    assert best.converged
    assert best.value("mu") == pytest.approx(max(0, n - BACKGROUND), abs=1e-2)
    found = profile.scan(learned, best, "mu", None, [0.68, 0.95]).intervals
    for level, pieces in ((0.68, found["0.68"]), (0.95, found["0.95"])):
        high = brentq(lambda mu, level=level: t(mu, n) - chi2.ppf(level, 1), best.value("mu"), 20)
        assert len(pieces) == 1
        assert pieces[0][1] == pytest.approx(high, abs=1e-2)


def test_a_variation_without_events_in_a_region_changes_what_is_stated() -> None:
    """There is no shape that could be scaled to the stated rate."""
    model = Model(MODEL.parameters, MODEL.processes, {"norm": Nuisance(rate={"background": (1.1, 0.9)})})
    expected = {"signal": np.array([1.0, 2.0]), "background": np.array([3.0, 1.0])}
    varied = {"background.norm.up": np.zeros(2), "background.norm.down": np.array([3.0, 1.0])}
    shape = Shape("background", "norm", *varied, one_sided="")
    found, plain = (Builder.of(model, shapes).counting([Counts("bins", expected | varied)]) for shapes in ([shape], []))
    theta = np.array([1.5, 0.7])
    assert found(theta)[0] == pytest.approx(plain(theta)[0], abs=1e-12)


def test_symmetrised_bins_have_the_stated_yield() -> None:
    model = Model(MODEL.parameters, {"background": "mu"}, {"norm": Nuisance(rate={"background": (1.1, 0.9)})})
    nominal = np.array([30.0, 30.0])
    varied = {"background.norm.up": nominal * [1.4, 0.7], "background.norm.down": nominal * [0.6, 1.2]}
    shape = Shape("background", "norm", *varied, one_sided="", symmetric=True)
    learned = Builder.of(model, [shape]).counting([Counts("bins", {"background": nominal} | varied)])
    (table,), rates = learned.of_kind("bins"), learned.rates
    points = (np.array([1.0, alpha]) for alpha in (1.0, -1.0))
    found = [table.densities(rates.factors(theta)[0], rates.moved(theta)).sum() for theta in points]
    assert found == pytest.approx([66.0, 54.0])


def test_everything_of_a_fit_works_without_events() -> None:
    model = Model(MODEL.parameters, MODEL.processes, {"norm": Nuisance(rate={"background": (1.1, 0.9)})})
    learned, simulated = counting(7, model), counting(None, model)
    best = minimise(learned, learned.rates, minos=["mu"])
    held = minimise(learned, learned.rates, fixed={"mu": 0.0}, errors=False)
    without = limits.Test.of(asimov(simulated, held.theta, NONE), "mu", 1.0)
    found = limits.limits(limits.Test.of(learned, "mu", 1.0), without, 0.0, 0.95, blind=False)
    assert found.observed == pytest.approx(9.44, abs=0.02)
    moved = impacts.impacts(learned, best, "mu", ["covariance", "refit"])
    assert moved.nuisances[0].impacts["refit"][0] == pytest.approx(0.3, rel=0.1)
    described = distributions.describe(learned, best, [RegionEvents(nothing(), nothing(), ())])
    assert described.regions["signal region"].observed == [7.0]
    assert corrections.largest(learned, best.theta, []) is None


def test_a_negative_expectation_is_counted_without_events() -> None:
    model = Model({"mu": Parameter(1.0, (-5.0, 20.0))}, MODEL.processes, {})
    learned = counting(0, model)
    assert [learned.floored(np.array([mu])) for mu in (-4.0, -2.0, 1.0)] == [1, 0, 0]


@pytest.mark.parametrize("error", [None, 0.01])
@pytest.mark.parametrize("n", [0, 1, 2, 9])
def test_a_fit_ends_where_the_expectation_is_not_negative(n: int, error: float | None) -> None:
    """rate lambda alone falls without end where lambda is negative; here it is so below mu = -3."""
    model = Model({"mu": Parameter(1.0, (-50.0, 20.0))}, MODEL.processes, {})
    expected = {"signal": np.array([1.0]), "background": np.array([BACKGROUND])}
    errors = {} if error is None else {"background": np.array([error])}
    learned = Builder.of(model, []).counting([Counts("region", expected, np.array([float(n)]), errors)])
    best = minimise(learned, learned.rates)
    assert best.converged
    assert best.value("mu") == pytest.approx(n - BACKGROUND, abs=2e-3)


def ratios(x: np.ndarray) -> dict[str, np.ndarray]:
    return {"signal": x - 0.5}


def nothing_seen(model: Model = MODEL) -> tuple[Likelihood, Dataset, Dataset]:
    """Data without an event where 3 + 0.5 are expected."""
    x = np.linspace(-3, 3, 400)
    weight = np.r_[np.full(200, 3 / 200), np.full(200, 0.5 / 200)]
    samples, yields = {"signal": 200, "background": 200}, {"signal": 3.0, "background": 0.5}
    simulation = Dataset.of(x, ratios(x), weight=weight, samples=samples, yields=yields)
    data = Dataset.of(np.empty(0), ratios(np.empty(0)))
    return Builder.of(model, []).likelihood(data, simulation), data, simulation


def test_no_observed_event_gives_its_upper_limit() -> None:
    """-ln L is nu: t = 2 nu_s mu, so that the 95 % interval ends at 3.84 / (2 * 3)."""
    learned, data, simulation = nothing_seen()
    best = minimise(learned, learned.rates)
    assert best.converged
    found = profile.scan(learned, best, "mu", None, [0.95]).intervals["0.95"]
    assert found == ((0.0, pytest.approx(chi2.ppf(0.95, 1) / 6, abs=1e-4)),)
    described = distributions.describe(learned, best, [RegionEvents(simulation, data, ("x",))])
    assert sum(described.columns["x"].observed) == 0


@pytest.mark.parametrize("interpolation", ["poly6_exp", "code1", "code4p"])
def test_no_observed_event_with_nuisances(interpolation: str) -> None:
    norm = Nuisance(interpolation=interpolation, rate={"signal": (1.2, 0.8)})  # type: ignore[arg-type]
    learned, _, _ = nothing_seen(Model(MODEL.parameters, MODEL.processes, {"norm": norm}))
    best = minimise(learned, learned.rates)
    assert best.converged
    assert best.value("mu") == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("features", [0, 2])
def test_empty_store_is_written_and_read(tmp_path: Path, features: int) -> None:
    names = tuple("xy"[:features])
    events = Events(names=names, x=np.empty((0, features), np.float32), weight=np.empty(0), id=np.empty(0, np.uint64))
    store.write(tmp_path / "none.h5", events, store.Schema(names, (), 1))
    found = store.read(tmp_path / "none.h5")
    assert len(found) == 0
    assert found.x.shape == (0, features)


def test_store_without_features_keeps_its_weights(tmp_path: Path) -> None:
    events = Events(
        names=(), x=np.empty((3, 0), np.float32), weight=np.arange(1.0, 4.0), id=np.arange(3, dtype=np.uint64)
    )
    store.write(tmp_path / "weights.h5", events, store.Schema((), (), 1))
    assert sorted(store.read(tmp_path / "weights.h5").weight) == [1.0, 2.0, 3.0]


def thrown(mu: float, count: int, first: int = 0) -> Block:
    pool = toys.no_pool(counting(None))
    truth = pool.likelihood.rates.at({"mu": mu})
    seeds = range(first, first + count)
    return Block.of(pool.likelihood, toys.drawn(pool, truth, seeds), "mu", truth, (pool.effective, 0.0))


def test_toys_of_counts_are_poisson_numbers() -> None:
    block = thrown(2.0, 12)
    assert block.events.tolist() == [toy_count(seed) for seed in range(12)]
    expected = [t(2.0, int(n)) for n in block.events]
    np.testing.assert_allclose(block.t, expected, atol=2e-5)


def toy_count(seed: int) -> int:
    """What a toy of mu = 2 counts: nothing else is thrown."""
    pool = toys.no_pool(counting(None))
    (draw,) = toys.drawn(pool, pool.likelihood.rates.at({"mu": 2.0}), [seed])
    return int(draw.counts[0][0])


def test_compiled_and_plain_fits_of_counts_agree() -> None:
    if fitting.slow(counting(None)):
        pytest.skip("numba is not installed")
    pool = toys.no_pool(counting(None))
    truth = pool.likelihood.rates.at({"mu": 2.0})
    draws = list(toys.drawn(pool, truth, range(10)))
    fast = list(fitting.fitted(pool.likelihood, draws, "mu", truth))
    slow = [fitting.fit(pool.likelihood.take(*draw), "mu", truth) for draw in draws]
    np.testing.assert_allclose([f.t for f in fast], [f.t for f in slow], atol=2e-5)
    assert [f.events for f in fast] == [f.events for f in slow]


@pytest.mark.slow
def test_exact_construction_is_the_published_one() -> None:
    grid = np.linspace(0, 14.5, 1161)
    for n, upper in list(FC.items())[1:]:
        assert exact(n, 0.9, grid)[1] == pytest.approx(upper, abs=0.015)


LEVEL, THROWN = 0.9, 1000


def check_belt(step: float, count: int, observed: range) -> None:
    """Hold the ends of a belt of toys against the exact ends at the level two of its errors up and down."""
    grid, fine = np.arange(0, 15.01, step), np.linspace(0, 16, 801)
    blocks = [thrown(float(mu), count, first=count * k) for k, mu in enumerate(grid)]
    rates = counting(None).rates
    error = 2 * np.sqrt(LEVEL * (1 - LEVEL) / count)
    for n in observed:
        data = np.array([t(float(mu), n) for mu in grid])
        found = neyman.belt("mu", grid, blocks, data, [LEVEL], rates).intervals["0.9"]
        assert len(found) == 1, (n, found)
        narrow, wide = exact(n, LEVEL - error, fine), exact(n, LEVEL + error, fine)
        assert wide[0] - step <= found[0][0] <= narrow[0] + step, (n, found, wide, narrow)
        assert narrow[1] - step <= found[0][1] <= wide[1] + step, (n, found, wide, narrow)


@pytest.mark.slow
def test_feldman_cousins_intervals_of_counts() -> None:
    if fitting.slow(counting(None)):
        pytest.skip("numba is not installed")
    check_belt(0.5, THROWN, range(11))


@pytest.mark.campaign
def test_feldman_cousins_intervals_of_counts_closely() -> None:
    check_belt(0.1, 10_000, range(11))


def test_pieces_that_toys_do_not_resolve_are_joined() -> None:
    grid, none = np.arange(6.0), np.zeros(6, np.bool_)
    pieces = [[0.0, 1.5], [2.5, 4.0]]
    assert neyman.resolved(pieces, grid, none, 1) == pieces
    assert neyman.resolved(pieces, grid, np.arange(6) == 2, 1) == [[0.0, 4.0]]
    assert neyman.resolved([[0.0, 1.5], [2.2, 2.4]], grid, none, 1) == [[0.0, 1.5]]
    narrow = [[0.0, 1.5], [4.2, 4.4]]
    assert neyman.resolved(narrow, grid, none, 4) == narrow  # the best fit, between two values
