"""The wifi ensemble: weights of the members from a fit, with their covariance.

    ln r(x) = w . f(x),  f = (1, f_1 ... f_M)
    L(w) = E_n[exp(-w.f) - w.f] + E_d[exp(w.f) + w.f] + ridge / 2 |w - equal|^2,  equal = (0, 1/M ... 1/M)

Members may be degenerate: the design is made orthogonal by a QR decomposition, never through its Gram matrix, and the fit is
done there. Directions that hold no information are left out and reported. A ridge towards equal weights is there only where
`wifi_choice` finds that held-out events need one; it is part of the Hessian, and so of the covariance.

References:
    S. Benevedes, J. Thaler, Frequentist uncertainties on neural density ratios with wifi ensembles, arXiv:2506.00113.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import linalg

from needle_parsl.nsbi.estimators.wifi_choice import HeldOutChoice, NoWeightsError, choose
from needle_parsl.nsbi.estimators.wifi_design import Design
from needle_parsl.nsbi.estimators.wifi_loss import CHUNK, ClassEvents, LossDerivatives, growth

__all__ = ["ClassEvents", "NoWeightsError", "Weights", "fit"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
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
    ridge: float = 0.0
    """Strength of the ridge that held-out events asked for; 0 where they asked for none."""
    freedom: float = float("nan")
    """Directions that the ridge leaves to the fit; all of K without it."""
    held_out: tuple[float, float] = (float("nan"), float("nan"))
    """Loss of such weights on events that did not fit them, and that of equal ones."""

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

            eta_e = (w_e / sum w) (g_e - mean g),  g_e = -/+ z_e (1 + e'(-/+ ln r_e))

        Args:
            members: Log ratios, shape (M, N).
            weight: In the units of the fit, shape (N,).
            side: 0 for the numerator, 1 for the denominator.
        """
        sign = (-1, +1)[side]
        log_ratio = self.values[0] + self.values[1:] @ members
        score = sign * (1 + growth(sign * log_ratio)[1])[:, None] * self.coordinates(members)
        eta: Floats = (weight / self.sums[side])[:, None] * (score - self.means[side])
        return eta


def fit(numerator: ClassEvents, denominator: ClassEvents) -> Weights:
    """Fit the weights and estimate their covariance, H^-1 D H^-1.

    H is the Hessian of L, ridge and all; D sums the squared influence of each event over the classes it is in.

    Raises:
        NoWeightsError: No fit is as good as equal weights on held-out events, or none has a minimum.
    """
    samples, design = (numerator, denominator), Design.of(numerator, denominator)
    chosen = choose(samples, design)
    for ridge in chosen.ridges:  # all events may have no minimum where those that chose had one
        found = design.loss(samples, ridge).minimum(design.equal, np.zeros_like(design.equal))
        if found is not None:
            return _weights(samples, design, ridge, chosen, *found)
    raise NoWeightsError(
        "the loss of the weights has no minimum (separable classes, or too many negative event weights)"
    )


def _weights(
    samples: tuple[ClassEvents, ClassEvents],
    design: Design,
    ridge: float,
    chosen: HeldOutChoice,
    at: Floats,
    moments: LossDerivatives,
) -> Weights:
    """Make the record of a minimum."""
    unit = 1 / np.sqrt(np.diag(moments.hessian))
    lower = linalg.cholesky(moments.hessian * np.outer(unit, unit), lower=True)
    inverse = unit[:, None] * linalg.solve_triangular(lower, np.eye(len(at)), trans="T", lower=True)
    found = Weights(
        values=design.basis @ at,
        directions=design.basis @ inverse,
        spread=np.empty((0, 0)),
        means=moments.gradients @ inverse,
        sums=np.array([sample.weight.sum() for sample in samples]),
        dropped=design.dropped,
        condition=float(np.linalg.cond(moments.hessian * np.outer(unit, unit))),
        design_condition=design.condition,
        ridge=ridge,
        freedom=design.freedom(ridge),
        held_out=(chosen.loss, chosen.of_equal),
    )
    return replace(found, spread=_spread(found, samples))


def _spread(weights: Weights, samples: tuple[ClassEvents, ClassEvents]) -> Floats:
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


def _influence(weights: Weights, sample: ClassEvents, rows: npt.NDArray[np.intp] | slice, side: int) -> Floats:
    return weights.influence(sample.members[:, rows], sample.weight[rows], side)
