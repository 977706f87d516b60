"""A surrogate of shapes over several nuisance parameters at once, with their cross terms, trained on a grid of them.

    ln g(x, nu) = sum_a D_a(x) nu_a + sum_{a <= b} D_ab(x) nu_a nu_b

A classifier between each point of the grid and the nominal sample, at the same nu, has ln g as its logit; g = 1 at nu = 0.

References:
    GOLLUM, arXiv:2505.05544.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, combinations_with_replacement
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from needle_parsl import refs
from needle_parsl.densities import Shape
from needle_parsl.errors import TaskError
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.data.loading.transforming import fitted
from needle_parsl.nsbi.statistics.model.shapes import Cross
from needle_parsl.nsbi.training import networks
from needle_parsl.nsbi.training import train as engine
from needle_parsl.nsbi.training.members import Member, Settings
from needle_parsl.nsbi.training.ratio_events import RatioEvents
from needle_parsl.nsbi.transforms.transform import Transform
from needle_parsl.nsbi.transforms.wanted import Wanted

Floats = npt.NDArray[np.float64]


class Quadratic(nn.Module):
    """A network for the coefficients D(x); its logit is their quadratic form in nu, the last columns of its input."""

    def __init__(self, features: int, parameters: int, layers: int, nodes: int) -> None:
        super().__init__()
        self.size, self.places = parameters, np.triu_indices(parameters)
        self.body = networks.MLP(features - parameters, layers, nodes)
        self.body.stack[-1] = nn.Linear(nodes, parameters + len(self.places[0]))

    def coefficients(self, x: torch.Tensor) -> torch.Tensor:
        """Map standardised features (N, F) to D_a and then D_ab, a <= b, shape (N, K + K (K + 1) / 2)."""
        found: torch.Tensor = self.body.stack(x)
        return found

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map features and nu, shape (N, F + K), to ln g, shape (N,)."""
        features, nu = x[:, : -self.size], x[:, -self.size :]
        powers = torch.cat([nu, nu[:, self.places[0]] * nu[:, self.places[1]]], dim=1)
        return (self.coefficients(features) * powers).sum(dim=1)


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
        """Give what `Dataset.ratios` holds of it: ln g at plus and minus one sigma of each nuisance, and the cross terms."""
        size, found = len(self.nuisances), self.coefficients(x).T
        places = dict(zip(combinations_with_replacement(range(size), 2), found[size:], strict=True))
        sides = {
            f"{self.process}.{name}.{side}": places[a, a] + sign * found[a]
            for a, name in enumerate(self.nuisances)
            for side, sign in (("up", 1), ("down", -1))
        }
        pairs = combinations(range(size), 2)
        return sides | {cross.ratio: places[pair] for cross, pair in zip(self.crosses, pairs, strict=True)}

    @property
    def shapes(self) -> list[Shape]:
        """Give the responses to each nuisance; their interpolation must be `exp_quadratic`."""
        return [
            Shape(self.process, n, f"{self.process}.{n}.up", f"{self.process}.{n}.down", "") for n in self.nuisances
        ]

    @property
    def crosses(self) -> list[Cross]:
        """Give the cross terms."""
        return [Cross(self.process, a, b, f"{self.process}.{a}*{b}") for a, b in combinations(self.nuisances, 2)]


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
    size = len(nuisances)
    events, given = _pairs(nuisances, nominal, grid), json.dumps({"parameters": size})
    shape = replace(
        settings.shape, network=refs.located(f"{__name__}:Quadratic"), features=events.features, arguments=given
    )
    trained = engine.train(events, member, replace(settings, shape=shape))
    if trained.reason:
        raise TaskError(f"the surrogate of {process} was not trained: {trained.reason}")
    network: Any = networks.evaluator(shape)
    networks.fill(network, torch.from_numpy(trained.weights))
    transform = replace(events.transform, columns=events.transform.columns[:-size])
    return Surrogate(process, nuisances, network, transform)


def _pairs(
    nuisances: Sequence[str], nominal: Events, grid: Sequence[tuple[Mapping[str, float], Events]]
) -> RatioEvents:
    """Put every point of the grid beside the nominal events at its nu, which is not transformed; all count alike."""
    points = [[point.get(name, 0.0) for name in nuisances] for point, _ in grid]
    above = [_at(events, nuisances, nu) for nu, (_, events) in zip(points, grid, strict=True)]
    below = [_at(nominal, nuisances, nu) for nu in points]
    numerator, denominator = (Events.join(parts, parts[0].names) for parts in (above, below))
    wanted = Wanted.of((), dict.fromkeys(nuisances, "none"))
    return RatioEvents.build(numerator, denominator, transform=fitted([denominator, numerator], wanted))


def _at(events: Events, nuisances: Sequence[str], nu: Sequence[float]) -> Events:
    """Append nu to the features; the weights add up to 1."""
    columns = np.broadcast_to(np.asarray(nu, np.float32), (len(events), len(nu)))
    x = np.concatenate([events.x, columns], axis=1)
    return replace(events, names=(*events.names, *nuisances), x=x, weight=events.weight / events.weight.sum())
