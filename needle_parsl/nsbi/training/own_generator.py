"""Making a network without a number from torch's global random state, which a training in another thread may be using."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

RANDOM = {
    "bernoulli", "bernoulli_", "cauchy_", "exponential_", "geometric_", "log_normal_", "multinomial", "normal", "normal_", "rand", "randint",
    "randn", "random_", "randperm", "uniform_",
}  # fmt: skip
"""Functions and methods of torch that take a generator."""
LIKE: dict[str, Callable[..., torch.Tensor]] = {"rand_like": torch.rand, "randn_like": torch.randn}


class OwnGenerator(TorchFunctionMode):
    """Gives random functions a generator of their own, in this thread."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = torch.Generator()

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call a function of torch."""
        given = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if name in LIKE:
            return LIKE[name](args[0].shape, generator=self.generator)
        if (name in RANDOM or _initialises(func)) and given.get("generator") is None:
            given["generator"] = self.generator
        return func(*args, **given)


def _initialises(func: Any) -> bool:
    """Whether it is one of torch.nn.init, with a generator."""
    return getattr(func, "__module__", "") == "torch.nn.init" and "generator" in inspect.signature(func).parameters
