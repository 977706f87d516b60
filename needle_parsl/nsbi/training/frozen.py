"""A frozen part that a network goes through first: its outputs for all events can be computed once, and stand for the features.

Published backbones are such parts. What is trained behind them is small, and is trained as any small network.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple, NoReturn

import torch
from torch import nn
from torch.utils import _pytree as pytree

from needle_parsl.nsbi.data.loading.batches import Batch, ParticleBatch
from needle_parsl.nsbi.training.refusals import NotEmbeddedError, UnlikeError


class BatchColumn(NamedTuple):
    """An argument that is a column of the batch."""

    name: str
    """`x` or `particles`."""


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """Parts that an event goes through before all else, and what they give."""

    parts: tuple[str, ...]
    """Their names in the network; each is given what the one before has given."""
    arguments: tuple[Any, ...]
    """What the first one is called with: columns and constants."""
    named: Mapping[str, Any]
    """The same by name."""
    shapes: tuple[tuple[int, ...] | None, ...]
    """Of each output of the last one for an event; None for an output that is None."""
    form: Any
    """How the outputs are nested."""
    particles: bool = False
    """Whether batches have particles."""

    @property
    def width(self) -> int:
        """Count the numbers of an event."""
        return sum(self.sizes)

    @property
    def sizes(self) -> list[int]:
        """Count the numbers of each output."""
        return [0 if shape is None else math.prod(shape) for shape in self.shapes]

    def __str__(self) -> str:
        return ", ".join(self.parts)

    def compute(self, network: nn.Module, batch: Batch | ParticleBatch) -> torch.Tensor:
        """Compute the outputs for a batch, shape (B, width).

        Raises:
            NotEmbeddedError: They have other shapes than those that are known.
        """
        first, *others = (network.get_submodule(part) for part in self.parts)
        columns = batch._asdict()
        named = {name: _given(value, columns) for name, value in self.named.items()}
        with torch.no_grad():
            found = first(*(_given(value, columns) for value in self.arguments), **named)
            for part in others:
                found = part(found)
        leaves, form = pytree.tree_flatten(found)
        if form != self.form or shapes(leaves, len(batch.x)) != self.shapes:
            raise NotEmbeddedError(f"the shape of what {self} gives depends on the batch")
        return torch.cat([leaf.reshape(len(batch.x), -1) for leaf in leaves if leaf is not None], dim=1)

    def nested(self, x: torch.Tensor) -> Any:
        """Give outputs of shape (B, width) the form in which the parts give them."""
        if self.form.is_leaf() and self.shapes == ((x.shape[1],),):
            return x
        ends = list(accumulate(self.sizes, initial=0))
        leaves = [
            None if shape is None else x[:, start:stop].view(-1, *shape)
            for shape, start, stop in zip(self.shapes, ends[:-1], ends[1:], strict=True)
        ]
        return pytree.tree_unflatten(leaves, self.form)

    def stand_in(self, network: nn.Module) -> None:
        """Let a network take the outputs for its features: what gives them is no part of it any more."""
        for part in self.parts:
            above, _, name = part.rpartition(".")
            setattr(network.get_submodule(above), name, Known(self if part == self.parts[-1] else None))


def shapes(leaves: list[Any], events: int) -> tuple[tuple[int, ...] | None, ...]:
    """Give the shapes of outputs for one event.

    Raises:
        NotEmbeddedError: They are not numbers of each event.
    """
    for leaf in leaves:
        whole = isinstance(leaf, torch.Tensor) and leaf.dtype is torch.float32 and leaf.layout is torch.strided
        if leaf is not None and not (whole and leaf.ndim >= 1 and len(leaf) == events):
            raise NotEmbeddedError("it gives something else than numbers in float32 for each event")
    return tuple(None if leaf is None else tuple(leaf.shape[1:]) for leaf in leaves)


def _given(value: Any, columns: Mapping[str, Any]) -> Any:
    return columns[value.name] if isinstance(value, BatchColumn) else value


class Known(nn.Module):
    """Stands for a frozen part, whose outputs come in the place of its inputs."""

    def __init__(self, embedding: Embedding | None) -> None:
        """Take the form of the outputs; None for a part behind which there are others."""
        super().__init__()
        self.embedding = embedding

    def forward(self, *given: Any, **named: Any) -> Any:
        """Give the outputs."""
        x = next(value for value in (*given, *named.values()) if isinstance(value, torch.Tensor))
        return self.embedding.nested(x) if self.embedding else x

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        self.refuse(name)

    def parameters(self, recurse: bool = True) -> NoReturn:  # noqa: ARG002, FBT001, FBT002  torch's arguments
        """Refuse: whoever asks for them means those of the part itself."""
        self.refuse("parameters")

    def requires_grad_(self, requires_grad: bool = True) -> NoReturn:  # noqa: ARG002, FBT001, FBT002  torch's arguments
        """Refuse: the part itself would train from now on."""
        self.refuse("requires_grad_")

    def refuse(self, name: str) -> NoReturn:
        """Give up: only calls are known.

        Raises:
            UnlikeError: Always.
        """
        raise UnlikeError(f"it uses {name} of its frozen part")
