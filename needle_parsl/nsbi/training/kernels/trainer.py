"""Training of one multilayer perceptron on flat parameters."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from needle_parsl.nsbi.compilation import compiled
from needle_parsl.nsbi.training.kernels import classes, dropout_hash, layout, passes, updates
from needle_parsl.nsbi.training.kernels.layout import TILE, Floats, Integers, Work
from needle_parsl.nsbi.training.kernels.masks import Masks
from needle_parsl.nsbi.training.kernels.passes import EventTable
from needle_parsl.nsbi.training.kernels.updates import Moments, UpdateRule


class Structure(NamedTuple):
    """A multilayer perceptron."""

    widths: tuple[int, ...]
    """Features and hidden widths."""
    activation: int
    outputs: int = 1
    """Logits; many are those of classes."""
    threshold: int = 0
    """Units that are dropped, in parts of `dropout_hash.WHOLE`."""


class Goal(NamedTuple):
    """What is made small."""

    loss: int
    smoothing: float = 0.0
    """Labels become y (1 - smoothing) + smoothing / 2."""
    by_weight: bool = False
    """Whether a batch's loss is divided by its sum of weights, not by its number of events."""

    def suits(self, structure: Structure) -> bool:
        """Whether it is a loss of that many logits."""
        return (self.loss == passes.SOFTMAX) == (structure.outputs > 1)


@compiled
def _train(
    places: Integers, activation: int, goal: Goal, rule: UpdateRule, work: Work, parameters: Floats, moments: Moments,
    table: EventTable, order: Integers, batch_size: int, rate: float, masks: Masks, losses: npt.NDArray[np.float64],
) -> None:  # fmt: skip
    for b in range(len(losses)):
        batch = order[b * batch_size : (b + 1) * batch_size]
        losses[b] = _differentiate(places, activation, goal, work, parameters, table, batch, masks, b)
        updates.update(rule, parameters, work.gradient, moments, rate)


@compiled
def _differentiate(
    places: Integers, activation: int, goal: Goal, work: Work, parameters: Floats, table: EventTable, batch: Integers,
    masks: Masks, step: int,
) -> float:  # fmt: skip
    norm = float(len(batch))
    if goal.by_weight:
        norm = 0.0
        for event in batch:
            norm += table.weight[event]
    scale, keep, add = np.float32(1.0 / norm), np.float32(1.0 - goal.smoothing), np.float32(0.5 * goal.smoothing)
    passes.pack(places, parameters, work)
    total = 0.0
    for start in range(0, len(batch), TILE):
        part = batch[start : start + TILE]
        rows = passes.load(places, table, part, work)
        for n in range(len(part)):
            work.label[n] = table.label[part[n]] * keep + add
            work.weight[n] = table.weight[part[n]] * scale
        passes.forward(places, parameters, activation, masks, step, start, rows, work)
        if goal.loss == passes.SOFTMAX:
            total += classes.judge(places, len(part), rows, work)
        else:
            total += passes.judge(goal.loss, len(part), rows, work)
        passes.backward(places, len(part), rows, work)
    passes.unpack(places, work)
    return total


class CompiledTrainer:
    """A network's structure, its goal and its optimiser; holds the arrays that it works in, so one thread at a time."""

    def __init__(self, structure: Structure, goal: Goal, rule: UpdateRule, seed: int = 0) -> None:
        """Make it.

        Args:
            structure: Of the network.
            goal: What is made small.
            rule: Of the optimiser.
            seed: Of the masks of dropout.
        """
        self.structure, self.goal, self.rule, self.seed = structure, goal, rule, seed
        self.places = layout.laid_out(structure.widths, structure.outputs)
        self.work = layout.work(self.places)

    def begin(self) -> Moments:
        """Give what an optimiser remembers before its first step."""
        count = len(self.work.gradient)
        return Moments(np.zeros(count, np.float32), np.zeros(count, np.float32), np.array([0.0, 1.0]))

    def train_batches(
        self, parameters: Floats, moments: Moments, table: EventTable, order: Integers, batch_size: int, rate: float
    ) -> npt.NDArray[np.float64]:
        """Do a step for each batch, in place; the last batch may be smaller.

        Args:
            parameters: In torch's order, shape (P,).
            moments: Of the optimiser; masks of dropout follow from the steps that it has done.
            table: Of the events.
            order: The rows to go through, shape (n,).
            batch_size: In events.
            rate: The learning rate.

        Returns:
            The loss of each batch before its step, shape (n / batch_size,), rounded up.
        """
        losses = np.empty(-(-len(order) // batch_size))
        _train(
            self.places, self.structure.activation, self.goal, self.rule, self.work, parameters, moments, table, order, batch_size,
            rate, self.masks(int(moments.counts[0]), len(losses)), losses,
        )  # fmt: skip
        return losses

    def differentiate(
        self, parameters: Floats, table: EventTable, batch: Integers, step: int = 0
    ) -> tuple[float, Floats]:
        """Compute the loss of a batch, and its gradient, shape (P,), with the masks of a step.

        Args:
            parameters: In torch's order, shape (P,).
            table: Of the events.
            batch: Rows of it, shape (B,).
            step: Whose masks of dropout.
        """
        masks, activation = self.masks(step, 1), self.structure.activation
        loss = _differentiate(self.places, activation, self.goal, self.work, parameters, table, batch, masks, 0)
        return loss, self.work.gradient.copy()

    def masks(self, first: int, steps: int) -> Masks:
        """Give what is dropped in some steps."""
        threshold, layers = self.structure.threshold, len(self.structure.widths) - 1
        streams = np.zeros((steps, layers, 2), np.int64)
        if threshold:
            keys = dropout_hash.keyed(self.seed, np.arange(first, first + steps))
            for layer in range(layers):
                streams[:, layer] = np.stack(dropout_hash.stream(keys, layer), axis=1)
        return Masks(threshold, np.float32(dropout_hash.scale(threshold)), streams)
