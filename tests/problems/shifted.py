"""A background whose mean two nuisance parameters move, alone and together, beside a signal: every ratio and fit is known exactly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from needle_parsl.analysis import Model, Nuisance, Parameter
from needle_parsl.densities import Cross, Density, Shape
from needle_parsl.nsbi.statistics.dataset import Dataset
from needle_parsl.nsbi.statistics.model.builder import Builder

MOVES = np.array([[0.4, 0.0], [0.0, -0.3], [0.0, -0.35]])
"""Shifts of the mean of (x, y) by one sigma of each nuisance, and by both together: ln g = m (x, y) - ln Z, and Z has no say in a fit."""
NAMES = ("jes", "met")
GRID = [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, -1), (1, -1), (-1, 1)]
SIGNAL, BACKGROUND, PEAK = 40.0, 200.0, 2.0
"""Expected events, and the mean of x of the signal; that of y is 0."""
TRUTH = {"mu": 1.0, "jes": 1.2, "met": -1.2}
"""Of the observed events: far from nominal."""
MODEL = Model(
    parameters={"mu": Parameter(1.0, (0.0, 5.0))},
    processes={"signal": "mu", "background": "1"},
    nuisances={name: Nuisance(interpolation="exp_quadratic") for name in NAMES},
)
SHAPES = [Shape("background", name, f"background.{name}.up", f"background.{name}.down", "") for name in NAMES]
TOGETHER = Density("background", at=tuple(zip(NAMES, (1.0, 1.0), strict=True))).name
CROSS = Cross("background", *NAMES, TOGETHER, (1.0, 1.0))
EXACT = Builder.of(MODEL, SHAPES, [CROSS])
WITHOUT = Builder.of(MODEL, SHAPES)
"""The same without what both do together."""


def mean(one: float, two: float) -> np.ndarray:
    """Mean of (x, y) of the background, shape (2,)."""
    found: np.ndarray = np.array([one, two, one * two]) @ MOVES
    return found


def ratios(x: np.ndarray) -> dict[str, np.ndarray]:
    """Exact ratios of events (N, 2), as far as they depend on these."""
    points = {f"background.{n}.{s}": GRID[2 * k + j] for k, n in enumerate(NAMES) for j, s in enumerate(("up", "down"))}
    responses = {name: x @ mean(*nu) for name, nu in {**points, TOGETHER: (1, 1)}.items()}
    return {**responses, "signal": PEAK * x[:, 0] - PEAK**2 / 2}


def drawn(rng: np.random.Generator, at: tuple[float, float], events: int) -> np.ndarray:
    """Events whose mean is somewhere, shape (N, 2)."""
    return rng.normal(at, 1.0, (events, 2))


def observed(seed: int) -> np.ndarray:
    """Events at the truth, as many as are expected, shape (N, 2)."""
    rng, moved = np.random.default_rng(seed), mean(TRUTH["jes"], TRUTH["met"])
    return np.concatenate([drawn(rng, (PEAK, 0.0), round(TRUTH["mu"] * SIGNAL)), drawn(rng, moved, round(BACKGROUND))])


def exactly(events: Dataset) -> Dataset:
    """The same events with exact ratios."""
    return replace(events, ratios=ratios(events.x.astype(np.float64)))


def weight(nu: tuple[float, float]) -> str:
    """The weight with which nominal events are those at nu."""
    x, y = mean(*nu)
    return f"exp({x:.12g} * x + {y:.12g} * y - {(x**2 + y**2) / 2:.12g})"


def toml(points: list[tuple[float, float]]) -> str:
    """Variations of the background, with joint ones at some points."""
    sides = [
        f'[samples.background.variations.{name}]\nup = {{ weight = "{weight(up)}" }}\ndown = {{ weight = "{weight(down)}" }}\n'
        for name, up, down in zip(NAMES, GRID[:4:2], GRID[1:4:2], strict=True)
    ]
    joint = [
        f'[[samples.background.joint]]\nat = {{ jes = {a:.1f}, met = {b:.1f} }}\nweight = "{weight((a, b))}"\n'
        for a, b in points
    ]
    return "".join([*sides, *joint])


def files(folder: Path, events: int) -> None:
    """Write simulated events, and observed ones."""
    rng = np.random.default_rng(1)
    for name, x in (
        ("signal", drawn(rng, (PEAK, 0.0), events)),
        ("background", drawn(rng, (0.0, 0.0), events)),
        ("observed", observed(3)),
    ):
        pq.write_table(pa.table({"x": x[:, 0], "y": x[:, 1]}), folder / f"{name}.parquet")
