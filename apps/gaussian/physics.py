"""Gaussian processes in four features: everything is known exactly, so that what is learned can be checked.

`jes` shifts the means of signal and background by alpha times SHIFT; the yields change with the variations' weights.
`sbi` is signal and background with their interference: s^2 |S|^2 + |B|^2 + 2 rho s |S| |B| at s = sqrt(mu) = 1.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Columns = dict[str, Array]

FEATURES = ("x1", "x2", "x3", "x4")
MEAN = {"signal": np.array([0.8, -0.5, 0.4, 0.0]), "background": np.zeros(4)}
WIDTH = {"signal": np.array([0.8, 0.9, 1.0, 0.8]), "background": np.ones(4)}
SHIFT = {"signal": np.array([0.10, 0.0, 0.05, 0.0]), "background": np.array([0.10, 0.05, 0.0, 0.05])}
YIELD = {"signal": 80.0, "background": 400.0}
"""As in analysis.toml; pseudo-data is made from it."""
UP = {"signal": 1.03, "background": 1.04}
"""More events pass the selection at jes = +1."""
DOWN = {"signal": 0.98, "background": 0.96}
"""Fewer pass at jes = -1."""
RHO = -0.3
"""Cosine of the phase between the amplitudes: below 0 they interfere destructively."""


def gaussian(process: str, x: Array, alpha: float) -> Array:
    """Give ln p(x | alpha) of signal or background; x has shape (N, 4)."""
    mean, width = MEAN[process] + alpha * SHIFT[process], WIDTH[process]
    density: Array = -0.5 * (((x - mean) / width) ** 2).sum(axis=1) - np.log(width * np.sqrt(2 * np.pi)).sum()
    return density


def response(process: str, alpha: float) -> float:
    """Give the yield of signal or background relative to the nominal one."""
    return float(UP[process] ** alpha if alpha > 0 else DOWN[process] ** -alpha)


def overlap(alpha: float) -> float:
    """Integrate sqrt(p_S p_B), the Bhattacharyya coefficient of two Gaussians."""
    a, b = "signal", "background"
    square = WIDTH[a] ** 2 + WIDTH[b] ** 2
    distance = MEAN[a] - MEAN[b] + alpha * (SHIFT[a] - SHIFT[b])
    return float((np.sqrt(2 * WIDTH[a] * WIDTH[b] / square) * np.exp(-(distance**2) / (4 * square))).prod())


def rate(s: float, alpha: float) -> float:
    """Give the expected events of s^2 |S|^2 + |B|^2 + 2 rho s |S| |B|."""
    a, b = (YIELD[process] * response(process, alpha) for process in ("signal", "background"))
    return float(s**2 * a + b + 2 * RHO * s * np.sqrt(a * b) * overlap(alpha))


def squares(s: float, x: Array, alpha: float) -> tuple[Array, Array]:
    """Give ln of s^2 |S|^2 and of |B|^2 in events per unit of x; shapes (N,)."""
    a, b = (np.log(YIELD[p] * response(p, alpha)) + gaussian(p, x, alpha) for p in ("signal", "background"))
    return 2 * np.log(s) + a, b


def log_density(process: str, x: Array, nuisances: Mapping[str, float]) -> Array:
    """Give ln p(x | alpha) of a process; x has shape (N, 4)."""
    alpha = nuisances.get("jes", 0.0)
    if process != "sbi":
        return gaussian(process, x, alpha)
    a, b = squares(1.0, x, alpha)
    total: Array = np.logaddexp(a, b) + np.log1p(RHO / np.cosh((a - b) / 2)) - np.log(rate(1.0, alpha))
    return total


def draw(process: str, generator: np.random.Generator, events: int, alpha: float = 0.0, weight: float = 1.0) -> Columns:
    """Draw events of signal or background."""
    x = MEAN[process] + alpha * SHIFT[process] + WIDTH[process] * generator.standard_normal((events, 4))
    return {**dict(zip(FEATURES, x.T, strict=True)), "weight": np.full(events, weight)}


def signal(generator: np.random.Generator, events: int) -> Columns:
    """Draw signal."""
    return draw("signal", generator, events)


def signal_jes_up(generator: np.random.Generator, events: int) -> Columns:
    """Draw signal at jes = +1; 3 % more pass the selection."""
    return draw("signal", generator, events, 1.0, UP["signal"])


def signal_jes_down(generator: np.random.Generator, events: int) -> Columns:
    """Draw signal at jes = -1; 2 % fewer pass the selection."""
    return draw("signal", generator, events, -1.0, DOWN["signal"])


def background(generator: np.random.Generator, events: int) -> Columns:
    """Draw background."""
    return draw("background", generator, events)


def background_jes_up(generator: np.random.Generator, events: int) -> Columns:
    """Draw background at jes = +1; 4 % more pass the selection."""
    return draw("background", generator, events, 1.0, UP["background"])


def background_jes_down(generator: np.random.Generator, events: int) -> Columns:
    """Draw background at jes = -1; 4 % fewer pass the selection."""
    return draw("background", generator, events, -1.0, DOWN["background"])


def interfering(generator: np.random.Generator, s: float, alpha: float, scale: float = 1.0) -> Array:
    """Draw a Poisson number of events, `scale` times the rate: from the squares, thinned by the interference; (N, 4)."""
    parts = []
    for process, size in (("signal", s**2), ("background", 1.0)):
        number = generator.poisson(scale * size * YIELD[process] * response(process, alpha))
        made = draw(process, generator, int(number), alpha)
        parts.append(np.column_stack([made[name] for name in FEATURES]))
    x = np.concatenate(parts)
    a, b = squares(max(s, 1e-300), x, alpha)
    kept: Array = x[generator.random(len(x)) < 1 + RHO / np.cosh((a - b) / 2)]
    return generator.permutation(kept)


def sbi_at(generator: np.random.Generator, events: int, alpha: float) -> Columns:
    """Draw that many events of the interfering process; their weight is the rate at alpha over the nominal one."""
    x = interfering(generator, 1.0, alpha, 1.1 * events / rate(1.0, alpha) + 1.0)[:events]
    weight = np.full(events, rate(1.0, alpha) / rate(1.0, 0.0))
    return {**dict(zip(FEATURES, x.T, strict=True)), "weight": weight}


def sbi(generator: np.random.Generator, events: int) -> Columns:
    """Draw signal and background with interference."""
    return sbi_at(generator, events, 0.0)


def sbi_jes_up(generator: np.random.Generator, events: int) -> Columns:
    """Draw signal and background with interference at jes = +1."""
    return sbi_at(generator, events, 1.0)


def sbi_jes_down(generator: np.random.Generator, events: int) -> Columns:
    """Draw signal and background with interference at jes = -1."""
    return sbi_at(generator, events, -1.0)


def observed(generator: np.random.Generator, events: int) -> Columns:
    """Draw pseudo-data at mu = 1 and alpha = 0; the Poisson counts, not `events`, say how many."""
    del events
    parts = [draw(process, generator, int(generator.poisson(YIELD[process]))) for process in YIELD]
    return {name: np.concatenate([part[name] for part in parts]) for name in FEATURES}


def lumi(alpha: float) -> float:
    """Give the yields relative to the nominal luminosity."""
    return float(1.02**alpha if alpha > 0 else 0.98**-alpha)


def pseudo_data(generator: np.random.Generator, parameters: Mapping[str, float]) -> Columns:
    """Draw one data set of signal and background at any values of the parameters."""
    alpha, scale = parameters["jes"], lumi(parameters["lumi"])
    parts = []
    for process, multiplier in (("signal", parameters["mu"]), ("background", 1.0)):
        expected = multiplier * scale * YIELD[process] * response(process, alpha)
        parts.append(draw(process, generator, int(generator.poisson(expected)), alpha))
    return {name: np.concatenate([part[name] for part in parts]) for name in FEATURES}


def pseudo_data_interference(generator: np.random.Generator, parameters: Mapping[str, float]) -> Columns:
    """Draw one data set of signal and background with interference at any values of the parameters."""
    x = interfering(generator, float(np.sqrt(parameters["mu"])), parameters["jes"], lumi(parameters["lumi"]))
    return dict(zip(FEATURES, x.T, strict=True))


def observed_interference(generator: np.random.Generator, events: int) -> Columns:
    """Draw pseudo-data with interference at mu = 1; the Poisson count, not `events`, says how many."""
    del events
    return pseudo_data_interference(generator, {"mu": 1.0, "jes": 0.0, "lumi": 0.0})
