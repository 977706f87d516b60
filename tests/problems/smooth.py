"""Problems whose densities are smooth: tails of all kinds, dimensions, weights, interference, many processes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import stats

from problems.laws import bent, columns, diagonal, exponential, linear, powers, rotation, scaled, shifted, through
from problems.records import Array, Law, Problem, Process

NORMAL = stats.norm()


def gaussian() -> Problem:
    """Two correlated Gaussians; an offset of the calibration moves the same events."""
    step = shifted([0.10, 0.05])
    signal = through(columns(NORMAL, NORMAL), linear([[0.8, 0.0], [0.3, 0.9]], [1.0, -0.6]), step)
    background = through(columns(NORMAL, NORMAL), linear([[1.0, 0.0], [0.4, 0.9]]), step)
    return Problem(
        "gaussian",
        "light tails, where standardised features are enough",
        ("x1", "x2"),
        {"signal": Process(signal, 350.0, "mu", 1.03), "background": Process(background, 4000.0, gain=1.02)},
        twins=True,
    )


def student() -> Problem:
    """Background with 4 degrees of freedom and an exponential, signal a rotated banana."""
    scale = scaled([1.04, 1.04, 1.03])
    signal = through(
        columns(NORMAL, NORMAL, stats.expon(scale=1.8)),
        diagonal([1.0, 0.6, 1.0]), bent(0, 1, 0.5), linear(rotation(35.0, 3), [1.0, 0.8, 0.0]), scale,
    )  # fmt: skip
    background = through(columns(stats.t(4), stats.t(4), stats.expon()), scale)
    return Problem(
        "student",
        "tails of a power, in which few events have huge ratios; a curved signal",
        ("x1", "x2", "x3"),
        {"signal": Process(signal, 250.0, "mu", 1.02), "background": Process(background, 4000.0, gain=1.03)},
        spread=0.3,
    )


def lognormal() -> Problem:
    """Momenta as they are in hadron collisions: log-normal, and correlated; an energy scale moves the same events."""
    scale = scaled([1.03, 1.03, 1.0])
    three = columns(NORMAL, NORMAL, NORMAL)
    signal = linear([[0.5, 0.0, 0.0], [0.2, 0.5, 0.0], [0.1, 0.1, 0.7]], [4.3, 3.9, 3.4])
    background = linear([[0.6, 0.0, 0.0], [0.4, 0.5, 0.0], [-0.1, 0.2, 0.8]], [3.8, 3.4, 3.6])
    return Problem(
        "lognormal",
        "features over orders of magnitude, always positive",
        ("pt1", "pt2", "met"),
        {
            "signal": Process(through(three, signal, exponential(), scale), 400.0, "mu", 1.01),
            "background": Process(through(three, background, exponential(), scale), 4000.0, gain=1.02),
        },
        twins=True,
        spread=0.4,
    )


def pareto() -> Problem:
    """Power laws above a threshold, with infinite third moments; the indices are uncertain."""
    index, width = powers({0: 1.03, 1: 1.02}), diagonal([32.0, 16.0, 1.0])
    signal = through(columns(stats.pareto(2.2), stats.pareto(2.0), stats.norm(0.5, 0.9)), index, width)
    background = through(columns(stats.pareto(3.0), stats.pareto(2.6), stats.norm(0.0, 1.0)), index, width)
    return Problem(
        "pareto",
        "moments that do not exist: mean and width of a sample say little",
        ("pt1", "pt2", "score"),
        {
            "signal": Process(signal, 350.0, "mu", 1.02),
            "background": Process(background, 4000.0, gain=1.02),
        },
    )


def wide() -> Problem:
    """The numerator of the ratio is wider than its reference in every direction."""
    scale = scaled([1.03, 1.0])
    two = columns(NORMAL, NORMAL)
    return Problem(
        "wide",
        "far out the ratio grows like a Gaussian, where the reference has no events",
        ("x1", "x2"),
        {
            "signal": Process(through(two, diagonal([1.7, 1.5], [0.3, 0.0]), scale), 300.0, "mu", 1.02),
            "background": Process(through(two, scale), 3000.0, gain=1.02),
        },
    )


def rotated() -> Problem:
    """Every feature mixes columns with a power, an exponential and a Gaussian tail."""
    turn = np.array([[0.6, -0.64, 0.48], [0.8, 0.48, -0.36], [0.0, 0.6, 0.8]])
    step = shifted([0.08, -0.05, 0.06])
    parts = columns(stats.t(3), stats.laplace(scale=0.8), NORMAL)
    return Problem(
        "rotated",
        "tails of different kinds along directions that are no features",
        ("x1", "x2", "x3"),
        {
            "signal": Process(through(parts, diagonal([0.7, 0.9, 0.8], [0.9, -0.7, 0.5]), linear(turn), step), 350.0, "mu", 1.02),
            "background": Process(through(parts, linear(turn), step), 4000.0, gain=1.02),
        },
    )  # fmt: skip


def twenty() -> Problem:
    """Three features tell the processes apart, seventeen are the same in both."""
    noise = [NORMAL] * 8 + [stats.expon()] * 4 + [stats.t(5)] * 3 + [stats.uniform(-1, 2)] * 2
    all_columns = columns(NORMAL, NORMAL, NORMAL, *noise)
    mix = np.eye(20)
    mix[:3, :3] = [[0.9, 0.0, 0.0], [0.3, 0.8, 0.0], [0.0, -0.3, 0.9]]
    mean = np.zeros(20)
    mean[:3] = [0.8, 0.6, -0.7]
    step = np.zeros(20)
    step[:3] = [0.08, 0.0, 0.05]
    return Problem(
        "twenty",
        "17 of 20 features carry nothing, and invite overtraining",
        tuple(f"x{i}" for i in range(1, 21)),
        {
            "signal": Process(through(all_columns, linear(mix, mean), shifted(step)), 300.0, "mu", 1.02),
            "background": Process(through(all_columns, shifted(step)), 4000.0, gain=1.02),
        },
    )


def negative_3() -> Problem:
    """The problem with Student tails, 3 % of the background with negative weights."""
    base = student()

    def few(raw: Array) -> Array:
        return np.full(len(raw), 0.03)

    processes = {**base.processes, "background": replace(base.processes["background"], negative=few)}
    special = "3 % of the background's weights are negative, over tails of a power"
    return replace(base, name="negative_3", special=special, processes=processes)


def negative_15() -> Problem:
    """The Gaussian problem with 15 % negative weights in both processes, more of them on one side."""
    base = gaussian()

    def many(raw: Array) -> Array:
        return 0.05 + 0.20 / (1 + np.exp(-2 * raw[:, 0]))

    processes = {name: replace(process, negative=many) for name, process in base.processes.items()}
    special = (
        "15 % negative weights, 5 to 25 % of the events depending on where they are; half of the statistics is lost"
    )
    return replace(base, name="negative_15", special=special, processes=processes)


CENTRE = {"s": np.array([1.0, 0.5]), "b": np.zeros(2)}
WIDTH = {"s": np.array([0.8, 0.9]), "b": np.ones(2)}
SQUARED = {"s": 450.0, "b": 4000.0}
"""Expected events of |S|^2 and |B|^2."""
RHO = -0.3
"""Cosine of the phase between the amplitudes: they interfere destructively."""
STEP = np.array([0.08, 0.04])
"""The nuisance moves both amplitudes by this, so that their overlap stays what it is."""
OVERLAP = float(np.prod(np.sqrt(2 * WIDTH["s"] / (WIDTH["s"] ** 2 + 1)) * np.exp(-(CENTRE["s"] ** 2) / (4 * (WIDTH["s"] ** 2 + 1)))))  # fmt: skip
"""Integral of sqrt(p_S p_B)."""
INTERFERING = 2 * RHO * np.sqrt(SQUARED["s"] * SQUARED["b"]) * OVERLAP
"""Events that interference adds at mu = 1."""


def squared(name: str) -> Law:
    """Give the law of |S|^2 or |B|^2."""
    return through(columns(NORMAL, NORMAL), diagonal(list(WIDTH[name]), CENTRE[name]), shifted(STEP))


def together() -> Law:
    """Give the law of |S + B|^2 = |S|^2 + |B|^2 + 2 rho |S||B|."""
    laws = {name: squared(name) for name in SQUARED}
    total = sum(SQUARED.values()) + INTERFERING

    def logs(x: Array, alpha: float) -> tuple[Array, Array]:
        s, b = (np.log(SQUARED[name]) + law.log_density(x, alpha) for name, law in laws.items())
        return s, b

    def log_density(x: Array, alpha: float) -> Array:
        s, b = logs(x, alpha)
        return np.logaddexp(s, b) + np.log1p(RHO / np.cosh((s - b) / 2)) - np.log(total)

    def raw(generator: np.random.Generator, events: int) -> Array:
        """Draw from |S|^2 + |B|^2 at alpha = 0, thin by the interference, and go on until there are enough."""
        found = np.empty((0, 2))
        while len(found) < events:
            numbers = generator.multinomial(2 * events + 10, np.array([*SQUARED.values()]) / sum(SQUARED.values()))
            parts = [law.at(law.raw(generator, n), 0.0) for n, law in zip(numbers, laws.values(), strict=True)]
            x = generator.permutation(np.concatenate(parts))
            s, b = logs(x, 0.0)
            found = np.concatenate([found, x[generator.random(len(x)) < 1 + RHO / np.cosh((s - b) / 2)]])
        return found[:events]

    return Law(raw, lambda raw, alpha: raw + alpha * STEP, log_density)


def interference() -> Problem:
    """A signal that interferes destructively, in the basis of three samples."""
    rate = (1.02, 0.98)
    return Problem(
        "interference",
        "the rate falls before it rises with mu, and two multipliers vanish at the nominal point",
        ("x1", "x2"),
        {
            "s": Process(squared("s"), SQUARED["s"], "mu - sqrt(mu)", 1.02, rate),
            "sbi": Process(together(), sum(SQUARED.values()) + INTERFERING, "sqrt(mu)", 1.02, rate),
            "b": Process(squared("b"), SQUARED["b"], "1 - sqrt(mu)", 1.02, rate),
        },
        reference=("s", "b"),
    )


def five() -> Problem:
    """A signal over four backgrounds, of which one expects 15 events; two processes have a shape uncertainty."""
    parts = columns(NORMAL, stats.expon(), stats.t(5))
    scale = scaled([1.0, 1.04, 1.0])

    def process(mean: list[float], widths: list[float], *more: float | str, varied: bool = False) -> Process:
        events, multiplier = float(more[0]), str(more[1])
        law = through(parts, diagonal(widths, mean), scale)
        return Process(law, events, multiplier, 1.03 if varied else 1.0, varied=varied)

    return Problem(
        "five",
        "five processes at once; one is so rare that only its place matters",
        ("score", "pt", "x"),
        {
            "signal": process([1.2, 0.0, 0.3], [0.8, 1.5, 0.8], 250.0, "mu", varied=True),
            "background": process([0.0, 0.0, 0.0], [1.0, 1.0, 1.0], 2500.0, "1", varied=True),
            "top": process([0.4, 0.0, -0.8], [0.9, 1.3, 1.0], 900.0, "1"),
            "diboson": process([-0.8, 0.0, 0.8], [0.9, 0.8, 0.9], 400.0, "1"),
            "rare": process([1.8, 0.0, -0.5], [0.6, 2.0, 0.7], 15.0, "1"),
        },
        reference=("background", "top", "diboson"),
    )
