"""Problems whose densities have edges: thresholds, peaks in a window, a seam, whole numbers, placeholders."""

from __future__ import annotations

import numpy as np
from scipy import stats

from problems.laws import columns, mixed, scaled, selected, through, wrapped
from problems.records import Array, Law, Problem, Process

NORMAL = stats.norm()
PLACEHOLDER = -25.0


def threshold() -> Problem:
    """Exponential spectra above a threshold; an energy scale carries the same events across it."""
    scale, cut, start = 1.03, 25.0, 15.0

    def law(slope: float, mean: float) -> Law:
        generated = columns(stats.expon(start, slope), stats.norm(mean, 1.0), stats.expon(scale=slope / 2))
        moved = through(generated, scaled([scale, 1.0, scale]))
        return selected(
            moved, lambda x: x[:, 0] > cut, lambda alpha: float(np.exp(-(cut / scale**alpha - start) / slope))
        )

    return Problem(
        "threshold",
        "a hard edge, with events that come and go with the energy scale",
        ("pt", "score", "met"),
        {"signal": Process(law(30.0, 0.8), 250.0, "mu"), "background": Process(law(16.0, 0.0), 4000.0)},
        twins=True,
        spread=0.3,
    )


def peak() -> Problem:
    """A resonance of 1.5 GeV in a window of 80 GeV over an exponential; the mass scale moves the same events."""
    low, high, scale = 100.0, 180.0, 1.003

    def law(mass: stats.distributions.rv_frozen, score: float) -> Law:
        moved = through(columns(mass, stats.norm(score, 1.0)), scaled([scale, 1.0]))
        return selected(
            moved,
            lambda x: (x[:, 0] > low) & (x[:, 0] < high),
            lambda alpha: float(np.diff(mass.cdf(np.array([low, high]) / scale**alpha))[0]),
        )

    return Problem(
        "peak",
        "a ratio that rises and falls within 2 % of the range of a feature",
        ("mass", "score"),
        {
            "signal": Process(law(stats.norm(125.0, 1.5), 0.6), 200.0, "mu"),
            "background": Process(law(stats.expon(95.0, 30.0), 0.0), 4000.0),
        },
        twins=True,
    )


def seam() -> Problem:
    """An angle whose peak lies across +-pi, more or less so with a momentum; the detector is turned."""

    def law(width: float, kappa: float, flat: float, turn: float) -> Law:
        parts = [columns(stats.norm(0.0, width), stats.vonmises(k)) for k in (kappa, 0.05)]
        maps = wrapped(1, 0, turn, np.pi - 0.2, 0.12)
        return mixed([1 - flat, flat], *(through(part, maps) for part in parts))

    return Problem(
        "seam",
        "an angle from -pi to pi with most of the signal at both ends",
        ("x", "phi"),
        {
            "signal": Process(law(1.1, 4.0, 0.1, 0.8), 350.0, "mu", 1.02),
            "background": Process(law(1.0, 0.6, 0.5, -0.4), 4000.0, gain=1.01),
        },
        twins=True,
    )


def count() -> Problem:
    """A number of jets, and a sum of momenta that depends on it."""

    def law(jets: float, start: float) -> Law:
        def at(raw: Array, alpha: float) -> Array:
            number = stats.poisson.ppf(raw[:, 0], jets * 1.05**alpha)
            return np.column_stack([number, 30.0 * stats.gamma.ppf(raw[:, 1], start + number)])

        def log_density(x: Array, alpha: float) -> Array:
            number = stats.poisson.logpmf(x[:, 0], jets * 1.05**alpha)
            return number + stats.gamma.logpdf(x[:, 1], start + x[:, 0], scale=30.0)

        return Law(lambda generator, events: generator.random((events, 2)), at, log_density)

    return Problem(
        "count",
        "one feature is a whole number: ratios are steps along it",
        ("jets", "ht"),
        {
            "signal": Process(law(4.0, 2.5), 350.0, "mu", 1.02),
            "background": Process(law(2.5, 1.5), 4000.0, gain=1.03),
        },
    )


def placeholders() -> Problem:
    """Columns of a first jet and of a pair of jets, -25 where there are none; an energy scale makes and loses jets."""
    scale, cut, start = 1.04, 30.0, 20.0

    def law(has: float, second: float, slope: float, mass: float, lepton: float) -> Law:
        laws = (
            stats.lognorm(0.4, scale=lepton), stats.expon(scale=40.0), stats.expon(start, slope), stats.norm(0.0, 1.5),
            stats.lognorm(0.6, scale=mass), stats.gamma(2.0, scale=1.2),
        )  # fmt: skip
        generated = columns(*laws)

        def raw(generator: np.random.Generator, events: int) -> Array:
            candidates = generator.random((events, 2)) < [has, second]
            return np.column_stack([generated.raw(generator, events), candidates, generator.exponential(slope, events)])

        def at(raw: Array, alpha: float) -> Array:
            x, k = raw[:, :6] * scale ** (alpha * np.array([0.0, 0.5, 1.0, 0.0, 1.0, 0.0])), scale**alpha
            one = (raw[:, 6] > 0) & (x[:, 2] > cut)
            two = one & (raw[:, 7] > 0) & (k * (start + raw[:, 8]) > cut)
            x[~one, 2:4] = PLACEHOLDER
            x[~two, 4:] = PLACEHOLDER
            return x

        def log_density(x: Array, alpha: float) -> Array:
            k = scale ** (alpha * np.array([0.0, 0.5, 1.0, 0.0, 1.0, 0.0]))
            above = float(np.exp(-(cut / scale**alpha - start) / slope))
            there = x[:, 2:] != PLACEHOLDER
            one, two = there[:, 0], there[:, 2]
            terms = np.array([law.logpdf(x[:, i] / k[i]) - np.log(k[i]) for i, law in enumerate(laws)])
            jet = np.where(one, np.log(has) + terms[2] + terms[3], np.log1p(-has * above))
            pair = np.where(two, np.log(second * above) + terms[4] + terms[5], np.log1p(-second * above))
            possible = (one == there[:, 1]) & (two == there[:, 3]) & (one | ~two) & (~one | (x[:, 2] > cut))
            return np.where(possible, terms[0] + terms[1] + jet + np.where(one, pair, 0.0), -np.inf)

        return Law(raw, at, log_density)

    return Problem(
        "placeholders",
        "-25 stands in four columns for jets that are not there; densities are of a mixed measure",
        ("lep_pt", "met", "jet_pt", "jet_eta", "m_jj", "deta_jj"),
        {
            "signal": Process(law(0.85, 0.6, 45.0, 260.0, 45.0), 250.0, "mu", 1.01),
            "background": Process(law(0.6, 0.4, 25.0, 150.0, 38.0), 4000.0, gain=1.02),
        },
        twins=True,
        missing=(PLACEHOLDER,),
    )
