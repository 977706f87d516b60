"""Forward and backward through a multilayer perceptron, one tile of events after the other.

Widths are padded with zeros to whole vectors: a unit without weights gives nothing and gets no gradient.

References:
    K. Goto, R. A. van de Geijn, Anatomy of high-performance matrix multiplication, ACM TOMS 34 (2008) 12.
"""

from __future__ import annotations

from typing import NamedTuple

from needle_parsl.nsbi.compilation import inlined
from needle_parsl.nsbi.training.kernels import functions
from needle_parsl.nsbi.training.kernels.blocks import ROWS, dot
from needle_parsl.nsbi.training.kernels.layout import (  # fmt: skip
    BACKWARD,
    BELOW,
    BIAS,
    FORWARD,
    GRADIENT,
    HERE,
    INPUTS,
    OUTPUTS,
    PADDED_IN,
    PADDED_OUT,
    UNITS,
    WEIGHT,
    Floats,
    Integers,
    Work,
)
from needle_parsl.nsbi.training.kernels.masks import Masks, drop
from needle_parsl.nsbi.training.kernels.products import WIDE, adding, times, with_bias
from needle_parsl.nsbi.training.kernels.vectors import OPEN_STEPS

SILU, RELU, TANH = range(3)
LOSSES = BCE, MSE, MLC, SOFTMAX = tuple(range(4))

_silu, _relu, _tanh = (functions.activate(f) for f in (functions.silu, functions.relu, functions.tanh))
_bce, _mse, _mlc = (functions.judge(f) for f in (functions.bce, functions.mse, functions.mlc))


class EventTable(NamedTuple):
    """Events."""

    x: Floats
    """Features, scaled; shape (N, F)."""
    label: Floats
    """From 0 to 1; for `SOFTMAX` the number of the class. Shape (N,)."""
    weight: Floats
    """Shape (N,)."""


@inlined
def pack(layout: Integers, parameters: Floats, work: Work) -> None:
    """Bring the weights into panels of columns, and begin the gradients at 0.

    Args:
        layout: Of the network, shape (L + 1, 12).
        parameters: Its weights and biases in torch's order, shape (P,).
        work: What is worked in.
    """
    for l in range(len(layout) - 1):
        inputs, outputs = layout[l, INPUTS], layout[l, OUTPUTS]
        weights = parameters[layout[l, WEIGHT] : layout[l, BIAS]]
        _put(work.units[layout[l, UNITS] :], parameters[layout[l, BIAS] : layout[l, BIAS] + outputs])
        _pack_transposed(weights, inputs, outputs, layout[l, PADDED_OUT], work.panels[layout[l, FORWARD] :])
        if l:
            _pack(weights, inputs, outputs, layout[l, PADDED_IN], work.panels[layout[l, BACKWARD] :])
    last = layout[-1]
    work.gradients[:] = 0.0
    work.sums[:] = 0.0
    if last[OUTPUTS]:
        _put(work.units[last[UNITS] :], parameters[last[WEIGHT] : last[BIAS]])
        work.gradient[last[BIAS]] = 0.0


@inlined
def _put(to: Floats, values: Floats) -> None:
    for n in range(len(values)):
        to[n] = values[n]


@inlined
def _pack_transposed(weights: Floats, inputs: int, outputs: int, columns: int, to: Floats) -> None:
    """Bring weights (O, I) into panels of outputs: terms are inputs."""
    for first in range(0, outputs, WIDE):
        width = WIDE if first + WIDE <= columns else OPEN_STEPS
        panel = to[first * inputs :]
        for o in range(min(width, outputs - first)):
            row, column = weights[(first + o) * inputs : (first + o + 1) * inputs], panel[o:]
            for i in range(len(row)):
                column[i * width] = row[i]


@inlined
def _pack(weights: Floats, inputs: int, outputs: int, columns: int, to: Floats) -> None:
    """Bring weights (O, I) into panels of inputs: terms are outputs."""
    for first in range(0, inputs, WIDE):
        width = WIDE if first + WIDE <= columns else OPEN_STEPS
        count = min(width, inputs - first)
        for o in range(outputs):
            start = o * inputs + first
            _put(to[first * outputs + o * width :], weights[start : start + count])


@inlined
def load(layout: Integers, table: EventTable, order: Integers, work: Work) -> int:
    """Bring events into the tile; give their number in whole blocks.

    Args:
        layout: Of the network, shape (L + 1, 12).
        table: Of N events.
        order: Rows of it, shape (n,) with n of at most `TILE`.
        work: What is worked in.
    """
    width, count = layout[0, PADDED_IN], len(order)
    whole = (count + ROWS - 1) // ROWS * ROWS
    for n in range(count):
        _put(work.values[n * width :], table.x[order[n]])
    work.values[count * width : whole * width] = 0.0
    return whole


@inlined
def forward(
    layout: Integers, parameters: Floats, activation: int, masks: Masks, step: int, first: int, rows: int, work: Work
) -> None:
    """Compute the activations of all layers, their derivatives, and the logits.

    Args:
        layout: Of the network, shape (L + 1, 12).
        parameters: Its weights and biases in torch's order, shape (P,).
        activation: Which one.
        masks: What is dropped.
        step: Its place in `masks`.
        first: Row of the batch at which the tile begins.
        rows: Of the tile, in whole blocks.
        work: What is worked in.
    """
    last = layout[-1]
    for l in range(len(layout) - 1):
        below, here, width = layout[l, BELOW], layout[l, HERE], layout[l, PADDED_OUT]
        with_bias(
            work.values, below, layout[l, PADDED_IN], 1, work.panels, layout[l, FORWARD], layout[l, INPUTS], 0,
            work.values, here, width, rows, width, layout[l, INPUTS], work.units, layout[l, UNITS],
        )  # fmt: skip
        if last[OUTPUTS] or l < len(layout) - 2:
            _activate(activation, work.values, work.slopes, here, here + rows * width)
            if masks.threshold:
                drop(layout[l], masks, masks.streams[step, l], first, rows, work)
    if last[OUTPUTS]:
        for n in range(rows):
            product = dot(work.values, last[BELOW] + n * last[PADDED_IN], work.units, last[UNITS], last[PADDED_IN])
            work.logits[n] = product + parameters[last[BIAS]]


@inlined
def _activate(kind: int, values: Floats, slopes: Floats, start: int, stop: int) -> None:
    """Replace sums by activations, and write the derivatives."""
    if kind == SILU:
        for n in range(start, stop, OPEN_STEPS):
            _silu(values, n, slopes, n)
    elif kind == RELU:
        for n in range(start, stop, OPEN_STEPS):
            _relu(values, n, slopes, n)
    else:
        for n in range(start, stop, OPEN_STEPS):
            _tanh(values, n, slopes, n)


@inlined
def judge(kind: int, count: int, rows: int, work: Work) -> float:
    """Replace logits by the slopes of the loss, 0 for rows without event; give the sum of weighted losses.

    Args:
        kind: `BCE`, `MSE` or `MLC`.
        count: Events of the tile.
        rows: The same in whole blocks.
        work: Logits, labels and weights of the tile, shape (TILE,) each; labels are overwritten.
    """
    if kind == BCE:
        for n in range(0, count, OPEN_STEPS):
            _bce(work.logits, n, work.label, n, work.weight, n)
    elif kind == MSE:
        for n in range(0, count, OPEN_STEPS):
            _mse(work.logits, n, work.label, n, work.weight, n)
    else:
        for n in range(0, count, OPEN_STEPS):
            _mlc(work.logits, n, work.label, n, work.weight, n)
    work.logits[count:rows] = 0.0
    total = 0.0
    for loss in work.label[:count]:
        total += loss
    return total


@inlined
def backward(layout: Integers, count: int, rows: int, work: Work) -> None:
    """Add a tile's gradients, from the slopes of the loss in `logits`, or in `slopes` for many classes. Vectors are matrices with strides of 0.

    Args:
        layout: Of the network, shape (L + 1, 12).
        count: Events of the tile.
        rows: The same in whole blocks.
        work: Activations, derivatives and slopes of the tile; gradients of the batch so far.
    """
    if layout[-1, OUTPUTS]:
        _through_logit(layout[-1], count, rows, work)
    for l in range(len(layout) - 2, -1, -1):
        _through(layout[l], l == 0, count, rows, work)


@inlined
def _through_logit(last: Integers, count: int, rows: int, work: Work) -> None:
    """Add the gradients of a single logit, and go back to the last hidden layer."""
    width, below = last[PADDED_IN], last[BELOW]
    for slope in work.logits[:count]:
        work.gradient[last[BIAS]] += slope
    adding(
        work.logits, 0, 0, 1, work.values, below, 1, width, work.sums, last[UNITS] * ROWS, width, ROWS, width, count, work.one, 0
    )  # fmt: skip
    times(
        work.logits, 0, 1, 0, work.units, last[UNITS], 1, 1, work.slopes, below, width, rows, width, 1, work.one, 0
    )  # fmt: skip


@inlined
def _through(layer: Integers, first: bool, count: int, rows: int, work: Work) -> None:
    """Add the gradients of a layer, and go back to the one below."""
    below, here, wide_in, wide_out = layer[BELOW], layer[HERE], layer[PADDED_IN], layer[PADDED_OUT]
    adding(
        work.one, 0, 0, 0, work.slopes, here, 1, wide_out,
        work.sums, layer[UNITS] * ROWS, wide_out, ROWS, wide_out, count, work.one, 0,
    )  # fmt: skip
    adding(
        work.slopes, here, 1, wide_out, work.values, below, 1, wide_in,
        work.gradients, layer[GRADIENT], wide_in, (layer[OUTPUTS] + ROWS - 1) // ROWS * ROWS, wide_in, count, work.one, 0,
    )  # fmt: skip
    if not first:
        times(
            work.slopes, here, wide_out, 1, work.panels, layer[BACKWARD], layer[OUTPUTS], 0,
            work.slopes, below, wide_in, rows, wide_in, layer[OUTPUTS], work.one, 0,
        )  # fmt: skip


@inlined
def unpack(layout: Integers, work: Work) -> None:
    """Bring the gradients into the order of the parameters, `work.gradient` of shape (P,).

    Args:
        layout: Of the network, shape (L + 1, 12).
        work: The gradients of a batch, padded.
    """
    for l in range(len(layout) - 1):
        inputs, outputs, width = layout[l, INPUTS], layout[l, OUTPUTS], layout[l, PADDED_IN]
        sums = layout[l, UNITS] * ROWS
        _put(work.gradient[layout[l, BIAS] :], work.sums[sums : sums + outputs])
        for o in range(outputs):
            start, row = layout[l, WEIGHT] + o * inputs, layout[l, GRADIENT] + o * width
            _put(work.gradient[start:], work.gradients[row : row + inputs])
    last = layout[-1]
    if last[OUTPUTS]:
        _put(work.gradient[last[WEIGHT] :], work.sums[last[UNITS] * ROWS : last[UNITS] * ROWS + last[INPUTS]])
