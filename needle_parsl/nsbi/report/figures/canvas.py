"""What all figures share: colours and panels."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from needle_parsl.nsbi.report.checks.states import reason

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Cell = TypeVar("Cell")
Item = TypeVar("Item")
Floats = npt.NDArray[np.float64]
COLOURS = ("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70")
"""Told apart by colour-blind readers, too (M. Petroff, arXiv:2107.02270)."""
MOST = 12
"""Panels of a figure; more are left to the numbers."""


def panels(count: int, width: float = 3.3, height: float = 2.9) -> tuple[Figure, list[Axes]]:
    """Make a figure of so many panels, three in a row."""
    from matplotlib.figure import Figure  # noqa: PLC0415  matplotlib, an extra

    columns = min(3, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    axes = [figure.add_subplot(rows, columns, place + 1) for place in range(count)]
    for ax in axes:
        bare(ax)
    return figure, axes


def split_panels(count: int, width: float = 3.3, height: float = 3.3) -> tuple[Figure, list[tuple[Axes, Axes]]]:
    """Make a figure of so many panels, each with a small one below it that shares its x axis."""
    from matplotlib.figure import Figure  # noqa: PLC0415  matplotlib, an extra

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


def each(cells: Sequence[Cell], items: Iterable[tuple[str, Item]], draw: Callable[[Cell, Item], None]) -> None:
    """Draw named things panel by panel; one that cannot be drawn says so in its panel.

    Raises:
        ValueError: None of them can be drawn.
    """
    lost = []
    for cell, (name, item) in zip(cells, items, strict=True):
        try:
            draw(cell, item)
        except Exception as error:  # noqa: BLE001  numbers that nobody has foreseen cost their panel, not the figure
            lost.append(f"{name}: {reason(error)}")
            axes: Any = cell[0] if isinstance(cell, tuple) else cell
            axes.text(0.5, 0.5, f"{name} cannot be drawn", ha="center", transform=axes.transAxes, fontsize=8)
    if lost and len(lost) == len(cells):
        raise ValueError(lost[0])
    for line in lost:
        warnings.warn(f"a panel cannot be drawn: {line}", stacklevel=2)


def finite(*columns: Floats) -> tuple[Floats, ...]:
    """Keep the places at which all columns are finite.

    Raises:
        ValueError: There is none.
    """
    good = np.logical_and.reduce([np.isfinite(np.asarray(column, np.float64)) for column in columns])
    if not good.any():
        raise ValueError("none of its numbers is finite")
    return tuple(np.asarray(column, np.float64)[good] for column in columns)
