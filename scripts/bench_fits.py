"""Seconds and memory of the headline fit, beside NumPy and iminuit without a gradient; and fits that run away.

    bench_fits.py            the numbers of docs/benchmarks.md: 10^6 and 10^5 events, 5 processes, 20 nuisance parameters
    bench_fits.py --quick    the same with 10 times fewer events
    bench_fits.py --runaway  toys of an interference and a linear problem, with and without the normalisation Z_j

The other side is what one would write: ratios and interpolation coefficients prepared once, the sum over events in NumPy,
and MIGRAD with gradients by differences. It has no Z_j, which would cost it twice as much.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import measuring  # type: ignore[import-not-found]  # scripts find what stands beside them
import numpy as np
import numpy.typing as npt

from needle_parsl.analysis import WALL, Model, Nuisance, Parameter
from needle_parsl.densities import Shape
from needle_parsl.nsbi.statistics.dataset import Dataset
from needle_parsl.nsbi.statistics.fits.fitting import minimise
from needle_parsl.nsbi.statistics.fits.starts import spread
from needle_parsl.nsbi.statistics.model.builder import Builder
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
from needle_parsl.nsbi.statistics.toys.compiled.engine import CompiledFits
from needle_parsl.nsbi.statistics.toys.fitting import fitted
from needle_parsl.nsbi.statistics.toys.pool import Draw, ToyPool, drawn

Floats = npt.NDArray[np.float64]
PROCESSES, NUISANCES = 5, 20
MEANS = np.array([4.0, 0.0, -4.0, 8.0, -8.0])
"""Far apart. Where processes overlap the data does not see most combinations of nuisance parameters, while Z_j, from as many
simulated events as there are in the data, pulls them with an error of SIZE sqrt(events): by 8 of their constraints with 3 10^5 events."""
SHARES = np.array([0.1, 0.5, 0.2, 0.1, 0.1])
SIZE = 0.03
"""Shift of a mean by one sigma of a nuisance parameter, in standard deviations."""


def problem(events: int, seed: int = 1) -> tuple[Likelihood, dict[str, Floats], Floats]:
    """Make data of Gaussian processes whose means and yields move with every nuisance parameter.

    Args:
        events: Expected events of the data; as many simulated events stand behind Z_j.
        seed: Of data and shifts.

    Returns:
        The likelihood, the log ratios of the data by name, and the yields.
    """
    rng = np.random.default_rng(seed)
    yields = events * SHARES
    shifts = SIZE * rng.uniform(-1, 1, (PROCESSES, NUISANCES))
    gains = 0.02 * rng.uniform(-1, 1, (PROCESSES, NUISANCES))
    names = [f"p{j}" for j in range(PROCESSES)]

    def log_ratios(x: Floats) -> dict[str, Floats]:
        found = {name: mean * x - mean**2 / 2 for name, mean in zip(names, MEANS, strict=True)}
        for j, k in np.ndindex(PROCESSES, NUISANCES):
            for side, sign in (("up", 1), ("down", -1)):
                move = sign * shifts[j, k]
                found[f"p{j}.n{k}.{side}"] = move * (x - MEANS[j]) - move**2 / 2
        return found

    def drawn(numbers: npt.NDArray[np.int64]) -> Floats:
        return rng.normal(np.repeat(MEANS, numbers), 1.0)

    table = Model(
        {"mu": Parameter(1.0, (0.0, 5.0))},
        {name: "mu" if j == 0 else "1" for j, name in enumerate(names)},
        {f"n{k}": Nuisance() for k in range(NUISANCES)},
    )
    shapes = [Shape(f"p{j}", f"n{k}", f"p{j}.n{k}.up", f"p{j}.n{k}.down", "") for j, k in np.ndindex(gains.shape)]
    expected = dict(zip(names, yields.tolist(), strict=True))
    for j, k in np.ndindex(gains.shape):
        for side, sign in (("up", 1), ("down", -1)):
            expected[f"p{j}.n{k}.{side}"] = float(yields[j] * np.exp(sign * gains[j, k]))
    x = drawn(rng.poisson(yields))
    simulated = drawn(yields.astype(np.int64))
    data = Dataset(
        x=x[:, None].astype(np.float32),
        weight=np.ones(len(x)),
        sample=np.full(len(x), -1),
        samples=(),
        ratios=log_ratios(x),
        yields={},
    )
    sample = np.repeat(np.arange(PROCESSES), yields.astype(np.int64))
    simulation = Dataset(
        x=simulated[:, None].astype(np.float32),
        weight=np.ones(len(simulated)),
        sample=sample,
        samples=tuple(names),
        ratios=log_ratios(simulated),
        yields=expected,
    )
    return Builder.of(table, shapes).likelihood(data, simulation), dict(data.ratios), yields


def ours(events: int) -> dict[str, Any]:
    """Fit with the exact gradient and Hessian, and Z_j."""
    likelihood, _, _ = problem(events)
    started = time.process_time()
    best = minimise(likelihood, likelihood.rates)
    seconds = time.process_time() - started
    one = time.process_time()
    likelihood(best.theta)
    return {
        "seconds": seconds, "evaluation": time.process_time() - one, "peak_mb": measuring.peak_mb(), "converged": best.converged,
        "mu": best.value("mu"), "error": best.error("mu"),
    }  # fmt: skip


def theirs(events: int) -> dict[str, Any]:
    """Fit the same data with NumPy and MIGRAD, gradients by differences."""
    from iminuit import Minuit

    likelihood, ratios, yields = problem(events)
    gains = likelihood.tables[0].gains
    logs = np.array(
        [[ratios[f"p{j}.n{k}.{side}"] for side in ("up", "down")] for j, k in np.ndindex(PROCESSES, NUISANCES)]
    )
    coefficients = _coefficients(np.exp(logs[:, 0]), np.exp(logs[:, 1]))
    rates = _coefficients(np.exp(gains.log_up), np.exp(gains.log_down))
    density = np.array([nu * np.exp(ratios[f"p{j}"]) for j, nu in enumerate(yields)])
    started, calls = time.process_time(), 0

    def nll(theta: Floats) -> float:
        nonlocal calls
        calls += 1
        f, alpha = np.r_[theta[0], np.ones(PROCESSES - 1)], theta[1:]
        shape = _product(coefficients, alpha, density.copy())
        gain = _product(rates, alpha, np.ones((PROCESSES, 1)))[:, 0]
        value = (f * gain) @ yields - np.log((f * gain) @ shape).sum() + 0.5 * alpha @ alpha
        return float(value)

    minuit = Minuit(nll, likelihood.rates.start)
    minuit.errordef, minuit.limits = Minuit.LIKELIHOOD, likelihood.rates.limits()
    minuit.migrad()
    minuit.hesse()
    return {"seconds": time.process_time() - started, "calls": calls, "peak_mb": measuring.peak_mb(), "converged": minuit.valid,
            "mu": minuit.values[0], "error": minuit.errors[0]}  # fmt: skip


def _coefficients(up: Floats, down: Floats) -> Floats:
    """Prepare a_1 to a_6 of the polynomial within one sigma; shape (6, L, N)."""
    lu, ld = np.log(up), np.log(down)
    s0, a0, s1, a1 = (up + down) / 2, (up - down) / 2, (up * lu - down * ld) / 2, (up * lu + down * ld) / 2
    s2, a2 = (up * lu**2 + down * ld**2) / 2, (up * lu**2 - down * ld**2) / 2
    return np.stack([(15 * a0 - 7 * s1 + a2) / 8, (-24 + 24 * s0 - 9 * a1 + s2) / 8, (-5 * a0 + 5 * s1 - a2) / 4,
                     (12 - 12 * s0 + 7 * a1 - s2) / 4, (3 * a0 - 3 * s1 + a2) / 8, (-8 + 8 * s0 - 5 * a1 + s2) / 8])  # fmt: skip


def _product(coefficients: Floats, alpha: Floats, start: Floats) -> Floats:
    """Multiply the responses, process by process; beyond one sigma the polynomial goes on, which few fits notice."""
    for j, k in np.ndindex(PROCESSES, NUISANCES):
        a, c = alpha[k], coefficients[:, j * NUISANCES + k]
        start[j] *= 1 + a * (c[0] + a * (c[1] + a * (c[2] + a * (c[3] + a * (c[4] + a * c[5])))))
    return start


def runaway(toys: int) -> dict[str, Any]:
    """Count fits that end on a wall, with and without Z_j, on the problem of tests/problems/interference.py.

    Compiled fits; one that does not converge with Z_j is done again by iminuit, as toys are in a run.
    """
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from problems.interference import Problem  # type: ignore[import-not-found] # lies with the tests

    found: dict[str, Any] = {"toys": toys}
    for mode in ("linear", "interference"):
        events = Problem(mode, size=40_000).likelihood()
        theta, density = events.rates.start, events.densities(events.rates.start)
        pool = ToyPool(events.thinned(theta), density / len(density), 0.0)
        draws = list(drawn(pool, theta, range(toys)))
        plain = replace(events, tables=tuple(replace(table, simulation=()) for table in events.tables))
        started = time.process_time()
        with_z = [fit.converged for fit in fitted(pool.likelihood, draws, "mu", theta)]
        seconds = time.process_time() - started
        found[mode] = {"with Z": with_z.count(False), "without Z": _walls(plain, draws), "seconds with Z": seconds}
    return found


def _walls(events: Likelihood, draws: list[Draw]) -> int:
    """Count the compiled fits that end on the wall of a nuisance parameter."""
    answer = CompiledFits.of(events).fit(draws, events.rates.start, "mu", (1.0,), spread(events.rates, events.bent))
    return int((np.abs(answer.theta[:, events.rates.physics :]) > 0.999 * WALL).any(axis=1).sum())


ARMS: dict[str, Callable[[int], dict[str, Any]]] = {"ours": ours, "theirs": theirs, "runaway": runaway}


def main() -> None:
    """Print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--runaway", action="store_true")
    parser.add_argument("--toys", type=int, default=200)
    parser.add_argument("--arm", choices=ARMS)
    parser.add_argument("--events", type=int, default=100_000)
    options = parser.parse_args()
    if options.arm:
        print(json.dumps(ARMS[options.arm](options.events)))
        return
    if options.runaway:
        found = runaway(options.toys)
        lost = {
            f"runaway_{m}": (found[m]["with Z"], 0.0, f"{found[m]['without Z']} without Z_j")
            for m in ("linear", "interference")
        }
        print(measuring.line("fits", ["numpy", "iminuit"], lost, found))
        return
    small = 10_000 if options.quick else 100_000
    arms = measuring.alternate(__file__, ["ours", "theirs"], 1 if options.quick else 3, "--events", str(small))
    seconds = {name: [run["seconds"] for run in runs] for name, runs in arms.items()}
    large = [] if options.quick else measuring.alternate(__file__, ["ours"], 1, "--events", "1000000")["ours"]
    ratios = {
        "fit": (
            measuring.ratio(seconds["theirs"], seconds["ours"]),
            10.0,
            "NumPy and MIGRAD without gradient, same events",
        )
    }
    if large:
        ratios["fit_1e6"] = (
            round(median(seconds["theirs"]) / large[0]["seconds"], 2), 10.0, "ours at 10^6 events, theirs at 10^5",
        )  # fmt: skip
    print(measuring.line("fits", ["numpy", "iminuit"], ratios, {**arms, "ours_1e6": large}))


if __name__ == "__main__":
    main()
