"""A surrogate of shapes over several nuisance parameters at once, with their cross terms, trained on a grid of them: for notebooks.

Runs train the same network as any ratio, see `nsbi.training.quadratic` for the formula.

References:
    GOLLUM, arXiv:2505.05544.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, combinations_with_replacement
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from needle_parsl.densities import Cross, Density, Shape
from needle_parsl.errors import TaskError
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.training import networks, quadratic
from needle_parsl.nsbi.training import train as engine
from needle_parsl.nsbi.training.members import Member, Settings
from needle_parsl.nsbi.training.quadratic import Quadratic
from needle_parsl.nsbi.transforms.transform import Transform

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Surrogate:
    """What was learned of one process."""

    process: str
    nuisances: tuple[str, ...]
    network: Quadratic
    transform: Transform
    """Of the features."""

    def coefficients(self, x: npt.NDArray[np.float32]) -> Floats:
        """Evaluate D_a and then D_ab, a <= b, at features of shape (N, F)."""
        with torch.no_grad():
            return self.network.coefficients(torch.from_numpy(self.transform(x))).numpy().astype(np.float64)

    def log_ratios(self, x: npt.NDArray[np.float32]) -> dict[str, Floats]:
        """Give what `Dataset.ratios` holds of it: ln g at plus and minus one sigma of each nuisance, and with two at plus one."""
        size, found = len(self.nuisances), self.coefficients(x).T
        places = dict(zip(combinations_with_replacement(range(size), 2), found[size:], strict=True))
        sides = {
            f"{self.process}.{name}.{side}": places[a, a] + sign * found[a]
            for a, name in enumerate(self.nuisances)
            for side, sign in (("up", 1), ("down", -1))
        }
        both = {
            cross.ratio: sum(sides[f"{self.process}.{name}.up"] for name in (cross.first, cross.second)) + places[pair]
            for cross, pair in zip(self.crosses, combinations(range(size), 2), strict=True)
        }
        return sides | both

    @property
    def shapes(self) -> list[Shape]:
        """Give the responses to each nuisance; their interpolation must be `exp_quadratic`."""
        return [
            Shape(self.process, n, f"{self.process}.{n}.up", f"{self.process}.{n}.down", "") for n in self.nuisances
        ]

    @property
    def crosses(self) -> list[Cross]:
        """Give the cross terms."""
        points = {
            pair: Density(self.process, at=tuple((n, 1.0) for n in sorted(pair)))
            for pair in combinations(self.nuisances, 2)
        }
        return [Cross(self.process, *pair, density.name, (1.0, 1.0)) for pair, density in points.items()]


def train(
    process: str,
    nominal: Events,
    grid: Sequence[tuple[Mapping[str, float], Events]],
    member: Member,
    settings: Settings,
) -> Surrogate:
    """Train a surrogate of one process.

    Args:
        process: Its name.
        nominal: Events at nu = 0.
        grid: Points with their events: to know all terms, plus and minus one of each nuisance, and one of each pair.
        member: Seed, fold and bootstrap.
        settings: As for a ratio; the network is always a `Quadratic`.

    Raises:
        TaskError: The training diverged.
    """
    nuisances = tuple(dict.fromkeys(name for point, _ in grid for name in point))
    events = quadratic.on_grid(nuisances, nominal, grid)
    shape = quadratic.shape(replace(settings.shape, features=events.features), len(nuisances))
    trained = engine.train(events, member, replace(settings, shape=shape))
    if trained.reason:
        raise TaskError(f"the surrogate of {process} was not trained: {trained.reason}")
    network: Any = networks.evaluator(shape)
    networks.fill(network, torch.from_numpy(trained.weights))
    return Surrogate(process, nuisances, network, events.transform)
