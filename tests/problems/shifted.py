"""A background whose mean two nuisance parameters move, alone and together, under a signal: every ratio and fit is known exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from needle_parsl.analysis import Model, Nuisance, Parameter
from needle_parsl.densities import Cross, Density, Shape
from needle_parsl.nsbi.statistics.dataset import Dataset
from needle_parsl.nsbi.statistics.model.builder import Builder

MOVES = np.array([0.4, -0.3, 0.35])
"""Shifts of the mean by one sigma of each nuisance, and by both together: ln g = x shift - ln Z, and Z has no say in a fit."""
NAMES = ("jes", "met")
GRID = [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, -1), (1, -1), (-1, 1)]
SIGNAL, BACKGROUND, PEAK = 100.0, 900.0, 2.0
"""Expected events, and the mean of the signal."""
TRUTH = {"mu": 1.0, "jes": 1.2, "met": -1.2}
"""Of the observed events: far from nominal, where shifts add up but for what both do together."""
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


def mean(one: float, two: float) -> float:
    return float(MOVES @ (one, two, one * two))


def ratios(x: np.ndarray) -> dict[str, np.ndarray]:
    """Exact ratios of events, as far as they depend on x."""
    sides = {
        f"background.{name}.{side}": sign * move * x
        for name, move in zip(NAMES, MOVES[:2], strict=True)
        for side, sign in (("up", 1), ("down", -1))
    }
    return {**sides, TOGETHER: MOVES.sum() * x, "signal": PEAK * x - PEAK**2 / 2}


def observed(seed: int) -> np.ndarray:
    """Events at the truth, as many as are expected."""
    rng = np.random.default_rng(seed)
    moved = mean(TRUTH["jes"], TRUTH["met"])
    return np.concatenate([rng.normal(PEAK, 1, round(TRUTH["mu"] * SIGNAL)), rng.normal(moved, 1, round(BACKGROUND))])


def exactly(events: Dataset) -> Dataset:
    """The same events with exact ratios."""
    return Dataset(
        x=events.x, weight=events.weight, sample=events.sample, samples=events.samples, ratios=ratios(events.x[:, 0].astype(np.float64)), yields=events.yields
    )  # fmt: skip


def weight(nu: tuple[float, float]) -> str:
    """The weight with which nominal events are those at nu."""
    return f"exp({mean(*nu):.12g} * x - {mean(*nu) ** 2 / 2:.12g})"


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
        ("signal", rng.normal(PEAK, 1, events)),
        ("background", rng.normal(0, 1, events)),
        ("observed", observed(3)),
    ):
        pq.write_table(pa.table({"x": x}), folder / f"{name}.parquet")
