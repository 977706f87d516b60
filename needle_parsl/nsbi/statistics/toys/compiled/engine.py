"""Fitting many toys of one pool, one after the other, in compiled code."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from needle_parsl.nsbi.statistics.toys.compiled.arrays import BLOCK, Factors, Toy
from needle_parsl.nsbi.statistics.toys.compiled.compilation import exactly
from needle_parsl.nsbi.statistics.toys.compiled.evaluation import evaluate, scratch
from needle_parsl.nsbi.statistics.toys.compiled.filling import gather
from needle_parsl.nsbi.statistics.toys.compiled.newton import (
    BROKEN,
    CONVERGED,
    HIGHER,
    decompose,
    minimise,
    solve,
    space,
)
from needle_parsl.nsbi.statistics.toys.compiled.normalisation import correction, total
from needle_parsl.nsbi.statistics.toys.compiled.preparation import PreparedPool, enlarged, prepare

if TYPE_CHECKING:
    from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
    from needle_parsl.nsbi.statistics.toys.pool import Draw

Floats = npt.NDArray[np.float64]


class Answer(NamedTuple):
    """What the fits of a batch of toys say; T toys, V tested values."""

    theta: Floats
    """The minimum, shape (T, P)."""
    sigma: Floats
    """Standard errors of theta, 0 on a bound and where there are none, shape (T, P)."""
    nll: Floats
    """-ln L there, shape (T,)."""
    held: Floats
    """-ln L with the parameter of interest at each tested value, shape (T, V)."""
    code: npt.NDArray[np.int64]
    """How the free fit and those at tested values have ended, as in `newton`, shape (T, 1 + V)."""
    seen: npt.NDArray[np.int64]
    """Evaluations, and sums over simulated events, shape (T, 2)."""
    floored: Floats
    """Events below their floor at the minimum, shape (T,)."""


@exactly
def _errors(model, held, fit, sigma):
    """Invert the Hessian of what is on no bound; 0 for the others, and for all where it is not positive."""
    size = len(sigma)
    for p in range(size):
        margin = 1e-6 * min(model.high[p] - model.low[p], 5.0)
        inside = fit.theta[p] - model.low[p] > margin and model.high[p] - fit.theta[p] > margin
        fit.free[p] = inside and not held[p]
    positive = decompose(fit.hessian, fit.free, 0.0, fit.matrix)
    for p in range(size):
        sigma[p] = 0.0
        if positive and fit.free[p]:
            fit.trial[:] = 0.0
            fit.trial[p] = 1.0
            solve(fit.matrix, fit.free, fit.trial, fit.step)
            sigma[p] = math.sqrt(fit.step[p])
    return positive


@exactly
def _block(
    model, rows, events, normalising, drawn, ends, auxiliary, counts, seen, offsets, bins, truth, places, tested, moved,
    starts, c, factors, s, fit, answer,
):  # fmt: skip
    """Fit toys one after the other: at the tested values, then freely from the best of them, each from several starts.

    Args:
        drawn: Events of all toys, one behind the other.
        ends: Where those of each toy begin, shape (T + 1,).
        auxiliary: Shape (T, K).
        counts: In the blocks of bins, shape (T, B, BLOCK).
        seen: What says how well the simulation of bins is known, in the same blocks.
        offsets: Part of -ln L that the reference point has taken from the bins, shape (T,).
        bins: Which blocks these are, shape (B,).
        truth: theta where fits start, shape (P,).
        places: The parameters that are held, shape (H,).
        tested: Their values, in the coordinates of the fit, shape (V, H).
        moved: Parameters along which fits are started again; shape (P,).
        starts: Where, shape (S, P); NaN leaves a parameter where it is. One that is not moved starts on the other side of its kink alone.
    """
    held, best, where = np.zeros(len(truth), np.bool_), truth.copy(), truth.copy()
    matrix = np.zeros((len(truth), len(truth)))
    for t in range(len(auxiliary)):
        toy = Toy(rows, auxiliary[t])
        offset = offsets[t] - gather(events, drawn[ends[t] : ends[t + 1]], rows, s)
        for b in range(len(bins)):
            for i in range(BLOCK):
                rows.count[bins[b], i] = counts[t, b, i]
                rows.root[bins[b], i] = math.sqrt(counts[t, b, i])
                rows.seen[bins[b], i] = seen[t, b, i]
        c.value[:] = 0.0
        c.first[:] = 0.0
        fit.seen[:] = 0
        fit.center[:] = math.nan
        where[:] = truth
        lowest = math.inf
        for v in range(len(tested) + 1):
            free = v == len(tested)
            fit.theta[:] = where if free else best if v else truth
            for h in range(len(places)):
                held[places[h]] = not free
                if not free:
                    fit.theta[places[h]] = tested[v, h]
            value, code, floored = math.inf, BROKEN, 0.0
            for n in range(-1, len(starts)):
                several = False
                for p in range(len(best)):
                    start = math.nan if n < 0 or held[p] else starts[n, p]
                    if start * best[p] <= 0.0 or (moved[p] and not math.isnan(start)):
                        several = True
                        fit.theta[p] = start
                    elif n >= 0:
                        fit.theta[p] = best[p]
                if n >= 0 and not several:
                    continue
                known = value if code == CONVERGED else math.inf
                other, ended = minimise(model, toy, normalising, c, factors, s, held, fit, best, known)
                better = other < value or code != CONVERGED
                if (
                    n < 0
                    or (ended == CONVERGED and better)
                    or (code != CONVERGED and other < value and ended != HIGHER)
                ):
                    value, code, floored = other, ended, s.floored[0]
                    best[:] = fit.theta
                    matrix[:] = fit.hessian
            if free:
                fit.theta[:] = best
                fit.hessian[:] = matrix
                if code == CONVERGED and not _errors(model, held, fit, answer.sigma[t]):
                    code = BROKEN
                answer.theta[t] = best
                answer.nll[t], answer.code[t, 0], answer.floored[t] = value + offset, code, floored
            else:
                answer.held[t, v], answer.code[t, 1 + v] = value + offset, code
                if value < lowest:
                    lowest = value
                    where[:] = best
        answer.seen[t] = fit.seen


@dataclass
class CompiledFits:
    """Compiled fits of toys from one pool."""

    prepared: PreparedPool
    likelihood: Likelihood

    @staticmethod
    def of(likelihood: Likelihood) -> CompiledFits:
        """Prepare a pool; takes about as long as some hundred fits."""
        return CompiledFits(prepare(likelihood), likelihood)

    def fit(
        self,
        draws: Sequence[Draw],
        truth: Floats,
        parameter: str,
        tested: Sequence[float],
        starts: Floats,
        also: Sequence[str] = (),
    ) -> Answer:
        """Fit toys with the parameter of interest at tested values, and freely.

        Args:
            draws: The toys.
            truth: theta where fits start, shape (P,).
            parameter: The parameter of interest.
            tested: Its values.
            starts: Where fits are started again, along the bent parameters and beyond kinks, as `starts.separate` gives them; shape (S, P).
            also: Parameters that are held at `truth` together with the parameter of interest.
        """
        p, rates = self.prepared, self.likelihood.rates
        size, processes, nuisances = len(truth), len(rates.processes), self.likelihood.nuisances
        ends = np.cumsum([0, *(len(d.rows) for d in draws)])
        need = max([0, *(self._blocks(d) for d in draws)])
        rows = enlarged(p.rows, need)
        counts, seen, offsets = self._counts(draws)
        places = np.array([rates.parameters.index(name) for name in (parameter, *also)], np.int64)
        held = np.tile(np.asarray(truth, np.float64)[places], (len(tested), 1))
        held[:, 0] = [rates.inward(parameter, value) for value in tested]
        answer = Answer(
            np.zeros((len(draws), size)), np.zeros((len(draws), size)), np.zeros(len(draws)),
            np.zeros((len(draws), len(tested))), np.zeros((len(draws), 1 + len(tested)), np.int64),
            np.zeros((len(draws), 2), np.int64), np.zeros(len(draws)),
        )  # fmt: skip
        curves = max(rows.nuisance.shape[1], p.normalising.every.nuisance.shape[1])
        _block(
            p.model, rows, p.events, p.normalising,
            np.concatenate([np.empty(0, np.int64), *(d.rows for d in draws)]).astype(np.int64), ends,
            np.array([d.constraints.auxiliary for d in draws], np.float64).reshape(len(draws), nuisances), counts, seen, offsets,
            np.array([b for table in p.bins for b in range(table.start, table.stop)], np.int64),
            np.ascontiguousarray(truth, np.float64), places, held, _moved(self.likelihood), starts,
            correction(len(p.events.ends) * processes, nuisances), _factors(rows, processes, rates.physics, nuisances),
            scratch(size, processes, curves), space(size), answer,
        )  # fmt: skip
        return answer

    def evaluate(self, draw: Draw, theta: Floats) -> tuple[float, Floats, Floats]:
        """Give -ln L of one toy with its gradient and Hessian, ln Z_j summed over its events.

        Args:
            draw: The toy.
            theta: Shape (P,).
        """
        p, rates = self.prepared, self.likelihood.rates
        processes, nuisances = len(rates.processes), self.likelihood.nuisances
        rows = enlarged(p.rows, self._blocks(draw))
        counts, seen, (offset,) = self._counts([draw])
        borders = np.cumsum([b.stop - b.start for b in p.bins])
        for table, own, known in zip(p.bins, np.split(counts[0], borders), np.split(seen[0], borders), strict=False):
            rows.count[table], rows.root[table], rows.seen[table] = own, np.sqrt(own), known
        s = scratch(len(theta), processes, max(rows.nuisance.shape[1], p.normalising.every.nuisance.shape[1]))
        offset -= gather(p.events, draw.rows.astype(np.int64), rows, s)
        c, gradient = correction(len(p.events.ends) * processes, nuisances), np.zeros(len(theta))
        hessian = np.zeros((len(theta),) * 2)
        total(p.normalising.every, theta[rates.physics :], s, c, True)
        toy = Toy(rows, draw.constraints.auxiliary.astype(np.float64))
        factors = _factors(rows, processes, rates.physics, nuisances)
        value = evaluate(p.model, toy, c, factors, s, theta, gradient, hessian)
        return float(value + offset), gradient, hessian

    def _blocks(self, draw: Draw) -> int:
        """Say how many blocks are enough for the events of a toy: each region may leave one partly empty."""
        return -(-len(draw.rows) // BLOCK) + len(self.prepared.events.ends) - 1

    def _counts(self, draws: Sequence[Draw]) -> tuple[Floats, Floats, Floats]:
        """Put what was thrown for bins into blocks, and sum up what the reference point takes out of -ln L."""
        p = self.prepared
        total = sum(table.stop - table.start for table in p.bins)
        counts, seen = np.zeros((len(draws), total, BLOCK)), np.ones((len(draws), total, BLOCK))
        offsets = np.zeros(len(draws))
        for t, draw in enumerate(draws):
            start = 0
            for number, (table, own) in enumerate(zip(p.bins, draw.counts, strict=True)):
                blocks = table.stop - table.start
                counts[t, start : start + blocks].reshape(-1)[: len(own)] = own
                if draw.seen:
                    seen[t, start : start + blocks].reshape(-1)[: len(own)] = draw.seen[number]
                offsets[t] -= (counts[t, start : start + blocks] * np.log(p.reference[table])).sum()
                start += blocks
        return counts, seen, offsets


def _moved(likelihood: Likelihood) -> npt.NDArray[np.bool_]:
    return np.asarray(likelihood.bent, np.bool_)


def _factors(rows: Any, processes: int, physics: int, nuisances: int) -> Factors:
    r, j, k = len(rows.size), processes, nuisances
    shapes = ((j,), (j, physics), (j, physics, physics), (r, j), (r, j, k), (r, j, k, k), (32,))
    return Factors(*(np.zeros(shape) for shape in shapes))
