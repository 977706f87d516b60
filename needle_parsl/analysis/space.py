"""`[search] space`: what may vary, in the words of Ray Tune and NumPy, `loguniform:1e-5,1e-2`. Needs nothing but the standard library."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from needle_parsl.errors import InputError, near

Value = bool | int | float | str
ARGUMENT = "network."
"""What an argument of a network of the user's begins with, as a key of a space."""
ENSEMBLE = "ensemble."
"""What a key of `[ensemble]` begins with."""
FORMS: Mapping[str, str] = {
    "uniform": "low,high",
    "loguniform": "low,high",
    "quniform": "low,high,step",
    "randint": "low,high, whole numbers below high",
    "lograndint": "low,high, whole numbers below high",
    "qrandint": "low,high,step, whole numbers up to high",
    "choice": "one,another,...",
    "grid": "one,another,...",
}
"""By name, what stands behind the colon."""
NUMBERS = {"uniform": 2, "loguniform": 2, "quniform": 3, "randint": 2, "lograndint": 2, "qrandint": 3}
"""How many numbers a range has."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """The values that one key may take: a range of numbers, or a list."""

    low: float = 0.0
    high: float = 0.0
    """Inclusive."""
    step: float | None = None
    log: bool = False
    """Whether logarithms are drawn evenly."""
    whole: bool = False
    """Whether they are whole numbers."""
    choices: tuple[Value, ...] = ()
    """Of a list; empty for a range."""

    def count(self) -> int:
        """Count all values; 0 for a range without steps."""
        if self.choices or (self.step is None and not self.whole):
            return len(self.choices)
        return math.floor((self.high - self.low) / (self.step or 1) + 1e-9) + 1

    def values(self) -> tuple[Value, ...]:
        """List all values; none for a range without steps."""
        if self.choices or (self.step is None and not self.whole):
            return self.choices
        step = self.step or 1
        found = [self.low + step * k for k in range(self.count())]
        return tuple(int(value) if self.whole else value for value in found)

    def extremes(self) -> tuple[Value, ...]:
        """List what bounds all values: both ends of a range, or the list."""
        ends = (self.low, self.high)
        return self.choices or tuple(int(end) if self.whole else float(end) for end in ends)


def parse(text: str) -> Axis:
    """Read a range or a list.

    Raises:
        InputError: It is none, with what is wrong.
    """
    name, colon, rest = (part.strip() for part in text.partition(":"))
    if not colon or name not in FORMS:
        known = ", ".join(f"{one}:" for one in FORMS)
        meant = near(name, FORMS)
        hint = f'; did you mean "{meant}"?' if meant else f"; one begins with {known}"
        raise InputError(f'"{text}" is no range{hint}')
    parts = [part.strip() for part in rest.split(",")]
    found = _range(text, name, parts) if name in NUMBERS else Axis(choices=_listed(text, parts))
    if len(found.choices) == 1 or (not found.choices and found.low == found.high):
        raise InputError(
            f'"{text}" holds one value, which leaves nothing to search; give {found.extremes()[0]} to the key itself'
        )
    return found


def _listed(text: str, parts: list[str]) -> tuple[Value, ...]:
    if "" in parts:
        raise InputError(f'"{text}" has an empty value; write {FORMS["choice"]} behind the colon')
    found = [value_of(part) for part in parts]
    if len(set(found)) < len(found):
        raise InputError(f'"{text}" names a value twice')
    return tuple(found)


def value_of(text: str) -> Value:
    """Read a value: true or false, a whole number, a number, or text."""
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _range(text: str, name: str, parts: list[str]) -> Axis:
    numbers = [number for part in parts if not isinstance(number := value_of(part), (str, bool))]
    if len(numbers) != NUMBERS[name] or len(numbers) < len(parts) or not all(map(math.isfinite, numbers)):
        raise InputError(f'"{text}" needs {NUMBERS[name]} numbers, {name}:{FORMS[name]}')
    low, high, step = (*numbers, None)[:3]
    whole, log = "int" in name, name.startswith("log")
    assert low is not None
    assert high is not None
    if whole and any(number != int(number) for number in numbers):
        raise InputError(f'"{text}" needs whole numbers')
    if step is not None and step <= 0:
        raise InputError(f'"{text}" has a step of {step:g}; expected more than 0')
    if log and low <= 0:
        raise InputError(f'"{text}" begins at {low:g}, which has no logarithm')
    last = (
        high - 1
        if name in ("randint", "lograndint")
        else high
        if step is None
        else low + step * math.floor((high - low) / step + 1e-9)
    )
    if whole and step is None and low == high:
        raise InputError(
            f'"{text}" holds no number, since the upper end is left out; "{name}:{low:g},{high + 2:g}" is {low:g} and {high + 1:g}'
        )
    if last < low or high <= low:
        raise InputError(f'"{text}" runs from {low:g} to {high:g}; expected the lower end first')
    return Axis(low=low, high=last, step=step, log=log, whole=whole)


def flat(space: Mapping[str, Any], above: str = "") -> dict[str, str]:
    """Give each key of nested tables its whole name: `network.width`."""
    found: dict[str, str] = {}
    for name, said in space.items():
        found |= flat(said, f"{above}{name}.") if isinstance(said, Mapping) else {f"{above}{name}": said}
    return found
