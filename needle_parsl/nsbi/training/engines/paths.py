"""Where the numbers of a batch go in a step: which parts are called with them, and what is computed with them elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from needle_parsl.nsbi.training.refusals import NotEmbeddedError


@dataclass(frozen=True)
class Call:
    """A call of a part."""

    part: str
    given: tuple[Any, ...]
    named: Mapping[str, Any]
    found: Any
    """What it has given."""


@contextmanager
def noted(network: nn.Module, parts: Sequence[str]) -> Iterator[list[Call]]:
    """Note the calls of some parts, in the order in which they end."""
    calls: list[Call] = []

    def note(part: str) -> Callable[..., None]:
        return lambda _, given, named, found: calls.append(Call(part, given, named, found))

    handles = [network.get_submodule(p).register_forward_hook(note(p), with_kwargs=True) for p in parts]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


class Outside(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types there
    """Sees what operations outside of some parts do with the inputs, the weights of the parts, and what is computed inside.

    Only what the last of the parts gives may be used.
    """

    def __init__(self, parts: Sequence[nn.Module], inputs: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # likewise
        self.parts, self.inside = list(parts), 0
        own = [tensor for part in parts for tensor in (*part.parameters(), *part.buffers())]
        self.given = _held([*pytree.tree_leaves(inputs), *own])
        self.hidden = dict(self.given)
        """Tensors by where their numbers are; as long as they are held here, nothing else can be there."""
        self.used: list[str] = []
        """Operations that have used something hidden."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        if self.inside:
            self.hidden |= _held(pytree.tree_leaves(found))
        elif _held(pytree.tree_leaves((args, kwargs))).keys() & self.hidden.keys():
            self.used.append(func.overloadpacket.__name__)
        return found

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Know when the parts are at work."""
        handles = [part.register_forward_pre_hook(lambda *_: self._enter()) for part in self.parts]
        handles += [part.register_forward_hook(lambda part, _, found: self._leave(part, found)) for part in self.parts]
        try:
            with self:
                yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self) -> None:
        self.inside += 1

    def _leave(self, part: nn.Module, found: Any) -> None:
        self.inside -= 1
        if part is not self.parts[-1]:
            return
        for place in _held(pytree.tree_leaves(found)):
            if place in self.given:
                raise NotEmbeddedError("it gives its own inputs or weights")
            self.hidden.pop(place, None)


def _held(values: Sequence[Any]) -> dict[int, torch.Tensor]:
    """Say where the numbers of tensors are; some kinds of tensors do not tell, and are passed over."""
    found: dict[int, torch.Tensor] = {}
    for value in values:
        if isinstance(value, torch.Tensor) and value.layout is torch.strided and value.numel():
            found[value.untyped_storage().data_ptr()] = value
    return found
