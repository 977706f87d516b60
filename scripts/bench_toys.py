"""Measure fits of toys against NumPy or JAX with iminuit: `bench_toys.py [--quick]`, one JSON line.

A toy has about 1,860 events, six nuisance parameters and ten bins (`toy_problem.py`); every arm divides by Z_j, from the same
4,000 events. A fit is one with mu at its true value and one without. CPU time, arms in turn, one thread, each sample a process.

`F1.numpy_iminuit`, `F1.jax_iminuit`: strategy 1. `F2.jax_best`: JAX, coefficients prepared, one call for value and gradient,
strategy 0. `F4.neyman_minutes`: a belt of 20 points x 1,000 toys with several starts. JAX is used where it is installed.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
from iminuit import Minuit
from measuring import (  # type: ignore[import-not-found]  # scripts find what stands beside them
    alternate,
    arm,
    line,
    peak_mb,
    ratio,
)
from toy_problem import Problem  # type: ignore[import-not-found]  # same

Floats = npt.NDArray[np.float64]
POINTS, TOYS, BLOCK = 20, 1000, 1000
MU = 1.0


class Prepared:
    """The likelihood of the baselines: coefficients prepared once, arrays of one toy."""

    def __init__(self, problem: Problem) -> None:
        self.problem, nominal = problem, problem.nominal
        rows = problem.normalising
        self.measure = problem.measure()
        self.sample = coefficients(*problem.shapes(rows))
        self.yields = nominal.yields
        up, down = (
            np.array([v[i].yields for v in problem.sides]).T[..., None] / nominal.yields[:, None, None] for i in (0, 1)
        )
        self.total = coefficients(up, down)
        bins = [np.array([v[i].bins for v in problem.sides]).transpose(1, 0, 2) / nominal.bins[:, None] for i in (0, 1)]
        self.bin_reference = nominal.bins[1]
        self.bins = nominal.bins / self.bin_reference
        self.binned = coefficients(*bins)

    def toy(self, rows: npt.NDArray[np.int64]) -> tuple[Floats, Any]:
        """Give r_j of the events of a toy over the nominal rate, and their responses."""
        nominal = self.problem.nominal.rates[:, rows]
        return nominal / nominal[1], coefficients(*self.problem.shapes(rows))


def coefficients(up: Floats, down: Floats) -> tuple[Floats, Floats, Floats]:
    """Give a_1 to a_6, shape (J, K, 6, N), and the logarithms, shape (J, K, N)."""
    lu, ld = np.log(up), np.log(down)
    s0, a0 = (up + down) / 2, (up - down) / 2
    s1, a1 = (up * lu - down * ld) / 2, (up * lu + down * ld) / 2
    s2, a2 = (up * lu**2 + down * ld**2) / 2, (up * lu**2 - down * ld**2) / 2
    a = [
        (15 * a0 - 7 * s1 + a2) / 8, (-24 + 24 * s0 - 9 * a1 + s2) / 8, (-5 * a0 + 5 * s1 - a2) / 4,
        (12 - 12 * s0 + 7 * a1 - s2) / 4, (3 * a0 - 3 * s1 + a2) / 8, (-8 + 8 * s0 - 5 * a1 + s2) / 8,
    ]  # fmt: skip
    return np.stack(a, axis=-2), lu, ld


def product(alpha: Floats, table: tuple[Floats, Floats, Floats]) -> Floats:
    """Multiply the responses, shape (J, N)."""
    coef, lu, ld = table
    out: Floats = np.ones(lu.shape[::2])
    for k, a in enumerate(alpha):
        if a > 1:
            out *= np.exp(a * lu[:, k])
        elif a < -1:
            out *= np.exp(-a * ld[:, k])
        else:
            value = coef[:, k, 5]
            for n in range(4, -1, -1):
                value = coef[:, k, n] + a * value
            out *= 1 + a * value
    return out


def numpy_nll(p: Prepared, draw: Any, normalised: bool) -> Callable[[Floats], float]:
    """Make -ln L of a toy."""
    y, responses = p.toy(draw.rows)
    counts, seen = draw.counts[0], draw.constraints.auxiliary

    def nll(theta: Floats) -> float:
        mu, alpha = float(theta[0]), np.asarray(theta[1:])
        s = np.sqrt(mu)
        f = np.array([mu - s, s, 1 - s])
        gain = product(alpha, p.total)[:, 0]
        z = (p.measure * product(alpha, p.sample)).sum(axis=1) if normalised else 1.0
        events, bins = (f * gain / z) @ (y * product(alpha, responses)), f @ (p.bins * product(alpha, p.binned))
        if not (events.min() > 0 and bins.min() > 0):
            return np.inf
        value = f @ (p.yields * gain) - np.log(events).sum() + bins @ p.bin_reference - counts @ np.log(bins)
        return float(value + 0.5 * ((alpha - seen) ** 2).sum())

    return nll


def fits(nll: Callable[[Floats], float], gradient: Any, nuisances: int, strategy: int) -> list[Minuit]:
    """Fit with mu held, and freely from there."""
    start, found = np.r_[MU, np.zeros(nuisances)], []
    for held in (True, False):
        minuit = Minuit(nll, start, grad=gradient)
        minuit.errordef, minuit.strategy, minuit.tol = 0.5, strategy, 0.1
        minuit.limits[0], minuit.fixed[0] = (0, None), held
        minuit.migrad()
        found.append(minuit)
        start = np.array(minuit.values)
    return found


def thrown(problem: Problem, toys: int) -> tuple[Any, Any, list[Any]]:
    """Give the likelihood, the truth, and what makes each toy."""
    from needle_parsl.nsbi.statistics.toys.pool import drawn

    events = problem.likelihood()
    truth = events.rates.at({"mu": MU})
    return events, truth, list(drawn(problem.pool(events, truth), truth, range(toys)))


def numpy_iminuit(toys: int, normalised: bool = True) -> dict[str, Any]:
    """Fit with NumPy and iminuit's own differences."""
    problem = Problem()
    prepared, (_, _, draws), record = Prepared(problem), thrown(problem, toys), []
    for draw in draws:
        began = time.process_time()
        _, free = fits(numpy_nll(prepared, draw, normalised), None, problem.nuisances, 1)
        record.append((time.process_time() - began, float(free.values[0]), float(free.errors[0])))
    return {"ms": [1e3 * r[0] for r in record], "mu": [r[1] for r in record], "sigma": [r[2] for r in record]}


def jax_functions() -> tuple[Any, Any]:
    """Make value, and value with gradient, in the structure of the public toolkits, compiled."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)

    def responded(alpha: Any, table: Any) -> Any:
        out = 1.0
        for k in range(table[1].shape[1]):

            def inside(a: Any, c: Any, *_: Any) -> Any:
                value = c[:, 5]
                for n in range(4, -1, -1):
                    value = c[:, n] + a * value
                return 1 + a * value

            def outside(a: Any, _c: Any, u: Any, d: Any) -> Any:
                return jnp.exp(jnp.abs(a) * jnp.where(a > 0, u, d))

            own = table[0][:, k], table[1][:, k], table[2][:, k]
            out = out * jax.lax.cond(jnp.abs(alpha[k]) <= 1, inside, outside, alpha[k], *own)
        return out

    def nll(theta: Any, fixed: Any, y: Any, responses: Any, weight: Any, counts: Any, seen: Any) -> Any:
        measure, sample, yields, total, bins, binned, reference = fixed
        mu, alpha = theta[0], theta[1:]
        s = jnp.sqrt(mu)
        f = jnp.stack([mu - s, s, 1 - s])
        gain = responded(alpha, total)[:, 0]
        z = (measure * responded(alpha, sample)).sum(axis=1)
        events, expected = (f * gain / z) @ (y * responded(alpha, responses)), f @ (bins * responded(alpha, binned))
        value = f @ (yields * gain) - weight @ jnp.log(events) + expected @ reference - counts @ jnp.log(expected)
        return value + 0.5 * ((alpha - seen) ** 2).sum()

    return jax.jit(nll), jax.jit(jax.value_and_grad(nll))


def _together(both: Any, rest: Any) -> tuple[Callable[[Floats], float], Callable[[Floats], Floats]]:
    """Give value and gradient from one call, which is remembered."""
    memory: dict[bytes, Any] = {}

    def call(x: Floats) -> Any:
        if x.tobytes() not in memory:
            memory.clear()
            found = both(x, *rest)
            memory[x.tobytes()] = float(found[0]), np.asarray(found[1])
        return memory[x.tobytes()]

    return lambda x: call(x)[0], lambda x: call(x)[1]


def _apart(value: Any, both: Any, rest: Any) -> tuple[Callable[[Floats], float], Callable[[Floats], Floats]]:
    """Give value and gradient from calls of their own."""
    return lambda x: float(value(x, *rest)), lambda x: np.asarray(both(x, *rest)[1])


def jax_iminuit(toys: int, strategy: int, together: bool) -> dict[str, Any]:
    """Fit with JAX and iminuit.

    Args:
        toys: How many.
        strategy: Of MIGRAD.
        together: Whether one call gives value and gradient, and is remembered.
    """
    problem = Problem()
    p, (_, _, draws) = Prepared(problem), thrown(problem, toys)
    value, both = jax_functions()
    from jax import device_put  # once: an array of NumPy would be copied at every call

    fixed = device_put((p.measure, p.sample, p.yields, p.total, p.bins, p.binned, p.bin_reference))
    most = 64 * -(-max(len(d.rows) for d in draws) // 64)
    ms = []
    for number, draw in enumerate([draws[0], *draws]):
        began = time.process_time()
        padded = np.concatenate([draw.rows, np.zeros(most - len(draw.rows), np.int64)])
        weight = (np.arange(most) < len(draw.rows)).astype(float)
        rest = (fixed, *device_put((*p.toy(padded), weight, draw.counts[0], draw.constraints.auxiliary)))
        pair = _together(both, rest) if together else _apart(value, both, rest)
        fits(pair[0], pair[1], problem.nuisances, strategy)
        ms += [1e3 * (time.process_time() - began)] if number else []
    return {"ms": ms}


def needle(toys: int, starts: bool = False, normalised: bool = True) -> dict[str, Any]:
    """Fit in compiled code; drawing and preparing the pool are not counted."""
    from needle_parsl.nsbi.statistics.fits.starts import spread
    from needle_parsl.nsbi.statistics.toys.compiled.engine import CompiledFits

    events, truth, draws = thrown(Problem(), toys)
    if not normalised:
        events = replace(events, tables=tuple(replace(table, simulation=()) for table in events.tables))
    others = spread(events.rates, events.bent & starts)
    engine = CompiledFits.of(events)
    engine.fit(draws[:2], truth, "mu", [MU], others)  # compiles
    began = time.process_time()
    found = engine.fit(draws, truth, "mu", [MU], others)
    each = (time.process_time() - began) / toys
    good = (found.code == 0).all(axis=1)
    return {
        "ms": [1e3 * each], "mu": (found.theta[:, 0] ** 2).tolist(), "failed": int((~good).sum()),
        "evaluations": float(found.seen[:, 0].mean()), "sums": float(found.seen[:, 1].mean()),
    }  # fmt: skip


def belt(toys: int, points: int) -> dict[str, Any]:
    """Throw and fit the toys of a belt as its tasks do: blocks of 1,000, several starts, pools prepared each time."""
    from needle_parsl.nsbi.statistics.toys.block import Block
    from needle_parsl.nsbi.statistics.toys.pool import drawn

    problem, failed, resident = Problem(), 0, []
    events = problem.likelihood()
    needle(2, starts=True)
    began, wall = time.process_time(), time.perf_counter()
    for place, mu in enumerate(np.linspace(0.0, 3.0, points)):
        truth = events.rates.at({"mu": float(mu)})
        pool = problem.pool(events, truth)
        for first in range(0, toys, BLOCK):
            seeds = range(10**6 * place + first, 10**6 * place + min(first + BLOCK, toys))
            made = Block.of(events, drawn(pool, truth, seeds), "mu", truth, (pool.effective, 0.0))
            failed += int((~made.converged).sum())
            resident.append(peak_mb())
    seconds = time.process_time() - began
    return {"minutes": seconds / 60, "wall": (time.perf_counter() - wall) / 60, "toys": toys * points, "failed": failed, "peak_mb": resident}  # fmt: skip


ARMS: dict[str, Callable[[int], dict[str, Any]]] = {
    "needle": needle,
    "needle_starts": lambda toys: needle(toys, starts=True),
    "needle_plain": lambda toys: needle(toys, normalised=False),
    "numpy_iminuit": numpy_iminuit,
    "numpy_plain": lambda toys: numpy_iminuit(toys, normalised=False),
    "jax_iminuit": lambda toys: jax_iminuit(toys, 1, together=False),
    "jax_best": lambda toys: jax_iminuit(toys, 0, together=True),
    "belt": lambda toys: belt(toys, POINTS),
    "long": lambda toys: belt(toys, 1),
}
FAST = ("needle", "needle_starts", "needle_plain")


def main() -> None:
    """Print one line."""
    if "--arm" in sys.argv:
        place = sys.argv.index("--arm")
        print(json.dumps(ARMS[sys.argv[place + 1]](int(sys.argv[place + 2]))))
        return
    quick, long = "--quick" in sys.argv, "--long" in sys.argv
    peers = ["numpy_iminuit", *(["jax_iminuit", "jax_best"] if find_spec("jax") else [])]
    raw: dict[str, list[Any]] = {}
    for _ in range(1 if quick else 5):
        for name in (*FAST, *peers, *([] if quick else ["numpy_plain"])):
            raw.setdefault(name, []).extend(alternate(__file__, [name], 1, str(200 if name in FAST else 4))[name])
    ms = {name: [median(sample["ms"]) for sample in samples] for name, samples in raw.items()}
    each = 50 if quick else TOYS
    raw["belt"] = [arm(__file__, "belt", str(each))]
    minutes = raw["belt"][0]["minutes"] * TOYS / each
    raw["long"] = [arm(__file__, "long", "100000")] if long else []
    targets = {
        "numpy_iminuit": ("F1.numpy_iminuit", 50.0),
        "jax_iminuit": ("F1.jax_iminuit", 50.0),
        "jax_best": ("F2.jax_best", 15.0),
    }
    ratios = {targets[name][0]: (ratio(ms[name], ms["needle"]), targets[name][1], "1.8 ms") for name in peers}
    ratios["F1.renormalisation"] = (ratio(ms["needle"], ms["needle_plain"]), 1.3, "the same kernel without Z_j")
    ratios["F1.starts"] = (ratio(ms["needle_starts"], ms["needle"]), 2.3, "one start")
    ratios["F4.neyman_minutes"] = (round(minutes, 2), 2.5, "90 s")
    packages = ("numpy", "numba", "iminuit", *(["jax"] if find_spec("jax") else []))
    said = json.loads(line("toys", packages, ratios, raw))
    print(json.dumps(said | {"skipped": [] if find_spec("jax") else ["jax_iminuit", "jax_best"]}))


if __name__ == "__main__":
    main()
