"""Ratios where there are too few events to learn them: a risk where the fit depends on them, and none where it does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from scipy import stats

from needle_parsl.analysis import Diagnostics, Model, Parameter
from needle_parsl.nsbi.estimators.results import RatioDiagnostics
from needle_parsl.nsbi.report.checks import ratios as checks
from needle_parsl.nsbi.statistics.dataset import Dataset
from needle_parsl.nsbi.statistics.fits.fitting import minimise
from needle_parsl.nsbi.statistics.model.builder import Builder
from needle_parsl.nsbi.statistics.results import SparseRegion
from needle_parsl.nsbi.statistics.sparse_regions import sparse_regions

Floats = np.ndarray
GRID = np.linspace(-6, 16, 20_001)
"""Data without scatter: points with what is expected at each."""


@dataclass(frozen=True)
class Problem:
    """Processes that are Gaussian in one feature; the first is the signal, and the last the reference."""

    centres: Mapping[str, float]
    yields: Mapping[str, float]
    simulated: Mapping[str, int]
    widths: float = 0.7

    @property
    def builder(self) -> Builder:
        signal, *others = self.yields
        return Builder.of(
            Model({"mu": Parameter(1.0, (0.0, 20.0))}, {signal: "mu", **dict.fromkeys(others, "1")}, {}), ()
        )

    def density(self, name: str, x: Floats) -> Floats:
        return stats.norm.logpdf(x, self.centres[name], 1.0 if name == self.reference else self.widths)

    @property
    def reference(self) -> str:
        return list(self.yields)[-1]

    def ratios(self, x: Floats) -> dict[str, Floats]:
        return {name: self.density(name, x) - self.density(self.reference, x) for name in self.yields}

    @property
    def simulation(self) -> Dataset:
        rng = np.random.default_rng(1)
        x = {
            n: rng.normal(self.centres[n], 1.0 if n == self.reference else self.widths, size)
            for n, size in self.simulated.items()
        }
        weight = [np.full(size, self.yields[n] / size) for n, size in self.simulated.items()]
        joined = np.concatenate(list(x.values()))
        return Dataset.of(
            joined, self.ratios(joined), weight=np.concatenate(weight), samples=self.simulated, yields=self.yields
        )

    def found(self, against: Sequence[str]) -> SparseRegion:
        signal = next(iter(self.yields))
        return sparse_regions(self.builder.likelihood, self.simulation, "mu", {signal: against})[signal]

    def shift(self, edge: float, by: float) -> float:
        """Fit what is truly expected with ln r of the signal off by so much beyond an edge; give mu - 1 in its error."""
        step = GRID[1] - GRID[0]
        ratios, densities = self.ratios(GRID), {n: np.exp(self.density(n, GRID)) for n in self.yields}
        weight = step * sum(total * densities[n] for n, total in self.yields.items())
        ratios[next(iter(self.yields))] = ratios[next(iter(self.yields))] + by * (edge < GRID)
        data = Dataset.of(GRID, ratios, weight=weight)
        likelihood = self.builder.likelihood(data, self.simulation)
        best = minimise(likelihood, likelihood.rates)
        return (best.value("mu") - 1) / best.error("mu")


def state(found: SparseRegion) -> str:
    """What the report says of a ratio."""
    numbers = RatioDiagnostics.from_json({"support": found.share})
    said = checks.CHECKS["support"].look("signal", numbers, Diagnostics(), checks.Run(1, {"signal": found}))
    return next(iter(said))[0]


FEW = Problem(
    {"signal": 3.0, "background": 0.0}, {"signal": 150.0, "background": 20_000.0}, {"signal": 5000, "background": 500}
)
"""Where the signal is, a few simulated events stand for some hundred of the background."""
ALONE = Problem(
    {"signal": 9.0, "background": 0.0}, {"signal": 150.0, "background": 20_000.0}, {"signal": 5000, "background": 5000}
)
"""Nothing but the signal where it is."""
TWO = Problem(
    {"signal": 9.0, "top": 9.5, "background": 0.0},
    {"signal": 150.0, "top": 300.0, "background": 20_000.0},
    {"signal": 5000, "top": 5000, "background": 5000},
)
"""The reference is not where the others are, which need the ratio to each other there."""


def test_a_fit_that_depends_on_what_could_not_be_learned_fails() -> None:
    found = FEW.found(["background"])
    assert found.share > 0.05
    assert found.effective < 10
    assert found.shift is not None
    assert found.shift > 1
    assert state(found) == "fail"
    assert abs(FEW.shift(2.0, -1 / found.effective**0.5)) > 1


def test_a_signal_that_is_alone_is_a_warning_and_its_ratio_does_not_matter() -> None:
    found = ALONE.found(["background"])
    assert found.share > 0.95
    assert found.shift is not None
    assert found.shift < 0.05
    assert state(found) == "warning"
    assert abs(ALONE.shift(5.0, -1.0)) < 0.05


def test_the_same_ratio_is_known_to_a_network_of_all_processes_and_not_to_one_against_the_reference() -> None:
    binary, joint = TWO.found(["background"]), TWO.found(["top", "background"])
    assert state(binary) == "fail"
    assert abs(TWO.shift(5.0, -0.3)) > 1
    assert joint.share < 0.05
    assert state(joint) == "pass"


def test_the_shift_is_that_of_a_fit() -> None:
    """To first order in ln r, and with the truth in the place of few events."""
    problem = Problem(
        {"signal": 2.0, "background": 0.0},
        {"signal": 150.0, "background": 3000.0},
        {"signal": 20_000, "background": 600},
    )
    found = problem.found(["background"])
    simulation = problem.simulation
    edge = np.quantile(simulation.x[:20_000, 0], 1 - found.share)
    fitted = [problem.shift(edge, sign / max(found.effective, 1.0) ** 0.5) for sign in (1, -1)]
    assert found.shift == pytest.approx(np.abs(fitted).max(), rel=0.3)


def test_the_ends_of_a_finite_sample_are_not_beyond_the_reference() -> None:
    same = Problem(
        {"signal": 0.0, "background": 0.0},
        {"signal": 150.0, "background": 3000.0},
        {"signal": 5000, "background": 5000},
        1.0,
    )
    assert same.found(["background"]) == SparseRegion(share=0.0, effective=0.0, beyond=0.0, shift=0.0)
    assert ALONE.found(["background"]).beyond > 0.95


def test_what_is_not_in_the_fit_is_not_judged() -> None:
    simulation, build = ALONE.simulation, ALONE.builder.likelihood
    assert sparse_regions(build, simulation, "mu", {"signal": ["beside"]}) == {}
    assert sparse_regions(build, simulation, "mu", {"beside": ["background"]}) == {}
    assert sparse_regions(build, simulation, "mu", {}) == {}


@pytest.mark.parametrize(
    ("share", "shift", "expected"),
    [(0.3, 0.1, "warning"), (0.02, 0.1, "pass"), (0.02, 0.5, "warning"), (0.02, 1.5, "fail"), (0.3, None, "fail"), (0.02, None, "warning")],
)  # fmt: skip
def test_the_effect_on_the_fit_decides(share: float, shift: float | None, expected: str) -> None:
    assert state(SparseRegion(share, 0.0, share, shift)) == expected


def test_a_few_events_that_do_not_matter_are_no_risk() -> None:
    assert state(SparseRegion(share=0.3, effective=8.0, beyond=0.01, shift=0.2)) == "pass"
