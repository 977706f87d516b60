"""The row table, the one data type of the likelihood: events, bins and the total are rows that differ in their weights.

    lambda_i = sum_j f_j(mu) y_ji g_ji(alpha) G_j(alpha) / Z_j(alpha)
    -ln L    = sum_i rate_i lambda_i - count_i ln lambda_i

An event has rate 0 and its weight as count; a bin has rate 1 and what was counted in it; the total has rate 1, count 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from needle_parsl.nsbi.statistics.model.normalisation import Simulation
from needle_parsl.nsbi.statistics.model.process_errors import ProcessErrors
from needle_parsl.nsbi.statistics.model.rates import Multipliers
from needle_parsl.nsbi.statistics.model.responses import CHUNK, Local, ResponseMoments, Responses, Rows, moments
from needle_parsl.nsbi.statistics.model.staterror import Staterror

Floats = npt.NDArray[np.float64]
FLOOR = 1e-30
"""lambda is at least this inside the logarithm; rows below are counted."""
WALL = 1e4
"""What keeps expectations from being negative: rate lambda alone would reward them where little or nothing was observed."""


class TableScale(NamedTuple):
    """G_j / Z_j, what all rows of a table have in common, with the derivatives of its logarithm."""

    value: Floats
    """Shape (J,)."""
    first: Floats
    """Shape (J, K)."""
    second: Floats
    """Shape (J, K, K)."""


class RowRange(NamedTuple):
    """A range of rows at some theta."""

    rows: slice
    parts: Floats
    """What each process adds to lambda, without its f_j; shape (J, N)."""
    density: Floats
    """lambda, shape (N,)."""
    locals: list[Local]
    """By process."""


class TableSums(NamedTuple):
    """A table's part of -ln L at some theta, with its derivatives."""

    value: float
    gradient: Floats
    """Shape (P,)."""
    hessian: Floats
    """Shape (P, P); zeros where it was not asked for."""
    floored: int
    """Rows that count and whose lambda is not positive, and bins and totals of which it is negative."""


class RowsLikelihood(NamedTuple):
    """The part of -ln L of some rows, with its derivatives by their lambda."""

    value: float
    first: Floats
    """Shape (N,)."""
    second: Floats
    """Shape (N,)."""
    floored: int
    """Rows that count and whose lambda is not positive, and bins and totals of which it is negative."""


class RowValues(NamedTuple):
    """All rows at some theta."""

    density: Floats
    """lambda, shape (N,)."""
    slopes: Floats
    """d lambda / d theta, shape (P, N)."""
    components: Floats
    """The processes' parts of lambda, shape (J, N)."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows that share one structure, as plain arrays."""

    name: str
    kind: str
    """`events`, `total` or `bins`."""
    y: Floats
    """Shape (J, N)."""
    responses: Responses
    """g, row by row."""
    gains: Responses
    """G, one row for all."""
    rate: Floats
    """Shape (N,)."""
    count: Floats
    """Shape (N,)."""
    simulation: tuple[Simulation, ...] = field(default=())
    """For Z_j, one per process; none where rows need no Z_j."""
    staterror: Staterror | ProcessErrors | None = None
    """Of bins: what their simulation lets them, or their processes, scatter by."""

    def take(self, rows: Rows, count: Floats) -> Table:
        """Keep some rows, with other counts."""
        return replace(self, y=self.y[:, rows], responses=self.responses.take(rows), rate=self.rate[rows], count=count)

    def turning(
        self, f: Multipliers, looked: Floats, start: Floats, nuisances: int, steep: float
    ) -> npt.NDArray[np.bool_]:
        """Say along which nuisance parameters, each moved alone, the yield of a process, or of all at f, goes down to both sides, or up.

        Args:
            f: The multipliers.
            looked: Values of alpha, shape (X,).
            start: The nominal coordinates of responses, shape (K + S,), of which the last ones stay.
            nuisances: K.
            steep: Smallest slope of ln yield that counts.
        """
        found = np.zeros(nuisances, np.bool_)
        for responses in (self.gains, self.responses) if self.kind == "bins" else (self.gains,):
            weight = self.y[responses.process] if responses is self.responses else 1.0
            curves = [responses.curves(np.full(nuisances, x)) for x in looked]
            values = np.array([(weight * curve.value).sum(axis=1) for curve in curves])
            slopes = np.array([(weight * curve.slope).sum(axis=1) for curve in curves])
            found[responses.nuisance] |= _both_signs(slopes, values, steep)
        if self.kind == "events":
            return found
        away = np.eye(nuisances, len(start))
        points = [[self.point(f, start + x * own) for own in away] for x in looked]
        values = np.array([[at.density.sum() for at in line] for line in points]).reshape(len(looked), nuisances)
        slopes = np.array([[at.slopes[len(f.slopes) + k].sum() for k, at in enumerate(line)] for line in points])
        return found | _both_signs(slopes.reshape(values.shape), values, steep)

    def along(self, alpha: Floats) -> Callable[[int], Table]:
        """Fold what responses and gains are at alpha into y, but for one nuisance parameter: a table in which that one alone moves.

        Args:
            alpha: The others', shape (K,).

        Returns:
            Of the nuisance parameter, -1 for none, the table; it costs little to evaluate.
        """
        processes = len(self.y)
        whole = self.responses.products(alpha, processes) * self.gains.products(alpha, processes)
        simulation = [own.along(alpha) for own in self.simulation]

        def line(place: int) -> Table:
            responses, gains = self.responses.of_nuisance(place), self.gains.of_nuisance(place)
            moved = responses.products(alpha, processes) * gains.products(alpha, processes)
            folded = tuple(own(place) for own in simulation)
            return replace(self, y=self.y * whole / moved, responses=responses, gains=gains, simulation=folded)

        return line

    @property
    def simulated(self) -> int:
        """Count the simulated events behind Z_j: those of each process, or all where they stand for each other."""
        shared = [len(own.weight) for own in self.simulation if own.nominal is not None]
        return shared[0] if shared else sum(len(own.weight) for own in self.simulation)

    def scale(self, alpha: Floats, *, second: bool = False) -> TableScale:
        """Evaluate G_j / Z_j."""
        processes, nuisances = len(self.y), len(alpha)
        value, first = np.ones(processes), np.zeros((processes, nuisances))
        bends = np.zeros((processes, nuisances, nuisances))
        if len(self.gains.process):
            j, k, gain = self.gains.process, self.gains.nuisance, self.gains.curves(alpha)
            np.multiply.at(value, j, gain.value[:, 0])
            first[j, k] = gain.slope[:, 0]
            bends[j, k, k] = gain.bend[:, 0]
        for (process, k, m), (c,) in zip(self.gains.pairs, self.gains.cross, strict=True):
            value[process] *= np.exp(c * alpha[k] * alpha[m])
            first[process, k] += c * alpha[m]
            first[process, m] += c * alpha[k]
            bends[process, [k, m], [m, k]] += c
        for spline in self.gains.splines:
            log, slope, bend = (float(part[0]) for part in spline.at(float(alpha[spline.place])))
            value[spline.process] *= np.exp(log)
            first[spline.process, spline.place] += slope
            bends[spline.process, spline.place, spline.place] += bend
        for simulation in self.simulation:
            place, z = simulation.process, simulation(alpha, second=second)
            value[place] /= z.value
            first[place] -= z.first
            bends[place] -= z.second
        return TableScale(value, first, bends)

    def stretches(self, f: Floats, alpha: Floats, scale: TableScale, size: int = CHUNK) -> Iterator[RowRange]:
        """Evaluate the rows, some at a time."""
        for start in range(0, max(self.y.shape[1], 1), size):  # once for no rows, too
            rows = slice(start, start + size)
            found = [self.responses.at(j, alpha, rows) for j in range(len(f))]
            parts = scale.value[:, None] * self.y[:, rows]
            for j in self.responses.moved:
                parts[j] *= found[j].product
            yield RowRange(rows, parts, f @ parts, found)

    def sums(self, f: Multipliers, alpha: Floats, *, second: bool = False) -> TableSums:
        """Evaluate the table's part of -ln L with its exact derivatives.

        Args:
            f: The multipliers.
            alpha: Nuisance parameters, shape (K,).
            second: Whether the Hessian is wanted.
        """
        if isinstance(self.staterror, ProcessErrors):
            return self._scattered(self.staterror, f, alpha, second=second)
        scale, size = self.scale(alpha, second=second), len(f.slopes) + len(alpha)
        value, floored, outer = 0.0, 0, np.zeros((size, size))
        seen = [ResponseMoments.zero(len(alpha)) for _ in f.value]
        for at in self.stretches(f.value, alpha, scale):
            loss = self.loss(at.density, at.rows)
            value, floored = value + loss.value, floored + loss.floored
            added = _moments(at, loss.first, len(alpha), second=second)
            seen = [before.plus(own) for before, own in zip(seen, added, strict=True)]
            if second:
                slopes = _slopes(at, f, scale)
                outer += (slopes * loss.second) @ slopes.T
        return TableSums(
            value, _gradient(f, scale, seen), outer + _curvature(f, scale, seen) if second else outer, floored
        )

    def _scattered(self, errors: ProcessErrors, f: Multipliers, alpha: Floats, *, second: bool) -> TableSums:
        """Do so where processes have factors of their own: -ln L then depends on what each expects."""
        scale = self.scale(alpha, second=second)
        at, terms, slopes = self._terms(f, alpha, scale)
        safe = np.where(at.density > FLOOR, terms, FLOOR / len(terms))
        found = errors.profile(safe, self.count)
        good, low = at.density > FLOOR, np.minimum(at.density, 0.0)
        first = np.where(good, found.first, 1.0) + 2 * WALL * low
        value = float(found.value.sum() + np.minimum(at.density - FLOOR, 0.0).sum() + WALL * low @ low)
        floored = int((((self.count != 0) & ~good) | (at.density < 0)).sum())
        seen = [
            moments(local, w * part, len(alpha), second=second)
            for local, w, part in zip(at.locals, first, at.parts, strict=True)
        ]
        gradient = _gradient(f, scale, seen)
        if not second:
            return TableSums(value, gradient, np.zeros((len(gradient),) * 2), floored)
        common = np.einsum("jb,jpb->pb", found.direction, slopes)
        outer = (common * np.where(good, found.common, 0.0)) @ common.T
        for g, own in enumerate(np.where(good, found.own, 0.0)):
            joined = slopes[errors.group == g].sum(axis=0)
            outer -= (joined * own) @ joined.T
        whole = slopes.sum(axis=0)
        outer += (whole * (2 * WALL * (low < 0))) @ whole.T
        return TableSums(value, gradient, outer + _curvature(f, scale, seen), floored)

    def _terms(self, f: Multipliers, alpha: Floats, scale: TableScale) -> tuple[RowRange, Floats, Floats]:
        """Give all rows, what each process expects in them, (J, N), and its slopes by theta, (J, P, N)."""
        at = next(self.stretches(f.value, alpha, scale, max(self.y.shape[1], 1)))
        alone = [f.alone(j) for j in range(len(f.value))]
        return at, f.value[:, None] * at.parts, np.array([_slopes(at, own, scale) for own in alone])

    def terms(self, f: Multipliers, alpha: Floats) -> tuple[Floats, Floats]:
        """Give what each process expects, shape (J, N), and its slopes by theta, shape (J, P, N)."""
        return self._terms(f, alpha, self.scale(alpha))[1:]

    def gamma(self, f: Multipliers, alpha: Floats) -> Floats:
        """Give the factors of the simulation of bins at their minimum, shape (B,), or of processes, shape (G, B); 1 where there are none."""
        if isinstance(self.staterror, ProcessErrors):
            return self.staterror.profile(self.terms(f, alpha)[0], self.count).gamma
        density = self.densities(f.value, alpha)
        return self.staterror.profile(density, self.count).gamma if self.staterror else np.ones(len(density))

    def held(self, gamma: Floats) -> Table:
        """Fold such factors into what is expected."""
        own = self.staterror.by_process(gamma) if isinstance(self.staterror, ProcessErrors) else gamma
        return replace(self, y=self.y * own, staterror=None)

    def loss(self, density: Floats, rows: slice = slice(None)) -> RowsLikelihood:
        """Give the part of -ln L of some rows, as a function of their lambda.

        Args:
            density: lambda, shape (N,).
            rows: Which rows these are.
        """
        rate, count = self.rate[rows], self.count[rows]
        good, safe = density > FLOOR, np.maximum(density, FLOOR)
        floored = int((((count != 0) & ~good) | ((rate > 0) & (density < 0))).sum())
        if isinstance(self.staterror, Staterror):  # of bins, which are few and come in one piece
            profiled = self.staterror.profile(safe, count)
            first, second = np.where(good, profiled.first, 1.0), np.where(good, profiled.second, 0.0)
            value = float(profiled.value.sum() + np.minimum(density - FLOOR, 0.0).sum())
            return _walled(RowsLikelihood(value, first, second, floored), rate, density)
        share = np.where(good, count / safe, 0.0)
        found = RowsLikelihood(float(rate @ density - count @ np.log(safe)), rate - share, share / safe, floored)
        return found if self.kind == "events" else _walled(found, rate, density)

    def densities(self, f: Floats, alpha: Floats) -> Floats:
        """Give lambda of all rows, shape (N,)."""
        found = [at.density for at in self.stretches(f, alpha, self.scale(alpha))]
        return np.concatenate(found) if found else np.empty(0)

    def point(self, f: Multipliers, alpha: Floats) -> RowValues:
        """Give lambda of all rows with its slopes and parts, at once."""
        scale = self.scale(alpha)
        at = next(self.stretches(f.value, alpha, scale, max(self.y.shape[1], 1)))
        return RowValues(at.density, _slopes(at, f, scale), f.value[:, None] * at.parts)


def _both_signs(slopes: Floats, values: Floats, steep: float) -> npt.NDArray[np.bool_]:
    """Whether slopes over values are of both signs; of shape (X, K), a value that is not positive has none."""
    relative = np.divide(slopes, values, out=np.zeros_like(slopes), where=values > 0)
    found: npt.NDArray[np.bool_] = (relative.min(axis=0) < -steep) & (relative.max(axis=0) > steep)
    return found


def _walled(loss: RowsLikelihood, rate: Floats, density: Floats) -> RowsLikelihood:
    """Add what keeps expectations from being negative."""
    low = np.minimum(density, 0.0)
    first, second = loss.first + 2 * WALL * rate * low, loss.second + 2 * WALL * rate * (low < 0)
    return RowsLikelihood(loss.value + float(WALL * rate @ low**2), first, second, loss.floored)


def _moments(at: RowRange, first: Floats, nuisances: int, *, second: bool) -> list[ResponseMoments]:
    """Add up the derivatives of each process; of one that responds to nothing there is only the sum of weights, a product of vectors."""
    still = ResponseMoments.zero(nuisances)
    return [
        moments(local, first * part, nuisances, second=second)
        if len(local.nuisance)
        else still._replace(total=float(part @ first))
        for local, part in zip(at.locals, at.parts, strict=True)
    ]


def _slopes(at: RowRange, f: Multipliers, scale: TableScale) -> Floats:
    """Give d lambda / d theta, shape (P, N)."""
    found = np.zeros((scale.first.shape[1], len(at.density)))
    for j, local in enumerate(at.locals):
        moved = np.flatnonzero(scale.first[j])
        if not len(local.nuisance) and not len(moved):
            continue
        own = f.value[j] * at.parts[j]
        found[local.nuisance] += own * local.first
        found[moved] += scale.first[j, moved, None] * own
    return np.concatenate([f.slopes @ at.parts, found])


def _gradient(f: Multipliers, scale: TableScale, seen: list[ResponseMoments]) -> Floats:
    totals = np.array([own.total for own in seen])
    first = np.array([own.first for own in seen]).reshape(scale.first.shape)
    return np.concatenate([f.slopes @ totals, f.value @ (first + scale.first * totals[:, None])])


def _curvature(f: Multipliers, scale: TableScale, seen: list[ResponseMoments]) -> Floats:
    """Give sum_i (rate_i - count_i / lambda_i) d2 lambda_i: what differs by row is in the moments."""
    physics = len(f.slopes)
    size = physics + scale.first.shape[1]
    total = np.zeros((size, size))
    inner = slice(physics, None)
    for j, own in enumerate(seen):
        common = scale.first[j]
        first = own.first + common * own.total
        cross = np.outer(common, own.first)
        twice = own.second + cross + cross.T + (np.outer(common, common) + scale.second[j]) * own.total
        total[:physics, :physics] += f.bends[j] * own.total
        total[:physics, inner] += np.outer(f.slopes[:, j], first)
        total[inner, inner] += f.value[j] * twice
    total[inner, :physics] = total[:physics, inner].T
    return total
