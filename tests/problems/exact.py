"""Exact log ratios, under the names that needle gives learned ones, and the likelihood of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from needle_parsl.densities import Shape
from needle_parsl.nsbi.statistics.dataset import Dataset
from problems.records import SHAPE, SIDES, Array, Problem

FAR = 20.0
"""Responses are held between exp(-FAR) and exp(FAR): beyond, a process has no density to speak of, and powers overflow."""


def log_ratios(problem: Problem, x: Array) -> dict[str, Array]:
    """Give ln p_j / p_ref by process, and ln p_j(+-1) / p_j by variation; x of shape (N, F) to shapes (N,)."""
    nominal = {name: problem.log_density(name, x, {}) for name in problem.processes}
    yields = np.array([problem.processes[name].events for name in problem.reference])
    shares = np.log(yields / yields.sum())[:, None]
    reference = logsumexp(np.array([nominal[name] for name in problem.reference]) + shares, axis=0)
    found = {name: values - reference for name, values in nominal.items()}
    for name, side, alpha in variations(problem):
        response = problem.log_density(name, x, {SHAPE: alpha}) - nominal[name]
        found[f"{name}.{SHAPE}.{side}"] = np.clip(response, -FAR, FAR)
    return found


def variations(problem: Problem) -> list[tuple[str, str, float]]:
    """List process, side and alpha of everything that is simulated beside the nominal samples."""
    varied = [name for name, process in problem.processes.items() if process.varied]
    return [(name, side, alpha) for name in varied for side, alpha in SIDES.items() if alpha]


def shapes(problem: Problem) -> list[Shape]:
    """List the responses of the model."""
    varied = [name for name, process in problem.processes.items() if process.varied]
    return [Shape(name, SHAPE, f"{name}.{SHAPE}.up", f"{name}.{SHAPE}.down", "") for name in varied]


def yields(problem: Problem) -> dict[str, float]:
    """Give expected events by sample and varied sample."""
    own = {name: process.events for name, process in problem.processes.items()}
    varied = {
        f"{name}.{SHAPE}.{side}": own[name] * problem.processes[name].relative(alpha)
        for name, side, alpha in variations(problem)
    }
    return own | varied


def simulation(problem: Problem, generator: np.random.Generator, events: int) -> Dataset:
    """Draw events of every process with their exact log ratios: for Z(alpha), and for Asimov data.

    Their weights are tilted until Z is 1 at +-1, as it is. With plain ones the finite number of them would move the shape
    nuisance by sqrt(expected / simulated events) of its error.

    Args:
        problem: The problem.
        generator: Of random numbers.
        events: Of each process.
    """
    x = np.concatenate([problem.draw(name, generator, events) for name in problem.processes])
    ratios = log_ratios(problem, x)
    weight = np.repeat([process.events / events for process in problem.processes.values()], events)
    for place, (name, process) in enumerate(problem.processes.items()):
        if process.varied:
            rows = slice(place * events, (place + 1) * events)
            weight[rows] = tilted(weight[rows], responses(ratios, name, rows), np.ones(2))
    samples = dict.fromkeys(problem.processes, events)
    return Dataset.of(x, ratios, weight=weight, samples=samples, yields=yields(problem))


def responses(ratios: Mapping[str, Array], process: str, rows: slice | npt.NDArray[np.int64]) -> Array:
    """Give the responses of some events of a process at plus and minus one sigma, shape (2, N)."""
    return np.exp([ratios[f"{process}.{SHAPE}.{side}"][rows] for side, alpha in SIDES.items() if alpha])


def tilted(weight: Array, values: Array, means: Array) -> Array:
    """Change weights by a linear function of values, shape (K, N), so that these have given means; the sum stays."""
    centred = values - np.average(values, axis=1, weights=weight)[:, None]
    matrix = (weight * centred) @ centred.T / weight.sum()
    slopes = np.linalg.lstsq(matrix, means - (values - centred)[:, 0], rcond=None)[0]
    return weight * (1 + slopes @ centred)
