"""Making the surrogate of ln Z_j: sums over simulated events on a grid of one and two nuisance parameters, once per campaign."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from needle_parsl.nsbi.statistics.batched.arrays import Correction, Rows, Surrogate
from needle_parsl.nsbi.statistics.batched.evaluation import scratch
from needle_parsl.nsbi.statistics.batched.normalisation import correction, measure

if TYPE_CHECKING:
    from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
    from needle_parsl.nsbi.statistics.model.normalisation import Simulation

Floats = npt.NDArray[np.float64]
Terms = list[tuple[int, ...]]
STEP = 0.25
"""Distance of the nodes of splines of two nuisance parameters, in sigma."""
FINER = 2
"""Nodes of splines of one, for each of these."""
PRODUCTS = 400
"""Products of nuisance parameters, at most, for each process."""
TRIALS = 300
"""Points at which products are fitted to what the splines leave."""
SPREAD = 1.2
"""How far these are spread, in sigma."""
FARTHEST = 3.0
"""Their largest |alpha|."""


def surrogate(simulations: Sequence[Simulation], sample: Rows, likelihood: Likelihood) -> Surrogate:
    """Tabulate ln Z_j; empty where nothing changes a shape.

    Args:
        simulations: The events behind Z_j.
        sample: The same as tables.
        likelihood: Whose they are.
    """
    nuisances = likelihood.nuisances
    if not any(len(s.responses.process) for s in simulations):
        return _nothing(0, nuisances, np.zeros(4), np.zeros(4))
    low, high = np.array(likelihood.rates.limits()[likelihood.rates.physics :]).T
    nodes = np.arange(np.floor(low.min() / STEP), np.ceil(high.max() / STEP) + 1) * STEP
    fine = nodes[0] + np.arange(FINER * (len(nodes) - 1) + 1) * (STEP / FINER)
    exact = _Sums(sample, len(simulations), nuisances)
    made = exact.along(_nothing(len(simulations), nuisances, nodes, fine), fine)
    made = _pairs(made, simulations, nodes, exact.ones[:, :, ::FINER])
    return exact.products(made, [_terms(s) for s in simulations], low, high)


def _nothing(processes: int, nuisances: int, nodes: Floats, fine: Floats) -> Surrogate:
    return Surrogate(
        np.zeros(processes), np.zeros((processes, nuisances, len(fine) + 2)), np.zeros((0, 3), np.int64),
        np.zeros((0, len(nodes) + 2, len(nodes) + 2)), np.zeros((0, 5), np.int64), np.zeros(0), float(nodes[0]), STEP, FINER,
    )  # fmt: skip


def _inverse(nodes: int) -> Floats:
    """Solve for a cubic spline through values: its value at each node, no second derivative at the ends."""
    matrix = np.zeros((nodes + 2, nodes + 2))
    for i in range(nodes):
        matrix[i + 1, i : i + 3] = np.array([1, 4, 1]) / 6
    matrix[0, :3] = matrix[-1, -3:] = [1, -2, 1]
    return np.asarray(np.linalg.inv(matrix)[:, 1:-1], dtype=np.float64)


class _Sums:
    """Sums over all simulated events, by the code that fits use."""

    def __init__(self, sample: Rows, processes: int, nuisances: int) -> None:
        self.sample, self.space = sample, correction(processes, nuisances)
        self.scratch = scratch(nuisances, processes, sample.nuisance.shape[1])
        self.ones = np.empty(0)

    def at(self, surrogate: Surrogate, alpha: Floats) -> Correction:
        """Give ln Z_j, and what the surrogate misses of it, with derivatives."""
        measure(self.sample, surrogate, alpha, self.scratch, self.space)
        return self.space

    def along(self, empty: Surrogate, fine: Floats) -> Surrogate:
        """Add splines along each nuisance parameter."""
        processes, nuisances = empty.single.shape[:2]
        constant = self.at(empty, np.zeros(nuisances)).value.copy()
        self.ones = np.zeros((processes, nuisances, len(fine)))
        for k in range(nuisances):
            alpha = np.zeros(nuisances)
            for place, node in enumerate(fine):
                alpha[k] = node
                self.ones[:, k, place] = self.at(empty, alpha).value - constant
        return empty._replace(constant=constant, single=np.ascontiguousarray(self.ones @ _inverse(len(fine)).T))

    def products(self, made: Surrogate, terms: Sequence[Terms], low: Floats, high: Floats) -> Surrogate:
        """Fit products of nuisance parameters to the slopes and values that splines leave at random points."""
        rng = np.random.default_rng(0)
        alphas = np.clip(
            rng.normal(0, SPREAD, (TRIALS, len(low))), np.maximum(low, -FARTHEST), np.minimum(high, FARTHEST)
        )
        left = np.empty((TRIALS, len(terms), 1 + len(low)))
        for trial, alpha in enumerate(alphas):
            found = self.at(made, alpha)
            left[trial, :, 0], left[trial, :, 1:] = found.value, found.first
        named, factors = [], []
        for j, own in enumerate(terms):
            if own:
                design = np.stack([_monomial(alphas, term) for term in own], axis=-1).reshape(-1, len(own))
                factors += np.linalg.lstsq(design, left[:, j].ravel(), rcond=None)[0].tolist()
                named += [(j, *(*term, -1)[:4]) for term in own]
        return made._replace(product=np.array(named, np.int64).reshape(-1, 5), factor=np.array(factors, np.float64))


def _monomial(alphas: Floats, term: tuple[int, ...]) -> Floats:
    """Evaluate a product of nuisance parameters and its slopes at many points, shape (TRIALS, 1 + K)."""
    found = np.zeros((len(alphas), 1 + alphas.shape[1]))
    found[:, 0] = alphas[:, list(term)].prod(axis=1)
    for place, k in enumerate(term):
        found[:, 1 + k] += alphas[:, [*term[:place], *term[place + 1 :]]].prod(axis=1)
    return found


def _pairs(made: Surrogate, simulations: Sequence[Simulation], nodes: Floats, ones: Floats) -> Surrogate:
    """Add tables of two nuisance parameters: a matrix product each."""
    inverse, pairs, doubles = _inverse(len(nodes)), [], []
    for s in simulations:
        own, values = s.responses.nuisance.tolist(), _values(s, nodes)
        for (a, k), (b, m) in combinations(enumerate(own), 2):
            left = np.log((values[a] * s.weight) @ values[b].T) - made.constant[s.process]
            left -= ones[s.process, k][:, None] + ones[s.process, m]
            pairs.append((s.process, k, m))
            doubles.append(inverse @ left @ inverse.T)
    return made._replace(pair=np.array(pairs, np.int64).reshape(-1, 3), double=np.array(doubles)) if pairs else made


def _values(simulation: Simulation, nodes: Floats) -> Floats:
    """Evaluate each response of a process at all nodes, shape (L, nodes, N)."""
    alpha = np.zeros(int(simulation.responses.nuisance.max(initial=-1)) + 1)
    found = [simulation.responses.curves(alpha + node).value for node in nodes]
    return np.array(found).transpose(1, 0, 2)


def _terms(simulation: Simulation) -> Terms:
    """List triples and quadruples of at least three nuisance parameters, of as many strong ones as keeps their number small."""
    r = simulation.responses
    if not len(r.process):
        return []
    sides = [np.average(side**2, axis=1, weights=simulation.weight) for side in (r.log_up, r.log_down)]
    order = r.nuisance[np.argsort(-np.maximum(*sides))].tolist()
    terms: Terms = []
    for size in range(3, len(order) + 1):
        chosen = sorted(order[:size])
        found: Terms = list(combinations(chosen, 3))
        found += [tuple(sorted((*triple, again))) for triple in found for again in triple]
        found += combinations(chosen, 4)
        if len(found) > PRODUCTS:
            break
        terms = found
    return terms
