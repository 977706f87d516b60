"""The statistics of the simulation in bins, after Barlow and Beeston, in full: factors of single processes, beside one for all others.

    -ln L_b = Lambda - n ln Lambda + sum_g c_g(gamma_g),   Lambda = sum_g gamma_g lambda_g,   minimised over all gamma
    c_g     = (gamma - s - s ln(gamma / s)) / v   of a process of its own: Poisson, with 1 / v simulated events, `shapesys`
    c_g     = (gamma - s)^2 / (2 v)               of all other processes together: Gaussian, `staterror`

v is the relative variance that the simulation has at the nominal parameters, and s, 1 but in toys, what was seen of it. At the minimum

    gamma_g = s / (1 + t v lambda_g)  or  s - t v lambda_g,   t = 1 - n / Lambda,

so that one number t is looked for in each bin, whatever the number of processes. First derivatives follow from the envelope theorem, second
ones from the implicit function:

    dV / d lambda_g = gamma_g t,   d2V / d lambda_g d lambda_h = k u_g u_h - delta_gh c_g t^2
    c = v gamma / (1 + t v lambda) or v,   u = gamma - c lambda t,   k = q / (1 + q sum_g c_g lambda_g^2),   q = n / Lambda^2

References:
    R. Barlow, C. Beeston, Comput. Phys. Commun. 77 (1993) 219; HistFactory, CERN-OPEN-2012-016.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
FLOOR = 1e-300
STEPS = 200
"""Of the search for t, at most; most take six."""
ROUNDING = 1e-15
"""Step, relative to 1 + |t|, at which it ends."""


class ProfiledProcesses(NamedTuple):
    """-ln L of bins, minimised over all gamma, as a function of what each process expects."""

    gamma: Floats
    """Shape (G, B)."""
    value: Floats
    """Shape (B,)."""
    first: Floats
    """d value / d lambda_j, shape (J, B)."""
    common: Floats
    """k, shape (B,)."""
    direction: Floats
    """u of each process, shape (J, B)."""
    own: Floats
    """c t^2, shape (G, B)."""
    pulled: Floats
    """t d gamma / d s at fixed t, shape (G, B)."""
    drawn: Floats
    """d Lambda / d s at fixed t, shape (G, B)."""


@dataclass(frozen=True)
class ProcessErrors:
    """What the finite simulation lets the processes of bins scatter by."""

    group: npt.NDArray[np.int64]
    """To which factor each process belongs, shape (J,); the last one is that of all others."""
    variance: Floats
    """v, shape (G, B); 0 where a factor is 1."""
    seen: Floats
    """s, shape (G, B)."""

    @staticmethod
    def of(
        processes: Sequence[str],
        expected: Floats,
        errors: Mapping[str, Floats],
        own: Collection[str],
        threshold: float = 0.0,
    ) -> ProcessErrors:
        """Make it of what each process expects at the nominal parameters.

        Args:
            processes: J.
            expected: Shape (J, B).
            errors: Of these, by process; none where they are left out.
            own: Processes that have a factor each.
            threshold: Errors below this share of a bin are left out.
        """
        alone = [name for name in processes if name in own]
        group = np.array([alone.index(name) if name in own else len(alone) for name in processes])
        square = np.zeros((len(alone) + 1, expected.shape[1]))
        sums = np.zeros_like(square)
        for name, j, lam in zip(processes, group, expected, strict=True):
            square[j] += errors[name] ** 2 if name in errors else 0.0
            sums[j] += lam
        kept = (sums > 0) & (square > (threshold * expected.sum(axis=0)) ** 2)
        variance = np.where(kept, square / np.where(sums > 0, sums, 1.0) ** 2, 0.0)
        return ProcessErrors(group, variance, np.ones_like(variance))

    @property
    def spread(self) -> Floats:
        """Give the relative errors, shape (G, B)."""
        return np.sqrt(self.variance)

    def by_process(self, gamma: Floats) -> Floats:
        """Give the factor of each process, shape (J, B)."""
        found: Floats = gamma[self.group]
        return found

    def throw(self, generator: np.random.Generator) -> Floats:
        """Throw s for a toy, shape (G, B)."""
        v = np.where(self.variance > 0, self.variance, 1.0)
        found = np.where(self.variance > 0, generator.poisson(1 / v) * v, 1.0)
        found[-1] = 1 + np.sqrt(self.variance[-1]) * generator.standard_normal(self.variance.shape[1])
        return found

    def profile(self, terms: Floats, count: Floats) -> ProfiledProcesses:
        """Minimise over all gamma.

        Args:
            terms: What each process expects, lambda_j, shape (J, B).
            count: n, shape (B,).
        """
        lam = np.zeros_like(self.variance)
        np.add.at(lam, self.group, terms)
        t = self._solve(lam, count)
        gamma, c = self._at(lam, t)
        total = np.maximum((gamma * lam).sum(axis=0), FLOOR)
        q = count / total**2
        u = gamma - c * lam * t
        value = total - np.where(count > 0, count * np.log(total), 0.0) + self._pull(gamma)
        common = q / (1 + q * (c * lam**2).sum(axis=0))
        moved = np.divide(1.0, 1 + t * self.variance * lam, out=np.zeros_like(gamma), where=gamma > 0)
        moved[-1] = gamma[-1] > 0
        return ProfiledProcesses(
            gamma, value, (gamma * t)[self.group], common, u[self.group], c * t**2, t * moved, lam * moved
        )

    def _at(self, lam: Floats, t: Floats) -> tuple[Floats, Floats]:
        """Give gamma and c at t."""
        below = 1 + t * self.variance * lam
        gamma = self.seen / np.where(below > 0, below, np.inf)
        c = self.variance * gamma / np.where(below > 0, below, np.inf)
        last = self.seen[-1] - t * self.variance[-1] * lam[-1]
        gamma[-1], c[-1] = np.maximum(last, 0.0), np.where(last > 0, self.variance[-1], 0.0)
        return gamma, c

    def _pull(self, gamma: Floats) -> Floats:
        v, s = np.where(self.variance > 0, self.variance, 1.0), self.seen
        logs = np.where(s > 0, s * np.log(np.maximum(gamma, FLOOR) / np.where(s > 0, s, 1.0)), 0.0)
        pull = np.where(self.variance > 0, (gamma - s - logs) / v, 0.0)
        pull[-1] = np.where(self.variance[-1] > 0, (gamma[-1] - s[-1]) ** 2 / (2 * v[-1]), 0.0)
        found: Floats = pull.sum(axis=0)
        return found

    def _solve(self, lam: Floats, count: Floats) -> Floats:
        """Find t, shape (B,): Lambda(t) falls, n / (1 - t) rises; Newton's steps, halving where they leave the bracket."""
        strength = np.where(self.seen > 0, self.variance * lam, 0.0)[:-1]
        with np.errstate(divide="ignore"):
            low = np.max(np.where(strength > 0, -1 / strength, -np.inf), axis=0, initial=-np.inf)
            high = np.min(np.where(strength < 0, -1 / strength, np.inf), axis=0, initial=1.0)
        start = np.maximum((self.seen * lam).sum(axis=0), 1e-30)
        low, high = np.maximum(low, np.minimum(0.0, 1 - count / start)), np.minimum(high, 1.0)
        t: Floats = np.where(count > 0, np.clip(0.0, low, high), high)
        for _ in range(STEPS):
            gamma, c = self._at(lam, t)
            rest = np.maximum(1 - t, 1e-150)
            excess = (gamma * lam).sum(axis=0) - count / rest
            low, high = np.where(excess > 0, t, low), np.where(excess > 0, high, t)
            step = excess / ((c * lam**2).sum(axis=0) + count / rest**2 + FLOOR)
            new: Floats = t + step
            # A step of rounding alone ends on the bracket; halving would leave the root, and come back in some fifty steps.
            still = np.abs(step) <= ROUNDING * (1 + np.abs(t))
            new = np.where(still | ((new > low) & (new < high)), new, (low + high) / 2)
            new = np.where(count > 0, new, 1.0)
            if (np.abs(new - t) <= ROUNDING * (1 + np.abs(t))).all():
                return new
            t = new
        return t
