"""The extended likelihood of a mixture: unbinned events, bins and constraints, with its exact gradient and Hessian.

    -ln L(theta) = nu - sum_e w_e ln lambda_e + sum_b [lambda_b - n_b ln lambda_b] + constraints
    nu           = sum_j f_j nu_j G_j
    lambda_e     = sum_j f_j nu_j G_j r_je prod_k g_jk(x_e, alpha_k) / Z_j

References:
    ATLAS, arXiv:2412.01600, arXiv:2412.01548; HistFactory, CERN-OPEN-2012-016.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from needle_parsl.nsbi.statistics.model.constraints import Constraints
from needle_parsl.nsbi.statistics.model.rates import Rates
from needle_parsl.nsbi.statistics.model.responses import Rows
from needle_parsl.nsbi.statistics.model.rows import RowValues, Table, TableSums
from needle_parsl.nsbi.statistics.results import MeanResponse

Floats = npt.NDArray[np.float64]
LOOKED = np.arange(-3.0, 3.1, 0.5)
"""alpha at which it is seen whether a yield goes down to both sides, or up."""
SAME_SIDE = 5e-3
"""Slopes of ln yield of both signs that are larger than this make a nuisance parameter bent."""


@dataclass(frozen=True)
class Likelihood:
    """-ln L of one dataset: tables of rows, and constraints."""

    rates: Rates
    tables: tuple[Table, ...]
    """Per unbinned region its events and its total, per binned region its bins; without unbinned regions no events, and no total."""
    constraints: Constraints

    @property
    def nuisances(self) -> int:
        """Count the nuisance parameters."""
        return len(self.constraints.kind)

    def of_kind(self, kind: str) -> list[Table]:
        """List the tables of `events`, of the `total` or of `bins`."""
        return [table for table in self.tables if table.kind == kind]

    @cached_property
    def bent(self) -> npt.NDArray[np.bool_]:
        """Say along which coordinates several minima are to be expected, shape (P,).

        Those in which multipliers are no straight lines, and nuisance parameters whose yields move to the same side with both signs.
        """
        found, f = self.rates.bent.copy(), self.rates.multiply(self.rates.start, second=False)
        for table in self.tables:
            found[self.rates.physics :] |= table.turning(
                f, LOOKED, self.rates.moved(self.rates.start), self.nuisances, SAME_SIDE
            )
        return found

    @cached_property
    def shaped(self) -> npt.NDArray[np.bool_]:
        """Say which coordinates change shapes, along which there may be further minima, shape (P,)."""
        found = np.zeros(len(self.rates.parameters), np.bool_)
        for table in self.tables:
            found[self._coordinates[table.responses.places]] = True
        return found

    @cached_property
    def _coordinates(self) -> npt.NDArray[np.intp]:
        """Say which coordinate of theta each coordinate of responses is, shape (K + S,)."""
        nuisances = np.arange(self.rates.physics, len(self.rates.parameters))
        return np.concatenate([nuisances, np.array(self.rates.simulated, np.intp)])

    @cached_property
    def kinked(self) -> npt.NDArray[np.bool_] | None:
        """Say which coordinates have a kink at 0, shape (P,); None where there is none."""
        places = np.unique(
            np.concatenate([own for table in self.tables for own in (table.responses.kinked, table.gains.kinked)])
        )
        found = np.zeros(len(self.rates.parameters), np.bool_)
        found[self.rates.physics + places.astype(np.intp)] = True
        return found if len(places) else None

    @property
    def binned(self) -> bool:
        """Whether there are binned regions alone."""
        return not self.of_kind("total")

    def alpha(self, theta: Floats) -> Floats:
        """Give the nuisance parameters of theta."""
        return theta[self.rates.physics :]

    def __call__(self, theta: Floats) -> tuple[float, Floats]:
        """Give -ln L and its gradient.

        Args:
            theta: In the order of `rates.parameters`, in the coordinates of the fit.
        """
        found = self._sums(theta, second=False)
        return found.value, found.gradient

    def along(self, theta: Floats) -> Callable[[int], Likelihood]:
        """Make what is quick to evaluate at points that differ from theta in one coordinate alone.

        Returns:
            Of that coordinate, the likelihood; the slopes by other nuisance parameters are not those of this one.
        """
        if any(len(table.responses.pairs) for table in self.tables):  # several nuisance parameters move together
            return lambda _: self
        lines = [table.along(self.rates.moved(theta)) for table in self.tables]
        places = {int(k): place for place, k in enumerate(self._coordinates)}
        return lambda k: replace(self, tables=tuple(line(places.get(k, -1)) for line in lines))

    def hessian(self, theta: Floats) -> Floats:
        """Give the exact Hessian of -ln L, shape (P, P)."""
        return self._sums(theta, second=True).hessian

    def floored(self, theta: Floats) -> int:
        """Count the events and filled bins whose expectation is not positive, and where that of empty bins or of all events is negative."""
        return self._sums(theta, second=False).floored

    def _sums(self, theta: Floats, *, second: bool) -> TableSums:
        f, alpha, size = self.rates.multiply(theta, second=second), self.rates.moved(theta), len(theta)
        value, first, bends = self.constraints(self.alpha(theta))
        gradient, hessian = np.zeros(size), np.zeros((size, size))
        inner = np.arange(self.rates.physics, size)
        gradient[inner], hessian[inner, inner], floored = first, bends, 0
        for table in self.tables:
            own = table.sums(f, alpha, second=second)
            value, floored = value + own.value, floored + own.floored
            gradient += self.rates.folded(own.gradient)
            hessian += self.rates.folded(self.rates.folded(own.hessian).T)
        return TableSums(value, gradient, hessian, floored)

    def expected(self, theta: Floats) -> Floats:
        """Give nu_j f_j G_j, the expected events of each process in the unbinned regions; shape (J,)."""
        found: Floats = self.expected_by_region(theta).sum(axis=0)
        return found

    def expected_by_region(self, theta: Floats) -> Floats:
        """Give the expected events of each process in each of the R unbinned regions; shape (R, J)."""
        f, alpha = self.rates.factors(theta)[0], self.rates.moved(theta)
        found = [f * table.scale(alpha).value * table.y[:, 0] for table in self.of_kind("total")]
        return np.array(found).reshape(len(found), len(f))

    def point(self, table: Table, theta: Floats) -> RowValues:
        """Give lambda of the rows of a table, with its slopes by theta, shape (P, N), and its parts."""
        at = table.point(self.rates.multiply(theta, second=False), self.rates.moved(theta))
        return at._replace(slopes=self.rates.folded(at.slopes))

    def densities(self, theta: Floats) -> Floats:
        """Give lambda_e of all events, shape (N,)."""
        f, alpha = self.rates.factors(theta)[0], self.rates.moved(theta)
        return np.concatenate([table.densities(f, alpha) for table in self.of_kind("events")])

    def counts(self, theta: Floats) -> list[Floats]:
        """Give the expected counts of each binned region, each of shape (B,)."""
        f, alpha = self.rates.factors(theta)[0], self.rates.moved(theta)
        return [table.densities(f, alpha) for table in self.of_kind("bins")]

    def gammas(self, theta: Floats) -> list[Floats]:
        """Give by what the data scale the simulation of each binned region; see `Table.gamma`."""
        f, alpha = self.rates.multiply(theta, second=False), self.alpha(theta)
        return [table.gamma(f, alpha) for table in self.of_kind("bins")]

    def take(
        self, rows: Rows, constraints: Constraints, counts: Sequence[Floats] = (), seen: Sequence[Floats] = ()
    ) -> Likelihood:
        """Make the likelihood of a toy: some of the events, each counted once, and what was thrown beside them.

        Args:
            rows: Which events, those of several regions one behind the other; one that was drawn twice stands there twice.
            constraints: With the auxiliary observations that were thrown.
            counts: The counts of each binned region.
            seen: What says how well the simulation of each is known, as thrown; left out, it is nominal.
        """
        own, beside, thrown, start = iter(counts), iter(seen), [], 0
        taken = np.arange(sum(table.y.shape[1] for table in self.of_kind("events")))[rows]
        for table in self.tables:
            if table.kind == "events":
                inside = (taken >= start) & (taken < start + table.y.shape[1])
                kept, start = table.take(taken[inside] - start, np.empty(0)), start + table.y.shape[1]
                thrown.append(replace(kept, count=np.ones(kept.y.shape[1])))
            elif table.kind == "bins":
                known = next(beside, None)
                scatter = table.staterror if known is None else table.staterror and replace(table.staterror, seen=known)
                thrown.append(replace(table, count=next(own), staterror=scatter))
            else:
                thrown.append(table)
        return replace(self, tables=tuple(thrown), constraints=constraints)

    def thinned(self, theta: Floats) -> Likelihood:
        """Let fewer events stand behind Z_j: as many as toys thrown at theta need."""
        expected = float(self.expected(theta).sum())
        return replace(
            self,
            tables=tuple(
                replace(table, simulation=tuple(s.thinned(expected) for s in table.simulation)) for table in self.tables
            ),
        )

    def normalisations(self, theta: Floats) -> dict[str, MeanResponse]:
        """Report Z_j and its statistical error by process; f_j nu_j G_j times the error is the yield in doubt."""
        found = {}
        for table in self.of_kind("events"):
            for simulation in table.simulation:
                z = simulation(self.rates.moved(theta))
                process = self.rates.processes[simulation.process]
                several = len(self.of_kind("events")) > 1
                found[f"{table.name}: {process}" if several else process] = MeanResponse(z.value, z.error)
        return found
