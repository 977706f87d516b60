"""Figure of what features go through before networks see them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from needle_parsl.nsbi.report.figures.canvas import COLOURS, Floats, bare, finite
from needle_parsl.nsbi.report.gathering import Facts
from needle_parsl.nsbi.transforms.transform import Transform

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 40
"""Features that are drawn; more are left to the table."""
IN_A_ROW = 4
BINS = 50


def transforms(facts: Facts) -> Figure:
    """Draw each feature of the Asimov events as it is, and below it as networks get it."""
    from matplotlib.figure import Figure  # noqa: PLC0415  matplotlib, an extra

    found = facts.transform()
    assert found is not None
    _, transform = found
    count = min(transform.inputs, MOST)
    columns = min(IN_A_ROW, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(2.6 * columns, 2.7 * rows), layout="constrained")
    grid = figure.add_gridspec(2 * rows, columns)
    weight = np.abs(facts.dataset.weight)
    x, y = facts.dataset.x[:, : transform.inputs], transform(facts.dataset.x[:, : transform.inputs])
    for place in range(count):
        row, column = divmod(place, columns)
        axes = [figure.add_subplot(grid[2 * row + below, column]) for below in (0, 1)]
        _draw(axes, transform, place, (x, y), (weight, facts.missing(place)))
    return figure


def _draw(
    axes: list[Axes],
    transform: Transform,
    place: int,
    events: tuple[np.ndarray, np.ndarray],
    weights: tuple[Floats, float],
) -> None:
    """Draw one feature before and after its transform.

    Args:
        axes: Of both.
        transform: Of all features.
        place: Of the feature.
        events: All features and all columns that are made of them.
        weights: Of the events, and the share of them in which the feature is missing.
    """
    (x, y), (weight, share) = events, weights
    there = ~transform.absent(x[:, [place]])[:, 0]
    own = transform.columns[place]
    first = sum(len(column.outputs) for column in transform.columns[:place])
    made = [y[there, first + k] for k in range(len(own.outputs))]
    missing = f", {100 * share:.1f} % missing" if share else ""
    axes[0].set_title(f"{own.name}: {own.kind}{missing}", fontsize=8)
    _stairs(axes[0], [x[there, place]], weight[there], COLOURS[0])
    if own.kind == "onehot":
        total = [float(weight[there][column > 0].sum()) for column in made]
        axes[1].bar(range(len(total)), np.array(total) / max(sum(total), 1e-300), color=COLOURS[2])
        axes[1].set_xticks(range(len(total)), [f"{category:g}" for category in own.knots])
    else:
        _stairs(axes[1], made, weight[there], COLOURS[2])
    for ax in axes:
        bare(ax)
        ax.tick_params(labelsize=7)
        ax.set_yticks([])


def _stairs(axes: Axes, columns: list[np.ndarray], weight: Floats, colour: str) -> None:
    """Draw distributions between the quantiles that hold 99.8 % of the events; a second one is dashed."""
    if not len(weight):
        axes.text(0.5, 0.5, "missing in all events", ha="center", va="center", fontsize=7, transform=axes.transAxes)
        return
    together = np.concatenate(columns).astype(np.float64)
    low, high = np.quantile(finite(together)[0], [0.001, 0.999])
    edges = np.linspace(low, high, BINS + 1) if high > low else np.linspace(low - 0.5, low + 0.5, BINS + 1)
    for style, column in zip(("solid", "dashed"), columns, strict=False):
        known = np.isfinite(column)
        counts, _ = np.histogram(column[known], edges, weights=weight[known])
        axes.stairs(counts / max(float(weight.sum()), 1e-300), edges, color=colour, linestyle=style, linewidth=1)
