"""The Neyman construction, against Feldman and Cousins."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
from problems.likelihoods import counting
from problems.poisson import BACKGROUND, LEVEL, TABLE, exact_p
from problems.toys import belt, block
from scipy import stats

from needle_parsl.errors import InputError, TaskError
from needle_parsl.nsbi.statistics.fits.fitting import minimise
from needle_parsl.nsbi.statistics.intervals import neyman, profile
from needle_parsl.nsbi.statistics.toys import block as blocks
from needle_parsl.nsbi.statistics.toys import fitting
from needle_parsl.nsbi.statistics.toys.block import Block
from needle_parsl.nsbi.statistics.toys.pool import ToyPool, drawn

TOYS = 1000


def exact_interval(n: int, b: float = BACKGROUND) -> tuple[float, float]:
    grid = np.arange(0, 16, 0.02)
    accepted = grid[[exact_p(mu, n, b) > 1 - LEVEL for mu in grid]]
    return accepted[0], accepted[-1]


@pytest.mark.slow
@pytest.mark.parametrize("n", TABLE)
def test_enumeration_is_the_published_table(n: int) -> None:
    assert exact_interval(n)[0] == pytest.approx(TABLE[n][0], abs=0.05)
    if n:
        assert exact_interval(n)[1] == pytest.approx(TABLE[n][1], abs=0.05)
    else:  # the paper lengthens this one, so that no larger background gives a larger upper end
        assert max(exact_interval(0, b)[1] for b in np.arange(BACKGROUND, BACKGROUND + 1, 0.02)) == pytest.approx(
            1.08, abs=0.05
        )


@pytest.fixture(scope="module")
def construction() -> tuple[np.ndarray, list[Block]]:
    """Toys of a counting experiment thrown, fitted and gathered by the product; equal counts are fitted once."""
    grid = np.arange(0.0, 15.01, 0.25)
    made = []
    for place, mu in enumerate(grid):
        events = counting(1, b=BACKGROUND, s=1.0, bounds=(0.0, 60.0))
        pool = ToyPool(events, np.array([mu + BACKGROUND]), 0.0)
        truth = events.rates.at({"mu": mu})

        @cache
        def fitted(n: int, truth=truth) -> fitting.ToyFit:
            return fitting.fit(counting(n, b=BACKGROUND, s=1.0, bounds=(0.0, 60.0)), "mu", truth)

        toys = drawn(pool, truth, [1000 * place + toy for toy in range(TOYS)])
        rows = [fitted(len(toy.rows)) for toy in toys]
        columns = dict(zip(blocks.COLUMNS, map(np.array, zip(*rows, strict=True)), strict=True))
        made.append(Block(parameters=("mu",), truth=truth, effective=math.inf, vetoed=0.0, **columns))
    return grid, made


@pytest.mark.slow
@pytest.mark.parametrize("n", TABLE)
def test_toys_accept_what_feldman_and_cousins_accept(construction: tuple[np.ndarray, list[Block]], n: int) -> None:
    """Interval ends are within two errors of the quantile; of all 61 values, none is wrong by three."""
    grid, toys = construction
    data = counting(n, b=BACKGROUND, s=1.0, bounds=(0.0, 60.0))
    best = minimise(data, data.rates)
    observed = profile.statistic(data, best, "mu", grid)
    found = neyman.belt("mu", grid, toys, observed, [LEVEL], data.rates)
    wrong, error = [], math.sqrt(LEVEL * (1 - LEVEL) / TOYS)
    for point in found.points:
        p = exact_p(point.value, n)
        if point.accepted["0.9"] != (p > 1 - LEVEL) and abs(p - (1 - LEVEL)) > 3 * error:
            wrong.append((point.value, p))
        assert point.p_value == pytest.approx(p, abs=5 * math.sqrt(p * (1 - p) / TOYS) + 5 / TOYS)
    assert not wrong
    step = grid[1] - grid[0]
    for end in (end for piece in found.intervals["0.9"] for end in piece if end > 0):
        around = [exact_p(mu, n) for mu in np.linspace(max(end - step, 0), end + step, 21)]
        assert min(around) - 2 * error <= 1 - LEVEL <= max(around) + 2 * error


@pytest.mark.parametrize("level", [0.5, 0.68, 0.9, 0.95])
def test_critical_value_is_the_quantile_and_its_error_the_scatter(level: float) -> None:
    found = np.array([neyman.critical(np.random.default_rng(seed).chisquare(1, 2000), level) for seed in range(300)])
    assert found[:, 0].mean() == pytest.approx(stats.chi2.ppf(level, 1), rel=0.02)
    assert found[:, 1].mean() == pytest.approx(found[:, 0].std(), rel=0.2)


def test_pieces_may_be_several() -> None:
    grid = np.linspace(-2, 2, 41)
    pieces = neyman.pieces(grid, 10 * (grid**2 - 1) ** 2, np.ones_like)
    edge = [math.sqrt(1 - math.sqrt(0.1)), math.sqrt(1 + math.sqrt(0.1))]
    np.testing.assert_allclose(pieces, [[-edge[1], -edge[0]], edge], atol=2e-3)


def test_interval_that_ends_with_the_grid_is_open_unless_a_bound_is_there() -> None:
    grid = np.linspace(0, 1, 5)
    toys = [block(np.linspace(0, 4, 100))] * 5
    for bounds, said in (((0.0, 5.0), ("0.9",)), ((0.0, 1.0), ())):
        assert belt(grid, toys, np.zeros(5), bounds).open == said


def test_belt_without_an_accepted_value_names_the_best_one() -> None:
    grid = np.array([1.0, 2.0, 3.0])
    toys = [block(np.linspace(0, 4, 100))] * 3
    with pytest.raises(InputError, match=r"no value is accepted at level 0\.9; .* smallest at mu = 2,"):
        belt(grid, toys, np.array([9.0, 5.0, 9.0]))


def test_failed_toys_are_counted_and_left_out() -> None:
    t = np.concatenate([np.linspace(0, 4, 100), np.full(10, 99.0)])
    toys = [block(t, t < 50)] * 3
    found = belt(np.arange(3.0), toys, np.zeros(3))
    assert (found.points[0].toys, found.points[0].failed) == (100, 10)
    assert found.points[0].critical["0.9"] < 4
    with pytest.raises(TaskError, match="no toy thrown at mu = 0 has a fit that converged"):
        belt(np.arange(3.0), [block(t, t > 100)] * 3, np.zeros(3))


def test_value_whose_fit_failed_is_not_accepted_and_leaves_the_interval_open() -> None:
    toys = [block(np.linspace(0, 4, 100))] * 5
    found = belt(np.arange(5.0), toys, np.array([9.0, 0.5, np.nan, 0.2, 9.0]))
    assert [point.t for point in found.points] == [9.0, 0.5, None, 0.2, 9.0]
    assert [point.accepted["0.9"] for point in found.points] == [False, True, False, True, False]
    assert found.open == ("0.9",)


def test_statistic_is_that_of_the_bound_where_a_nuisance_would_run_away() -> None:
    """The smallest -ln L within the bounds, 5 standard deviations, in closed form."""
    data = counting(7000, b=5000, s=2000, sigma=0.05)
    best = minimise(data, data.rates)
    t = profile.statistic(data, best, "mu", np.array([0.0, 0.8, 1.0, 5.0]))
    expected = np.array([5000 * 1.05**5, 10_000 + 5000 * 1.05**-5])
    exact = 2 * (expected - 7000 - 7000 * np.log(expected / 7000) + 5**2 / 2)
    np.testing.assert_allclose(t[[0, 3]], exact, rtol=1e-6)
    assert t[2] == pytest.approx(0, abs=1e-6)


def test_intervals_are_read_off_the_smooth_curve_with_raw_values_beside() -> None:
    """t of the data is that of a Gaussian measurement: the edges are where it meets the curve, and nearer to the truth."""
    grid, best = np.linspace(0, 4, 21), 2.0
    exact = np.sqrt(stats.chi2.ppf(0.9, 1))
    edges: dict[bool, list[float]] = {True: [], False: []}
    for seed in range(30):
        generator = np.random.default_rng(seed)
        toys = [block(generator.chisquare(1, 400)) for _ in grid]
        for smoothed, found in edges.items():
            made = neyman.belt("mu", grid, toys, (grid - best) ** 2, [0.9], counting(1).rates, smoothed=smoothed)
            ((low, high),) = made.intervals["0.9"]
            found += [best - low, high - best]
            values, raw = ([getattr(p, name)["0.9"] for p in made.points] for name in ("critical", "critical_raw"))
            assert (made.curves["0.9"] is None) == (values == raw)
    assert np.std(edges[True]) < 0.6 * np.std(edges[False])
    assert np.mean(edges[True]) == pytest.approx(exact, abs=0.02)
