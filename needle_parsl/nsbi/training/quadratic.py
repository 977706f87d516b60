"""A network that learns how a density responds to several nuisance parameters at once, and the events from which it does.

    ln g(x, nu) = sum_a D_a(x) nu_a + sum_{a <= b} D_ab(x) nu_a nu_b

A classifier between each point of a grid and the nominal sample, at the same nu, has ln g as its logit; g = 1 at nu = 0.

References:
    GOLLUM, arXiv:2505.05544.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.data.loading.transforming import fitted
from needle_parsl.nsbi.training import networks, packs
from needle_parsl.nsbi.training.networks import NetworkShape
from needle_parsl.nsbi.training.packs import Pack
from needle_parsl.nsbi.training.ratio_events import RatioEvents
from needle_parsl.nsbi.transforms.wanted import Wanted

NETWORK = "quadratic"
"""Its name in the catalogue."""


class Quadratic(nn.Module):
    """A perceptron for the coefficients D(x); its logit is their quadratic form in nu, the first columns of its input."""

    def __init__(
        self,
        features: int,
        layers: int,
        nodes: int,
        parameters: int = 1,
        dropout: float = 0.0,
        at: Sequence[float] | None = None,
    ) -> None:
        """Make it.

        Args:
            features: Columns that it gets, with those of nu where it gets these.
            layers: Hidden layers of the perceptron.
            nodes: Width of a hidden layer.
            parameters: K, columns of nu.
            dropout: Share of the hidden units that a step of training drops.
            at: nu at which it is evaluated, K numbers: it then gets features alone.
        """
        super().__init__()
        self.size, self.at = parameters, tuple(at or ())
        self.first, self.second = np.triu_indices(parameters)
        inputs = features if self.at else features - parameters
        self.body = networks.MLP(inputs, layers, nodes, parameters + len(self.first), dropout)

    def coefficients(self, x: torch.Tensor) -> torch.Tensor:
        """Map transformed features (N, F) to D_a and then D_ab, a <= b, shape (N, K + K (K + 1) / 2)."""
        found: torch.Tensor = self.body.stack(x)
        return found

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map nu and features, shape (N, K + F), to ln g, shape (N,); with `at` features alone."""
        if self.at:
            return self._along(self.coefficients(x))
        nu, features = x[:, : self.size], x[:, self.size :]
        powers = torch.cat([nu, nu[:, self.first] * nu[:, self.second]], dim=1)
        return (self.coefficients(features) * powers).sum(dim=1)

    def _along(self, coefficients: torch.Tensor) -> torch.Tensor:
        """Add the coefficients up, one by one, as exported files can."""
        powers = [*self.at, *(self.at[a] * self.at[b] for a, b in zip(self.first, self.second, strict=True))]
        first, *others = (coefficients[:, place] * power for place, power in enumerate(powers) if power)
        for other in others:
            first = first + other
        return first


def shape(body: NetworkShape, parameters: int) -> NetworkShape:
    """Describe the network of so many nuisance parameters.

    Args:
        body: The size of its body; `features` counts all columns of its events, with those of nu.
        parameters: K.
    """
    return replace(body, network=NETWORK, arguments=json.dumps({"parameters": parameters}))


def at(pack: Pack, nu: Sequence[float]) -> Pack:
    """Give the networks of a ratio: those of a pack at one nu, as functions of the features alone.

    Args:
        pack: Of quadratic networks.
        nu: In the order of the columns, not all 0.
    """

    def there(own: NetworkShape) -> NetworkShape:
        given = {**json.loads(own.arguments), "at": list(nu)}
        return replace(own, features=own.features - len(nu), arguments=json.dumps(given, sort_keys=True))

    return packs.headed(pack, there)


def on_grid(
    nuisances: Sequence[str],
    nominal: Events,
    grid: Sequence[tuple[Mapping[str, float], Events]],
    wanted: Wanted | None = None,
) -> RatioEvents:
    """Put every point of a grid beside the nominal events at its nu; all points count alike.

    Args:
        nuisances: K names.
        nominal: Events at nu = 0, each with F features.
        grid: Points with their events, which are the numerator; a nuisance parameter that is not named is 0.
        wanted: What is done to the features.

    Returns:
        Events whose x is nu, then the transformed features; the transform is of the features alone.
    """
    points = [[point.get(name, 0.0) for name in nuisances] for point, _ in grid]
    above, below = [_alike(events) for _, events in grid], [_alike(nominal)] * len(grid)
    numerator, denominator = (Events.join(parts, nominal.names) for parts in (above, below))
    events = RatioEvents.build(numerator, denominator, transform=fitted([nominal, *(own for _, own in grid)], wanted))
    nu = np.repeat(np.array(points + points, np.float32), [len(own) for own in (*above, *below)], axis=0)
    return replace(events, x=torch.cat([torch.from_numpy(nu), events.x], dim=1))


def _alike(events: Events) -> Events:
    """Let the weights add up to 1."""
    return replace(events, weight=events.weight / events.weight.sum())
