"""Randomness by hash: seeds from names, splits and bootstrap weights from event ids. Nothing is stored, nothing depends on order."""

from __future__ import annotations

import math
import sys

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
WHOLE = 2.0**53
"""The largest whole number up to which floats hold all of them."""
BLOCK = 32_768
"""Hashes that are worked on at a time, so that they stay in a near cache."""


def mix(ids: Hashes, salt: int) -> Hashes:
    """Hash event ids: the finaliser of splitmix64, applied twice to id XOR salt.

    Args:
        ids: Shape (N,).
        salt: 64 bits, from `key`.

    Returns:
        Shape (N,), uniform over 64 bits and independent for different salts.

    References:
        G. L. Steele, D. Lea, C. H. Flood, Fast splittable pseudorandom number generators, OOPSLA 2014.
    """
    mixed = ids ^ np.uint64(salt)
    shifted = np.empty(min(len(mixed), BLOCK), np.uint64)
    for start in range(0, len(mixed), BLOCK):
        _finalise(mixed[start : start + BLOCK], shifted)
    return mixed


def _finalise(h: Hashes, shifted: Hashes) -> None:
    """Mix hashes in their place, with room for as many beside them."""
    shifted = shifted[: len(h)]
    for _ in range(2):
        h ^= np.right_shift(h, np.uint64(30), out=shifted)
        h *= np.uint64(0xBF58476D1CE4E5B9)
        h ^= np.right_shift(h, np.uint64(27), out=shifted)
        h *= np.uint64(0x94D049BB133111EB)
        h ^= np.right_shift(h, np.uint64(31), out=shifted)


def uniform(ids: Hashes, salt: int) -> npt.NDArray[np.float64]:
    """Give each event a number in [0, 1) that is its own."""
    return (mix(ids, salt) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def fold(ids: Hashes, folds: int, salt: int) -> npt.NDArray[np.int64]:
    """Assign each event to one of k folds, equal in size up to chance."""
    high = mix(ids, salt) >> np.uint64(32)
    return ((high * np.uint64(folds)) >> np.uint64(32)).astype(np.int64)


POISSON_EDGES = np.cumsum([math.exp(-1) / math.factorial(n) for n in range(12)])
THRESHOLDS = np.ceil(POISSON_EDGES[:11] * 2.0**32).astype(np.uint32)
"""The least high half of the hash of each number of the Poisson distribution from 1 to 11."""
HIGH = slice(1, None, 2) if sys.byteorder == "little" else slice(0, None, 2)
"""Where the high halves of 64-bit numbers are among their halves."""
OFTEN = 6
"""Numbers up to this are drawn for all events at a time, larger ones only for the few that come so far."""


def poisson(ids: Hashes, salt: int) -> npt.NDArray[np.uint8]:
    """Draw a Poisson(1) bootstrap weight per event, the same wherever the event appears.

    Args:
        ids: Shape (N,).
        salt: One per replica.

    Returns:
        Whole numbers of shape (N,), at most 11.
    """
    drawn = np.empty(len(ids), np.uint8)
    shifted, buffer = np.empty((2, BLOCK), np.uint64)
    for start in range(0, len(ids), BLOCK):
        number = drawn[start : start + BLOCK]
        hashes = np.bitwise_xor(ids[start : start + BLOCK], np.uint64(salt), out=buffer[: len(number)])
        _finalise(hashes, shifted)
        _draw(hashes.view(np.uint32)[HIGH].copy(), number)
    return drawn


def _draw(high: npt.NDArray[np.uint32], number: npt.NDArray[np.uint8]) -> None:
    """Count the thresholds that are reached; faster than a search, which branches."""
    reached = np.empty(len(high), np.bool_)
    number[:] = 0
    for threshold in THRESHOLDS[:OFTEN]:
        np.greater_equal(high, threshold, out=reached)
        number += reached.view(np.uint8)
    few = np.flatnonzero(reached)
    number[few] += (high[few, None] >= THRESHOLDS[OFTEN:]).sum(axis=1, dtype=np.uint8)


def content(x: npt.NDArray[np.float32]) -> Hashes:
    """Make an id of the values of an event, bit for bit: features (N, F) to shape (N,)."""
    bits = np.ascontiguousarray(x + np.float32(0.0)).view(np.uint32).astype(np.uint64)  # -0 is 0
    ids = np.zeros(len(bits), np.uint64)
    for column in bits.T:
        ids = mix(ids ^ column, 1)
    return ids


def identify(columns: list[npt.NDArray[np.generic]]) -> Hashes:
    """Make one id of the columns that together name an event; a single column of whole numbers stays as it is.

    Args:
        columns: Whole numbers, each of shape (N,).

    Raises:
        ValueError: A column holds something else than whole numbers.
    """
    ids = _whole(columns[0])
    for column in columns[1:]:
        ids = mix(ids, 0) ^ _whole(column)
    return ids


def _whole(column: npt.NDArray[np.generic]) -> Hashes:
    if isinstance(column, np.ma.MaskedArray):
        if null := int(np.ma.getmaskarray(column).sum()):
            raise ValueError(f"is null in {null} of {len(column)} events that are kept; fill it, or select them away")
        column = np.asarray(column)
    if column.dtype.kind == "f" and (np.abs(column) > WHOLE).any():
        raise ValueError(
            "holds floats beyond 2^53, where they no longer tell whole numbers apart; store it as whole numbers of 64 bits"
        )
    if column.dtype.kind not in "iu":
        with np.errstate(invalid="ignore"):
            whole = column.astype(np.int64) if column.dtype.kind in "fb" else None
        if whole is None or not np.array_equal(whole, column):
            raise ValueError("holds something else than whole numbers")
        column = whole
    return column.astype(np.int64).view(np.uint64)
