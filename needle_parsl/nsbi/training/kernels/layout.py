"""Where everything of a multilayer perceptron stands in flat arrays, and the arrays that a training works in."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from needle_parsl.nsbi.training.kernels.blocks import ROWS
from needle_parsl.nsbi.training.kernels.vectors import OPEN_STEPS

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
    """Biases of all layers, then the weights of a single logit."""
    gradients: Floats
    """Of the weights of all layers but that of a single logit, padded."""
    sums: Floats
    """Gradients of `units`, each layer's in `ROWS` equal rows."""
    values: Floats
    """A tile's input and activations."""
    slopes: Floats
    """A tile's derivatives, then gradients of the sums before the activations."""
    logits: Floats
    """Of a tile, one class behind the other."""
    label: Floats
    """Of a tile, shape (TILE,); later the weighted losses."""
    weight: Floats
    """Of a tile, over the norm of the batch; shape (TILE,)."""
    highest: Floats
    """The largest logit of an event, shape (TILE,)."""
    total: Floats
    """The sum of exponentials over its classes, shape (TILE,)."""
    gradient: Floats
    """Of all parameters, shape (P,)."""
    one: Floats
    """The number 1."""


def padded(width: int) -> int:
    """Give a width, in units of a layer, in whole blocks."""
    whole = max(OPEN_STEPS, ROWS)
    return -(-width // whole) * whole


def laid_out(widths: tuple[int, ...], outputs: int = 1) -> Integers:
    """Lay out the layers, shape (L + 1, 12).

    A single logit is no layer but a product of two vectors, to which the last row belongs. Many are one more layer; the last
    row then has no outputs, and says where the logits are.

    Args:
        widths: Features and hidden widths.
        outputs: Logits.
    """
    rows: list[list[int]] = []
    flat = panels = gradients = units = 0
    here = TILE * padded(widths[0])
    below = 0
    single = outputs == 1
    layers = widths if single else (*widths, outputs)
    for a, b in pairwise(layers):
        wide_in, wide_out = padded(a), padded(b)
        back = panels + a * wide_out
        rows.append([a, b, wide_in, wide_out, flat, flat + a * b, panels, back, gradients, below, here, units])
        flat += a * b + b
        panels = back + b * wide_in
        gradients, units = gradients + wide_in * wide_out, units + wide_out
        below, here = here, here + TILE * wide_out
    last, bias = layers[-1], flat + (layers[-1] if single else 0)
    rows.append([last, int(single), padded(last), 1, flat, bias, panels, panels, gradients, below, here, units])
    return np.array(rows, np.int64)


def work(layout: Integers) -> Work:
    """Make the arrays for a layout, shape (L + 1, 12)."""
    last = layout[-1]
    panels, gradients, units, tiles = (int(last[n]) for n in (FORWARD, GRADIENT, UNITS, HERE))
    units += int(last[PADDED_IN])
    logits, parameters = TILE * max(1, int(last[INPUTS] * (1 - last[OUTPUTS]))), int(last[BIAS] + last[OUTPUTS])
    sizes = (panels, units, gradients, units * ROWS, tiles, tiles, logits, TILE, TILE, TILE, TILE, parameters, 1)
    made = Work(*(_aligned(size) for size in sizes))
    made.one[0] = 1.0
    return made


def _aligned(size: int) -> Floats:
    """Give zeros that start at a line of cache."""
    raw = np.zeros(size + 16, np.float32)
    start = (-raw.ctypes.data % 64) // 4
    return raw[start : start + size]
