"""Parameters of interest that no data can tell apart, as the multipliers of the processes say."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from needle_parsl.analysis.directions import parted
from needle_parsl.analysis.rules.common import interesting, parsed, value_at
from needle_parsl.errors import InputError
from needle_parsl.expressions import Expression

if TYPE_CHECKING:
    from collections.abc import Sequence

    from needle_parsl.analysis.rules.common import Complain
    from needle_parsl.analysis.tables import Analysis

PLACES = ((0.21, 0.77), (0.47, 0.33), (0.83, 0.58))
"""Of the values at which two parameters are looked at, beside the nominal ones, in parts of the bounds."""
SAME = 1e-9
"""Sine of the angle between two gradients below which they are parallel."""


def check(analysis: Analysis, complain: Complain) -> None:
    """Complain of two parameters of interest that move all multipliers alike, wherever they are."""
    trees = [parsed(text, "", lambda *_: None) for text in analysis.model.processes.values()]
    known = [tree for tree in trees if tree is not None and tree.names() <= set(analysis.model.parameters)]
    if len(known) < len(trees) or analysis.features.parameters:  # said elsewhere; or the ratios depend on them, too
        return
    for pair in combinations(interesting(analysis), 2):
        try:
            direction = _direction(analysis, known, pair)
        except InputError:  # a multiplier has no derivative, which is said elsewhere
            return
        if direction:
            moves = ", ".join(f"{name} by {x:+.3g}" for name, x in direction.items())
            complain(
                f"model.parameters.{pair[1]}",
                f"cannot be told apart from {pair[0]}: no multiplier changes when one moves {moves} from the nominal values; "
                f"{parted(direction)}; leave one of them out, or add a process that depends on them otherwise",
            )


def _direction(analysis: Analysis, trees: Sequence[Expression], pair: tuple[str, str]) -> dict[str, float]:
    """Give the direction in which no multiplier changes, at the first place where both act; empty if there is none at some place."""
    nominal = {name: parameter.nominal for name, parameter in analysis.model.parameters.items()}
    bounds = [analysis.model.parameters[name].bounds for name in pair]
    slopes = [[tree.derivative(name) for name in pair] for tree in trees]
    found: dict[str, float] = {}
    for place in (None, *PLACES):
        inside = [low + (high - low) * part for (low, high), part in zip(bounds, place or (), strict=False)]
        values = nominal | dict(zip(pair, inside, strict=False))
        gradients = [(value_at(x, values), value_at(y, values)) for x, y in slopes]
        if not _parallel(gradients):
            return {}
        x, y = max(gradients, key=lambda g: abs(g[0] * g[1]))
        if x and y and not found:
            found = {pair[0]: 1.0, pair[1]: -x / y}
    return found


def _parallel(gradients: Sequence[tuple[float, float]]) -> bool:
    """Whether all gradients point along one line; what is not finite does not."""
    sizes = [(x * x + y * y) ** 0.5 for x, y in gradients]
    steep = max(range(len(sizes)), key=sizes.__getitem__)
    a, b = gradients[steep]
    return all(abs(a * y - b * x) <= SAME * sizes[steep] * size for (x, y), size in zip(gradients, sizes, strict=True))
