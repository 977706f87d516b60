"""Directions in which parameters cannot be told apart, in words."""

from __future__ import annotations

from collections.abc import Mapping


def parted(direction: Mapping[str, float]) -> str:
    """Say of two parameters which combination is measured and which is not: "mu + 0.5 k is measured, mu - 2 k is not".

    What does not change along a direction (1, d) is x - y / d.

    Args:
        direction: By both parameters, how far each moves while the likelihood stays the same.
    """
    (x, along), (y, across) = direction.items()
    slope = across / along
    return f"{_combined(x, y, -1 / slope)} is measured, {_combined(x, y, slope)} is not"


def _combined(x: str, y: str, factor: float) -> str:
    size = "" if f"{abs(factor):.3g}" == "1" else f"{abs(factor):.3g} "
    return f"{x} {'-' if factor < 0 else '+'} {size}{y}"
