"""Z_j(alpha), the mean response of a process over simulated events: what its density is divided by.

    Z_j = E_pj[ prod_k g_jk(x, alpha_k) ]

Up and down ratios are normalised at plus and minus one sigma only. Without Z_j their product over nuisances is not,
and the likelihood has a false, deep minimum at large |alpha|.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from needle_parsl.nsbi.statistics.model.responses import CHUNK, Local, ResponseMoments, Responses, moments

Floats = npt.NDArray[np.float64]
FEWEST = 4096
"""Effective events behind a thinned Z_j, at least."""
NOTHING = 1 / float(np.finfo(np.float64).tiny)
"""Stands for a Z_j that is not positive, as polynomials far beyond what was simulated may have it: the process then has no density."""


class Normalisation(NamedTuple):
    """Z_j at some alpha."""

    value: float
    """`NOTHING` where the sum is not positive."""
    first: Floats
    """d ln Z_j / d alpha, shape (K,)."""
    second: Floats
    """Second derivatives of ln Z_j, shape (K, K); zeros where they were not asked for."""
    error: float
    """Statistical error of Z_j."""


@dataclass(frozen=True)
class Simulation:
    """Events that stand for the density of one process, for Z_j."""

    process: int
    weight: Floats
    """Shape (N,); they add up to 1."""
    responses: Responses
    """Of this process."""
    nominal: Floats | None = None
    """Where events of all processes stand for this one, each as far as it belongs to it: the weights of those that were simulated for it,
    which add up to 1, and 0 for the others; shape (N,). None where all were simulated for it."""

    def simulated(self, alpha: Floats) -> tuple[Floats, Local]:
        """Give weights and responses of the events that were simulated for this process, in their order."""
        if self.nominal is None:
            return self.weight, self.responses.at(self.process, alpha)
        rows = np.flatnonzero(self.nominal)
        return self.nominal[rows], self.responses.take(rows).at(self.process, alpha)

    def __call__(self, alpha: Floats, *, second: bool = False) -> Normalisation:
        """Give Z_j, the derivatives of its logarithm, and its statistical error."""
        size, squares = len(alpha), np.zeros(3)
        total = ResponseMoments.zero(size)
        if not self.responses.moved:
            return Normalisation(float(self.weight.sum()), total.first, total.second, 0.0)
        for start in range(0, len(self.weight), CHUNK):
            rows = slice(start, start + CHUNK)
            local, weight = self.responses.at(self.process, alpha, rows), self.weight[rows]
            own = weight * local.product
            total = total.plus(moments(local, own, size, second=second))
            squares += [weight @ weight, own @ weight, own @ own]
        if total.total <= 0:
            return Normalisation(NOTHING, np.zeros(size), np.zeros((size, size)), NOTHING)
        z, first = total.total, total.first / total.total
        error = np.sqrt(max(squares[2] - 2 * z * squares[1] + z**2 * squares[0], 0.0))
        bends = total.second / z - np.outer(first, first) if second else total.second
        return Normalisation(z, first, bends, float(error))

    def along(self, alpha: Floats) -> Callable[[int], Simulation]:
        """Fold the responses at alpha into the weights, but for one nuisance parameter, as `Table.along` does."""
        whole = self.weight * self.responses.products(alpha, self.process + 1)[-1]

        def line(place: int) -> Simulation:
            responses = self.responses.of_nuisance(place)
            moved = responses.products(alpha, self.process + 1)[-1]
            return replace(self, weight=whole / moved, responses=responses, nominal=None)

        return line

    def thinned(self, events: float) -> Simulation:
        """Keep as many events, picked at random, as make the error of Z_j small against that of a data set.

            n_eff = max(4096, 10 nu sum_k Var g_jk),  each variance the larger one of those at alpha_k = +-1

        Args:
            events: nu, expected in a data set.
        """
        total = self.weight.sum()
        sides = np.exp(np.stack([self.responses.log_up, self.responses.log_down]))  # (2, L, N)
        spread = float(self._variances(sides).max(axis=0, initial=0.0).sum())
        picked = np.random.default_rng(0).permutation(len(self.weight))
        weight = self.weight[picked]
        effective = np.cumsum(weight) ** 2 / np.maximum(np.cumsum(weight**2), np.finfo(float).tiny)
        rows = picked[: 1 + int(np.searchsorted(np.maximum.accumulate(effective), max(FEWEST, 10 * events * spread)))]
        weight = self.weight[rows] * (total / self.weight[rows].sum())
        nominal = None if self.nominal is None else self.nominal[rows]
        return replace(self, weight=weight, responses=self.responses.take(rows), nominal=nominal)

    def _variances(self, responses: Floats) -> Floats:
        """Give the relative variances of responses along their last axis."""
        share = self.weight / self.weight.sum()
        relative = responses / (responses @ share)[..., None] - 1
        found: Floats = relative**2 @ share
        return found
