"""The hash that decides what dropout drops; here, since the compiled code that has it, too, is kept for the state of this folder."""

from __future__ import annotations

from typing import Any, TypeVar

Number = TypeVar("Number", bound=Any)
"""Whole numbers of 64 bits with sign: one, or an array or tensor of them."""

WHOLE = 2**16
"""Probabilities are whole parts of it."""
BITS = 2**32 - 1
SHIFTS, FACTORS = (16, 15, 15), (0x21F0AAAD, 0x735A2D97)
"""The factors have 31 bits, so that no product needs more than 63."""


def mix(x: Number) -> Number:
    """Hash 32 bits to 32 bits: each bit of x changes about half of those of the hash, and no two x have the same.

    References:
        C. Wellons, hash-prospector, 2018.
    """
    for shift, factor in zip(SHIFTS, FACTORS, strict=False):
        x = ((x ^ (x >> shift)) * factor) & BITS
    mixed: Number = x ^ (x >> SHIFTS[-1])
    return mixed


def threshold(share: float) -> int:
    """Give the parts of `WHOLE` that are dropped."""
    return min(round(share * WHOLE), WHOLE - 1)


def scale(threshold: int) -> float:
    """Give what units that stay are multiplied with."""
    return WHOLE / (WHOLE - threshold)


def keyed(seed: int, step: Number) -> Number:
    """Give the key of a step.

    Args:
        seed: Of the member, 64 bits.
        step: Steps that the member has done before.
    """
    found: Number = mix((step & BITS) ^ mix(mix(seed & BITS) ^ (seed >> 32 & BITS)))
    return found


def stream(key: Number, layer: int) -> tuple[Number, Number]:
    """Give origin and factor of a layer: number n of its units is hashed as origin + n factor, modulo 2^32.

    Numbers count the units of the first pair of rows, then those of the next. Factors are odd, so that no two units are hashed alike.
    """
    return mix(key ^ (2 * layer + 1)), (mix(key ^ (2 * layer + 2)) & 0x7FFFFFFF) | 1
