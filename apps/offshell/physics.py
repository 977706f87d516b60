"""Off-shell Higgs production in four leptons, with toy matrix elements: every density and every yield is known.

The rate is |sqrt(mu) A_S + A_B|^2 in the mass m and three angles: A_S makes longitudinal Z pairs at high mass and decays
isotropically; A_B is transverse, forward, and falls steeply with m. They interfere destructively. `jes` scales m.
Masses are in GeV. The signal region is m4l > 220, the control region 180 to 220, where there is little signal.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Columns = dict[str, Array]

FEATURES = ("log_m4l", "cos_star", "cos_1", "cos_2")
EDGES = {"control": (180.0, 220.0), "signal": (220.0, 1500.0)}
YIELD = {"signal": 400.0, "background": 600.0}
"""Events of |A_S|^2 and |A_B|^2 alone in the signal region."""
POINTS = 20261125
"""Seed of the points of phase space that all samples share."""
RHO = -0.3
"""Cosine of the phase between the amplitudes."""
JES = 0.02
"""One sigma of the scale of m."""
LUMI, KFACTOR = (1.02, 0.98), (1.08, 0.93)
"""Relative rates at plus and minus one sigma."""
MASS = np.linspace(120.0, 1600.0, 6001)


def spectrum(process: str, m: Array) -> Array:
    """Give the squared amplitude as a function of m, normalised to nothing; shape (N,)."""
    if process == "background":
        steep: Array = np.exp(-m / 75.0) + 0.05 * np.exp(-m / 200.0)
        return steep
    threshold = 1 + 0.8 * np.exp(-0.5 * ((m - 350.0) / 60.0) ** 2)  # of two top quarks
    found: Array = np.exp(-m / 170.0) * threshold / (1 + np.exp(-(m - 190.0) / 10.0))
    return found


def longitudinal(m: Array) -> Array:
    """Give the fraction of longitudinal Z pairs in |A_S|^2; shape (N,)."""
    found: Array = 1 / (1 + (320.0 / m) ** 4)
    return found


def angles(process: str, m: Array, x: Array) -> Array:
    """Give the density of the three cosines at m; x has shape (N, 3)."""
    star, one, two = x.T
    transverse = (3 / 8) ** 2 * (1 + one**2) * (1 + two**2)
    if process == "background":
        forward: Array = (1 + 4 * star**2) / (2 + 8 / 3) * transverse
        return forward
    share = longitudinal(m)
    found: Array = 0.5 * (share * (3 / 4) ** 2 * (1 - one**2) * (1 - two**2) + (1 - share) * transverse)
    return found


def _between(values: Array, low: float, high: float) -> float:
    fine = np.linspace(low, high, 4001)
    return float(np.trapezoid(np.interp(fine, MASS, values), fine))


ALL = (170.0, 1600.0)
"""Masses before the shift by jes: both regions, and what comes in from beside them."""
NORM = {p: YIELD[p] / _between(spectrum(p, MASS), *EDGES["signal"]) for p in YIELD}


def _all(process: str) -> float:
    """Give the expected events of |A_S|^2 or |A_B|^2 at all masses."""
    return NORM[process] * _between(spectrum(process, MASS), *ALL)


_COSINES = np.polynomial.legendre.leggauss(24)


def _overlap() -> Array:
    """Integrate sqrt(p_S p_B) over the cosines, as a function of m; shape (6001,)."""
    nodes, weights = _COSINES
    grid = np.stack(np.meshgrid(nodes, nodes, nodes, indexing="ij"), axis=-1).reshape(-1, 3)
    weight = np.einsum("i,j,k->ijk", weights, weights, weights).ravel()
    some = MASS[::100]
    both = [weight @ np.sqrt(np.prod([angles(p, np.full(len(grid), m), grid) for p in YIELD], axis=0)) for m in some]
    found: Array = np.interp(MASS, some, both)
    return found


OVERLAP = _overlap()


def rate(s: float, alpha: float, region: str, b: float = 1.0) -> float:
    """Give the expected events of |s A_S + b A_B|^2 in a region; it is (m low, m high) before the shift by jes."""
    low, high = (edge * np.exp(-JES * alpha) for edge in EDGES[region])
    squares = {p: NORM[p] * spectrum(p, MASS) for p in YIELD}
    mixed = np.sqrt(squares["signal"] * squares["background"]) * OVERLAP
    total = s**2 * squares["signal"] + b**2 * squares["background"] + 2 * RHO * s * b * mixed
    return _between(total, float(low), float(high))


AMPLITUDES = {"signal": (1.0, 0.0), "sbi": (1.0, 1.0), "background": (0.0, 1.0)}
"""s and b of each sample."""


def squares(x: Array, alpha: float) -> tuple[Array, Array]:
    """Give |A_S|^2 and |A_B|^2 in events per unit of (ln m4l, cosines), m4l being shifted; x has shape (N, 4)."""
    m = np.exp(x[:, 0] - JES * alpha)
    found = [NORM[p] * spectrum(p, m) * angles(p, m, x[:, 1:]) * m for p in YIELD]
    return found[0], found[1]


def log_density(process: str, x: Array, nuisances: Mapping[str, float]) -> Array:
    """Give ln p(x | alpha) of a sample in the signal region; x has shape (N, 4)."""
    alpha = nuisances.get("jes", 0.0)
    signal, background = squares(x, alpha)
    s, b = AMPLITUDES[process]
    total = s**2 * signal + b**2 * background + 2 * RHO * s * b * np.sqrt(signal * background)
    found: Array = np.log(total) - np.log(rate(s, alpha, "signal", b))
    return found


def _cosine(generator: np.random.Generator, n: int, kind: str) -> Array:
    """Draw a cosine from 1 - c^2 (longitudinal), 1 + c^2 (transverse) or 1 + 4 c^2 (forward)."""
    c = np.linspace(-1, 1, 2001)
    total = {"longitudinal": c - c**3 / 3, "transverse": c + c**3 / 3, "forward": c + 4 * c**3 / 3}[kind]
    return np.interp(generator.random(n), (total - total[0]) / (total[-1] - total[0]), c)


def _drawn(process: str, generator: np.random.Generator, n: int, alpha: float) -> Array:
    """Draw events of |A_S|^2 or |A_B|^2, shifted by jes; ln m4l and cosines, shape (N, 4)."""
    fine = np.linspace(*ALL, 20_001)
    values = spectrum(process, fine)
    total = np.concatenate([[0.0], np.cumsum((values[1:] + values[:-1]) / 2)])
    m = np.interp(generator.random(n), total / total[-1], fine)
    if process == "background":
        star = _cosine(generator, n, "forward")
        pair = [_cosine(generator, n, "transverse") for _ in range(2)]
    else:
        star, is_long = generator.uniform(-1, 1, n), generator.random(n) < longitudinal(m)
        pair = [
            np.where(is_long, _cosine(generator, n, "longitudinal"), _cosine(generator, n, "transverse"))
            for _ in range(2)
        ]
    return np.column_stack([np.log(m) + JES * alpha, star, *pair])


def thrown(generator: np.random.Generator, s: float, b: float, alpha: float, scale: float) -> Array:
    """Draw a Poisson number of events, `scale` times the rate: from the squares, thinned by the interference; (N, 4)."""
    parts = []
    for process, size in (("signal", s**2), ("background", b**2)):
        number = int(generator.poisson(scale * size * _all(process)))
        parts.append(_drawn(process, generator, number, alpha))
    x = np.concatenate(parts)
    signal, background = s**2 * squares(x, alpha)[0], b**2 * squares(x, alpha)[1]
    kept = 1 + 2 * RHO * np.sqrt(signal * background) / (signal + background)
    return x[generator.random(len(x)) < kept]


def columns(x: Array) -> Columns:
    """Name the columns of events: a file has m4l, not its logarithm, and a number for each event."""
    named = {"m4l": np.exp(x[:, 0]), **dict(zip(FEATURES[1:], x[:, 1:].T, strict=True))}
    return {**named, "event": np.arange(len(x), dtype=np.float64)}


def sample(process: str, events: int, alpha: float) -> Columns:
    """Give the events of a sample: the same points of phase space for all, each with the squared amplitude as its weight.

    Analyses reweight their simulation by matrix elements, too. What is shared cancels between samples, where the
    interference is a small difference of large numbers; the column `event` says which points are the same. In each region
    the weights add up to the exact rate.
    """
    generator = np.random.default_rng(POINTS)  # not needle's: every sample has these points
    half = events // 2
    x = generator.permutation(
        np.concatenate([_drawn(p, generator, n, 0.0) for p, n in (("signal", half), ("background", events - half))])
    )
    squared = squares(x, 0.0)
    s, b = AMPLITUDES[process]
    total = s**2 * squared[0] + b**2 * squared[1] + 2 * RHO * s * b * np.sqrt(squared[0] * squared[1])
    weight = total / sum(part / _all(p) for part, p in zip(squared, YIELD, strict=True))
    moved = np.column_stack([x[:, 0] + JES * alpha, x[:, 1:]])
    for region, (low, high) in EDGES.items():
        own = (moved[:, 0] >= np.log(low)) & (moved[:, 0] < np.log(high))
        weight[own] *= rate(s, alpha, region, b) / max(float(weight[own].sum()), 1e-12)
    return {**columns(moved), "weight": weight}


def signal(generator: np.random.Generator, events: int) -> Columns:
    """Draw |A_S|^2."""
    del generator
    return sample("signal", events, 0.0)


def signal_jes_up(generator: np.random.Generator, events: int) -> Columns:
    """Draw |A_S|^2 at jes = +1."""
    del generator
    return sample("signal", events, 1.0)


def signal_jes_down(generator: np.random.Generator, events: int) -> Columns:
    """Draw |A_S|^2 at jes = -1."""
    del generator
    return sample("signal", events, -1.0)


def sbi(generator: np.random.Generator, events: int) -> Columns:
    """Draw |A_S + A_B|^2."""
    del generator
    return sample("sbi", events, 0.0)


def sbi_jes_up(generator: np.random.Generator, events: int) -> Columns:
    """Draw |A_S + A_B|^2 at jes = +1."""
    del generator
    return sample("sbi", events, 1.0)


def sbi_jes_down(generator: np.random.Generator, events: int) -> Columns:
    """Draw |A_S + A_B|^2 at jes = -1."""
    del generator
    return sample("sbi", events, -1.0)


def background(generator: np.random.Generator, events: int) -> Columns:
    """Draw |A_B|^2."""
    del generator
    return sample("background", events, 0.0)


def background_jes_up(generator: np.random.Generator, events: int) -> Columns:
    """Draw |A_B|^2 at jes = +1."""
    del generator
    return sample("background", events, 1.0)


def background_jes_down(generator: np.random.Generator, events: int) -> Columns:
    """Draw |A_B|^2 at jes = -1."""
    del generator
    return sample("background", events, -1.0)


def _response(sides: tuple[float, float], alpha: float) -> float:
    return float(sides[0] ** alpha if alpha > 0 else sides[1] ** -alpha)


def pseudo_data(generator: np.random.Generator, parameters: Mapping[str, float]) -> Columns:
    """Draw one data set of both regions at any values of the parameters."""
    scale = _response(LUMI, parameters["lumi"]) * _response(KFACTOR, parameters["kfactor"])
    x = thrown(generator, float(np.sqrt(parameters["mu"])), 1.0, parameters["jes"], scale)
    return columns(x)


def observed(generator: np.random.Generator, events: int) -> Columns:
    """Draw pseudo-data at mu = 1; the Poisson count, not `events`, says how many."""
    del events
    return pseudo_data(generator, {"mu": 1.0, "jes": 0.0, "lumi": 0.0, "kfactor": 0.0})
