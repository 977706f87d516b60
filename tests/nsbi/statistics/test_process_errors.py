"""Factors of single processes in bins: against a minimisation over all of them, by differences, in toys, and what is pruned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize

from needle_parsl.analysis import Model, Nuisance, Parameter
from needle_parsl.nsbi.statistics.analyses import break_down
from needle_parsl.nsbi.statistics.fits.fitting import minimise
from needle_parsl.nsbi.statistics.model import regions
from needle_parsl.nsbi.statistics.model.builder import Builder, Counts
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
from needle_parsl.nsbi.statistics.model.process_errors import ProcessErrors
from needle_parsl.nsbi.statistics.model.reweighting import asimov
from needle_parsl.nsbi.statistics.results import RegionCounts
from needle_parsl.nsbi.statistics.toys.compiled.preparation import unsupported
from needle_parsl.nsbi.statistics.toys.pool import drawn, no_pool

EXPECTED = {"s": np.array([20.0, 8.0, 3.0]), "b": np.array([100.0, 60.0, 30.0]), "c": np.array([20.0, 10.0, 6.0])}
ERRORS = {"s": np.array([1.0, 0.7, 0.3]), "b": np.array([20.0, 6.0, 1.0]), "c": np.array([3.0, 3.0, 2.0])}
MODEL = Model(
    {"mu": Parameter(1.0, (-5.0, 10.0))}, {"s": "mu", "b": "1", "c": "1"}, {"norm": Nuisance(rate={"b": (1.1, 0.92)})}
)
BUILDER = Builder.of(MODEL, [])


def channel(observed: np.ndarray | None, own: tuple[str, ...] = ("b",), threshold: float = 0.0) -> Likelihood:
    return BUILDER.counting([Counts("sr", EXPECTED, observed, ERRORS, own, threshold)])


def direct(errors: ProcessErrors, terms: np.ndarray, count: float) -> float:
    """Minimise over the factors of one bin."""
    v, s, lam = errors.variance[:, 0], errors.seen[:, 0], np.zeros(len(errors.variance))
    np.add.at(lam, errors.group, terms)

    def nll(logs: np.ndarray) -> float:
        gamma = np.exp(logs)
        total = float(gamma @ lam)
        poisson = ((gamma - s - s * np.log(gamma / s)) / v)[:-1].sum()
        return total - (count * np.log(total) if count else 0.0) + poisson + (gamma[-1] - s[-1]) ** 2 / (2 * v[-1])

    return float(minimize(nll, np.zeros(len(v)), method="BFGS", options={"gtol": 1e-8}).fun)


def test_minimum_is_found_in_a_few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Newton's steps converge quadratically; where they end on the bracket of the root, it is not halved again from its middle."""
    tables = [table for table in channel(np.array([150.0, 60.0, 41.0])).tables if table.kind == "bins"]
    (errors,) = [table.staterror for table in tables if isinstance(table.staterror, ProcessErrors)]
    seen, plain = list[int](), ProcessErrors._at

    def counted(self: ProcessErrors, *arguments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        seen.append(1)
        return plain(self, *arguments)

    monkeypatch.setattr(ProcessErrors, "_at", counted)
    errors.profile(np.array([*EXPECTED.values()]), np.array([150.0, 60.0, 41.0]))
    assert len(seen) < 12


@pytest.mark.parametrize("count", [0.0, 3.0, 55.0, 300.0])
def test_factors_are_at_their_minimum_with_exact_derivatives(count: float) -> None:
    rng = np.random.default_rng(int(count))
    group, variance = np.array([0, 1, 2, 2]), np.array([[0.04], [0.2], [0.01]])
    errors = ProcessErrors(group, variance, rng.uniform(0.6, 1.4, (3, 1)))
    terms, n = rng.uniform(1, 60, (4, 1)), np.array([count])
    found = errors.profile(terms, n)
    assert found.value[0] == pytest.approx(direct(errors, terms[:, 0], count), abs=1e-6)
    second = found.common * np.outer(found.direction, found.direction) - found.own[group] * (group[:, None] == group)
    for j in range(4):
        step = 1e-5 * np.eye(4)[:, [j]]
        up, down = errors.profile(terms + step, n), errors.profile(terms - step, n)
        assert found.first[j, 0] == pytest.approx((up.value[0] - down.value[0]) / 2e-5, abs=1e-6)
        np.testing.assert_allclose(second[j], (up.first[:, 0] - down.first[:, 0]) / 2e-5, atol=1e-6)


@pytest.mark.parametrize("observed", [[130.0, 60.0, 41.0], [90.0, 0.0, 20.0]])
def test_derivatives_of_the_likelihood_agree_with_differences(observed: list[float]) -> None:
    likelihood, theta = channel(np.array(observed)), np.array([1.4, 0.3])
    gradient, hessian = likelihood(theta)[1], likelihood.hessian(theta)
    for k in range(2):
        step = np.eye(2)[k] * 1e-5
        up, down = likelihood(theta + step), likelihood(theta - step)
        assert gradient[k] == pytest.approx((up[0] - down[0]) / 2e-5, abs=1e-6)
        np.testing.assert_allclose(hessian[k], (up[1] - down[1]) / 2e-5, atol=1e-5)


def test_one_common_factor_is_that_of_staterror() -> None:
    """Where all processes are in one group, with the same Gaussian constraint, it is the light form."""
    light = channel(np.array([130.0, 60.0, 41.0]), ())
    (table,) = light.of_kind("bins")
    errors = ProcessErrors(np.zeros(3, np.int64), table.staterror.spread[None] ** 2, np.ones((1, 3)))
    tables = tuple(replace(t, staterror=errors) if t.kind == "bins" else t for t in light.tables)
    full, theta = replace(light, tables=tables), np.array([1.7, -0.4])
    np.testing.assert_allclose(full(theta)[1], light(theta)[1], rtol=1e-10)
    np.testing.assert_allclose(full.hessian(theta), light.hessian(theta), rtol=1e-10)


def test_errors_below_the_threshold_are_left_out() -> None:
    region = RegionCounts("sr", (0.0, 1.0, 2.0, 3.0), EXPECTED, ERRORS, None)
    made = regions.counts(region, observed=False, staterror="per_process", threshold=0.1)
    errors = BUILDER.counting([made]).of_kind("bins")[0].staterror
    assert (errors.variance > 0).tolist() == [[False] * 3, [True, False, False], [False] * 3, [False] * 3]
    light = BUILDER.counting([regions.counts(region, observed=False, threshold=0.1)]).of_kind("bins")[0].staterror
    assert (light.spread > 0).tolist() == [True, False, False]


def test_asimov_data_and_toys_return_their_parameters() -> None:
    """Toys are left to iminuit; pulls of 100 of them are those of the error."""
    likelihood = channel(None)
    assert "shapesys" in unsupported(likelihood)
    made = asimov(likelihood, np.array([2.0, 0.5]), np.empty(0, np.int64))
    np.testing.assert_allclose(minimise(made, made.rates).theta, [2.0, 0.5], atol=1e-3)
    truth, pulls = likelihood.rates.at({"mu": 1.0}), []
    for draw in drawn(no_pool(likelihood), truth, range(100)):
        toy = likelihood.take(*draw)
        best = minimise(toy, toy.rates)
        pulls.append((best.value("mu") - 1) / best.error("mu"))
    assert abs(np.mean(pulls)) < 3.5 / 10
    assert np.std(pulls) == pytest.approx(1, abs=3.5 / np.sqrt(200))


def test_breakdown_adds_up() -> None:
    likelihood = channel(np.array([140.0, 78.0, 39.0]), ("b", "c"))
    found = break_down(likelihood, "mu", {"norm": ("norm",)})
    assert {own.name for own in found.components} == {"statistical", "norm", "simulation"}
    assert abs(found.residual("observable")) < 0.02


def test_thrown_simulation_belongs_to_its_region() -> None:
    """A region without errors takes nothing of what is thrown for another one."""
    likelihood = BUILDER.counting([Counts("one", EXPECTED), Counts("two", EXPECTED, None, ERRORS)])
    (draw,) = drawn(no_pool(likelihood), likelihood.rates.start, [3])
    first, second = likelihood.take(*draw).of_kind("bins")
    assert first.staterror is None
    np.testing.assert_array_equal(second.staterror.seen, draw.seen[1])
