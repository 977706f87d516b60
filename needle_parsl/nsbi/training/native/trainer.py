"""Training of one multilayer perceptron on flat parameters."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from needle_parsl.nsbi.compiling import compiled
from needle_parsl.nsbi.training.native import classes, layout, passes, updates
from needle_parsl.nsbi.training.native.layout import TILE, Floats, Integers, Work
from needle_parsl.nsbi.training.native.passes import Table
from needle_parsl.nsbi.training.native.updates import Moments, Rule


class Structure(NamedTuple):
    """A multilayer perceptron."""

    widths: tuple[int, ...]
    """Features and hidden widths."""
    activation: int
    outputs: int = 1
    """Logits; many are those of classes."""


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
    places: Integers, activation: int, goal: Goal, rule: Rule, work: Work, parameters: Floats, moments: Moments,
    table: Table, order: Integers, batch_size: int, rate: float, losses: npt.NDArray[np.float64],
) -> None:  # fmt: skip
    for b in range(len(losses)):
        batch = order[b * batch_size : (b + 1) * batch_size]
        losses[b] = _differentiate(places, activation, goal, work, parameters, table, batch)
        updates.update(rule, parameters, work.gradient, moments, rate)


@compiled
def _differentiate(
    places: Integers, activation: int, goal: Goal, work: Work, parameters: Floats, table: Table, batch: Integers
) -> float:
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
        passes.forward(places, parameters, activation, rows, work)
        if goal.loss == passes.SOFTMAX:
            total += classes.judge(places, len(part), rows, work)
        else:
            total += passes.judge(goal.loss, len(part), rows, work)
        passes.backward(places, len(part), rows, work)
    passes.unpack(places, work)
    return total


class Trainer:
    """A network's structure, its goal and its optimiser; holds the arrays that it works in, so one thread at a time."""

    def __init__(self, structure: Structure, goal: Goal, rule: Rule) -> None:
        self.structure, self.goal, self.rule = structure, goal, rule
        self.places = layout.laid_out(structure.widths, structure.outputs)
        self.work = layout.work(self.places)

    def begin(self) -> Moments:
        """Give what an optimiser remembers before its first step."""
        count = len(self.work.gradient)
        return Moments(np.zeros(count, np.float32), np.zeros(count, np.float32), np.array([0.0, 1.0]))

    def train_batches(
        self, parameters: Floats, moments: Moments, table: Table, order: Integers, batch_size: int, rate: float
    ) -> npt.NDArray[np.float64]:
        """Do a step for each batch, in place; the last batch may be smaller.

        Args:
            parameters: In torch's order, shape (P,).
            moments: Of the optimiser.
            table: Of the events.
            order: The rows to go through.
            batch_size: In events.
            rate: The learning rate.

        Returns:
            The loss of each batch before its step.
        """
        losses = np.empty(-(-len(order) // batch_size))
        _train(
            self.places, self.structure.activation, self.goal, self.rule, self.work, parameters, moments, table, order, batch_size,
            rate, losses,
        )  # fmt: skip
        return losses

    def differentiate(self, parameters: Floats, table: Table, batch: Integers) -> tuple[float, Floats]:
        """Compute the loss of a batch, and its gradient, shape (P,)."""
        loss = _differentiate(self.places, self.structure.activation, self.goal, self.work, parameters, table, batch)
        return loss, self.work.gradient.copy()
