"""The states of a check, and how numbers become one.

A check that would not have seen a fault of the size of its own threshold has no power: it is never a pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from needle_parsl.summary import State

ORDER: tuple[State, ...] = ("pass", "no power", "warning", "fail")
"""From the best to the worst."""
UNLIKELY = {"warning": 1e-2, "fail": 1e-6}
"""p-values, corrected for the number of comparisons."""


Said = tuple[State, str] | tuple[State, str, float | None]
"""State, sentence, and effect where it is known."""
Found = Iterator[Said]


def above(value: float, limits: Mapping[str, float]) -> State:
    """Judge a number that should be small; one that is no number is not."""
    return "fail" if np.isnan(value) or value > limits["fail"] else "warning" if value > limits["warning"] else "pass"


def below(value: float, limits: Mapping[str, float]) -> State:
    """Judge a number that should be large; one that is no number is not."""
    return "fail" if np.isnan(value) or value < limits["fail"] else "warning" if value < limits["warning"] else "pass"


def limits(pair: tuple[float, float]) -> dict[str, float]:
    """Name the thresholds that users set."""
    return {"warning": pair[0], "fail": pair[1]}


def worst(states: Iterator[State]) -> State:
    """Give the worst of some states; pass if there are none."""
    return max(states, key=ORDER.index, default="pass")


def resolved(found: State, error: float, limits: Mapping[str, float], sentence: str, remedy: str) -> Said:
    """Judge a number that has an error: a pass whose error is larger than the threshold is none.

    Args:
        found: What the number says.
        error: Its statistical error.
        limits: The thresholds.
        sentence: What to say of the number.
        remedy: What would give the check power.
    """
    if found == "pass" and error > limits["warning"]:
        return "no power", f"{sentence} The error is larger than the threshold {limits['warning']:g}: {remedy}."
    return found, sentence


def corrected(p_value: float, tests: int) -> float:
    """Give the probability that the smallest of so many p-values is as small as this (Sidak)."""
    return float(-np.expm1(tests * np.log1p(-min(p_value, 1 - 1e-16))))


def reason(error: Exception) -> str:
    """Say in a sentence why something of a report could not be made."""
    said = " ".join(str(error).split()).rstrip(".")
    if isinstance(error, KeyError):
        said = f"{said} is missing among its numbers"
    return f"{said or type(error).__name__}."
