"""Where everything of a multilayer perceptron stands in flat arrays, and the arrays that a training works in."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from needle_parsl.nsbi.training.native.blocks import ROWS
from needle_parsl.nsbi.training.native.vectors import LANES

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

TILE = 128
"""Rows that go through all layers before the next: their numbers stay in cache."""
INPUTS, OUTPUTS, PADDED_IN, PADDED_OUT, WEIGHT, BIAS, FORWARD, BACKWARD, GRADIENT, BELOW, HERE, UNITS = range(12)
"""Columns of a layout. Widths; where weights and biases start among the parameters; where the layer's panels, gradients and
tiles start in the arrays of `Work`: `BELOW` its input, `HERE` its output; `UNITS` its biases."""


class Work(NamedTuple):
    """Arrays of a training that need not be kept."""

    panels: Floats
    """Weights as panels of columns: for the way forward W^T, for the way back W."""
    units: Floats
    """Biases of all hidden layers, then the weights of the logit."""
    gradients: Floats
    """Of the weights of all hidden layers, padded."""
    sums: Floats
    """Gradients of `units`, each layer's in `ROWS` equal rows."""
    values: Floats
    """A tile's input and activations."""
    slopes: Floats
    """A tile's derivatives, then gradients of the sums before the activations."""
    logits: Floats
    label: Floats
    weight: Floats
    """Of a tile."""
    gradient: Floats
    """Of all parameters, shape (P,)."""
    one: Floats
    """The number 1."""


def padded(width: int) -> int:
    """Give a width in whole blocks."""
    whole = max(LANES, ROWS)
    return -(-width // whole) * whole


def parameters(widths: tuple[int, ...]) -> int:
    """Count the parameters of a network with one logit."""
    return sum(a * b + b for a, b in pairwise((*widths, 1)))


def laid_out(widths: tuple[int, ...]) -> Integers:
    """Lay out the hidden layers, shape (L, 12); the last row's `WEIGHT` is that of the logit.

    Args:
        widths: Features and hidden widths.
    """
    rows: list[list[int]] = []
    flat = panels = gradients = units = 0
    here = TILE * padded(widths[0])
    below = 0
    for inputs, outputs in pairwise(widths):
        wide_in, wide_out = padded(inputs), padded(outputs)
        back = panels + inputs * wide_out
        rows.append([
            inputs, outputs, wide_in, wide_out, flat, flat + inputs * outputs, panels, back, gradients, below, here, units,
        ])  # fmt: skip
        flat += inputs * outputs + outputs
        panels = back + outputs * wide_in
        gradients, units = gradients + wide_in * wide_out, units + wide_out
        below, here = here, here + TILE * wide_out
    rows.append([widths[-1], 1, padded(widths[-1]), 1, flat, flat + widths[-1], panels, panels, gradients, below, here, units])  # fmt: skip
    return np.array(rows, np.int64)


def work(layout: Integers) -> Work:
    """Make the arrays for a layout."""
    last = layout[-1]
    panels, gradients, units, tiles = (int(last[n]) for n in (FORWARD, GRADIENT, UNITS, HERE))
    units += int(last[PADDED_IN])
    sizes = (panels, units, gradients, units * ROWS, tiles, tiles, TILE, TILE, TILE, int(last[BIAS]) + 1, 1)
    made = Work(*(_aligned(size) for size in sizes))
    made.one[0] = 1.0
    return made


def _aligned(size: int) -> Floats:
    """Give zeros that start at a line of cache."""
    raw = np.zeros(size + 16, np.float32)
    start = (-raw.ctypes.data % 64) // 4
    return raw[start : start + size]
