"""The colours of traffic lights, and how numbers become one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import numpy as np

Colour = Literal["green", "yellow", "red"]
ORDER: tuple[Colour, ...] = ("green", "yellow", "red")
UNLIKELY = {"yellow": 1e-2, "red": 1e-6}
"""p-values, corrected for the number of comparisons."""
Found = Iterator[tuple[Colour, str]]


def above(value: float, limits: Mapping[str, float]) -> Colour:
    """Colour a number that should be small; one that is no number is not."""
    return "red" if np.isnan(value) or value > limits["red"] else "yellow" if value > limits["yellow"] else "green"


def below(value: float, limits: Mapping[str, float]) -> Colour:
    """Colour a number that should be large; one that is no number is not."""
    return "red" if np.isnan(value) or value < limits["red"] else "yellow" if value < limits["yellow"] else "green"


def corrected(p_value: float, tests: int) -> float:
    """Give the probability that the smallest of so many p-values is as small as this (Sidak)."""
    return float(-np.expm1(tests * np.log1p(-min(p_value, 1 - 1e-16))))


def reason(error: Exception) -> str:
    """Say in a sentence why something of a report could not be made."""
    said = " ".join(str(error).split()).rstrip(".")
    if isinstance(error, KeyError):
        said = f"{said} is missing among its numbers"
    return f"{said or type(error).__name__}."
