"""A block of a matrix product that stays in registers: C = start + A B, the innermost loop of all training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import types
from numba.extending import intrinsic

from needle_parsl.nsbi.training.kernels.vectors import INDEX, OPEN_STEPS, REGISTERS, Vectors

ROWS = 8 if REGISTERS == 32 else 4
"""Rows of a block: with two vectors of columns, sums and operands fit into the registers."""
ARRAY = types.Array(types.float32, 1, "C")
WHERE = (ARRAY, types.int64)
"""An array and the index at which a matrix starts in it."""


def pointer(context: Any, builder: Any, array: Any, index: Any) -> Any:
    """Point to an element of a flat array."""
    return builder.gep(context.make_array(ARRAY)(context, builder, array).data, [index])


def block(vectors: int, kind: str) -> Callable[..., None]:
    """Make the product of `ROWS` rows and some vectors of columns.

    Its arguments are A, its start, its strides over rows and over the summed index; B, its start, its stride over the
    summed index (columns are contiguous); C, its start, its stride over rows; the number of terms; bias and its start.

    Args:
        vectors: Columns, in vectors.
        kind: `bias`: C = bias + A B. `add`: C += A B. `times`: C = (A B) * C, number by number.
    """

    def multiply(
        _typing: Any, a: Any, a0: Any, a_row: Any, a_term: Any, b: Any, b0: Any, b_term: Any,
        c: Any, c0: Any, c_row: Any, terms: Any, bias: Any, bias0: Any,
    ) -> Any:  # fmt: skip
        del a, a0, a_row, a_term, b, b0, b_term, c, c0, c_row, terms, bias, bias0
        i = types.int64
        signature = types.void(*WHERE, i, i, *WHERE, i, *WHERE, i, i, *WHERE)

        def generate(context: Any, builder: Any, _signature: Any, given: Any) -> Any:
            a, b, c, bias = (pointer(context, builder, given[n], given[n + 1]) for n in (0, 4, 7, 11))
            rows = [builder.gep(c, [builder.mul(given[9], INDEX(r))]) for r in range(ROWS)]
            places = [[builder.gep(row, [INDEX(v * OPEN_STEPS)]) for v in range(vectors)] for row in rows]
            starts = [builder.gep(bias, [INDEX(v * OPEN_STEPS)]) for v in range(vectors)]
            work = Vectors(builder, OPEN_STEPS)
            sums = _loop(work, (a, given[2], given[3]), (b, given[6]), given[10], _start(work, kind, places, starts))
            for row, totals in zip(places, sums, strict=True):
                for place, total in zip(row, totals, strict=True):
                    work.store(builder.fmul(total, work.load(place)) if kind == "times" else total, place)
            return context.get_dummy_value()

        return signature, generate

    made: Callable[..., None] = intrinsic(multiply)
    return made


def _start(work: Vectors, kind: str, places: list[list[Any]], bias: list[Any]) -> list[list[Any]]:
    """Give what the sums start from."""
    if kind == "add":
        return [[work.load(place) for place in row] for row in places]
    if kind == "bias":
        return [[work.load(place) for place in bias]] * len(places)
    return [[work.filled(0.0) for _ in row] for row in places]


def _loop(work: Vectors, a: tuple[Any, Any, Any], b: tuple[Any, Any], terms: Any, start: list[list[Any]]) -> Any:
    """Add the terms to the sums, all of them in registers; at least one term is taken."""
    builder, before = work.builder, work.builder.block
    loop, end = builder.append_basic_block("terms"), builder.append_basic_block("done")
    builder.branch(loop)
    builder.position_at_end(loop)
    term = builder.phi(INDEX)
    term.add_incoming(INDEX(0), before)
    sums = [[builder.phi(work.kind) for _ in row] for row in start]
    columns = [
        work.load(builder.gep(b[0], [builder.add(builder.mul(term, b[1]), INDEX(v * work.lanes))]))
        for v in range(len(start[0]))
    ]
    first, totals = builder.gep(a[0], [builder.mul(term, a[2])]), []
    for r, row in enumerate(sums):
        value = work.spread(builder.gep(first, [builder.mul(a[1], INDEX(r))]))
        totals.append([work.fma(value, column, total) for column, total in zip(columns, row, strict=True)])
    after = builder.add(term, INDEX(1))
    term.add_incoming(after, loop)
    for row, begun, ended in zip(sums, start, totals, strict=True):
        for phi, x, y in zip(row, begun, ended, strict=True):
            phi.add_incoming(x, before)
            phi.add_incoming(y, loop)
    builder.cbranch(builder.icmp_signed("<", after, terms), loop, end)
    builder.position_at_end(end)
    return totals


def _dot(_typing: Any, a: Any, a0: Any, b: Any, b0: Any, terms: Any) -> Any:
    """Multiply two vectors: arrays and where they start; the number of terms, in whole vectors and at least one."""
    del a, a0, b, b0, terms

    def generate(context: Any, builder: Any, _signature: Any, given: Any) -> Any:
        work, before = Vectors(builder, OPEN_STEPS), builder.block
        loop, end = builder.append_basic_block("terms"), builder.append_basic_block("done")
        builder.branch(loop)
        builder.position_at_end(loop)
        term, total = builder.phi(INDEX), builder.phi(work.kind)
        places = (pointer(context, builder, given[n], builder.add(given[n + 1], term)) for n in (0, 2))
        added, after = (
            work.fma(work.load(next(places)), work.load(next(places)), total),
            builder.add(term, INDEX(OPEN_STEPS)),
        )
        for phi, start, then in ((term, INDEX(0), after), (total, work.filled(0.0), added)):
            phi.add_incoming(start, before)
            phi.add_incoming(then, loop)
        builder.cbranch(builder.icmp_signed("<", after, given[4]), loop, end)
        builder.position_at_end(end)
        return work.total(added)

    return types.float32(*WHERE, *WHERE, types.int64), generate


dot: Callable[..., float] = intrinsic(_dot)
