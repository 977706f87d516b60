"""Dropout in compiled code; its masks have the bits of `nsbi.training.dropout`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from needle_parsl.nsbi.compilation import inlined
from needle_parsl.nsbi.training.kernels.blocks import WHERE, pointer
from needle_parsl.nsbi.training.kernels.dropout_hash import FACTORS, SHIFTS
from needle_parsl.nsbi.training.kernels.layout import HERE, OUTPUTS, PADDED_OUT, Integers, Work
from needle_parsl.nsbi.training.kernels.vectors import BITS, INDEX, OPEN_STEPS, Vectors


class Masks(NamedTuple):
    """What is dropped in a step."""

    threshold: int
    """Units whose 16 bits are less are dropped; 0 for none."""
    scale: np.float32
    """What the others are multiplied with."""
    streams: npt.NDArray[np.int64]
    """Origin and factor of each step and hidden layer, shape (S, L, 2), as `dropout_hash.stream` gives them."""


def _drop(
    _typing: Any, values: Any, place: Any, slopes: Any, other: Any, row: Any, origin: Any, factor: Any, threshold: Any, scale: Any
) -> Any:  # fmt: skip
    """Drop units of two rows: a vector of each, in two arrays. `row` is the stride of rows, `origin` that of the first unit."""
    del values, place, slopes, other, row, origin, factor, threshold, scale
    i = types.int64

    def generate(context: Any, builder: Any, _signature: Any, given: Any) -> Any:
        work = Vectors(builder, OPEN_STEPS)
        lanes = ir.Constant(ir.VectorType(BITS, OPEN_STEPS), list(range(OPEN_STEPS)))
        origin, factor, threshold = (work.repeated(builder.trunc(given[n], BITS)) for n in (5, 6, 7))
        found = _mixed(work, builder.add(origin, builder.mul(lanes, factor)))
        halves = builder.and_(found, work.bits(0xFFFF)), builder.lshr(found, work.bits(16))
        for half, after in zip(halves, (INDEX(0), given[4]), strict=True):
            kept = builder.icmp_unsigned(">=", half, threshold)
            for n in (0, 2):
                where = pointer(context, builder, given[n], builder.add(given[n + 1], after))
                scaled = builder.fmul(work.load(where), work.repeated(given[8]))
                work.store(builder.select(kept, scaled, work.filled(0.0)), where)
        return context.get_dummy_value()

    return types.void(*WHERE, *WHERE, i, i, i, i, types.float32), generate


def _mixed(work: Vectors, x: Any) -> Any:
    """Compute `mixing.mix`."""
    builder = work.builder
    for shift, factor in zip(SHIFTS, FACTORS, strict=False):
        x = builder.mul(builder.xor(x, builder.lshr(x, work.bits(shift))), work.bits(factor))
    return builder.xor(x, builder.lshr(x, work.bits(SHIFTS[-1])))


_two_rows: Callable[..., None] = intrinsic(_drop)


@inlined
def drop(layer: Integers, masks: Masks, stream: npt.NDArray[np.int64], first: int, rows: int, work: Work) -> None:
    """Drop units of a layer: activations and their derivatives.

    Args:
        layer: Where it is.
        masks: What is dropped.
        stream: Of the step and the layer, shape (2,).
        first: Row of the batch at which the tile begins, an even number.
        rows: Of the tile, an even number.
        work: Activations and derivatives.
    """
    here, width, units, factor = layer[HERE], layer[PADDED_OUT], layer[OUTPUTS], stream[1]
    for n in range(0, rows, 2):
        origin, place = stream[0] + (first + n) // 2 * units * factor, here + n * width
        for u in range(0, width, OPEN_STEPS):
            _two_rows(
                work.values, place + u, work.slopes, place + u, width, origin + u * factor, factor, masks.threshold, masks.scale,
            )  # fmt: skip
