"""Numbers as they are quoted: rounded to two digits of their smallest error, on any scale of the parameter."""

from __future__ import annotations

import math
from collections.abc import Sequence

DIGITS = 2
"""Digits of the smallest error that are given, as the Particle Data Group does."""
SMALL, LARGE = 1e-3, 1e5
"""Beyond these sizes numbers are given with a power of ten."""


def power(size: float) -> int:
    """Give the power of ten that numbers of a size are given with; 0 where none is needed."""
    rounded = float(f"{size:.3g}")  # 0.99999e-4 is 1e-4
    plain = rounded == 0 or SMALL <= rounded < LARGE or not math.isfinite(rounded)
    return 0 if plain else math.floor(math.log10(rounded))


def decimals(error: float) -> int:
    """Give the decimals that leave two digits of an error; negative where digits before the point are rounded."""
    if not (error > 0 and math.isfinite(error)):
        return 3
    place = DIGITS - 1 - math.floor(math.log10(error))
    return place - 1 if round(error, place) >= 10 ** (DIGITS - place) else place  # 0.0996 is 0.10


def fixed(value: float, places: int) -> str:
    """Write a number with so many decimals; a negative number of them rounds digits before the point."""
    rounded = round(value, places)
    return f"{rounded + 0.0:.{max(places, 0)}f}"


def quoted(value: float, errors: Sequence[tuple[float, float] | float], names: Sequence[str] = ()) -> str:
    """Write a value with its errors, all to two digits of the first of them.

    Args:
        value: The value.
        errors: Each a symmetric one, or (up, down), both positive; a side that is not a number, as at a bound, is left out.
        names: Of the errors, in brackets behind them; the first may be empty.

    Returns:
        As in `1.04 +0.28 -0.26 ± 0.15 (stat.)`, or `(1.04 ± 0.12)e-04`.
    """
    sizes = [abs(x) for e in errors for x in (e if isinstance(e, tuple) else (e,)) if math.isfinite(x) and x != 0]
    first = [abs(x) for e in errors[:1] for x in (e if isinstance(e, tuple) else (e,)) if math.isfinite(x) and x != 0]
    ten = power(max([abs(value), *sizes], default=0.0))
    places = decimals(min(first, default=min(sizes, default=0.0)) / 10.0**ten) if sizes else 4
    parts = [fixed(value / 10.0**ten, places)]
    for place, error in enumerate(errors):
        name = f" ({names[place]})" if place < len(names) and names[place] else ""
        parts.append(_error(error, ten, places) + name)
    text = " ".join(part for part in parts if part)
    return f"({text})e{ten:+03d}" if ten else text


def plain(error: float) -> str:
    """Write an error to two digits, without a power of ten: beside a value that has one, or none."""
    return fixed(error, decimals(abs(error)))


def _error(error: tuple[float, float] | float, ten: int, places: int) -> str:
    """Write one error; one that vanishes at the precision of the others gets the digits that it needs."""
    if not isinstance(error, tuple):
        return f"± {_size(error, ten, places)}" if math.isfinite(error) else ""
    up, down = (_size(side, ten, places) if math.isfinite(side) else "" for side in error)
    if up == down and up:
        return f"± {up}"
    return " ".join(f"{sign}{side}" for sign, side in (("+", up), ("-", down)) if side)


def _size(error: float, ten: int, places: int) -> str:
    scaled = error / 10.0**ten
    return fixed(scaled, places if scaled == 0 or round(scaled, places) else decimals(scaled))


def pieces(found: Sequence[Sequence[float | None]], error: float | None) -> str:
    """Write the pieces of an interval, to two digits of an error; `none` without any, `unknown` where an end is no number.

    Args:
        found: Pieces [low, high].
        error: Of the parameter; left out, a fifth of the narrowest piece stands for it.
    """
    if not found:
        return "none"
    ends = [tuple(x for x in piece if x is not None and math.isfinite(x)) for piece in found]
    if any(len(piece) != 2 for piece in ends):
        return "unknown"
    widths = [high - low for low, high in ends if high > low]
    scale = error or min(widths, default=0.0) / 5
    ten = power(max(abs(x) for piece in ends for x in piece))
    places = decimals(scale / 10.0**ten)
    shown = " and ".join(f"[{fixed(low / 10.0**ten, places)}, {fixed(high / 10.0**ten, places)}]" for low, high in ends)
    return f"{shown}e{ten:+03d}" if ten else shown


def single(value: float | None, error: float | None = None) -> str:
    """Write one number in a table: to two digits of its error, or four digits without one; a dash for none."""
    if value is None or not math.isfinite(value):
        return "–"
    if error is None or not error > 0 or not math.isfinite(error):
        return f"{value:.4g}"
    return quoted(value, [error])
