"""Two Gaussian processes in four features: everything is known exactly, so that what is learned can be checked.

`jes` shifts the means of both processes by alpha times SHIFT; the yields change with the variations' weights.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Columns = dict[str, npt.NDArray[np.float64]]

FEATURES = ("x1", "x2", "x3", "x4")
MEAN = {"signal": np.array([0.8, -0.5, 0.4, 0.0]), "background": np.zeros(4)}
WIDTH = {"signal": np.array([0.8, 0.9, 1.0, 0.8]), "background": np.ones(4)}
SHIFT = {"signal": np.array([0.10, 0.0, 0.05, 0.0]), "background": np.array([0.10, 0.05, 0.0, 0.05])}
YIELD = {"signal": 80.0, "background": 400.0}
"""As in analysis.toml; pseudo-data is made from it at mu = 1."""


def log_density(process: str, x: npt.NDArray[np.float64], nuisances: Mapping[str, float]) -> npt.NDArray[np.float64]:
    """Give ln p(x | alpha) of a process; x has shape (N, 4)."""
    mean = MEAN[process] + nuisances.get("jes", 0.0) * SHIFT[process]
    width = WIDTH[process]
    density: npt.NDArray[np.float64] = (
        -0.5 * (((x - mean) / width) ** 2).sum(axis=1) - np.log(width * np.sqrt(2 * np.pi)).sum()
    )
    return density


def draw(process: str, generator: np.random.Generator, events: int, alpha: float = 0.0, weight: float = 1.0) -> Columns:
    """Draw events of a process."""
    x = MEAN[process] + alpha * SHIFT[process] + WIDTH[process] * generator.standard_normal((events, 4))
    return {**dict(zip(FEATURES, x.T, strict=True)), "weight": np.full(events, weight)}


def signal(generator: np.random.Generator, events: int) -> Columns:
    """Draw signal."""
    return draw("signal", generator, events)


def signal_jes_up(generator: np.random.Generator, events: int) -> Columns:
    """Draw signal at jes = +1; 3 % more pass the selection."""
    return draw("signal", generator, events, 1.0, 1.03)


def signal_jes_down(generator: np.random.Generator, events: int) -> Columns:
    """Draw signal at jes = -1; 2 % fewer pass the selection."""
    return draw("signal", generator, events, -1.0, 0.98)


def background(generator: np.random.Generator, events: int) -> Columns:
    """Draw background."""
    return draw("background", generator, events)


def background_jes_up(generator: np.random.Generator, events: int) -> Columns:
    """Draw background at jes = +1; 4 % more pass the selection."""
    return draw("background", generator, events, 1.0, 1.04)


def background_jes_down(generator: np.random.Generator, events: int) -> Columns:
    """Draw background at jes = -1; 4 % fewer pass the selection."""
    return draw("background", generator, events, -1.0, 0.96)


def observed(generator: np.random.Generator, events: int) -> Columns:
    """Draw pseudo-data at mu = 1 and alpha = 0; the Poisson counts, not `events`, say how many."""
    del events
    parts = [draw(process, generator, int(generator.poisson(YIELD[process]))) for process in YIELD]
    return {name: np.concatenate([part[name] for part in parts]) for name in FEATURES}
