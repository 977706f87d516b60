"""What a problem with exact densities is made of: laws, processes, and the problem that joins them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from needle_parsl import expressions

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
SIDES = {"nominal": 0.0, "up": 1.0, "down": -1.0}
"""Samples of a process, with the value of the shape nuisance at which they are made."""
SHAPE, RATE = "shape", "rate"
"""The nuisance parameters of every problem."""


def everywhere(x: Array) -> Mask:
    """Keep all events."""
    return np.ones(len(x), np.bool_)


def always(alpha: float) -> float:
    """Say that all events are kept, whatever the nuisance is."""
    del alpha
    return 1.0


@dataclass(frozen=True)
class Law:
    """How the events of one process come about, and their exact density.

    The same raw events at two values of the nuisance are twins: one event, simulated once and calibrated twice.
    """

    raw: Callable[[np.random.Generator, int], Array]
    """Events as generated, before the nuisance and the selection; shape (N, R)."""
    at: Callable[[Array, float], Array]
    """Their features with the nuisance at alpha; shape (N, F)."""
    log_density: Callable[[Array, float], Array]
    """ln p(x | alpha) among the events that are kept; shape (N,)."""
    kept: Callable[[Array], Mask] = everywhere
    """Which events pass the selection, from their features."""
    passed: Callable[[float], float] = always
    """What fraction of the raw events is kept at alpha."""


@dataclass(frozen=True)
class Process:
    """A process of the model."""

    law: Law
    events: float
    """Expected events after selection, at nominal parameters."""
    multiplier: str = "1"
    """An expression in mu."""
    gain: float = 1.0
    """Factor of the yield per sigma of the shape nuisance, beside what the selection does."""
    rate: tuple[float, float] | None = (1.03, 0.97)
    """Relative yields at plus and minus one sigma of the rate nuisance; None if it has none."""
    varied: bool = True
    """Whether the shape nuisance is simulated, and part of the model."""
    negative: Callable[[Array], Array] | None = None
    """Probability of a negative weight, from the raw event; the mean weight stays 1 everywhere, so that the density does, too."""

    def relative(self, alpha: float) -> float:
        """Give the yield relative to the nominal one."""
        moved = alpha if self.varied else 0.0
        return self.law.passed(moved) / self.law.passed(0.0) * self.gain**moved

    def rated(self, value: float) -> float:
        """Give the yield relative to the nominal one with the rate nuisance at some value."""
        up, down = self.rate or (1.0, 1.0)
        return up**value if value > 0 else down**-value


class Sample(NamedTuple):
    """Weighted simulated events."""

    x: Array
    """Features, as they are in single precision; shape (N, F)."""
    weight: Array
    """Shape (N,); of nominal events they add up to about the expected ones."""
    event: npt.NDArray[np.int64]
    """The same number for twins, else different ones; shape (N,)."""


@dataclass(frozen=True)
class Problem:
    """A measurement whose densities are all known."""

    name: str
    special: str
    """What is special about it."""
    features: tuple[str, ...]
    processes: Mapping[str, Process]
    reference: tuple[str, ...] = ("background",)
    """Samples of the denominator of ratios, as one would write it."""
    twins: bool = False
    """Whether varied samples are made of the same events."""
    spread: float = 0.0
    """Standard deviation of the absolute weights, relative to their mean."""
    missing: tuple[float, ...] = ()
    """Values that stand for a missing one."""
    bounds: tuple[float, float] = (0.0, 5.0)
    """Smallest and largest mu; the nominal one is 1."""

    def log_density(self, process: str, x: Array, nuisances: Mapping[str, float]) -> Array:
        """Give ln p(x | nuisances) of a process after selection; x of shape (N, F) to shape (N,)."""
        own = self.processes[process]
        return own.law.log_density(x, nuisances.get(SHAPE, 0.0) if own.varied else 0.0)

    def simulate(self, process: str, generator: np.random.Generator, events: int) -> dict[str, Sample]:
        """Simulate a process, nominal and with the shape nuisance at plus and minus one sigma.

        Args:
            process: Its name.
            generator: Of random numbers.
            events: About how many of them pass the nominal selection.

        Returns:
            By `nominal`, `up`, `down`; only the first if the process has no variations.
        """
        own = self.processes[process]
        size = round(events / own.law.passed(0.0))
        place, raw, weight = list(self.processes).index(process), np.empty((0, 0)), np.empty(0)
        found = {}
        for side, alpha in SIDES.items() if own.varied else [("nominal", 0.0)]:
            again = side == "nominal" or not self.twins
            if again:
                raw = own.law.raw(generator, size)
                weight = self._weights(own, raw, generator) * own.events / (size * own.law.passed(0.0))
            x = single(own.law.at(raw, alpha))
            kept = own.law.kept(x)
            first = place * 10**9 + (0 if self.twins else list(SIDES).index(side) * 10**8)
            event = first + np.arange(size, dtype=np.int64)
            found[side] = Sample(x[kept], (weight * own.gain**alpha)[kept], event[kept])
        return found

    def _weights(self, process: Process, raw: Array, generator: np.random.Generator) -> Array:
        """Weigh raw events, 1 on average wherever they are: -1 with probability f and +1 else, divided by 1 - 2 f."""
        weight = np.ones(len(raw))
        if self.spread:
            weight = generator.gamma(self.spread**-2, self.spread**2, len(raw))
        if process.negative is None:
            return weight
        fraction = process.negative(raw)
        return weight * np.where(generator.random(len(raw)) < fraction, -1.0, 1.0) / (1 - 2 * fraction)

    def expected(self, mu: float, nuisances: Mapping[str, float]) -> dict[str, float]:
        """Give the expected events of each process; negative where its multiplier is."""
        alpha, rate = nuisances.get(SHAPE, 0.0), nuisances.get(RATE, 0.0)
        return {
            name: float(expressions.parse(p.multiplier)({"mu": mu})) * p.events * p.relative(alpha) * p.rated(rate)
            for name, p in self.processes.items()
        }

    def pseudo_data(self, generator: np.random.Generator, mu: float, nuisances: Mapping[str, float]) -> Array:
        """Draw one data set from the exact densities at any point: features of shape (N, F), N from a Poisson law.

        Where multipliers are negative, the positive processes are thinned to the sum of all.
        """
        expected = self.expected(mu, nuisances)
        alpha = nuisances.get(SHAPE, 0.0)
        parts = [self.draw(name, generator, int(generator.poisson(n)), alpha) for name, n in expected.items() if n > 0]
        x = generator.permutation(np.concatenate(parts))
        if min(expected.values()) >= 0:
            return x
        terms = np.array([n * np.exp(self.log_density(name, x, nuisances)) for name, n in expected.items()])
        return x[generator.random(len(x)) * np.maximum(terms, 0).sum(axis=0) < terms.sum(axis=0)]

    def draw(self, process: str, generator: np.random.Generator, events: int, alpha: float = 0.0) -> Array:
        """Draw exactly that many unweighted events of a process, shape (N, F)."""
        own = self.processes[process]
        moved = alpha if own.varied else 0.0
        x, more = np.empty((0, len(self.features))), events
        while more > 0:
            made = single(own.law.at(own.law.raw(generator, round(1.1 * more / own.law.passed(moved)) + 10), moved))
            x = np.concatenate([x, made[own.law.kept(made)]])
            more = events - len(x)
        return x[:events]

    def model(self) -> dict[str, Any]:
        """Give the `[model]` table of analysis.toml."""
        rate = {name: list(p.rate) for name, p in self.processes.items() if p.rate}
        return {
            "parameters": {"mu": {"nominal": 1.0, "bounds": list(self.bounds), "role": "poi"}},
            "processes": {name: p.multiplier for name, p in self.processes.items()},
            "nuisances": {SHAPE: {}, RATE: {"rate": rate}},
        }


def single(x: Array) -> Array:
    """Round to single precision, which files and networks have, so that exact densities are those of the same events."""
    return x.astype(np.float32).astype(np.float64)
