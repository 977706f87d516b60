"""Two unbinned regions and a binned one with exact densities: Gaussians, whose background moves with a scale and widens in one region alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from needle_parsl.analysis import Binning, Model, Nuisance, Parameter, Region
from needle_parsl.densities import Shape
from needle_parsl.nsbi.statistics.dataset import Dataset
from needle_parsl.nsbi.statistics.model.builder import Builder, Counts
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood

Pair = tuple[Dataset, Dataset]


@dataclass(frozen=True)
class Gaussians:
    """The mean of the signal, and the yields; the background is a unit Gaussian around 0."""

    mean: float
    signal: float
    background: float

    def ratios(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """ln r over the nominal background, and of its variations over it."""
        found = {"s": self.mean * x - self.mean**2 / 2}
        for side, sign in (("up", 1.0), ("down", -1.0)):
            found[f"b.scale.{side}"] = 0.2 * sign * x - 0.2**2 / 2
            found[f"b.width.{side}"] = norm.logpdf(x, 0, 1 + 0.1 * sign) - norm.logpdf(x)
        return found

    def yields(self) -> dict[str, float]:
        varied = {"b.scale.up": 1.05, "b.scale.down": 0.96, "b.width.up": 1.02, "b.width.down": 0.98}
        return {"s": self.signal, "b": self.background} | {n: f * self.background for n, f in varied.items()}

    def simulation(self, rng: np.random.Generator, size: int) -> Dataset:
        x = np.concatenate([rng.normal(self.mean, 1, size), rng.normal(0, 1, size)])
        weight = np.repeat([self.signal / size, self.background / size], size)
        return Dataset.of(x, self.ratios(x), weight=weight, samples={"s": size, "b": size}, yields=self.yields())

    def observed(self, rng: np.random.Generator, mu: float) -> Dataset:
        numbers = rng.poisson([mu * self.signal, self.background])
        x = np.concatenate([rng.normal(self.mean, 1, numbers[0]), rng.normal(0, 1, numbers[1])])
        return Dataset.of(x, self.ratios(x))


LOW, HIGH = Gaussians(0.8, 120.0, 900.0), Gaussians(1.6, 40.0, 200.0)
REGIONS = {"low": LOW, "high": HIGH}
MODEL = Model(
    parameters={"mu": Parameter(1.0, (0.0, 5.0))},
    processes={"s": "mu", "b": "1"},
    nuisances={"scale": Nuisance(), "width": Nuisance(regions=("high",)), "lumi": Nuisance(rate={"b": (1.03, 0.97)})},
    regions={"control": Region(selection="x < -9", binning=Binning("x", (0.0, 1.0, 2.0)))},
)
SHAPES = [Shape("b", name, f"b.{name}.up", f"b.{name}.down", "") for name in ("scale", "width")]
BUILDER = Builder.of(MODEL, SHAPES)


def control(observed: np.ndarray | None = None) -> Counts:
    """A binned region, in which the width does nothing."""
    nominal = {"s": np.array([2.0, 1.0]), "b": np.array([80.0, 120.0])}
    varied = {f"b.{name}.{side}": nominal["b"] * f for name in ("scale", "width") for side, f in (("up", 1.04), ("down", 0.97))}  # fmt: skip
    return Counts("control", nominal | varied, observed)


def pairs(seed: int, size: int = 3000, mu: float = 1.0) -> dict[str, Pair]:
    """Observed and simulated events of each region."""
    rng = np.random.default_rng(seed)
    return {name: (own.observed(rng, mu), own.simulation(rng, size)) for name, own in REGIONS.items()}


def likelihood(events: Mapping[str, Pair], observed: np.ndarray | None = None) -> Likelihood:
    return BUILDER.joint(events, [control(observed)])


def simulated(events: Mapping[str, Pair]) -> Likelihood:
    """The likelihood over all simulated events."""
    return BUILDER.joint({name: (own, own) for name, (_, own) in events.items()}, [control()])
