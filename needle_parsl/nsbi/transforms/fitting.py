"""Fitting the transform of all features to training events: each sample counts alike, however small it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from needle_parsl.errors import InputError
from needle_parsl.nsbi.transforms.kinds import FITTED
from needle_parsl.nsbi.transforms.quantiles import Floats, Sorted
from needle_parsl.nsbi.transforms.transform import Column, Transform
from needle_parsl.nsbi.transforms.wanted import AUTO, Wanted

MOST, LEAST = 100_000, 10_000
"""Events that a transform is fitted to in all, and events of each sample where there are very many samples."""


class Portion(NamedTuple):
    """Events of one sample."""

    x: npt.NDArray[np.float32]
    """Shape (N, F)."""
    weight: Floats
    """Shape (N,); only the size counts."""


def share(samples: int) -> int:
    """Say how many events of each sample are looked at: the first ones of a store, which are a random choice."""
    return max(MOST // max(samples, 1), LEAST)


def fit(portions: Sequence[Portion], names: Sequence[str], wanted: Wanted, *, particles: bool = False) -> Transform:
    """Fit a transform.

    Args:
        portions: Events of each sample.
        names: Of the columns, which all samples have.
        wanted: What the analysis asks for.
        particles: Whether these are features of particles.

    Raises:
        InputError: A feature cannot bear the transform that is asked for, or is not finite.
    """
    kinds = dict(wanted.particles if particles else wanted.features)
    missing = tuple(float(np.float32(value)) for value in wanted.placeholders)
    x = np.concatenate([portion.x for portion in portions])
    weight = np.concatenate([_alike(portion.weight) for portion in portions])
    absent = Transform((), (), missing, wanted.nan).absent(x)
    columns = tuple(
        _column(name, kinds.get(name, AUTO), x[~absent[:, k], k], weight[~absent[:, k]]) for k, name in enumerate(names)
    )
    return Transform(columns, together(absent), missing, wanted.nan)


def _alike(weight: Floats) -> Floats:
    """Scale weights so that each sample has the same total."""
    total = np.abs(weight).sum()
    return weight / total if total > 0 else np.ones(len(weight)) / max(len(weight), 1)


def together(absent: npt.NDArray[np.bool_]) -> tuple[tuple[int, ...], ...]:
    """List the columns that go missing in the same events, shape (N, F) of a mask; columns that never do are left out."""
    found: dict[bytes, list[int]] = {}
    for k in np.flatnonzero(absent.any(axis=0)).tolist():
        found.setdefault(np.packbits(absent[:, k]).tobytes(), []).append(k)
    return tuple(map(tuple, found.values()))


def with_categories(transform: Transform, x: Iterable[npt.NDArray[np.float32]]) -> Transform:
    """Give features that become categories those of all events, since a rare one may be missing among the first.

    Args:
        transform: Fitted to some events.
        x: Features of all events, piece by piece; looked at only if there are categories.

    Raises:
        InputError: There are too many.
    """
    places = [k for k, column in enumerate(transform.columns) if column.kind == "onehot"]
    if not places:
        return transform
    known = {k: np.array(transform.columns[k].knots) for k in places}
    for piece in x:
        absent = transform.absent(piece)
        for k in (k for k in places if k < piece.shape[1]):
            known[k] = np.union1d(known[k], piece[~absent[:, k], k])
    columns = list(transform.columns)
    for k, values in known.items():
        columns[k] = FITTED["onehot"](columns[k].name, Sorted.of(values.astype(np.float64), np.ones(len(values))))
    return replace(transform, columns=tuple(columns))


def _column(name: str, kind: str, values: npt.NDArray[np.float32], weight: Floats) -> Column:
    if not len(values):
        return Column(name=name, kind="constant")
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise InputError(
            f'feature "{name}" is NaN or infinite in {bad} training events; list "nan" in features.missing, or mend the file'
        )
    if values.min() == values.max() and kind not in ("none", "onehot"):
        return Column(name=name, kind="constant", shift=float(values[0]))
    return FITTED[kind](name, Sorted.of(values.astype(np.float64), weight))
