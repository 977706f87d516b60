"""Functions of one number on vector registers: the activations with their derivatives, the losses with their slopes.

All keep NaN, so that a training that diverges shows it. Largest relative error of exp, sigmoid and log(1 + x): about 2e-7.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from needle_parsl.nsbi.training.kernels.blocks import WHERE, pointer
from needle_parsl.nsbi.training.kernels.vectors import BITS, OPEN_STEPS, Vectors
from needle_parsl.nsbi.training.losses import LARGEST as LARGEST_OF_MLC


def _near_best(function: Callable[[Any], Any], degree: int, low: float, high: float) -> list[float]:
    """Give a polynomial's coefficients, highest power first; interpolation at Chebyshev's points is close to the best."""
    found = np.polynomial.Chebyshev.interpolate(function, degree, domain=[low, high])
    return [float(value) for value in found.convert(kind=np.polynomial.Polynomial).coef[::-1]]


POWER_OF_TWO = _near_best(np.exp2, 6, -0.5, 0.5)
LOG1P_OVER_X = _near_best(lambda x: np.log1p(x) / x, 9, 0.0, 1.0)
INTEGER = 1.5 * 2.0**23
"""Added to a float32, it rounds it to an integer, which then stands in its last bits."""
LARGEST = 87.0
"""Beyond it exp leaves the range of float32."""
GUESS = 0x7EF127EA
"""Less the bits of x, the bits of about 1 / x, by 5 % wrong; a step then leaves the third power of that, another the sixth."""


class Functions(Vectors):
    """Functions of vectors."""

    def below(self, x: Any, y: Any) -> Any:
        """Give the smaller of the two; NaN if x is."""
        return self.builder.select(self.builder.fcmp_ordered(">", x, y), y, x)

    def above(self, x: Any, y: Any) -> Any:
        """Give the larger of the two; NaN if x is."""
        return self.builder.select(self.builder.fcmp_ordered("<", x, y), y, x)

    def exp(self, x: Any) -> Any:
        """Compute e^x = 2^n 2^f with whole n; x is held to +- 87."""
        x = self.above(self.below(x, self.filled(LARGEST)), self.filled(-LARGEST))
        scale = self.filled(np.log2(np.e))
        shifted = self.fma(x, scale, self.filled(INTEGER))
        rest = self.fma(x, scale, self.builder.fneg(self.builder.fsub(shifted, self.filled(INTEGER))))
        power = self._as_bits(self.polynomial(rest, POWER_OF_TWO))
        exponent = self.builder.shl(self._as_bits(shifted), self.bits(23))
        return self._as_floats(self.builder.add(power, exponent))

    def inverse(self, x: Any) -> Any:
        """Compute 1 / x for x of at least 1, without the processor's slow division."""
        guess = self._as_floats(self.builder.sub(self.bits(GUESS), self._as_bits(x)))
        minus = self.builder.fneg(x)
        off = self.fma(minus, guess, self.filled(1.0))
        guess = self.fma(guess, self.fma(off, off, off), guess)
        return self.fma(guess, self.fma(minus, guess, self.filled(1.0)), guess)

    def sigmoid(self, x: Any) -> Any:
        """Compute 1 / (1 + e^-x)."""
        return self.inverse(self.builder.fadd(self.filled(1.0), self.exp(self.builder.fneg(x))))

    def softplus(self, x: Any) -> Any:
        """Compute ln(1 + e^x) = max(x, 0) + ln(1 + e^-|x|)."""
        minus = self.builder.fneg(x)
        small = self.exp(self.below(x, minus))
        log = self.builder.fmul(small, self.polynomial(small, LOG1P_OVER_X))
        return self.builder.fadd(self.above(x, self.filled(0.0)), log)

    def log(self, x: Any) -> Any:
        """Compute ln x = n ln 2 + ln(1 + f) for x of at least 1, with whole n and f in [0, 1)."""
        bits = self._as_bits(x)
        exponent = self.builder.sub(self.builder.lshr(bits, self.bits(23)), self.bits(127))
        mantissa = self._as_floats(self.builder.sub(bits, self.builder.shl(exponent, self.bits(23))))
        rest = self.builder.fsub(mantissa, self.filled(1.0))
        log = self.builder.fmul(rest, self.polynomial(rest, LOG1P_OVER_X))
        return self.fma(self.builder.sitofp(exponent, self.kind), self.filled(np.log(2.0)), log)

    def _as_bits(self, x: Any) -> Any:
        return self.builder.bitcast(x, ir.VectorType(BITS, self.lanes))

    def _as_floats(self, x: Any) -> Any:
        return self.builder.bitcast(x, self.kind)


def silu(f: Functions, z: Any) -> tuple[Any, Any]:
    """SiLU, z sigma(z); its derivative sigma + z sigma (1 - sigma)."""
    sigma = f.sigmoid(z)
    value = f.builder.fmul(z, sigma)
    return value, f.fma(value, f.builder.fsub(f.filled(1.0), sigma), sigma)


def relu(f: Functions, z: Any) -> tuple[Any, Any]:
    """max(z, 0); its derivative is 0 at 0."""
    positive = f.builder.fcmp_ordered(">", z, f.filled(0.0))
    return f.above(z, f.filled(0.0)), f.builder.select(positive, f.filled(1.0), f.filled(0.0))


def tanh(f: Functions, z: Any) -> tuple[Any, Any]:
    """2 sigma(2 z) - 1; its derivative 1 - tanh^2."""
    value = f.fma(f.filled(2.0), f.sigmoid(f.builder.fadd(z, z)), f.filled(-1.0))
    return value, f.fma(f.builder.fneg(value), value, f.filled(1.0))


def bce(f: Functions, z: Any, label: Any) -> tuple[Any, Any]:
    """ln(1 + e^z) - y z; its slope sigma(z) - y. `carl` with labels, `alice` with soft targets."""
    value = f.fma(f.builder.fneg(label), z, f.softplus(z))
    return value, f.builder.fsub(f.sigmoid(z), label)


def mse(f: Functions, z: Any, label: Any) -> tuple[Any, Any]:
    """(z - y)^2; its slope 2 (z - y)."""
    off = f.builder.fsub(z, label)
    return f.builder.fmul(off, off), f.builder.fadd(off, off)


def mlc(f: Functions, z: Any, label: Any) -> tuple[Any, Any]:
    """Compute y (e^-z - z) + (1 - y) (e^z + z); its slope (1 - y) (1 + e^z) - y (1 + e^-z). Exponents end as in `losses`."""
    up, rising = _limited_exp(f, z)
    down, falling = _limited_exp(f, f.builder.fneg(z))
    other, one = f.builder.fsub(f.filled(1.0), label), f.filled(1.0)
    value = f.fma(label, f.builder.fsub(down, z), f.builder.fmul(other, f.builder.fadd(up, z)))
    back = f.builder.fneg(f.builder.fmul(label, f.builder.fadd(one, falling)))
    return value, f.fma(other, f.builder.fadd(one, rising), back)


def _limited_exp(f: Functions, x: Any) -> tuple[Any, Any]:
    """e^x up to x = `LARGEST_OF_MLC`, constant beyond; its derivative."""
    limit = f.filled(LARGEST_OF_MLC)
    value = f.exp(f.below(x, limit))
    return value, f.builder.select(f.builder.fcmp_ordered(">", x, limit), f.filled(0.0), value)


def activate(function: Callable[[Functions, Any], tuple[Any, Any]]) -> Callable[..., None]:
    """Make a function that replaces a vector of numbers by its activation, and writes the derivative elsewhere.

    Its arguments are an array and the place in it, then those of the derivative.
    """

    def act(_typing: Any, z: Any, z0: Any, slope: Any, slope0: Any) -> Any:
        del z, z0, slope, slope0

        def generate(context: Any, builder: Any, _signature: Any, given: Any) -> Any:
            f = Functions(builder, OPEN_STEPS)
            place = pointer(context, builder, given[0], given[1])
            value, derivative = function(f, f.load(place))
            f.store(value, place)
            f.store(derivative, pointer(context, builder, given[2], given[3]))
            return context.get_dummy_value()

        return types.void(*WHERE, *WHERE), generate

    made: Callable[..., None] = intrinsic(act)
    return made


def judge(function: Callable[[Functions, Any, Any], tuple[Any, Any]]) -> Callable[..., None]:
    """Make a function that replaces a vector of logits by weight times the slope of the loss, labels by weight times the loss.

    Its arguments are three arrays, each with the place in it: logits, labels, weights.
    """

    def lose(_typing: Any, z: Any, z0: Any, label: Any, label0: Any, weight: Any, weight0: Any) -> Any:
        del z, z0, label, label0, weight, weight0

        def generate(context: Any, builder: Any, _signature: Any, given: Any) -> Any:
            f = Functions(builder, OPEN_STEPS)
            z, label, weight = (pointer(context, builder, given[n], given[n + 1]) for n in (0, 2, 4))
            value, slope = function(f, f.load(z), f.load(label))
            weights = f.load(weight)
            f.store(builder.fmul(weights, slope), z)
            f.store(builder.fmul(weights, value), label)
            return context.get_dummy_value()

        return types.void(*WHERE, *WHERE, *WHERE), generate

    made: Callable[..., None] = intrinsic(lose)
    return made


def replace(function: Callable[[Functions, Any], Any]) -> Callable[..., None]:
    """Make a function that replaces a vector of numbers by what a function gives. Its arguments are an array and the place in it."""

    def move(_typing: Any, x: Any, x0: Any) -> Any:
        del x, x0

        def generate(context: Any, builder: Any, _signature: Any, given: Any) -> Any:
            f, place = Functions(builder, OPEN_STEPS), pointer(context, builder, given[0], given[1])
            f.store(function(f, f.load(place)), place)
            return context.get_dummy_value()

        return types.void(*WHERE), generate

    made: Callable[..., None] = intrinsic(move)
    return made
