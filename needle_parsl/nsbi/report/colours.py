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
    """Colour a number that should be small."""
    return "red" if value > limits["red"] else "yellow" if value > limits["yellow"] else "green"


def below(value: float, limits: Mapping[str, float]) -> Colour:
    """Colour a number that should be large."""
    return "red" if value < limits["red"] else "yellow" if value < limits["yellow"] else "green"


def corrected(p_value: float, tests: int) -> float:
    """Give the probability that the smallest of so many p-values is as small as this (Sidak)."""
    return float(-np.expm1(tests * np.log1p(-min(p_value, 1 - 1e-16))))
