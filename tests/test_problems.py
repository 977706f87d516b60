"""The problems with exact densities are what they say: densities are normalised, and events follow them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from problems import PROBLEMS, RATE, SHAPE, Array, Problem, Sample, exact
from scipy import stats

from needle_parsl.analysis import Model, Nuisance, Parameter
from needle_parsl.nsbi.statistics.dataset import at
from needle_parsl.nsbi.statistics.fits.fitting import minimise
from needle_parsl.nsbi.statistics.model.builder import Builder

EVENTS = 10_000
SIGMAS = 4.5
"""Some 300 comparisons are made: one in 500 of such a set of seeds would fail."""


@pytest.fixture(params=PROBLEMS.values(), ids=PROBLEMS)
def problem(request: pytest.FixtureRequest) -> Problem:
    return request.param


def generator(seed: int) -> np.random.Generator:
    return np.random.default_rng([20, seed])


def ends(problem: Problem) -> tuple[str, str]:
    """The first and the second process: signal and background, or two of the interfering ones."""
    first, second = list(problem.processes)[:2]
    return first, second


class Proposal:
    """Points of known density in a box: every feature on its own, as often in its quantiles as a pilot sample, atoms apart."""

    def __init__(self, pilot: Array) -> None:
        self.columns = [self.column(values) for values in pilot.T]

    @staticmethod
    def column(values: Array) -> tuple[Array, Array, Array]:
        """Lower and upper edges of pieces, and how often each is chosen; an atom has equal edges."""
        found, counts = np.unique(values, return_counts=True)
        atoms = counts > 0.001 * len(values)
        low = high = found[atoms]
        often = counts[atoms].astype(float)
        rest = values[~np.isin(values, low)]
        if len(rest) > 0.1 * len(values):
            edges = np.quantile(rest, np.linspace(0.005, 0.995, 100))
            low, high = np.r_[low, edges[:-1]], np.r_[high, edges[1:]]
            often = np.r_[often, np.full(99, len(rest) / 99)]
        return low, high, often / often.sum()

    def draw(self, events: int, generator: np.random.Generator) -> tuple[Array, Array]:
        x, log_q = np.empty((events, len(self.columns))), np.zeros(events)
        for i, (low, high, often) in enumerate(self.columns):
            piece = generator.choice(len(low), events, p=often)
            x[:, i] = generator.uniform(low[piece], high[piece])
            log_q += np.log(often[piece] / np.where(high > low, high - low, 1.0)[piece])
        return x, log_q

    def inside(self, x: Array) -> np.ndarray:
        found = np.ones(len(x), bool)
        for (low, high, _), values in zip(self.columns, x.T, strict=True):
            atoms = low[low == high]
            pieces = low < high
            span = (values >= low[pieces].min()) & (values < high[pieces].max()) if pieces.any() else False
            found &= np.isin(values, atoms) | span
        return found


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_densities_are_normalised(problem: Problem, alpha: float) -> None:
    """The integral over a box, by importance sampling with an independent density, is the fraction of events in it."""
    for number, name in enumerate(ends(problem)):
        rng = generator(number)
        x = problem.draw(name, rng, 2 * EVENTS, alpha)
        proposal = Proposal(x[:EVENTS])
        points, log_q = proposal.draw(EVENTS, rng)
        weight = np.exp(problem.log_density(name, points, {SHAPE: alpha}) - log_q)
        fraction = proposal.inside(x[EVENTS:]).mean()
        error = np.hypot(weight.std() / np.sqrt(EVENTS), np.sqrt(fraction * (1 - fraction) / EVENTS))
        assert error < 0.04
        assert weight.mean() == pytest.approx(fraction, abs=SIGMAS * error)


def balanced(samples: tuple, logs: tuple, scores: tuple) -> Array:
    """E_p[h q / (p + q)] - E_q[h p / (p + q)] in its errors, for bounded h; twins are one event.

    Args:
        samples: Of p and q.
        logs: ln q/p in both.
        scores: h of both, shape (N, H).
    """
    values, numbers = [], []
    for sign, sample, log, score in zip((1, -1), samples, logs, scores, strict=True):
        f = score / (1 + np.exp(-np.clip(sign * log, -700, 700)))[:, None]
        share = sample.weight[:, None] / sample.weight.sum()
        mean = (share * f).sum(axis=0)
        values += [(sign * mean, sign * share * (f - mean))]
        numbers += [sample.event]
    total = values[0][0] + values[1][0]
    _, place = np.unique(np.concatenate(numbers), return_inverse=True)
    each = np.concatenate([values[0][1], values[1][1]])
    summed = np.array([np.bincount(place, column) for column in each.T])
    return total / np.sqrt((summed**2).sum(axis=1))


def scores(x: Array, like: Array) -> Array:
    """1, and every feature squeezed between -1 and 1."""
    low, middle, high = np.quantile(like, [0.2, 0.5, 0.8], axis=0)
    return np.column_stack([np.ones(len(x)), np.tanh((x - middle) / np.where(high > low, high - low, 1.0))])


def compared(problem: Problem, p: tuple, q: tuple) -> Array:
    """Compare two samples with the densities that they should have: (sample, process, alpha) each."""
    samples = p[0], q[0]
    logs = []
    for sample in samples:
        one, other = (problem.log_density(name, sample.x, {SHAPE: alpha}) for _, name, alpha in (p, q))
        assert np.isfinite(np.where(one > other, one, other)).all()
        logs.append(other - one)
    like = samples[0].x
    return balanced(samples, tuple(logs), tuple(scores(sample.x, like) for sample in samples))


def test_simulated_events_follow_the_densities(problem: Problem) -> None:
    first, second = ends(problem)
    made = {name: problem.simulate(name, generator(9), EVENTS) for name in (first, second)}
    pulls = [compared(problem, (made[first]["nominal"], first, 0.0), (made[second]["nominal"], second, 0.0))]
    for name in (first, second):
        for side, alpha in (("up", 1.0), ("down", -1.0)):
            pulls.append(compared(problem, (made[name]["nominal"], name, 0.0), (made[name][side], name, alpha)))
    assert np.abs(pulls).max() < SIGMAS


def test_wrong_density_would_be_seen() -> None:
    """The comparison finds a nuisance that is off by half a sigma."""
    problem = PROBLEMS["gaussian"]
    made = problem.simulate("background", generator(9), EVENTS)
    pulls = compared(problem, (made["nominal"], "background", 0.0), (made["up"], "background", 0.5))
    assert np.abs(pulls).max() > 10


def test_weights_add_up(problem: Problem) -> None:
    for name, process in problem.processes.items():
        made = problem.simulate(name, generator(3), EVENTS)
        sums = {side: (sample.weight.sum(), np.sqrt((sample.weight**2).sum())) for side, sample in made.items()}
        assert sums["nominal"][0] == pytest.approx(process.events, abs=SIGMAS * sums["nominal"][1])
        assert set(made) == ({"nominal", "up", "down"} if process.varied else {"nominal"})
        for side in set(made) - {"nominal"}:
            expected = exact.yields(problem)[f"{name}.{SHAPE}.{side}"]
            assert sums[side][0] == pytest.approx(expected, abs=SIGMAS * sums[side][1])


def test_twins_have_one_number_and_one_weight(problem: Problem) -> None:
    every = []
    for name in problem.processes:
        made = problem.simulate(name, generator(4), 2000)
        every += [made["nominal"].event]
        for side in set(made) - {"nominal"}:
            _, mine, other = np.intersect1d(made["nominal"].event, made[side].event, return_indices=True)
            if not problem.twins:
                assert not len(mine)
                continue
            assert len(mine) > 0.85 * len(made["nominal"].event)
            gain = problem.processes[name].gain ** (1 if side == "up" else -1)
            np.testing.assert_allclose(made[side].weight[other], gain * made["nominal"].weight[mine])
    joined = np.concatenate(every)
    assert len(np.unique(joined)) == len(joined)


@pytest.mark.parametrize(("name", "share"), [("negative_3", {"signal": 0.0, "background": 0.03}), ("negative_15", {"signal": 0.15, "background": 0.15})])  # fmt: skip
def test_shares_of_negative_weights(name: str, share: dict[str, float]) -> None:
    for process, expected in share.items():
        weight = PROBLEMS[name].simulate(process, generator(5), EVENTS)["nominal"].weight
        error = np.sqrt(expected / EVENTS)
        assert (weight < 0).mean() == pytest.approx(expected, abs=SIGMAS * error)


@pytest.mark.parametrize("point", [(1.0, 0.0, 0.0), (2.0, 1.0, -1.0)])
def test_pseudo_data_follow_the_model(problem: Problem, point: tuple[float, float, float]) -> None:
    mu, alpha, rate = point
    nuisances, rng = {SHAPE: alpha, RATE: rate}, generator(6)
    expected = problem.expected(mu, nuisances)
    total = sum(expected.values())
    x = np.concatenate([problem.pseudo_data(rng, mu, nuisances) for _ in range(3)])
    assert len(x) == pytest.approx(3 * total, abs=SIGMAS * np.sqrt(3 * total))
    first, _ = ends(problem)
    other = problem.draw(first, rng, EVENTS)
    logs = []
    for values in (x, other):
        rates = sum(n * np.exp(problem.log_density(name, values, {SHAPE: alpha})) for name, n in expected.items() if n)
        logs.append(problem.log_density(first, values, {}) - np.log(rates / total))
    samples = [unweighted(values, start) for values, start in ((x, 0), (other, 10**6))]
    assert np.abs(balanced(tuple(samples), tuple(logs), (scores(x, x), scores(other, x)))).max() < SIGMAS


def unweighted(x: Array, first: int) -> Sample:
    return Sample(x, np.ones(len(x)), np.arange(first, first + len(x)))


def test_exact_fit_measures_mu(problem: Problem) -> None:
    """5 to 30 % of mu with some thousand events, and a model that stays normalised where it interpolates."""
    simulated = exact.simulation(problem, generator(7), 5000)
    table = problem.model()
    nuisances = {name: Nuisance(**one) for name, one in table["nuisances"].items()}
    model = Model({"mu": Parameter(1.0, problem.bounds)}, table["processes"], nuisances)
    builder = Builder.of(model, exact.shapes(problem))
    factors = dict(zip(builder.rates.processes, builder.rates.factors(builder.rates.start)[0], strict=True))
    likelihood = builder.likelihood(at(simulated, factors), simulated)
    fit = minimise(likelihood, likelihood.rates)
    assert fit.converged
    assert 0.05 < fit.error("mu") < 0.3 + 0.03
    assert 2500 < simulated.weight @ np.array([*factors.values()])[simulated.sample] < 5500
    for alpha in (1.0, -1.0, 0.5):
        for z in likelihood.normalisations(likelihood.rates.at({SHAPE: alpha})).values():
            assert z.z == pytest.approx(1, abs=1e-9 if abs(alpha) == 1 else 0.01)


def test_seeds_say_what_comes() -> None:
    problem = PROBLEMS["negative_15"]
    one, same, other = (problem.simulate("signal", np.random.default_rng(seed), 100)["up"] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.x, same.x)
    assert not np.array_equal(one.x, other.x)
    flat = replace(problem, spread=0.5).simulate("signal", np.random.default_rng(1), 5000)["nominal"]
    assert stats.variation(np.abs(flat.weight)) > 0.4
