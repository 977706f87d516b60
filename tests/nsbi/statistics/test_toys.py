"""Toys: their law, their seeds, what cannot be drawn, and what their fits say."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from problems.likelihoods import build, counting
from scipy import stats

from needle_parsl.analysis import Model, Nuisance, Parameter
from needle_parsl.densities import Shape
from needle_parsl.errors import InputError
from needle_parsl.nsbi.statistics import dataset
from needle_parsl.nsbi.statistics.intervals import coverage
from needle_parsl.nsbi.statistics.model.builder import Builder
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
from needle_parsl.nsbi.statistics.results import Belt
from needle_parsl.nsbi.statistics.toys import block as blocks
from needle_parsl.nsbi.statistics.toys import pool as toys
from needle_parsl.nsbi.statistics.toys.block import Block

CENTRE = np.array([1.0, 1.0, 0, 0, 0])


def test_counts_are_poisson_event_by_event() -> None:
    """Drawing the total, then the events, has the law of one Poisson number per event."""
    events = build()
    weight = np.random.default_rng(1).uniform(0, 0.2, events.tables[0].y.shape[1])
    table, *rest = events.tables
    labelled = replace(table, y=np.arange(table.y.shape[1], dtype=float)[None].repeat(3, axis=0))
    pool = toys.ToyPool(replace(events, tables=(labelled, *rest)), weight, 0.0)
    counts = np.zeros((4000, len(weight)))
    for toy, thrown in enumerate(toys.drawn(pool, CENTRE, range(len(counts)))):
        np.add.at(counts[toy], pool.likelihood.take(*thrown).tables[0].y[0].astype(int), 1)
    n = len(counts)
    pulls = (counts.mean(axis=0) - weight) / np.sqrt(weight / n)
    assert stats.kstest(pulls, "norm").pvalue > 1e-3
    assert np.abs(counts.sum(axis=1).var() / weight.sum() - 1) < 5 * math.sqrt(2 / n)
    covariance = np.cov(counts[:, 0], counts[:, 1])[0, 1]
    assert abs(covariance) < 5 * math.sqrt(weight[0] * weight[1] / n)


def test_auxiliary_observations_are_thrown_around_the_truth() -> None:
    pool = toys.ToyPool(build(), np.full(600, 0.01), 0.0)
    truth = np.array([1.0, 1.0, 0.5, -1.0, 0.0])
    thrown = np.array([toy.constraints.auxiliary for toy in toys.drawn(pool, truth, range(3000))])
    assert np.abs(thrown.mean(axis=0) - truth[2:]).max() < 5 / math.sqrt(3000)
    np.testing.assert_allclose(np.cov(thrown.T), np.eye(3), atol=5 * math.sqrt(2 / 3000))


def test_a_toy_is_what_its_seed_says_wherever_the_block_is_cut() -> None:
    pool = toys.ToyPool(build(), np.full(600, 0.1), 0.0)
    seeds = list(range(100, 112))

    def fitted(seeds: list[int]) -> Block:
        return Block.of(pool.likelihood, toys.drawn(pool, CENTRE, seeds), "mu", CENTRE, (600.0, 0.0))

    whole, cut = fitted(seeds), Block.join([fitted(seeds[:5]), fitted(seeds[5:])])
    for name in blocks.COLUMNS:
        np.testing.assert_array_equal(getattr(whole, name), getattr(cut, name))


@pytest.mark.parametrize("theta", [CENTRE, np.array([0.4, 1.5, 2.5, -3.0, 0.3])])
def test_model_is_normalised_on_its_own_pool_wherever_a_fit_goes(theta: np.ndarray) -> None:
    """sum_e w_e lambda_e is nu: what the ratios miss on these events, Z_j takes in."""
    events = build()
    pool = toys.model_pool(events, events.tables[0].count, theta)
    expected = pool.likelihood.expected(theta).sum()
    assert pool.expected == pytest.approx(expected, rel=1e-9)  # the pool is small enough to stand behind Z_j whole


def gaussians(n: int, multipliers: dict[str, str]) -> tuple[Likelihood, dataset.Dataset]:
    """A signal one standard deviation above the background, with exact ratios, and its simulation."""
    generator = np.random.default_rng(7)
    x = np.concatenate([generator.normal(1, 1, n), generator.normal(0, 1, n)])
    data = dataset.Dataset(x=x[:, None].astype(np.float32), weight=np.repeat([100 / n, 500 / n], n), sample=np.repeat([0, 1], n),
                           samples=("s", "b"), ratios={"s": x - 0.5}, yields={"s": 100.0, "b": 500.0})  # fmt: skip
    table = Model({"mu": Parameter(1.0, (0.0, 5.0))}, multipliers, {})
    return Builder.of(table, ()).likelihood(data, data), data


def test_simulation_is_weighted_to_the_truth() -> None:
    likelihood, data = gaussians(2000, {"s": "mu", "b": "1"})
    pool = toys.simulation_pool(likelihood, [data], likelihood.rates.at({"mu": 2.5}))
    assert pool.weight[data.sample == 0].sum() == pytest.approx(250)
    assert pool.weight[data.sample == 1].sum() == pytest.approx(500)
    assert pool.effective == pytest.approx(750**2 / (250**2 / 2000 + 500**2 / 2000))


def test_each_process_is_resampled_by_itself() -> None:
    """Totals of processes are independent Poisson numbers, and the events of each are picked by their weights within it."""
    likelihood, data = gaussians(2000, {"s": "mu", "b": "1"})
    data = replace(data, weight=data.weight * np.linspace(0.5, 1.5, 2000)[np.arange(4000) % 2000])
    truth = likelihood.rates.at({"mu": 0.5})
    pool = toys.simulation_pool(likelihood, [data], truth)
    n = 3000
    rows = [draw.rows for draw in toys.drawn(pool, truth, range(n))]
    totals = np.array([np.bincount(data.sample[own], minlength=2) for own in rows])
    for j, mean in enumerate((50.0, 500.0)):
        edges = stats.poisson.ppf(np.linspace(0, 1, 11)[1:-1], mean)
        expected = n * np.diff(stats.poisson.cdf(np.concatenate([[-1], edges, [10 * mean]]), mean))
        seen = np.bincount(np.searchsorted(edges, totals[:, j]), minlength=10)
        assert stats.chisquare(seen, expected * n / expected.sum()).pvalue > 1e-3
    assert stats.pearsonr(*totals.T).pvalue > 1e-3
    first = np.concatenate(rows)
    places = first[first < 2000]  # of the signal, whose weights rise from 1/2 to 3/2 of their mean
    half = (places >= 1000).mean()
    assert abs(half - 0.625) < 4 * math.sqrt(0.625 * 0.375 / len(places))


def test_what_cannot_be_drawn_is_refused() -> None:
    likelihood, data = gaussians(100, {"s": "mu - sqrt(mu)", "b": "1"})
    with pytest.raises(InputError, match=r"100 simulated events of s have negative weights .* toys.generate"):
        toys.simulation_pool(likelihood, [data], likelihood.rates.at({"mu": 0.25}))
    pool = toys.simulation_pool(likelihood, [data], likelihood.rates.at({"mu": 1.0}))
    with pytest.raises(InputError, match=r"100 effective simulated events stand behind toys of 500 expected events"):
        toys.sufficient(pool, 1.0)
    assert toys.sufficient(pool, 0.1) is pool


def test_negative_densities_are_vetoed_and_counted() -> None:
    events, data = gaussians(2000, {"s": "mu", "b": "1"})
    weight = np.where(np.arange(4000) % 100 == 0, -data.weight, data.weight)
    pool = toys.model_pool(events, weight, events.rates.start)
    assert (pool.weight >= 0).all()
    assert pool.vetoed > 0
    assert pool.expected == pytest.approx(600)  # of what can be drawn
    with pytest.raises(InputError, match="have a negative density or weight, and cannot be drawn"):
        toys.model_pool(events, np.where(np.arange(4000) % 4 == 0, -data.weight, data.weight), events.rates.start)


def test_estimates_of_gaussian_toys_are_unbiased_and_cover() -> None:
    """Poisson toys of a counting experiment, 400 of them: within four errors of what theory says."""
    likelihood = counting(1, b=500.0, s=200.0)
    truth = likelihood.rates.at({"mu": 1.5})
    pool = toys.ToyPool(likelihood, np.array([800.0]), 0.0)
    block = Block.of(likelihood, toys.drawn(pool, truth, range(400)), "mu", truth, (1.0, 0.0))
    assert block.converged.all()
    points = coverage.points(block, "mu", [0.68, 0.95])
    assert [point.level for point in points] == [0.68, 0.95]
    for point in points:
        assert point.truth["mu"] == pytest.approx(1.5)
        assert abs(point.coverage - point.level) < 4 * point.error
        assert abs(point.bias) < 4 * point.bias_error
        assert abs(point.pull_width - 1) < 4 * point.pull_width_error
        assert point.spread == pytest.approx(math.sqrt(800) / 200, rel=0.2)


def test_coverage_counts_failures_and_knows_the_belt() -> None:
    n = 100
    t = np.linspace(0, 4, n)
    values = np.linspace(-1, 1, n)[:, None]
    good = np.arange(n) < 90
    block = Block(
        parameters=("mu",),
        truth=np.array([0.5]),
        effective=math.inf,
        vetoed=0.0,
        events=np.full(n, 7),
        values=values,
        errors=np.ones((n, 1)),
        pulls=values,
        t=t,
        nll=t,
        converged=good,
    )
    grid = [{"mu": 0.0, "critical": {"0.9": 1.0}}, {"mu": 1.0, "critical": {"0.9": 3.0}}]
    belt = Belt.from_json({"parameter": "mu", "points": grid, "statistic": "t_mu", "intervals": {"0.9": []}})
    profile, neyman = coverage.points(block, "mu", [0.9], belt)
    assert (profile.toys, profile.failed) == (90, 10)
    assert profile.coverage == pytest.approx((t[good] <= stats.chi2.ppf(0.9, 1)).mean())
    assert neyman.coverage == pytest.approx((t[good] <= 2.0).mean())
    assert neyman.method == "neyman"
    outside = replace(block, truth=np.array([2.0]))
    assert len(coverage.points(outside, "mu", [0.9], belt)) == 1


def test_intervals_with_the_ensemble_error_cover_over_ensembles() -> None:
    """Each toy has an ensemble of its own, which shifts its estimate; at fixed weights intervals are too short by sqrt(k)."""
    n, k = 20_000, 1.8
    shift, x = np.random.default_rng(3).normal(0, [[math.sqrt(k - 1)], [1.0]], (2, n))
    t, one, yes = (x + shift) ** 2, np.ones((n, 1)), np.ones(n, bool)
    block = Block(
        parameters=("mu",),
        truth=np.zeros(1),
        effective=math.inf,
        vetoed=0.0,
        events=np.ones(n),
        values=one,
        errors=one,
        pulls=one,
        t=t,
        nll=t,
        converged=yes,
    )
    found = {(p.method, p.level): p for p in coverage.points(block, "mu", [0.68, 0.95], inflation=k)}
    for level in (0.68, 0.95):
        own, fixed = found["profile_ensemble", level], found["profile", level]
        assert abs(own.coverage - level) < 4 * own.error
        assert abs(fixed.coverage - stats.chi2.cdf(stats.chi2.ppf(level, 1) / k, 1)) < 4 * fixed.error
        assert (own.inflation, fixed.inflation) == (k, None)


@pytest.mark.slow
def test_coverage_over_replicas_has_the_error_of_replicas() -> None:
    """All toys of a replica share a shift, so that coverage scatters with the replicas; over 300 studies it does as is said."""
    replicas, toys_each, k = 25, 40, 1.8
    generator, level = np.random.default_rng(8), 0.68
    truth = stats.chi2.cdf(stats.chi2.ppf(level, 1) / k, 1)

    def study() -> tuple[float, float, float, float]:
        made = []
        for shift in generator.normal(0, math.sqrt(k - 1), replicas):
            x = generator.normal(shift, 1.0, toys_each)
            values, one, yes = x[:, None], np.ones((toys_each, 1)), np.ones(toys_each, bool)
            made.append(
                Block(
                    parameters=("mu",),
                    truth=np.zeros(1),
                    effective=math.inf,
                    vetoed=0.0,
                    events=one[:, 0],
                    values=values,
                    errors=one,
                    pulls=values,
                    t=x**2,
                    nll=x**2,
                    converged=yes,
                )
            )
        (found,) = coverage.repeated(made, "mu", [level], "retrained")
        assert (found.method, found.replicas, found.toys) == (
            "profile_retrained",
            replicas,
            replicas * toys_each,
        )
        return found.coverage - truth, found.error, found.bias, found.bias_error

    off, error, bias, bias_error = np.array([study() for _ in range(300)]).T
    for pulls in (off / error, bias / bias_error):
        assert abs(pulls.mean()) < 4 / math.sqrt(300)
        assert (
            abs(pulls.std() - 1) < 0.2
        )  # that of Student's t with 24 degrees of freedom is 1.04; four errors are 0.17
    assert error.mean() > 2 * math.sqrt(
        truth * (1 - truth) / (replicas * toys_each)
    )  # what independent toys would have


def test_replica_with_too_few_members_is_left_out_of_coverage() -> None:
    n = 20
    block = Block(parameters=("mu",), truth=np.zeros(1), effective=math.inf, vetoed=0.0, events=np.ones(n), values=np.zeros((n, 1)), errors=np.ones((n, 1)), pulls=np.zeros((n, 1)), t=np.zeros(n), nll=np.zeros(n), converged=np.ones(n, bool))  # fmt: skip
    none = Block.empty(("mu",), np.zeros(1), (math.inf, 0.0))
    (found,) = coverage.repeated([block, none, block], "mu", [0.9], "retrained")
    assert (found.replicas, found.toys, found.coverage) == (2, 2 * n, 1.0)
    assert coverage.repeated([none], "mu", [0.9], "retrained") == []


def test_full_coverage_still_has_an_error() -> None:
    n = 50
    block = Block(parameters=("mu",), truth=np.zeros(1), effective=math.inf, vetoed=0.0, events=np.ones(n), values=np.zeros((n, 1)), errors=np.ones((n, 1)), pulls=np.zeros((n, 1)), t=np.zeros(n), nll=np.zeros(n), converged=np.ones(n, bool))  # fmt: skip
    assert coverage.points(block, "mu", [0.9])[0].error > 0


def test_block_reads_back(tmp_path) -> None:
    pool = toys.ToyPool(build(), np.full(600, 0.1), 0.0)
    made = Block.of(pool.likelihood, toys.drawn(pool, CENTRE, [1, 2]), "mu", CENTRE, (math.inf, 0.5))
    blocks.write(tmp_path / "b.h5", made)
    found = blocks.read(tmp_path / "b.h5")
    assert (found.parameters, found.effective, found.vetoed) == (made.parameters, math.inf, 0.5)
    for name in ("truth", *blocks.COLUMNS):
        np.testing.assert_array_equal(getattr(found, name), getattr(made, name))


def test_normalisation_of_a_pool_of_two_samples_is_that_of_all_its_events() -> None:
    """The events of the first sample come first; those behind the thinned Z_j must not be these alone."""
    n = 30_000
    x = np.concatenate([np.random.default_rng(1).normal(1, 1, n), np.random.default_rng(2).normal(0, 1, n)])
    weight = np.repeat([100 / n, 500 / n], n)
    mixture = np.log((100 * np.exp(x - 0.5) + 500) / 600)
    ratios = {"s": x - 0.5 - mixture, "b": -mixture, "s.up": 0.2 * x - 0.22, "s.down": -0.2 * x + 0.18}
    yields = {"s": 100.0, "b": 500.0, "s.up": 100.0, "s.down": 100.0}
    data = dataset.Dataset(
        x=x[:, None].astype(np.float32),
        weight=weight,
        sample=np.repeat([0, 1], n),
        samples=("s", "b"),
        ratios=ratios,
        yields=yields,
    )
    table = Model({"mu": Parameter(1.0, (0.0, 5.0))}, {"s": "mu", "b": "1"}, {"jes": Nuisance()})
    shapes = (Shape("s", "jes", "s.up", "s.down", ""),)
    events = Builder.of(table, shapes).likelihood(data, data)
    pool = toys.model_pool(events, weight, np.array([1.0, 0.0]))
    for alpha in (-1.0, 1.0):
        for whole, few in zip(events.tables[0].simulation, pool.likelihood.tables[0].simulation, strict=True):
            z, _, _, error = few(np.array([alpha]))
            assert len(few.weight) < 2 * n
            assert few.weight.sum() ** 2 / (few.weight**2).sum() >= 4096
            assert z == pytest.approx(whole(np.array([alpha])).value, abs=5 * error + 0.01)


@pytest.mark.parametrize("b", [1.0, 3.0])
def test_toys_without_an_event_are_fitted(b: float) -> None:
    """At small means many toys are empty; losing them would bias every number that follows."""
    likelihood = counting(1, b=b, s=1.0, sigma=0.1, bounds=(0.0, 20.0))
    truth = likelihood.rates.at({"mu": 0.5})
    pool = toys.ToyPool(likelihood, np.array([b + 0.5]), 0.0)
    block = Block.of(likelihood, toys.drawn(pool, truth, range(60)), "mu", truth, (1.0, 0.0))
    assert (block.events == 0).sum() >= 2
    assert block.converged.mean() > 0.97
    assert (block.values[block.events == 0, 0] < 1e-3).all()
