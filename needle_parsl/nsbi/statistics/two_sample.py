"""Statistics that compare unbinned data with what a model expects, each with power against shapes that the model does not have.

The classifier is one Newton step of a regularised logistic regression of data against model, from no difference at all:

    T = s^T (C + lambda nu 1)^-1 s,   s = sum_data phi(x) - sum_model w phi(x),   C = sum_model (w + w^2) phi phi^T

with nu = sum w. phi are a constant, Hermite polynomials of normal scores, their products, and random Fourier features; it is the kernel
Fisher discriminant. Beside it stands the deviance of each learned score and of each feature in bins with as many expected events.
What any of them is worth is told by toys.

References:
    M. Friedman, SLAC-PUB-10325 (2003); Z. Harchaoui, F. Bach, E. Moulines, arXiv:0804.1026; A. Rahimi, B. Recht, NIPS 20 (2007);
    R. D'Agnolo, A. Wulzer, arXiv:1806.02350.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, islice

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from needle_parsl.nsbi.statistics.dataset import Dataset

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
CLASSIFIER = "classifier"
BINS = 20
"""Of a score or feature, at most."""
FEWEST = 10.0
"""Events that a bin expects, at least."""
RIDGE = 0.1
"""lambda; the power on planted faults hardly changes between 0.01 and 0.3 (docs/statistics.md)."""
WAVES = 128
"""Random Fourier features."""
LENGTHS = (0.25, 0.5, 1.0, 2.0)
"""Their lengths, in units of the distance of two events in normal scores."""
PAIRED = 20
"""Features whose products are among phi, the first ones."""
KNOTS = 401
"""At which normal scores are interpolated."""


@dataclass(frozen=True)
class Column:
    """A score or feature: how it is binned, and its normal scores."""

    name: str
    edges: Floats
    """Inner ones, ascending."""
    knots: Floats
    """Values of the column, not descending, shape (KNOTS,)."""
    scores: Floats
    """Normal scores there, shape (KNOTS,)."""

    @staticmethod
    def of(name: str, values: npt.ArrayLike, weight: Floats) -> Column:
        """Cut a column at quantiles of weighted events; missing values (NaN) have a bin of their own."""
        known = np.asarray(values, np.float64)
        there = ~np.isnan(known) & (weight > 0)
        order = np.argsort(known[there])
        ordered, own = known[there][order], weight[there][order]
        share = (np.cumsum(own) - own / 2) / own.sum()
        size = int(np.clip(own.sum() / FEWEST, 2, BINS))
        # The last score is that of the largest event, of which nothing tells how far out it is.
        outer = -ndtri(0.5 * float((own**2).sum()) / float(own.sum()) ** 2)
        scores = np.linspace(-outer, outer, KNOTS)
        edges = np.unique(np.interp(np.linspace(0, 1, size + 1)[1:-1], share, ordered))
        return Column(name, edges, np.interp(ndtr(scores), share, ordered), scores)

    @property
    def bins(self) -> int:
        """Count the bins, that of missing values included."""
        return len(self.edges) + 2

    def place(self, values: npt.ArrayLike) -> Ints:
        """Give the bin of each event."""
        known = np.asarray(values, np.float64)
        return np.where(np.isnan(known), self.bins - 1, np.searchsorted(self.edges, known, side="right")).astype(
            np.int64
        )

    def score(self, values: npt.ArrayLike) -> Floats:
        """Give the normal score of each event; 0 where the value is missing."""
        known = np.asarray(values, np.float64)
        found: Floats = np.where(np.isnan(known), 0.0, np.interp(known, self.knots, self.scores))
        return found


@dataclass(frozen=True)
class Sums:
    """Sums over events: all that statistics need of them."""

    phi: Floats
    """Shape (D,)."""
    counts: tuple[Floats, ...]
    """In the bins of each column."""


@dataclass(frozen=True)
class Placed:
    """Events as the statistics see them."""

    phi: npt.NDArray[np.float32]
    """Shape (N, D)."""
    bins: Ints
    """Of each column, shape (C, N)."""

    def sums(self, weight: Floats, sizes: Sequence[int], rows: Ints | slice = slice(None)) -> Sums:
        """Add weighted events up.

        Args:
            weight: Shape (N,), or of the rows.
            sizes: Bins of each column.
            rows: Which events.
        """
        phi = weight.astype(np.float32) @ self.phi[rows]
        counts = (np.bincount(own[rows], weight, n).astype(np.float64) for own, n in zip(self.bins, sizes, strict=True))
        return Sums(phi.astype(np.float64), tuple(counts))


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How data of an unbinned region are compared with a model."""

    scored: tuple[Column, ...]
    """Learned scores."""
    features: tuple[Column, ...]
    missing: tuple[int, ...]
    """Features of which some values are missing."""
    waves: tuple[Floats, Floats]
    """Wave vectors, shape (F, W), and phases, shape (W,)."""
    whitening: Floats = field(default_factory=lambda: np.empty((0, 0)))
    """L^T L = (C + lambda nu 1)^-1, shape (D, D)."""

    @staticmethod
    def of(simulation: Dataset, weight: Floats, features: Sequence[str], seed: int) -> tuple[Comparison, Placed]:
        """Prepare it from simulated events; give these as it sees them, too.

        Args:
            simulation: Events of all processes.
            weight: Expected number of each, shape (N,).
            features: Names of the features.
            seed: Of the random Fourier features.
        """
        weight, rng = np.maximum(weight, 0.0), np.random.default_rng(seed)
        count = len(features)
        length = np.sqrt(2 * count) * np.repeat(LENGTHS, WAVES // len(LENGTHS))
        scores = [f"ln r of {name}" for name in simulation.samples if name in simulation.ratios]
        made = Comparison(
            scored=tuple(Column.of(n, simulation.ratios[n.removeprefix("ln r of ")], weight) for n in scores),
            features=tuple(Column.of(name, simulation.x[:, k], weight) for k, name in enumerate(features)),
            missing=tuple(k for k in range(count) if np.isnan(simulation.x[:, k]).any()),
            waves=(rng.normal(size=(count, WAVES)) / length, rng.uniform(0, 2 * np.pi, WAVES)),
        )
        placed = made.place(simulation)
        phi = placed.phi.astype(np.float64)
        matrix = (phi * (weight + weight**2)[:, None]).T @ phi + RIDGE * weight.sum() * np.eye(phi.shape[1])
        values, vectors = np.linalg.eigh(matrix)
        return replace(made, whitening=(vectors / np.sqrt(values)).T), placed

    @property
    def names(self) -> tuple[str, ...]:
        """Name the statistics."""
        return (CLASSIFIER, *(column.name for column in (*self.scored, *self.features)))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Give the bins of each column."""
        return tuple(column.bins for column in (*self.scored, *self.features))

    def place(self, events: Dataset) -> Placed:
        """Look at events."""
        ratios: Mapping[str, Floats] = events.ratios
        bins = [own.place(ratios[own.name.removeprefix("ln r of ")]) for own in self.scored]
        bins += [own.place(events.x[:, k]) for k, own in enumerate(self.features)]
        return Placed(self._phi(events.x), np.array(bins).reshape(len(self.sizes), len(events.x)))

    def _phi(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        z = np.array([own.score(x[:, k]) for k, own in enumerate(self.features)]).T.reshape(len(x), -1)
        pairs = islice(combinations(range(z.shape[1]), 2), PAIRED * (PAIRED - 1) // 2)
        vectors, phases = self.waves
        return np.column_stack(
            [
                np.ones(len(x)),
                z,
                (z**2 - 1) / np.sqrt(2),
                (z**3 - 3 * z) / np.sqrt(6),
                *(np.isnan(x[:, k]) for k in self.missing),
                *(z[:, i] * z[:, j] for i, j in pairs),
                np.sqrt(2) * np.cos(z @ vectors + phases),
            ]
        ).astype(np.float32)

    def statistics(self, seen: Sums, expected: Sums) -> Floats:
        """Give each statistic, shape (L,)."""
        classifier = float(np.sum((self.whitening @ (seen.phi - expected.phi)) ** 2))
        return np.array([classifier, *map(_deviance, seen.counts, expected.counts)])


def _deviance(seen: Floats, expected: Floats) -> float:
    """Give the deviance of counts; a bin that expects nothing, as that of missing values may, counts as half an event."""
    safe = np.maximum(expected, 0.5 * ((seen > 0) | (expected > 0)) + 1e-300)
    logs = np.where(seen > 0, seen * np.log(np.where(seen > 0, seen, 1.0) / safe), 0.0)
    return 2 * float((safe - seen + logs).sum())


def some(simulation: Dataset, most: int, seed: int) -> Dataset:
    """Pick as many simulated events at random, of each process its share; its weights add up to what they did."""
    if len(simulation.weight) <= most:
        return simulation
    rows = np.sort(np.random.default_rng(seed).permutation(len(simulation.weight))[:most])
    sample, weight = simulation.sample[rows], simulation.weight[rows].copy()
    for j in range(len(simulation.samples)):
        whole, own = simulation.weight[simulation.sample == j].sum(), weight[sample == j].sum()
        weight[sample == j] *= whole / own if own else 0.0
    ratios = {name: values[rows] for name, values in simulation.ratios.items()}
    return replace(simulation, x=simulation.x[rows], weight=weight, sample=sample, ratios=ratios)
