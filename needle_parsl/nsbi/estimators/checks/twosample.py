"""The classifier two-sample test: can a network tell the numerator from the reference weighted with r?"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.estimators.checks.distances import area
from needle_parsl.nsbi.estimators.results import TwoSample
from needle_parsl.nsbi.training.engines.optimizer import Flat
from needle_parsl.nsbi.training.engines.updates import Updates
from needle_parsl.nsbi.training.networks import MLP
from needle_parsl.nsbi.training.optimizers import adamw
from needle_parsl.nsbi.transforms.transform import Transform

Floats = npt.NDArray[np.float64]
MOST = 40_000
"""Events of each sample, at most."""
NODES, LAYERS, EPOCHS, BATCH, RATE, DECAY = 32, 2, 6, 512, 3e-3, 1e-2


def two_sample(numerator: Events, denominator: Events, reweighted: Floats, transform: Transform) -> TwoSample:
    """Train a small network on half of the events, and look at its ROC curve on the other half.

    Args:
        numerator: Test events.
        denominator: Test events of the reference.
        reweighted: Weights of the reference times r, shape (R,).
        transform: Of the features.

    References:
        D. Lopez-Paz, M. Oquab, Revisiting classifier two-sample tests, arXiv:1610.06545.
    """
    x, label, weight = _joined(numerator, denominator, reweighted, transform)
    generator = np.random.default_rng(0)
    first = generator.random(len(x)) < 0.5
    network = _fresh(x.shape[1], generator)
    _train(network, x[first], label[first], weight[first], generator)
    with torch.no_grad():
        score = network(torch.from_numpy(x[~first])).double().numpy()
    kind, left = label[~first], weight[~first]
    return area(score[kind], score[~kind], (left[kind], left[~kind]))


def _joined(
    numerator: Events, denominator: Events, reweighted: Floats, transform: Transform
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_], Floats]:
    """Put some events of both behind each other, with the classes balanced and the features transformed."""
    parts = []
    for events, weight in ((numerator, numerator.weight), (denominator, reweighted)):
        some = slice(None, None, -(-len(events) // MOST))
        own = weight[some]
        parts.append((transform(events.x[some]), own * (len(own) / own.sum())))
    x, label = np.concatenate([x for x, _ in parts]), np.arange(sum(len(x) for x, _ in parts)) < len(parts[0][0])
    return x, label, np.concatenate([weight for _, weight in parts])


def _fresh(features: int, generator: np.random.Generator) -> nn.Module:
    """Make a network with weights of its own generator, since other threads may be using torch's."""
    with torch.device("meta"):
        network = MLP(features, LAYERS, NODES)
    network = network.to_empty(device="cpu")
    with torch.no_grad():
        for part in network.parameters():
            scale = part.shape[-1] ** -0.5
            part.copy_(torch.from_numpy(generator.uniform(-scale, scale, tuple(part.shape)).astype(np.float32)))
    return network


def _train(
    network: nn.Module,
    x: npt.NDArray[np.float32],
    label: npt.NDArray[np.bool_],
    weight: Floats,
    generator: np.random.Generator,
) -> None:
    flat = Flat(list(network.parameters()))
    # The steps of stacked networks, for one: torch's own import its compiler, a second of every worker's start.
    updates, one = Updates([adamw([flat.row], RATE, DECAY)], flat.row.data[None]), torch.ones(1, 1) > 0
    tensors = [torch.from_numpy(array.astype(np.float32)) for array in (x, label, weight)]
    for _ in range(EPOCHS):
        for rows in torch.split(torch.from_numpy(generator.permutation(len(x))), BATCH):
            events, kind, own = (tensor[rows] for tensor in tensors)
            flat.clear()
            torch.autograd.backward(
                (own * binary_cross_entropy_with_logits(network(events), kind, reduction="none")).mean()
            )
            flat.take()
            updates.step(flat.row.data[None], flat.gradients[None], one)
