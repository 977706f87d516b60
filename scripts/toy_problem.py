"""The problem of the benchmarks of toys: two processes and their interference, with densities that are all known exactly.

    rate(x | s) = s^2 S(x) + B(x) - 2 rho s sqrt(S(x) B(x)),  s = sqrt(mu)

Four features, K nuisance parameters that move all of them and the yields, ten control bins. The basis is (S, SBI, B).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from needle_parsl.analysis import Model, Nuisance, Parameter
from needle_parsl.densities import Shape
from needle_parsl.nsbi.statistics.dataset import Dataset
from needle_parsl.nsbi.statistics.model.builder import Builder, Counts
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
from needle_parsl.nsbi.statistics.model.normalisation import Simulation
from needle_parsl.nsbi.statistics.toys.pool import ToyPool

Floats = npt.NDArray[np.float64]
RHO, YIELDS, BINS = 0.35, np.array([220.0, 2000.0]), 10
BASE = np.array([[1.0, -0.8, np.log(0.7), np.log(1.5)], np.zeros(4)])
"""Of S and B: two means of unit Gaussians, two logarithms of slopes of exponentials."""
PROCESSES = {"s": "mu - sqrt(mu)", "sbi": "sqrt(mu)", "b": "1 - sqrt(mu)"}


def _density(x: Floats, p: Floats) -> Floats:
    slopes = np.exp(p[2:])
    found: Floats = np.exp(-0.5 * ((x[:, :2] - p[:2]) ** 2).sum(axis=1) - (slopes * x[:, 2:]).sum(axis=1))
    density: Floats = found * slopes.prod() / (2 * np.pi)
    return density


def _mixed(s: Floats, b: Floats, overlap: float = 1.0) -> Floats:
    return np.array([s, s + b - 2 * RHO * np.sqrt(s * b) * overlap, b])


def _overlap(s: Floats, b: Floats) -> float:
    """Integrate sqrt(p_S p_B)."""
    ls, lb = np.exp(s[2:]), np.exp(b[2:])
    return float(np.exp(-((s[:2] - b[:2]) ** 2).sum() / 8) * np.prod(2 * np.sqrt(ls * lb) / (ls + lb)))


@dataclass(frozen=True)
class Variation:
    """The three processes with one nuisance parameter at plus or minus one sigma, or none."""

    rates: Floats
    """Event by event, shape (3, N)."""
    yields: Floats
    """Shape (3,)."""
    bins: Floats
    """Shape (3, BINS)."""


class Problem:
    """A pool of events with their exact rates."""

    def __init__(self, nuisances: int = 6, events: int = 100_000, normalising: int = 4000, seed: int = 1) -> None:
        """Draw the pool.

        Args:
            nuisances: How many.
            events: Of the pool.
            normalising: Of these, how many stand behind Z_j.
            seed: Of shifts and events.
        """
        rng, self.nuisances = np.random.default_rng(seed), nuisances
        small = np.sqrt(6 / max(nuisances, 6))
        self.shift = small * rng.uniform(-1, 1, (nuisances, 2, 4)) * np.array([0.10, 0.10, 0.07, 0.07])
        self.log_yield = small * rng.uniform(-1, 1, (nuisances, 2)) * np.array([0.08, 0.06])
        self.bins = np.array([12.0 * np.exp(-0.25 * np.arange(BINS)), 400.0 * np.exp(-0.30 * np.arange(BINS))])
        self.log_bins = small * rng.uniform(-1, 1, (nuisances, 2, BINS)) * 0.08
        base = np.where((rng.random(events) < 0.3)[:, None], *BASE[:, None])
        gauss, slopes = rng.standard_normal((events, 2)), rng.standard_exponential((events, 2))
        self.x = np.column_stack([base[:, :2] + gauss, slopes / np.exp(base[:, 2:])])
        self.q = 0.3 * _density(self.x, BASE[0]) + 0.7 * _density(self.x, BASE[1])
        self.nominal = self.at(None, 0.0)
        self.sides = [(self.at(k, 1.0), self.at(k, -1.0)) for k in range(nuisances)]
        self.normalising = np.random.default_rng(2).choice(events, normalising, replace=False)

    def at(self, k: int | None, side: float) -> Variation:
        """Vary one nuisance parameter."""
        means = BASE if k is None else BASE + side * self.shift[k]
        yields = YIELDS if k is None else YIELDS * np.exp(side * self.log_yield[k])
        bins = self.bins if k is None else self.bins * np.exp(side * self.log_bins[k])
        s, b = (nu * _density(self.x, p) for nu, p in zip(yields, means, strict=True))
        return Variation(
            _mixed(s, b), _mixed(yields[0], yields[1], _overlap(means[0], means[1])), _mixed(bins[0], bins[1])
        )

    def shapes(self, rows: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Give the normalised responses of some events at plus and minus one sigma, shape (2, 3, K, N)."""
        nominal = self.nominal.rates[:, rows] / self.nominal.yields[:, None]
        sides = [[v.rates[:, rows] / v.yields[:, None] / nominal for v in pair] for pair in self.sides]
        up, down = np.array(sides).transpose(1, 2, 0, 3)
        return up, down

    def likelihood(self) -> Likelihood:
        """Build needle's likelihood over the pool, with the chosen events behind Z_j."""
        ratios, yields, bins = {}, {}, {}
        for j, name in enumerate(PROCESSES):
            density = self.nominal.rates[j] / self.nominal.yields[j]
            ratios[name] = np.log(density / self.q)
            yields[name], bins[name] = float(self.nominal.yields[j]), self.nominal.bins[j]
            for k, pair in enumerate(self.sides):
                for side, v in zip(("up", "down"), pair, strict=True):
                    label = f"{name}.n{k}.{side}"
                    ratios[label] = np.log(v.rates[j] / v.yields[j] / density)
                    yields[label], bins[label] = float(v.yields[j]), v.bins[j]
        n = len(self.x)
        data = Dataset(x=self.x, weight=np.ones(n), sample=np.full(n, -1), samples=(), ratios=ratios, yields={})
        few = {name: np.tile(values[:1], 3) for name, values in ratios.items()}  # its Z_j is put in place below
        one = Dataset(
            x=self.x[[0, 0, 0]],
            weight=np.ones(3),
            sample=np.arange(3),
            samples=tuple(PROCESSES),
            ratios=few,
            yields=yields,
        )
        nuisances = {f"n{k}": Nuisance() for k in range(self.nuisances)}
        shapes = [Shape(p, k, f"{p}.{k}.up", f"{p}.{k}.down", "") for k in nuisances for p in PROCESSES]
        table = Model({"mu": Parameter(1.0, (0.0, 5.0))}, dict(PROCESSES), nuisances)
        made = Builder.of(table, shapes).likelihood(data, one, [Counts("control", bins)])
        events, *rest = made.tables
        return replace(made, tables=(replace(events, simulation=self._simulation(events.responses)), *rest))

    def _simulation(self, responses: object) -> tuple[Simulation, ...]:
        weights = self.measure()
        own = responses.take(self.normalising)  # type: ignore[attr-defined]  # Responses
        return tuple(Simulation(j, weights[j], own.alone(j)) for j in range(len(weights)))

    def measure(self) -> Floats:
        """Give the weights with which the chosen events stand for each process, shape (3, n)."""
        density = self.nominal.rates[:, self.normalising] / self.q[self.normalising]
        weights: Floats = density / density.sum(axis=1)[:, None]
        return weights

    def pool(self, likelihood: Likelihood, theta: Floats) -> ToyPool:
        """Throw from the exact rates."""
        return ToyPool(likelihood, likelihood.densities(theta) / len(self.x), 0.0)
