"""Arithmetic on whole vector registers, which numba has no words for: written in LLVM's, so that it is the same on every CPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llvmlite import ir
from numba.core import cgutils

from needle_parsl.nsbi.compilation import features

FLOAT, BITS, INDEX = ir.FloatType(), ir.IntType(32), ir.IntType(64)

OPEN_STEPS = 16 if "+avx512f" in features() else 8 if "+avx" in features() else 4
"""Numbers of 32 bits in a vector register."""
REGISTERS = 16 if OPEN_STEPS == 8 else 32
"""Vector registers: AVX has 16, AVX-512 and NEON have 32."""


@dataclass(frozen=True)
class Vectors:
    """A place where instructions are added, for vectors of some lanes."""

    builder: Any
    lanes: int

    @property
    def kind(self) -> Any:
        """The type of a vector."""
        return ir.VectorType(FLOAT, self.lanes)

    def filled(self, value: float) -> Any:
        """Give a vector of one number."""
        return ir.Constant(self.kind, [float(value)] * self.lanes)

    def bits(self, value: int) -> Any:
        """Give a vector of one 32-bit integer."""
        return ir.Constant(ir.VectorType(BITS, self.lanes), [value] * self.lanes)

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """Compute a b + c with one rounding."""
        kind = ir.FunctionType(self.kind, [self.kind] * 3)
        function = cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.fma.v{self.lanes}f32")
        return self.builder.call(function, [a, b, c])

    def load(self, place: Any) -> Any:
        """Read a vector from a pointer to its first number."""
        value = self.builder.load(self.builder.bitcast(place, self.kind.as_pointer()))
        value.align = 4
        return value

    def store(self, value: Any, place: Any) -> None:
        """Write a vector to a pointer to its first number."""
        self.builder.store(value, self.builder.bitcast(place, self.kind.as_pointer())).align = 4

    def spread(self, place: Any) -> Any:
        """Read one number into all lanes."""
        return self.repeated(self.builder.load(place))

    def repeated(self, value: Any) -> Any:
        """Give all lanes the same number, of 32 bits of whatever kind."""
        unknown = ir.Constant(ir.VectorType(value.type, self.lanes), ir.Undefined)
        first = self.builder.insert_element(unknown, value, BITS(0))
        return self.builder.shuffle_vector(first, unknown, self.bits(0))

    def polynomial(self, x: Any, coefficients: Sequence[float]) -> Any:
        """Compute a polynomial by Horner's rule, highest power first."""
        total = self.filled(coefficients[0])
        for value in coefficients[1:]:
            total = self.fma(total, x, self.filled(value))
        return total

    def total(self, x: Any) -> Any:
        """Add the numbers of a vector: one half to the other, until one number is left."""
        left = self.lanes
        while left > 1:
            left //= 2
            lower, upper = (self.builder.shuffle_vector(x, x, _places(start, left)) for start in (0, left))
            x = self.builder.fadd(lower, upper)
        return self.builder.extract_element(x, BITS(0))


def _places(start: int, count: int) -> Any:
    """Name a range of lanes."""
    return ir.Constant(ir.VectorType(BITS, count), list(range(start, start + count)))
