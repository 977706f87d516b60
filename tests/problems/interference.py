"""Two amplitudes that interfere, whose densities are all exact: a likelihood to compare others with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from needle_parsl.analysis import Model, Nuisance, Parameter
from needle_parsl.densities import Shape
from needle_parsl.nsbi.statistics.dataset import Dataset
from needle_parsl.nsbi.statistics.model.builder import Builder, Counts
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood

RHO, YIELDS = 0.35, np.array([220.0, 2000.0])
BASE = np.array([[1.0, -0.8, np.log(0.7), np.log(1.5)], np.zeros(4)])
"""Of S and B: two means of unit Gaussians, two logarithms of slopes of exponentials."""
BINS = 10
MULTIPLIERS = {
    "interference": {"s": "mu - sqrt(mu)", "sbi": "sqrt(mu)", "b": "1 - sqrt(mu)"},
    "linear": {"s": "mu", "sbi": "1", "b": "1"},
}


def densities(x: np.ndarray, parameters: np.ndarray) -> np.ndarray:
    gauss = np.exp(-0.5 * ((x[:, :2] - parameters[:2]) ** 2).sum(axis=1)) / (2 * np.pi)
    slopes = np.exp(parameters[2:])
    return gauss * slopes.prod() * np.exp(-(slopes * x[:, 2:]).sum(axis=1))


@dataclass
class Problem:
    """Two amplitudes that interfere, K nuisances that move everything, and ten control bins."""

    mode: str
    nuisances: int = 6
    size: int = 20_000
    seed: int = 1

    def __post_init__(self) -> None:
        rng, k = np.random.default_rng(self.seed), self.nuisances
        small = np.sqrt(6 / max(k, 6))
        self.shift = small * rng.uniform(-1, 1, (k, 2, 4)) * np.array([0.10, 0.10, 0.07, 0.07])
        self.log_yield = small * rng.uniform(-1, 1, (k, 2)) * np.array([0.08, 0.06])
        self.bin_log = small * rng.uniform(-1, 1, (k, 2, BINS)) * 0.08
        self.bins = np.array([12.0 * np.exp(-0.25 * np.arange(BINS)), 400.0 * np.exp(-0.30 * np.arange(BINS))])
        from_s = rng.random(self.size) < 0.3
        base = np.where(from_s[:, None], *BASE[:, None])
        self.x = np.column_stack(
            [
                base[:, :2] + rng.standard_normal((self.size, 2)),
                rng.standard_exponential((self.size, 2)) / np.exp(base[:, 2:]),
            ]
        )
        self.q = 0.3 * densities(self.x, BASE[0]) + 0.7 * densities(self.x, BASE[1])

    def points(self) -> list[tuple[int | None, float]]:
        return [(None, 0.0), *((k, side) for k in range(self.nuisances) for side in (1.0, -1.0))]

    def mixed(self, s: np.ndarray, b: np.ndarray, overlap: np.ndarray | float = 1.0) -> np.ndarray:
        if self.mode == "linear":
            return np.array([s, 0.7 * b, 0.3 * b])
        return np.array([s, s + b - 2 * RHO * np.sqrt(s * b) * overlap, b])

    def exact(self, k: int | None, side: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rates by event, yields and bins of the three processes with one nuisance at +-1."""
        shift = 0.0 if k is None else side * self.shift[k]
        yields = YIELDS if k is None else YIELDS * np.exp(side * self.log_yield[k])
        parameters = BASE + shift
        rates = [nu * densities(self.x, p) for nu, p in zip(yields, parameters, strict=True)]
        s, b = parameters
        ls, lb = np.exp(s[2:]), np.exp(b[2:])
        overlap = np.exp(-((s[:2] - b[:2]) ** 2).sum() / 8) * np.prod(2 * np.sqrt(ls * lb) / (ls + lb))
        bins = self.bins if k is None else self.bins * np.exp(side * self.bin_log[k])
        return self.mixed(*rates), self.mixed(*yields, overlap), self.mixed(*bins)

    def table(self) -> Model:
        nuisances = {f"n{k}": Nuisance() for k in range(self.nuisances)}
        return Model({"mu": Parameter(1.0, (0.0, 8.0))}, MULTIPLIERS[self.mode], nuisances)

    def likelihood(self, weight: np.ndarray | None = None, observed: np.ndarray | None = None) -> Likelihood:
        """Ratios are over q, and the events stand for every process with the weights r_j."""
        names, ratios, yields, bins = ("s", "sbi", "b"), {}, {}, {}
        nominal = self.exact(None, 0.0)
        for k, side in self.points():
            rates, nu, counts = self.exact(k, side)
            for j, name in enumerate(names):
                label = name if k is None else f"{name}.n{k}.{'up' if side > 0 else 'down'}"
                below = nu[j] * self.q if k is None else nu[j] * nominal[0][j] / nominal[1][j]
                ratios[label], yields[label], bins[label] = np.log(rates[j] / below), nu[j], counts[j]
        share = np.array([np.exp(ratios[name]) for name in names])
        simulation = Dataset(x=np.tile(self.x, (3, 1)), weight=share.ravel(), sample=np.repeat(range(3), self.size), samples=names,
                             ratios={name: np.tile(values, 3) for name, values in ratios.items()}, yields=yields)  # fmt: skip
        counted = np.ones(self.size) if weight is None else weight
        data = Dataset(x=self.x, weight=counted, sample=np.full(self.size, -1), samples=(), ratios=ratios, yields={})
        shapes = [Shape(name, f"n{k}", f"{name}.n{k}.up", f"{name}.n{k}.down", "") for k in range(self.nuisances) for name in names]  # fmt: skip
        return Builder.of(self.table(), shapes).likelihood(data, simulation, [Counts("control", bins, observed)])


CONSTRAINED = {
    "gauss": Nuisance(rate={"s": (1.1, 0.9)}),
    "poisson": Nuisance(rate={"s": (1.2, 0.8)}, interpolation="linear", constraint="poisson", events=25.0),
}
