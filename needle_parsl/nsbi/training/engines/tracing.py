"""What a step of a module does: its operations, what it asks for, and what it leaves behind.

An engine that does not run the module's own code, or runs it for many members at once, is taken only for what is recognised
here; two batches that happen to agree prove nothing about a branch, an epoch or a hook that they do not show.
"""

from __future__ import annotations

import random
import re
import sys
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn, optim
from torch.nn.modules import module as hooks_of_all
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from needle_parsl.nsbi.training.engines.module_host import TrainerStub
from needle_parsl.nsbi.training.engines.optimizer import hooked
from needle_parsl.nsbi.training.modules import own

NUMBERS = (bool, int, float)
LEAVING = {
    "numpy",
    "tolist",
    "item",
    "register_hook",
    "register_post_accumulate_grad_hook",
    "retain_grad",
    "requires_grad_",
    "__array__",
}
"""Methods of tensors by which values or gradients leave what torch sees."""


class Number:
    """The number of a batch, that notes whether it is used. No whole number itself: C code would use one unseen."""

    def __init__(self, value: int, asked: set[str]) -> None:
        self.value, self.asked = value, asked

    def known(self) -> int:
        """Give the number, and note it."""
        self.asked.add("batch_idx")
        return self.value


def _forwarded(name: str) -> Callable[..., Any]:
    def method(self: Number, *given: Any) -> Any:
        return getattr(self.known(), name)(*(g.known() if isinstance(g, Number) else g for g in given))

    return method


NAMES = (
    "lt le gt ge eq ne hash bool int float index str repr format add radd sub rsub mul rmul mod rmod floordiv rfloordiv truediv "
    "rtruediv pow rpow divmod rdivmod neg pos abs and rand or ror xor rxor lshift rshift invert round trunc"
)
for _name in re.findall(r"\w+", NAMES):
    setattr(Number, f"__{_name}__", _forwarded(f"__{_name}__"))


@dataclass(kw_only=True)
class TracedCall:
    """What one call has shown."""

    operations: list[tuple[str, tuple[float, ...]]] = field(default_factory=list)
    """ATen's names, with the numbers among the arguments."""
    left: set[str] = field(default_factory=set)
    """Methods by which values have left."""
    asked: set[str] = field(default_factory=set)
    """Facts of the Trainer, and `batch_idx`."""
    logged: set[str] = field(default_factory=set)
    drawn: bool = False
    """Whether it has drawn random numbers that torch does not see."""
    changed: bool = False
    """Whether the module is another than before: an attribute, a global."""
    moved: bool = False
    """Whether buffers are others than before, such as running means."""

    def count(self, name: str) -> int:
        """Count an operation."""
        return sum(operation == name for operation, _ in self.operations)


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types there
    def __init__(self, seen: TracedCall) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # likewise
        self.seen = seen

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = [*args, *(kwargs or {}).values()]
        numbers = tuple(float(a) for a in given if isinstance(a, NUMBERS))
        self.seen.operations.append((func.overloadpacket.__name__, numbers))
        return func(*args, **(kwargs or {}))


class _Methods(TorchFunctionMode):
    def __init__(self, seen: TracedCall) -> None:
        super().__init__()
        self.seen = seen

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name in LEAVING:
            self.seen.left.add(name)
        return func(*args, **(kwargs or {}))


def trace(host: TrainerStub, number: int, call: Callable[[Any], Any]) -> tuple[Any, TracedCall]:
    """Call a step of a hosted module, and watch it.

    Args:
        host: Of the module.
        number: Of the batch.
        call: Is given the number.
    """
    seen = TracedCall()
    host.trainer.read.clear()
    before = (_remembered(host.module), _drawn(), _buffers(host.module))
    with _muted(host, seen), _Methods(seen), _Operations(seen):
        found = call(Number(number, seen.asked))
    seen.asked |= host.trainer.read
    after = (_remembered(host.module), _drawn(), _buffers(host.module))
    seen.changed, seen.drawn, seen.moved = (one != other for one, other in zip(before, after, strict=True))
    return found, seen


@contextmanager
def _muted(host: TrainerStub, seen: TracedCall) -> Iterator[None]:
    """Note the names that are logged, and do no arithmetic for them."""
    module = host.module
    kept = (module.log, module.log_dict)

    def note(names: Any, *_: Any, **__: Any) -> None:
        for name in [names] if isinstance(names, str) else names:
            seen.logged |= {name, f"{name}_step", f"{name}_epoch"}

    module.log = module.log_dict = note
    try:
        yield
    finally:
        module.log, module.log_dict = kept


def _drawn() -> list[Any]:
    """Give the states of random numbers of NumPy and Python."""
    state: Any = np.random.get_state()  # noqa: NPY002  modules of users draw from the global one
    return [state[1].tobytes(), state[2:], random.getstate()]


def _remembered(module: nn.Module) -> list[Any]:
    """Give all by which a module may remember something but its buffers: attributes, its classes' and its files' variables."""
    found: list[Any] = []
    for part in module.modules():
        found += [
            (name, _value(value))
            for name, value in vars(part).items()
            if name not in ("_parameters", "_modules", "_buffers", "_trainer")
        ]
    kinds = [
        kind
        for kind in type(module).__mro__
        if own(module) & set(vars(kind)) and kind.__module__.partition(".")[0] != "torch"
    ]
    places: list[Mapping[str, Any]] = [vars(kind) for kind in kinds if "lightning" not in kind.__module__]
    places += [
        vars(sys.modules[name])
        for name in {kind.__module__ for kind in kinds}
        if name in sys.modules and "lightning" not in name
    ]
    return [
        *found,
        *(
            (n, _value(v))
            for place in places
            for n, v in place.items()
            if isinstance(v, (*NUMBERS, str, list, dict, set))
        ),
    ]


def _buffers(module: nn.Module) -> list[Any]:
    return [_value(buffer) for buffer in module.buffers()]


def _value(value: Any, depth: int = 2) -> Any:  # noqa: PLR0911  one line per kind of value
    """Give something that differs when a value has changed."""
    if value is None or isinstance(value, (*NUMBERS, str)):
        return value
    if isinstance(value, torch.Tensor):
        return id(value), value._version  # noqa: SLF001  torch's count of changes in place
    if isinstance(value, np.ndarray):
        return value.tobytes() if value.nbytes < 2**16 else id(value)
    if depth and isinstance(value, (dict, OrderedDict)):
        return [(str(key), _value(item, depth - 1)) for key, item in list(value.items())[:1000]]
    if depth and isinstance(value, (list, tuple, set, frozenset, deque)):
        return len(value), [_value(item, depth - 1) for item in list(value)[:1000]]
    if depth and hasattr(value, "__dict__") and not isinstance(value, (type, nn.Module)) and not callable(value):
        return id(value), _value(vars(value), depth - 1)
    return id(value)


def overheard(module: nn.Module, optimizer: optim.Optimizer) -> bool:
    """Whether hooks of parameters, modules, the optimiser, or of all modules, would have to be called."""
    of_parameters = ("_backward_hooks", "_post_accumulate_grad_hooks")
    of_modules = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return (
        hooked(optimizer)
        or any(getattr(p, name, None) for p in module.parameters() for name in of_parameters)
        or any(getattr(part, name, None) for part in module.modules() for name in of_modules)
        or any(
            value
            for name, value in vars(hooks_of_all).items()
            if name.startswith("_global_") and isinstance(value, dict)
        )
    )
