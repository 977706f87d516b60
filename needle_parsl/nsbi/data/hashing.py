"""Randomness by hash: seeds from names, splits and bootstrap weights from event ids. Nothing is stored, nothing depends on order."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]


def key(*labels: object) -> int:
    """Turn names and numbers into 64 bits: BLAKE2b of their texts."""
    text = "\x1f".join(str(label) for label in labels)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


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
    h = ids ^ np.uint64(salt)
    for _ in range(2):
        h ^= h >> np.uint64(30)
        h *= np.uint64(0xBF58476D1CE4E5B9)
        h ^= h >> np.uint64(27)
        h *= np.uint64(0x94D049BB133111EB)
        h ^= h >> np.uint64(31)
    return h


def uniform(ids: Hashes, salt: int) -> npt.NDArray[np.float64]:
    """Give each event a number in [0, 1) that is its own."""
    return (mix(ids, salt) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def fold(ids: Hashes, folds: int, salt: int) -> npt.NDArray[np.int64]:
    """Assign each event to one of k folds, equal in size up to chance."""
    high = mix(ids, salt) >> np.uint64(32)
    return ((high * np.uint64(folds)) >> np.uint64(32)).astype(np.int64)


POISSON_EDGES = np.cumsum([math.exp(-1) / math.factorial(n) for n in range(12)])


def poisson(ids: Hashes, salt: int) -> npt.NDArray[np.float64]:
    """Draw a Poisson(1) bootstrap weight per event, the same wherever the event appears.

    Args:
        ids: Shape (N,).
        salt: One per replica.

    Returns:
        Whole numbers of shape (N,).
    """
    return np.searchsorted(POISSON_EDGES, uniform(ids, salt), side="right").astype(np.float64)


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
    if column.dtype.kind not in "iu":
        with np.errstate(invalid="ignore"):
            whole = column.astype(np.int64) if column.dtype.kind in "fb" else None
        if whole is None or not np.array_equal(whole, column):
            raise ValueError("holds something else than whole numbers")
        column = whole
    return column.astype(np.int64).view(np.uint64)
