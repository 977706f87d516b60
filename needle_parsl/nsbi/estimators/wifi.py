"""The wifi ensemble: weights of the members from a convex fit, with their covariance.

    ln r(x) = w . f(x),  f = (1, f_1 ... f_M)
    L(w) = E_n[exp(-w.f) - w.f] + E_d[exp(w.f) + w.f]

Members may be degenerate: the design is made orthogonal by a QR decomposition, never through its Gram matrix, and the fit is
done there. Directions that hold no information are left out and reported; there is no ridge.

References:
    S. Benevedes, J. Thaler, Frequentist uncertainties on neural density ratios with wifi ensembles, arXiv:2506.00113.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import linalg

from needle_parsl.errors import TaskError

Floats = npt.NDArray[np.float64]
CHUNK = 16_384
"""Events that are worked on in float64 at a time."""
SMALLEST_PIVOT = 1e-8
"""Relative to the largest; what is smaller holds no information."""
ROUNDING = 16
"""Pivots are kept above this many rounding errors of the members' type, too: of float32 members, above 2e-6."""
CONVERGED, STEPS, HALVINGS = 1e-20, 100, 40
ROUGHLY = 1e-12
"""What rounding may do to the loss, a mean over events."""


class Sample(NamedTuple):
    """Events of one class, which trained no member."""

    members: npt.NDArray[np.floating[Any]]
    """Log ratios of the members, shape (M, N)."""
    weight: Floats
    """Shape (N,); the sum does not matter."""
    key: npt.NDArray[np.uint64]
    """What makes an event unique, shape (N,): it may be in both classes, and is correlated with itself."""


@dataclass(frozen=True)
class Weights:
    """Fitted weights, and what their covariance is made of: Cov(w) = L D L^T with C^-1 = L L^T.

    A prediction moves by z . xi with z = f . L. Neither z nor D depend on which of the degenerate members were left out.
    """

    values: Floats
    """w_0 and the weights of the members, shape (1 + M,); zero for those that were left out."""
    directions: Floats
    """L, in which the Hessian is 1; shape (1 + M, K)."""
    spread: Floats
    """D, the covariance of xi; shape (K, K)."""
    means: Floats
    """Mean score of each class along the directions, shape (2, K)."""
    sums: Floats
    """Sum of the weights of the events of each class, shape (2,)."""
    dropped: tuple[int, ...]
    """Members that are linear combinations of the others, counted from 0; -1 is the constant."""
    condition: float
    """Of the Hessian, where it was inverted."""
    design_condition: float
    """Of the weighted members and the constant, as they came."""

    @cached_property
    def factor(self) -> Floats:
        """B with Cov(w) = B B^T, shape (1 + M, K)."""
        values, vectors = np.linalg.eigh(self.spread)
        factor: Floats = self.directions @ (vectors * np.sqrt(np.clip(values, 0, None)))
        return factor

    def coordinates(self, members: npt.NDArray[np.floating[Any]]) -> Floats:
        """Compute z, how ln r moves along each direction: log ratios (M, N) to shape (N, K)."""
        z: Floats = self.directions[0] + members.T.astype(np.float64) @ self.directions[1:]
        return z

    def error(self, members: npt.NDArray[np.floating[Any]]) -> Floats:
        """Compute sigma of ln r: log ratios (M, N) to shape (N,). Events are fully correlated."""
        sigma: Floats = np.linalg.norm(self.factor[0] + members.T.astype(np.float64) @ self.factor[1:], axis=1)
        return sigma

    def influence(self, members: npt.NDArray[np.floating[Any]], weight: Floats, side: int) -> Floats:
        """Compute by how much each event moves -xi, shape (N, K).

            eta_e = (w_e / sum w) (g_e - mean g),  g_e = -/+ z_e (1 + exp(-/+ ln r_e))

        Args:
            members: Log ratios, shape (M, N).
            weight: In the units of the fit, shape (N,).
            side: 0 for the numerator, 1 for the denominator.
        """
        sign = (-1, +1)[side]
        log_ratio = self.values[0] + self.values[1:] @ members
        score = sign * (1 + np.exp(sign * log_ratio))[:, None] * self.coordinates(members)
        eta: Floats = (weight / self.sums[side])[:, None] * (score - self.means[side])
        return eta


def fit(numerator: Sample, denominator: Sample) -> Weights:
    """Fit the weights and estimate their covariance, C^-1 D C^-1.

    C is the Hessian of L; D sums the squared influence of each event over the classes it is in.

    Raises:
        TaskError: There is no minimum; the classes can be separated, or negative weights prevail.
    """
    classes = [_Class(numerator, -1), _Class(denominator, +1)]
    r, pivot = linalg.qr(np.vstack([part for c in classes for part in c.triangles()]), mode="r", pivoting=True)
    diagonal = np.abs(np.diag(r))
    least = max(SMALLEST_PIVOT, ROUNDING * float(np.finfo(numerator.members.dtype).eps))
    rank = int((diagonal > least * diagonal[0]).sum())
    keep, size = pivot[:rank], len(pivot)
    basis = np.zeros((size, rank))
    basis[keep] = linalg.solve_triangular(r[:rank, :rank], np.eye(rank))
    mean = np.r_[0.0, np.full(size - 1, 1 / (size - 1))]
    v, gradients, hessian = _minimise(classes, basis, r[:rank] @ mean[pivot])
    inverse = linalg.solve_triangular(_factor(hessian), np.eye(rank), trans="T", lower=True)
    found = Weights(
        basis @ v,
        basis @ inverse,
        np.empty((0, 0)),
        np.array(gradients) @ inverse,
        np.array([c.sample.weight.sum() for c in classes]),
        tuple(sorted(int(k) - 1 for k in pivot[rank:])),
        float(np.linalg.cond(hessian)),
        float(diagonal[0] / diagonal[-1]) if diagonal[-1] else float("inf"),
    )
    return replace(found, spread=_spread(found, (numerator, denominator)))


class _Class:
    """A sample as columns of the design, chunk by chunk."""

    def __init__(self, sample: Sample, sign: int) -> None:
        self.sample, self.sign, self.weight = sample, sign, sample.weight / sample.weight.sum()

    def rows(self, which: slice) -> Floats:
        """Build rows of the design, shape (N, 1 + M)."""
        members = self.sample.members[:, which].T.astype(np.float64)
        return np.column_stack([np.ones(len(members)), members])

    def chunks(self) -> Iterator[tuple[Floats, Floats]]:
        """Give rows of the design and their weights."""
        for start in range(0, len(self.weight), CHUNK):
            some = slice(start, start + CHUNK)
            yield self.rows(some), self.weight[some]

    def triangles(self) -> Iterator[Floats]:
        """Reduce each chunk of the weighted design to its R."""
        for f, w in self.chunks():
            r: Any = np.linalg.qr(np.sqrt(np.abs(w))[:, None] * f, mode="r")  # NumPy declares Q and R for every mode
            yield r

    def moments(self, basis: Floats, v: Floats) -> tuple[float, Floats, Floats]:
        """Add up loss, gradient and Hessian of this class."""
        loss, gradient, hessian = 0.0, np.zeros(len(v)), np.zeros((len(v), len(v)))
        for f, w in self.chunks():
            z = f @ basis
            t = self.sign * (z @ v)
            with np.errstate(over="ignore", invalid="ignore"):
                e = np.exp(t)
                loss += float(w @ (e + t))
                gradient += self.sign * (w * (1 + e)) @ z
                hessian += (z * (w * e)[:, None]).T @ z
        return loss, gradient, hessian


def _total(classes: list[_Class], basis: Floats, v: Floats) -> tuple[float, list[Floats], Floats]:
    found = [c.moments(basis, v) for c in classes]
    return sum(one[0] for one in found), [one[1] for one in found], found[0][2] + found[1][2]


def _minimise(classes: list[_Class], basis: Floats, start: Floats) -> tuple[Floats, list[Floats], Floats]:
    """Go down by damped Newton steps from the mean of the logarithms, or from nothing if that is lower."""
    v = min((start, np.zeros_like(start)), key=lambda one: np.nan_to_num(_total(classes, basis, one)[0], nan=np.inf))
    loss, gradients, hessian = _total(classes, basis, v)
    for _ in range(STEPS):
        gradient = gradients[0] + gradients[1]
        step = -linalg.cho_solve((_factor(hessian), True), gradient)
        slope = float(gradient @ step)
        if -slope / 2 < CONVERGED:
            return v, gradients, hessian
        for halving in range(HALVINGS):
            tried = v + 0.5**halving * step
            found = _total(classes, basis, tried)
            if found[0] <= loss + 1e-4 * 0.5**halving * slope + ROUGHLY:
                break
        v, (loss, gradients, hessian) = tried, found
    raise TaskError(f"the fit of the wifi weights has not converged in {STEPS} steps; are the classes separable?")


def _factor(hessian: Floats) -> Floats:
    """Give the lower Cholesky factor."""
    try:
        found: Floats = linalg.cholesky(hessian, lower=True)
    except (linalg.LinAlgError, ValueError) as error:
        raise TaskError("the loss of the wifi weights has no minimum; too much of the weights is negative") from error
    return found


def _spread(weights: Weights, samples: tuple[Sample, Sample]) -> Floats:
    """Compute D: squared influence of every event, and the product for those that are in both classes."""
    total = np.zeros((len(weights.directions.T),) * 2)
    for side, sample in enumerate(samples):
        for start in range(0, len(sample.weight), CHUNK):
            own = _influence(weights, sample, slice(start, start + CHUNK), side)
            total += own.T @ own
    _, *places = np.intersect1d(samples[0].key, samples[1].key, return_indices=True)
    for start in range(0, len(places[0]), CHUNK):
        above, below = (
            _influence(weights, sample, place[start : start + CHUNK], side)
            for side, (sample, place) in enumerate(zip(samples, places, strict=True))
        )
        cross = above.T @ below
        total += cross + cross.T
    return total


def _influence(weights: Weights, sample: Sample, rows: npt.NDArray[np.intp] | slice, side: int) -> Floats:
    return weights.influence(sample.members[:, rows], sample.weight[rows], side)
