"""Smoothing the relative change of a binned template by a variation, whose simulation is finite.

Running medians of 3, 5 and 3 bins, a parabola through what they leave flat, and a running mean with weights 1/4, 1/2, 1/4; once more for
the residuals, which are added. It follows steps and leaves straight lines as they are.

References:
    J. H. Friedman, Data Analysis Techniques for High Energy Particle Physics, SLAC-176 (1974); "353QH, twice".
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
FEWEST = 3
"""Bins that are smoothed; fewer stay as they are."""


def smooth(values: Floats) -> Floats:
    """Smooth numbers of neighbouring bins.

    Args:
        values: Shape (B,).

    Returns:
        Shape (B,); the numbers themselves where there are fewer than three.
    """
    if len(values) < FEWEST:
        return values.copy()
    once = _once(values)
    return once + _once(values - once)


def smoothed_template(varied: Floats, nominal: Floats) -> Floats:
    """Smooth the ratio of a varied to a nominal template, and keep the yield of the variation.

    Args:
        varied: Expected events, shape (B,).
        nominal: Likewise; bins without any stay as they are, and are no neighbours of others.
    """
    found, filled = varied.copy(), nominal > 0
    found[filled] = nominal[filled] * np.maximum(smooth(varied[filled] / nominal[filled]), 0.0)
    total = found[filled].sum()
    found[filled] *= varied[filled].sum() / total if total > 0 else 1.0
    return found


def _once(values: Floats) -> Floats:
    median = _median3(values)
    median[0] = _end(values[0], median[1], median[2])
    median[-1] = _end(values[-1], median[-2], median[-3])
    median = _median3(_median5(median))
    return _mean(_curved(median))


def _median3(values: Floats) -> Floats:
    """Take the median of each bin and its neighbours; the ends stay."""
    found = values.copy()
    found[1:-1] = np.median(np.stack([values[:-2], values[1:-1], values[2:]]), axis=0)
    return found


def _median5(values: Floats) -> Floats:
    """Take the median of five bins; next to the ends of three."""
    found = _median3(values)
    if len(values) >= 5:
        windows = np.lib.stride_tricks.sliding_window_view(values, 5)
        found[2:-2] = np.median(windows, axis=1)
    return found


def _end(value: float, second: float, third: float) -> float:
    """Take the median of the last bin, its neighbour, and the line through the next two."""
    return float(np.median([value, second, 3 * second - 2 * third]))


def _curved(values: Floats) -> Floats:
    """Put a parabola where three bins are alike and their neighbours on both sides are higher, or lower."""
    found = values.copy()
    for i in range(2, len(values) - 2):
        left, right = values[i - 2] - values[i], values[i + 2] - values[i]
        if not values[i - 1] == values[i] == values[i + 1] or left * right <= 0:
            continue
        side = -1 if abs(right) > abs(left) else 1
        near, far = values[i + 2 * side], values[i - 2 * side]
        found[i] = -far / 2 + values[i] * 4 / 3 + near / 6
        found[i + side] = (near - far) / 2 + values[i]
    return found


def _mean(values: Floats) -> Floats:
    found = values.copy()
    found[1:-1] = values[:-2] / 4 + values[1:-1] / 2 + values[2:] / 4
    return found
