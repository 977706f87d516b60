"""What all figures share: colours and panels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]
COLOURS = ("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70")
"""Told apart by colour-blind readers, too (M. Petroff, arXiv:2107.02270)."""
MOST = 12
"""Panels of a figure; more are left to the numbers."""


def panels(count: int, width: float = 3.3, height: float = 2.9) -> tuple[Figure, list[Axes]]:
    """Make a figure of so many panels, three in a row."""
    from matplotlib.figure import Figure

    columns = min(3, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    axes = [figure.add_subplot(rows, columns, place + 1) for place in range(count)]
    for ax in axes:
        bare(ax)
    return figure, axes


def split_panels(count: int, width: float = 3.3, height: float = 3.3) -> tuple[Figure, list[tuple[Axes, Axes]]]:
    """Make a figure of so many panels, each with a small one below it that shares its x axis."""
    from matplotlib.figure import Figure

    columns = min(3, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    grid = figure.add_gridspec(2 * rows, columns, height_ratios=[2.4, 1] * rows)
    pairs = []
    for place in range(count):
        row, column = divmod(place, columns)
        upper = figure.add_subplot(grid[2 * row, column])
        lower = figure.add_subplot(grid[2 * row + 1, column], sharex=upper)
        upper.tick_params(labelbottom=False)
        bare(upper)
        bare(lower)
        pairs.append((upper, lower))
    return figure, pairs


def bare(axes: Axes) -> None:
    """Leave away the lines above and to the right."""
    axes.spines[["top", "right"]].set_visible(False)
