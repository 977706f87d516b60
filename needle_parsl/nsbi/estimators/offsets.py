"""Normalisation of learned ratios at the expected yields: a slope and an offset, from events that did not train.

    eta_ij = ln nu_j + s f_j(x_i) + b_j,   P_ij = exp(eta_ij) / sum_k exp(eta_ik)
    L(s, b) = -sum_i w_i ln P_{i, y_i},    dL/db_j = 0:  sum_i w_i P_ij = nu_j

The weights w_i of process j add up to nu_j. The condition on b_j is the score equation of the yields in the fit, so that the fit of
simulated events returns them. A mean of r over the reference, E_ref[r] = 1, does the same for exact ratios, but is ruled by a few events where
r is large, and a network extrapolates there. The slope makes the response right away from the point of the fit, and its errors honest.

Weights may be negative: L is then no longer convex for every sample, and Newton steps are damped.

References:
    The cross-entropy at true class frequencies is that of logistic regression with prior correction, G. King, L. Zeng, Political Analysis 9
    (2001) 137; temperature scaling, C. Guo, G. Pleiss, Y. Sun, K. Weinberger, arXiv:1706.04599.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import log_softmax, logsumexp, softmax

from needle_parsl.errors import TaskError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
PRIOR = 1.0
"""Standard deviation of a slope about 1 before any event is looked at: it decides where two densities are the same, and nothing else."""
LARGEST = 50.0
"""ln r beyond this says no more than "never": it is cut before sums, so that one event cannot rule them."""


@dataclass(frozen=True)
class Labelled:
    """Simulated events of several classes, with their raw log ratios."""

    log_ratio: Floats
    """Shape (J, N); 0 for a class that is the reference."""
    label: Ints
    """The class of each event, shape (N,)."""
    weight: Floats
    """Shape (N,); those of class j add up to nu_j."""
    id: npt.NDArray[np.uint64]
    """Events of one id are one event, whatever classes it is in; shape (N,)."""


@dataclass(frozen=True)
class Normalised:
    """The fitted slopes and offsets."""

    slope: Floats
    """Of each class, shape (J,); equal where classes share it."""
    offset: Floats
    """Shape (J,)."""
    slope_error: Floats
    """Shape (J,)."""
    offset_error: Floats
    """Shape (J,)."""
    loss: tuple[float, float]
    """Mean cross-entropy at the yields, as it came and after the fit."""

    def __call__(self, log_ratio: Floats) -> Floats:
        """Normalise raw log ratios of shape (J, N)."""
        return self.slope[:, None] * log_ratio + self.offset[:, None]


def fit(events: Labelled, slopes: Sequence[int]) -> Normalised:
    """Fit slopes and offsets.

    Args:
        events: Of all classes, evaluated by networks that did not see them.
        slopes: Which slope each class has, shape (J,); -1 for a class whose slope is 1.

    Raises:
        TaskError: There are classes without weight, or log ratios that are no numbers.
    """
    problem = _Problem.of(events, np.asarray(slopes))
    start = problem.start()
    if not len(start):
        return problem.normalised(start, (0.0, 0.0))
    found = minimize(problem.value, start, jac=problem.gradient, hess=problem.hessian, method="trust-exact", tol=1e-10)
    if not np.isfinite(found.x).all():
        raise TaskError(
            "the offsets at the expected yields cannot be found: the log ratios have no finite cross-entropy"
        )
    return problem.normalised(found.x, (problem.loss(start), problem.loss(found.x)))


@dataclass(frozen=True)
class _Problem:
    """The cross-entropy as a function of theta = slopes, then offsets of all classes but one."""

    events: Labelled
    slopes: Ints
    log_yield: Floats
    """Shape (J,)."""
    scale: float
    """Effective events per unit of weight: a prior counts against events, and not against yields."""

    base: int
    """The class whose offset is 0: one that is the reference, or else the first."""

    @staticmethod
    def of(events: Labelled, slopes: Ints) -> _Problem:
        classes = len(events.log_ratio)
        totals = np.bincount(events.label, events.weight, classes)
        if not (totals > 0).all():
            raise TaskError("the weights of a process add up to 0 or less; it has no offset at the expected yields")
        bad = int((~np.isfinite(events.log_ratio)).any(axis=0).sum())
        if bad:
            raise TaskError(f"ln r is no number for {bad} of {events.log_ratio.shape[1]} simulated events")
        total = totals.sum()
        effective = total**2 / (events.weight**2).sum()
        return _Problem(events, slopes, np.log(totals), effective / total, int(slopes.argmin()))

    @property
    def free(self) -> int:
        """Count the slopes."""
        return int(self.slopes.max(initial=-1)) + 1

    def start(self) -> Floats:
        return np.concatenate([np.ones(self.free), np.zeros(len(self.log_yield) - 1)])

    def parts(self, theta: Floats) -> tuple[Floats, Floats]:
        """Give slope and offset of each class."""
        slope = np.append(theta[: self.free], 1.0)[self.slopes]  # the last one is that of classes without a free slope
        return slope, np.insert(theta[self.free :], self.base, 0.0)

    def eta(self, theta: Floats) -> Floats:
        slope, offset = self.parts(theta)
        clipped = np.clip(self.events.log_ratio, -LARGEST, LARGEST)
        eta: Floats = self.log_yield[:, None] + slope[:, None] * clipped + offset[:, None]
        return eta

    def loss(self, theta: Floats) -> float:
        """Give the mean cross-entropy."""
        own = log_softmax(self.eta(theta), axis=0)[self.events.label, np.arange(len(self.events.label))]
        return float(-(self.events.weight @ own) / self.events.weight.sum())

    def value(self, theta: Floats) -> float:
        own = self.loss(theta) * float(self.events.weight.sum()) * self.scale
        return own + float(((theta[: self.free] - 1.0) ** 2).sum()) / (2 * PRIOR**2)

    def scores(self, theta: Floats) -> Floats:
        """Give what each event adds to the gradient, without the prior; shape (P, N)."""
        share = softmax(self.eta(theta), axis=0)
        share[self.events.label, np.arange(len(self.events.label))] -= 1.0
        return (
            np.concatenate([self._by_slope(share * self._ratios()), np.delete(share, self.base, axis=0)])
            * self.events.weight
        )

    def _ratios(self) -> Floats:
        return np.clip(self.events.log_ratio, -LARGEST, LARGEST)

    def _by_slope(self, rows: Floats) -> Floats:
        """Add up the rows of the classes that share a slope."""
        return np.array([rows[self.slopes == k].sum(axis=0) for k in range(self.free)]).reshape(
            self.free, rows.shape[1]
        )

    def gradient(self, theta: Floats) -> Floats:
        found: Floats = self.scores(theta).sum(axis=1) * self.scale
        found[: self.free] += (theta[: self.free] - 1.0) / PRIOR**2
        return found

    def hessian(self, theta: Floats) -> Floats:
        share, ratios, size = softmax(self.eta(theta), axis=0), self._ratios(), len(theta)
        total = np.zeros((size, size))
        first = np.zeros((size, share.shape[1]))
        for j in range(len(share)):
            columns = self._columns(j)
            rows = np.array([ratios[j] if c < self.free else np.ones_like(ratios[j]) for c in columns])
            rows = rows.reshape(len(columns), len(ratios[j]))
            first[columns] += share[j] * rows
            total[np.ix_(columns, columns)] += (rows * (self.events.weight * share[j])) @ rows.T
        total -= (first * self.events.weight) @ first.T
        total *= self.scale
        total[range(self.free), range(self.free)] += 1 / PRIOR**2
        return total

    def _columns(self, j: int) -> list[int]:
        """Name the parameters on which class j depends."""
        return [
            *([int(self.slopes[j])] if self.slopes[j] >= 0 else []),
            *([] if j == self.base else [self.free + j - (j > self.base)]),
        ]

    def covariance(self, theta: Floats) -> Floats:
        """Estimate the covariance of theta from the scatter of events; the sum of the weights of a class is fixed."""
        scores, label = self.scores(theta), self.events.label
        if not len(theta):  # one class, which is the reference
            return np.zeros((0, 0))
        sums = np.array([np.bincount(label, row, len(self.log_yield)) for row in scores])
        centred = scores - self.events.weight * (sums / np.exp(self.log_yield))[:, label]
        _, which = np.unique(self.events.id, return_inverse=True)
        together = np.array([np.bincount(which, row) for row in centred])
        inverse = np.linalg.pinv(self.hessian(theta) / self.scale)
        found: Floats = inverse @ (together @ together.T) @ inverse
        return found

    def normalised(self, theta: Floats, loss: tuple[float, float]) -> Normalised:
        slope, offset = self.parts(theta)
        errors = np.sqrt(np.maximum(np.diag(self.covariance(theta)), 0.0))
        slope_error = np.where(self.slopes >= 0, np.append(errors[: self.free], 0.0)[self.slopes], 0.0)
        return Normalised(slope, offset, slope_error, np.insert(errors[self.free :], self.base, 0.0), loss)


def gauge(offset: Floats, shares: Floats) -> Floats:
    """Shift all offsets so that the reference, a mixture of the classes, stays normalised; no likelihood depends on it.

    Args:
        offset: Shape (J,).
        shares: Of each class in the reference, shape (J,).
    """
    if not shares.sum() > 0:
        return offset
    shifted: Floats = offset - logsumexp(offset, b=shares / shares.sum())
    return shifted


def posterior(log_ratio: Floats, yields: Floats) -> Floats:
    """Give the probability of each class, P_ij.

    Args:
        log_ratio: Normalised, shape (J, N).
        yields: Expected events, shape (J,).
    """
    found: Floats = softmax(log_ratio + np.log(yields)[:, None], axis=0)
    return found


def centre(log_response: Floats, weight: Floats) -> float:
    """Give the offset with which the mean of a response over a process is 1.

    Args:
        log_response: ln g, with its slope; shape (N,).
        weight: w_i P_ij of simulated events of all processes, shape (N,); may be negative.

    Raises:
        TaskError: The mean is not positive.
    """
    largest = float(log_response.max(initial=0.0))
    mean = float(weight @ np.exp(log_response - largest) / weight.sum())
    if not mean > 0:
        raise TaskError("the mean response of a variation is not positive; too many weights are negative")
    return -float(np.log(mean) + largest)
