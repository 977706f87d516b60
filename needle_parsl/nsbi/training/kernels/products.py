"""Matrix products out of blocks."""

from __future__ import annotations

from collections.abc import Callable

from needle_parsl.nsbi.compilation import inlined
from needle_parsl.nsbi.training.kernels.blocks import ROWS, block
from needle_parsl.nsbi.training.kernels.layout import Floats
from needle_parsl.nsbi.training.kernels.vectors import OPEN_STEPS

WIDE = 2 * OPEN_STEPS
"""Columns of a block."""


def product(kind: str) -> Callable[..., None]:
    """Make a product of matrices in flat arrays.

    Its arguments: A, its start and strides over rows and terms; B, its start, the numbers of a panel per column, and the
    stride over terms (0: the panel's width); C, its start and stride over rows; rows, columns and terms; the bias and its
    start. Rows are counted up to whole blocks, columns are whole vectors.

    Args:
        kind: As of a block.
    """
    wide, narrow = block(2, kind), block(1, kind)

    def multiply(
        a: Floats, a0: int, a_row: int, a_term: int, b: Floats, b0: int, b_panel: int, b_term: int,
        c: Floats, c0: int, c_row: int, rows: int, columns: int, terms: int, bias: Floats, bias0: int,
    ) -> None:  # fmt: skip
        for j in range(0, columns - OPEN_STEPS, WIDE):
            stride = b_term or WIDE
            for i in range(0, rows, ROWS):
                wide(
                    a, a0 + i * a_row, a_row, a_term, b, b0 + j * b_panel, stride,
                    c, c0 + i * c_row + j, c_row, terms, bias, bias0 + j,
                )  # fmt: skip
        if columns % WIDE:
            j = columns - OPEN_STEPS
            stride = b_term or OPEN_STEPS
            for i in range(0, rows, ROWS):
                narrow(
                    a, a0 + i * a_row, a_row, a_term, b, b0 + j * b_panel, stride,
                    c, c0 + i * c_row + j, c_row, terms, bias, bias0 + j,
                )  # fmt: skip

    return inlined(multiply)


with_bias, adding, times = product("bias"), product("add"), product("times")
