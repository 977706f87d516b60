"""The loss of many classes on a tile of events: softmax cross-entropy, classes one after the other, events in vectors."""

from __future__ import annotations

import numpy as np

from needle_parsl.nsbi.compilation import inlined
from needle_parsl.nsbi.training.kernels.functions import Functions, replace
from needle_parsl.nsbi.training.kernels.layout import BELOW, INPUTS, PADDED_IN, TILE, Integers, Work
from needle_parsl.nsbi.training.kernels.vectors import OPEN_STEPS

_exp, _log = replace(Functions.exp), replace(Functions.log)


@inlined
def judge(layout: Integers, count: int, rows: int, work: Work) -> float:
    """Write the slopes w (p_k - 1 or 0) of the loss, 0 for rows without event; give the sum of weighted losses.

    L = w (ln sum_k e^(l_k - l_max) - (l_y - l_max)),   p_k = e^(l_k - l_max) / sum_j e^(l_j - l_max)

    Args:
        layout: Of a network with K logits, shape (L + 1, 12); the last row says where they are, and where the slopes go.
        count: Events of the tile.
        rows: The same in whole blocks.
        work: Labels, numbers of classes, and weights of the tile, shape (TILE,) each.
    """
    last = layout[-1]
    classes, width, start = last[INPUTS], last[PADDED_IN], last[BELOW]
    for n in range(count):
        for k in range(classes):
            work.logits[k * TILE + n] = work.values[start + n * width + k]
    _below_highest(classes, count, work)
    _exponentials(classes, count, work)
    _slopes(classes, count, work)
    for n in range(rows):
        for k in range(classes):
            slope = work.logits[k * TILE + n] if n < count else np.float32(0.0)
            work.slopes[start + n * width + k] = slope
    return _losses(count, work)


@inlined
def _below_highest(classes: int, count: int, work: Work) -> None:
    """Subtract an event's largest logit from all, so that no exponential leaves the range of numbers."""
    for n in range(count):
        work.highest[n] = work.logits[n]
    for k in range(1, classes):
        for n in range(count):
            work.highest[n] = max(work.highest[n], work.logits[k * TILE + n])
    for k in range(classes):
        for n in range(count):
            work.logits[k * TILE + n] -= work.highest[n]


@inlined
def _exponentials(classes: int, count: int, work: Work) -> None:
    """Replace logits by exponentials, sum them up, and leave the logit of the event's own class in `highest`."""
    for n in range(count):
        work.total[n] = 0.0
    for k in range(classes):
        own, first = np.float32(k), k * TILE
        for n in range(count):
            work.highest[n] = work.logits[first + n] if work.label[n] == own else work.highest[n]
        for n in range(0, count, OPEN_STEPS):
            _exp(work.logits, first + n)
        for n in range(count):
            work.total[n] += work.logits[first + n]


@inlined
def _slopes(classes: int, count: int, work: Work) -> None:
    """Replace exponentials by the slopes of the weighted loss."""
    for k in range(classes):
        own, first = np.float32(k), k * TILE
        for n in range(count):
            share = work.logits[first + n] / work.total[n]
            less = np.float32(1.0) if work.label[n] == own else np.float32(0.0)
            work.logits[first + n] = work.weight[n] * (share - less)


@inlined
def _losses(count: int, work: Work) -> float:
    """Sum the weighted losses up."""
    for n in range(0, count, OPEN_STEPS):
        _log(work.total, n)
    total = 0.0
    for n in range(count):
        total += work.weight[n] * (work.total[n] - work.highest[n])
    return total
