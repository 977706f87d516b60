"""An effective field theory with two couplings and exact densities: amplitudes that are roots of Gaussians.

    dsigma(x | c) = |A_0 + c_1 A_1 + c_2 A_2|^2,   A_i = a_i sqrt(N(x; m_i, 1)),   A_i A_j = a_i a_j O_ij N(x; (m_i + m_j) / 2, 1)

with O_ij = exp(-|m_i - m_j|^2 / 8), so that every rate and every density is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from needle_parsl.analysis import Analysis, Model, Parameter, Ratios, Sample, morphing
from needle_parsl.analysis.tables import Morphing
from needle_parsl.nsbi.statistics.dataset import Dataset
from needle_parsl.nsbi.statistics.model.builder import Builder
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood

COUPLINGS = ("c1", "c2")
BASIS: dict[str, dict[str, float]] = {
    "sm": {},
    "c1_up": {"c1": 1.0},
    "c1_down": {"c1": -1.0},
    "c2_up": {"c2": 1.0},
    "c2_down": {"c2": -1.0},
    "both": {"c1": 1.0, "c2": 1.0},
}
WIDE = 1.5
"""Width of the background in both features."""


def couplings(point: Mapping[str, float]) -> np.ndarray:
    """Give 1, c1, c2."""
    return np.array([1.0, *(point.get(name, 0.0) for name in COUPLINGS)])


def gauss(x: np.ndarray, mean: np.ndarray | float = 0.0, width: float = 1.0) -> np.ndarray:
    return np.exp(-0.5 * (((x - mean) / width) ** 2).sum(axis=1)) / (2 * np.pi * width**2)


@dataclass(frozen=True)
class Problem:
    """Two features; rates of the three amplitudes squared, and of a background."""

    squared: tuple[float, float, float] = (300.0, 60.0, 40.0)
    means: tuple[tuple[float, float], ...] = ((0.0, 0.0), (1.5, 0.0), (0.0, -1.5))
    background: float = 500.0
    bounds: tuple[float, float] = (-2.0, 2.0)

    def amplitudes(self, x: np.ndarray) -> np.ndarray:
        """Give A_i, shape (3, N)."""
        return np.array([np.sqrt(a * gauss(x, np.array(m))) for a, m in zip(self.squared, self.means, strict=True)])

    def density(self, x: np.ndarray, point: Mapping[str, float]) -> np.ndarray:
        """Give the rate of the signal by x, shape (N,)."""
        return (couplings(point) @ self.amplitudes(x)) ** 2

    def rate(self, point: Mapping[str, float]) -> float:
        """Integrate it."""
        root, means = np.sqrt(self.squared) * couplings(point), np.array(self.means)
        overlap = np.exp(-((means[:, None] - means) ** 2).sum(axis=2) / 8)
        return float(root @ overlap @ root)

    def draw(self, point: Mapping[str, float], size: int, rng: np.random.Generator) -> np.ndarray:
        """Draw from it: by the square of a sum, which is at most three times the sum of squares."""
        share = np.array(self.squared) * couplings(point) ** 2
        found = np.empty((0, 2))
        while len(found) < size:
            part = rng.choice(3, 4 * size + 100, p=share / share.sum())
            x = np.array(self.means)[part] + rng.standard_normal((len(part), 2))
            proposed = 3 * (couplings(point)[:, None] ** 2 * self.amplitudes(x) ** 2).sum(axis=0)
            found = np.concatenate([found, x[rng.random(len(x)) * proposed < self.density(x, point)]])
        return found[:size]

    def throw(self, point: Mapping[str, float], rng: np.random.Generator) -> np.ndarray:
        """Throw a data set of signal and background."""
        signal, background = rng.poisson([self.rate(point), self.background])
        return np.concatenate([self.draw(point, signal, rng), WIDE * rng.standard_normal((background, 2))])

    def table(self, *, linear: bool = False, basis: Mapping[str, Mapping[str, float]] = BASIS) -> Model:
        """Make the model, as an analysis would."""
        samples = {name: Sample(files=("x.root",)) for name in (*basis, "background")}
        parameters = {name: Parameter(0.0, self.bounds, role="free" if name == "c2" else "poi") for name in COUPLINGS}
        given = Morphing(parameters=COUPLINGS, basis={name: dict(point) for name, point in basis.items()}, linear=True)
        model = Model(parameters, {"background": 1.0}, morphing=given)
        ratios = Ratios(reference=("background",), targets=("background",))
        made = morphing.expanded(Analysis(name="eft", samples=samples, ratios=ratios, model=model), _refuse)
        assert made.basis is not None
        return Model(parameters, {**made.model.processes, **made.basis.linear}) if linear else made.model

    def ratios(self, x: np.ndarray, names: Sequence[str] = tuple(BASIS)) -> dict[str, np.ndarray]:
        """Give ln r over the background, which is wide enough for all."""
        below = gauss(x, width=WIDE)
        return {name: np.log(self.density(x, BASIS[name]) / self.rate(BASIS[name]) / below) for name in names}

    def likelihood(self, x: np.ndarray, *, linear: bool = False) -> Likelihood:
        """Make the likelihood of some events of exact ratios."""
        yields = {name: self.rate(point) for name, point in BASIS.items()} | {"background": self.background}
        data = Dataset.of(x, self.ratios(x))
        first, weight = (
            x[: len(yields)],
            np.array(list(yields.values())),
        )  # without nuisance parameters, Z_j needs no more
        simulation = Dataset.of(
            first, self.ratios(first), weight=weight, samples=dict.fromkeys(yields, 1), yields=yields
        )
        return Builder.of(self.table(linear=linear), []).likelihood(data, simulation)

    def exact(self, x: np.ndarray, point: Mapping[str, float]) -> float:
        """Give -ln L as a formula, over the density of the background."""
        below = gauss(x, width=WIDE)
        total = self.rate(point) + self.background
        return total - float(np.log(self.density(x, point) / below + self.background).sum())


def _refuse(key: str, message: str) -> None:
    raise AssertionError(f"{key}: {message}")
