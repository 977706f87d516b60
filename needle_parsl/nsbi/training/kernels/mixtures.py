"""The hash that decides what dropout drops; here, since the compiled code that has it, too, is kept for the state of this folder."""

from __future__ import annotations

from typing import Any, TypeVar

Number = TypeVar("Number", bound=Any)
"""Whole numbers of 64 bits with sign: one, or an array or tensor of them."""

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
