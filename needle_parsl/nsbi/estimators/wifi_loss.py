"""The loss of wifi weights over the events of both classes, with a ridge, and damped Newton steps down it.

    L(w) = E_n[e(-t) - t] + E_d[e(t) + t] + ridge / 2 |w - equal|^2,   t = w . f

e is exp up to e^20, where the losses of trainings end, too, and goes on as a straight line: an event that a member gets
wrong by hundreds still pulls, with a finite force. Negative weights make L bend downwards; a step then goes along the
absolute curvature, and ends where L has fallen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
CHUNK = 16_384
"""Events that are worked on in float64 at a time."""
LARGEST = 20.0
"""Largest exponent, that of `training.losses`."""
CONVERGED, STEPS, HALVINGS = 1e-20, 100, 40
"""CONVERGED is what a step may still gain, relative to the squared sum of what the loss is made of."""
ROUGHLY = 1e-12
"""What rounding may do to the loss, relative to that sum."""
STUCK = 1e-9
"""What a step may still promise where none gains anything any more."""
RUNAWAY = 1e3
"""Root mean square of ln r, beyond that of the mean, at which weights are on their way to infinity."""
STIFFEST = 1e-10
"""Least curvature along which a step goes, and that a minimum has, relative to the largest."""


class ClassEvents(NamedTuple):
    """Events of one class, which trained no member."""

    members: npt.NDArray[np.floating[Any]]
    """Log ratios of the members, shape (M, N)."""
    weight: Floats
    """Shape (N,); the sum does not matter."""
    key: npt.NDArray[np.uint64]
    """What makes an event unique, shape (N,): it may be in both classes, and is correlated with itself."""

    def take(self, rows: npt.NDArray[np.bool_]) -> ClassEvents:
        """Keep some events."""
        return ClassEvents(self.members[:, rows], self.weight[rows], self.key[rows])

    def effective(self) -> float:
        """Count the effective events, (sum w)^2 / sum w^2."""
        return float(self.weight.sum() ** 2 / (self.weight**2).sum())


def growth(exponent: Floats) -> tuple[Floats, Floats, Floats]:
    """Give e with its slope and curvature: exp, and beyond e^20 its tangent."""
    slope = np.exp(np.minimum(exponent, LARGEST))
    beyond = np.maximum(exponent - LARGEST, 0.0)
    return slope * (1 + beyond), slope, np.where(beyond > 0, 0.0, slope)


class LossDerivatives(NamedTuple):
    """The loss at some weights, with its derivatives along the basis."""

    loss: float
    gradients: Floats
    """Of each class, shape (2, K), without the ridge."""
    hessian: Floats
    """Shape (K, K), with the ridge."""
    size: float
    """Sum of the absolute values that the loss is made of."""


class Side:
    """A class as rows of the design, chunk by chunk."""

    def __init__(self, sample: ClassEvents, sign: int) -> None:
        self.sample, self.sign, self.weight = sample, sign, sample.weight / sample.weight.sum()

    def chunks(self) -> Iterator[tuple[Floats, Floats]]:
        """Give rows of the design, 1 and the members, and their weights."""
        for start in range(0, len(self.weight), CHUNK):
            members = self.sample.members[:, start : start + CHUNK].T.astype(np.float64)
            yield np.column_stack([np.ones(len(members)), members]), self.weight[start : start + CHUNK]

    def triangles(self) -> Iterator[Floats]:
        """Reduce each chunk of the weighted design to its R."""
        for f, w in self.chunks():
            r: Any = np.linalg.qr(np.sqrt(np.abs(w))[:, None] * f, mode="r")  # NumPy declares Q and R for every mode
            yield r

    def moments(self, basis: Floats, at: Floats) -> tuple[float, Floats, Floats, float]:
        """Add up loss, gradient, Hessian and size of this class."""
        loss, size, gradient, hessian = 0.0, 0.0, np.zeros(len(at)), np.zeros((len(at), len(at)))
        for f, w in self.chunks():
            z = f @ basis
            t = self.sign * (z @ at)
            value, slope, curvature = growth(t)
            loss += float(w @ (value + t))
            size += float(np.abs(w) @ (value + np.abs(t)))
            gradient += self.sign * (w * (1 + slope)) @ z
            hessian += (z * (w * curvature)[:, None]).T @ z
        return loss, gradient, hessian, size

    def held_out(self, weights: Floats) -> tuple[float, float]:
        """Give the loss of given weights (1 + M,) on this class, and the variance of that mean."""
        losses = []
        for f, _ in self.chunks():
            t = self.sign * (f @ weights)
            losses.append(growth(t)[0] + t)
        each = np.concatenate(losses)
        mean = float(self.weight @ each)
        return mean, float(self.weight**2 @ (each - mean) ** 2)


@dataclass(frozen=True)
class PenalisedLoss:
    """The penalised loss along a basis in which the ridge is diagonal."""

    sides: Sequence[Side]
    basis: Floats
    """Shape (1 + M, K); there, the weighted design is orthonormal."""
    stiffness: Floats
    """The ridge's curvature along the basis, shape (K,)."""
    middle: Floats
    """Equal weights, shape (K,)."""

    def __call__(self, at: Floats) -> LossDerivatives:
        """Evaluate it."""
        parts = [side.moments(self.basis, at) for side in self.sides]
        ridge = self.ridge(at)
        return LossDerivatives(
            sum(part[0] for part in parts) + ridge,
            np.array([part[1] for part in parts]),
            sum((part[2] for part in parts), np.diag(self.stiffness)),
            sum(part[3] for part in parts) + ridge,
        )

    def ridge(self, at: Floats) -> float:
        """Give what the ridge adds."""
        return float(self.stiffness @ (at - self.middle) ** 2) / 2

    def slope(self, at: Floats, found: LossDerivatives) -> Floats:
        """Give the gradient, ridge and all."""
        whole: Floats = found.gradients.sum(axis=0) + self.stiffness * (at - self.middle)
        return whole

    def minimum(self, *starts: Floats, enough: float = CONVERGED) -> tuple[Floats, LossDerivatives] | None:
        """Go down from the calmest of some starts, until no step gains enough; None where that leads to no minimum.

        Negative weights have minima, the lowest ones, far away, where some events have run off; the one near ln r = 0 is meant.
        """
        at, found = min(((start, self(start)) for start in starts), key=lambda one: one[1].size)
        for _ in range(STEPS):
            gradient = self.slope(at, found)
            step = _downhill(found.hessian, gradient)
            promise = float(-gradient @ step)
            if promise / 2 < enough * max(found.size, 1.0) ** 2:
                break
            lower = self._lower(at, found, step, promise)
            if lower is None:
                if promise > STUCK * found.size:
                    return None
                break
            at, found = lower
            if np.linalg.norm(at - self.middle) > RUNAWAY * (1 + np.linalg.norm(self.middle)):
                return None
        else:
            return None
        return (at, found) if np.linalg.eigvalsh(_scaled(found.hessian)[0])[0] > STIFFEST else None

    def _lower(
        self, at: Floats, found: LossDerivatives, step: Floats, promise: float
    ) -> tuple[Floats, LossDerivatives] | None:
        """Go along a step until the loss has fallen by a part of what it promised."""
        for halving in range(HALVINGS):
            part = 0.5**halving
            tried = at + part * step
            there = self(tried)
            if there.loss <= found.loss - 1e-4 * part * promise + ROUGHLY * found.size:
                return tried, there
        return None


def _scaled(hessian: Floats) -> tuple[Floats, Floats]:
    """Give every direction a curvature of about one: the ridge's may differ by many orders."""
    unit = 1 / np.sqrt(np.maximum(np.abs(np.diag(hessian)), STIFFEST))
    return hessian * np.outer(unit, unit), unit


def _downhill(hessian: Floats, gradient: Floats) -> Floats:
    """Take a Newton step along absolute curvatures, which leads down whatever their signs."""
    scaled, unit = _scaled(hessian)
    values, axes = np.linalg.eigh(scaled)
    size = np.maximum(np.abs(values), STIFFEST * max(1.0, np.abs(values).max()))
    step: Floats = -unit * (axes @ ((axes.T @ (unit * gradient)) / size))
    return step
