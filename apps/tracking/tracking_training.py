"""Training of the three networks of the chain, each on what the ones before it let pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from tracking_chain import EdgeFilter, Embedding, InteractionNetwork, filled, neighbours, passing
from tracking_events import Event, are_true, true_edges

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]

RATE = 2e-3
"""Learning rate of AdamW, at its highest."""
TRUE_WEIGHT = 4.0
"""Of true pairs in the loss of the embedding."""
EASY_EPOCHS, HARD_RADIUS, HARD_MOST = 2, 1.0, 20
"""From which epoch on wrong neighbours are shown, and which: within 1, 20 of a hit at most."""
PER_TRUE, POSITIVE_WEIGHT = 4, 2.0
"""False edges for each true one in the training of the filter, and the weight of a true one."""


@contextmanager
def seeded(seed: int) -> Iterator[np.random.Generator]:
    """Make initial weights those of a seed, and give a generator; torch's own generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield np.random.default_rng(seed)


def trained(
    network: nn.Module,
    items: Sequence[Any],
    epochs: int,
    loss: Callable[[int, Any], Tensor],
    order: np.random.Generator,
) -> Array:
    """Train a network, one step an event; give the mean loss of each epoch, (epochs,).

    Args:
        network: Is changed.
        items: What the loss takes, one an event.
        epochs: How often all are shown.
        loss: Of an epoch's number and an item.
        order: Shuffles the items.
    """
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=epochs * len(items))
    mean = np.zeros(epochs)
    for epoch in range(epochs):
        for k in order.permutation(len(items)):
            optimizer.zero_grad()
            value = loss(epoch, items[k])
            value.backward()  # type: ignore[no-untyped-call]  # torch's has no types
            optimizer.step()
            schedule.step()
            mean[epoch] += float(value.detach()) / len(items)
    return mean


def weights(network: nn.Module, **more: Any) -> dict[str, Array]:
    """Give the weights of a network by name, and what belongs to them."""
    own = {name: one.detach().numpy().copy() for name, one in network.state_dict().items()}
    return own | {name: np.asarray(one) for name, one in more.items()}


def train_embedding(events: Sequence[Event], epochs: int, radius: float, seed: int) -> dict[str, Array]:
    """Train the embedding: true pairs are drawn together, others pushed to a distance of 1.

    The loss is 4 <d^2> of true pairs + <max(0, 1 - d)^2> of others (arXiv:2103.06995); others are random, and later also those that are close.
    """
    with seeded(seed) as generator:
        network = Embedding()

        def loss(epoch: int, event: Event) -> Tensor:
            place = network(torch.from_numpy(event.x))
            false = _false_pairs(event, place.detach().numpy(), generator, hard=epoch >= EASY_EPOCHS)
            near, far = (_squares(place, one) for one in (true_edges(event), false))
            hinge = functional.relu(1 - torch.sqrt(far + 1e-12)) ** 2
            return TRUE_WEIGHT * near.mean() + hinge.mean()

        losses = trained(network, events, epochs, loss, generator)
    return weights(network, radius=radius, losses=losses)


def _squares(place: Tensor, edges: Array) -> Tensor:
    """Give squared distances of pairs, (E,)."""
    a, b = torch.from_numpy(edges)
    return ((place[a] - place[b]) ** 2).sum(dim=1)


def _false_pairs(event: Event, place: Array, generator: np.random.Generator, *, hard: bool) -> Array:
    """List pairs of hits that are not of one particle: random ones, twice the true ones, and those that are close; (2, E)."""
    n = len(event.x)
    found = generator.integers(n, size=(2, 2 * n))
    if hard:
        found = np.concatenate([found, neighbours(event.x, place, HARD_RADIUS, HARD_MOST)], axis=1)
    a, b = event.particle[found]
    return found[:, (a != b) | (a < 0) & (found[0] != found[1])]


def train_filter(
    events: Sequence[Event], near: Sequence[Array], epochs: int, cut: float, seed: int
) -> dict[str, Array]:
    """Train the filter on edges between neighbours, with four false ones for each true one.

    Args:
        events: Of the training.
        near: Their edges, (2, E) each.
        epochs: How often all are shown.
        cut: On its score, for what comes later.
        seed: Of weights and drawn edges.
    """
    with seeded(seed) as generator:
        network = EdgeFilter()
        weight = torch.tensor(POSITIVE_WEIGHT)

        def loss(_: int, item: tuple[Event, Array, Array]) -> Tensor:
            event, edges, true = item
            false = generator.permutation(np.nonzero(~true)[0])[: PER_TRUE * int(true.sum())]
            shown = np.concatenate([np.nonzero(true)[0], false])
            logit = network(torch.from_numpy(event.x), torch.from_numpy(edges[:, shown]))
            target = torch.from_numpy(true[shown].astype(np.float32))
            return functional.binary_cross_entropy_with_logits(logit, target, pos_weight=weight)

        losses = trained(network, _judged(events, near), epochs, loss, generator)
    return weights(network, cut=cut, losses=losses)


def _judged(events: Sequence[Event], edges: Sequence[Array]) -> list[tuple[Event, Array, Array]]:
    return [(event, one, are_true(event, one)) for event, one in zip(events, edges, strict=True)]


def filtered_by(arrays: Arrays, events: Sequence[Event], near: Sequence[Array]) -> list[Array]:
    """Keep the edges that a trained filter lets pass, (2, E) an event."""
    network, cut = filled(EdgeFilter(), arrays), float(arrays["cut"])
    return [passing(network, event.x, edges, cut) for event, edges in zip(events, near, strict=True)]


def train_interaction(
    events: Sequence[Event], filtered: Sequence[Array], epochs: int, cut: float, seed: int
) -> dict[str, Array]:
    """Train the interaction network on whole graphs. Arguments as those of `train_filter`."""
    with seeded(seed) as generator:
        network = InteractionNetwork()

        def loss(_: int, item: tuple[Event, Array, Array]) -> Tensor:
            event, edges, true = item
            logit = network(torch.from_numpy(event.x), torch.from_numpy(edges))
            return functional.binary_cross_entropy_with_logits(logit, torch.from_numpy(true.astype(np.float32)))

        losses = trained(network, _judged(events, filtered), epochs, loss, generator)
    return weights(network, cut=cut, losses=losses)


def near_of(arrays: Arrays, events: Sequence[Event]) -> list[Array]:
    """Join hits that a trained embedding has close together, (2, E) an event."""
    network, radius = filled(Embedding(), arrays), float(arrays["radius"])
    with torch.inference_mode():
        places = [network(torch.from_numpy(event.x)).numpy() for event in events]
    return [neighbours(event.x, place, radius) for event, place in zip(events, places, strict=True)]
