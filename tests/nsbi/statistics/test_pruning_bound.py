"""What histograms and yields say of a variation before anything is trained is more than it does to the result."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from problems import exact, smooth

from needle_parsl.analysis import Model, Parameter
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.data.variation_effects import Shares, compared
from needle_parsl.nsbi.statistics.dataset import Dataset
from needle_parsl.nsbi.statistics.fits.fitting import minimise
from needle_parsl.nsbi.statistics.model.builder import Builder

Array = np.ndarray
PROBLEM = smooth.gaussian()
BUILDER = Builder.of(
    Model({"mu": Parameter(1.0, (0.0, 5.0))}, {n: p.multiplier for n, p in PROBLEM.processes.items()}, {}), ()
)
AXIS = np.linspace(-5.5, 5.5, 201)
X = np.stack(np.meshgrid(AXIS, AXIS), axis=-1).reshape(-1, 2)
CELL = (AXIS[1] - AXIS[0]) ** 2
RATIOS = exact.log_ratios(PROBLEM, X)


def expected(process: str) -> Array:
    return PROBLEM.processes[process].events * np.exp(PROBLEM.log_density(process, X, {})) * CELL


def bound(process: str, change: Array) -> float:
    """Give the shift that `plan.pruning` allows for, in errors of mu."""
    nominal = expected(process)
    parts = [
        Events(x=X.astype(np.float32), weight=weight, id=np.arange(len(X), dtype=np.uint64), names=("x1", "x2"))
        for weight in (nominal, nominal * (1 + change))
    ]
    first = Shares.of(parts[0], complete=True)
    assert first
    second = Shares.of(parts[1], complete=True, edges=first.edges)
    assert second
    found = compared(first, second, independent=False)
    events = nominal.sum()
    return float(np.sqrt(events * float(found["shape"]) + events * (float(found["relative"]) - 1) ** 2))


def shift(process: str, change: Array) -> float:
    """Fit data of the variation with the nominal model."""
    weight = sum((expected(name) for name in PROBLEM.processes), np.zeros(len(X)))
    simulation = Dataset.of(
        X[:2], {n: v[:2] for n, v in RATIOS.items()}, samples=dict.fromkeys(PROBLEM.processes, 1), yields=exact.yields(PROBLEM)
    )  # fmt: skip
    fits = []
    for data in (weight, weight + expected(process) * change):
        likelihood = BUILDER.likelihood(Dataset.of(X, RATIOS, weight=data), simulation)
        fits.append(minimise(likelihood, likelihood.rates))
    nominal, varied = fits
    return (varied.value("mu") - nominal.value("mu")) / nominal.error("mu")


CHANGES: dict[str, tuple[str, Callable[[Array], Array]]] = {
    "yield of the signal 1 %": ("signal", lambda x: 0.01 + 0 * x[:, 0]),
    "yield of the background 0.1 %": ("background", lambda x: 0.001 + 0 * x[:, 0]),
    "signal, slope in x1": ("signal", lambda x: 0.005 * np.clip(x[:, 0], -3, 3)),
    "background, slope in x1": ("background", lambda x: 0.002 * np.clip(x[:, 0], -3, 3)),
    "background, slope in x2": ("background", lambda x: 0.002 * np.clip(x[:, 1], -3, 3)),
    "background, tail of x1": ("background", lambda x: 0.01 * (x[:, 0] > 2)),
    "background, yield and wave": ("background", lambda x: 0.0005 + 0.002 * np.sin(2 * x[:, 0])),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_variation_moves_the_result_by_less_than_its_bound(name: str) -> None:
    process, change = CHANGES[name]
    most, seen = bound(process, change(X)), shift(process, change(X))
    print(f"| {name} | {most:.3f} | {seen:+.3f} |")  # noqa: T201  for the docs
    assert 0.001 < abs(seen) < most
