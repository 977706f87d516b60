"""Networks: architectures by name, the user's own by reference, and their weights as one vector."""

from __future__ import annotations

import inspect
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache, partial
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from needle_parsl import refs
from needle_parsl.analysis import catalogue
from needle_parsl.errors import InputError, TaskError, closest
from needle_parsl.nsbi.data.loading.particles import Packed
from needle_parsl.nsbi.training import heads
from needle_parsl.nsbi.training.dropout import activation
from needle_parsl.nsbi.training.own_generator import OwnGenerator
from needle_parsl.nsbi.transforms.transform import Transform

KINDS: dict[str, type] = {"str": str, "int": int, "float": float, "bool": bool}
LARGEST = 10**7
"""The largest number in a shape; nobody trains a wider network."""
HYDRA = ("_target_", "_args_", "_partial_", "_convert_", "_recursive_")
"""Words of a nested table that are no arguments."""


@dataclass(frozen=True, kw_only=True)
class NetworkShape:
    """What fixes the parameters of a network."""

    network: str
    """A name in `catalogue.NETWORKS`, or a reference `module:attr`."""
    features: int
    """Columns that it gets, after the transform of features."""
    layers: int
    nodes: int
    arguments: str = "{}"
    """Further arguments of its constructor, as a JSON table."""
    particles: int = 0
    """Columns of a particle, after the transform; 0 for a network that sees none."""
    head: str = ""
    """Of a network of many classes: what its outputs are, see `heads`; empty for a network of one ratio."""
    output: str = "logit"
    """What a network of the user's gives: `logit`, or the `probability` of the numerator."""


class MLP(nn.Module):
    """A multilayer perceptron that gives one logit per event, or one for each class."""

    def __init__(self, features: int, layers: int, nodes: int, outputs: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        self.stack, self.outputs = nn.Sequential(), outputs
        widths = [features, *[nodes] * layers]
        for number, (a, b) in enumerate(pairwise(widths)):
            self.stack.extend([nn.Linear(a, b), activation(dropout, number)])
        self.stack.append(nn.Linear(widths[-1], outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map transformed features (N, F) to logits (N,), or (N, C) with C classes."""
        logits: torch.Tensor = self.stack(x)
        return logits.squeeze(-1) if self.outputs == 1 else logits


def make(shape: NetworkShape, dropout: float = 0.0) -> nn.Module:
    """Make a network; its initial weights follow from torch's random state.

    Args:
        shape: What fixes its parameters.
        dropout: Share of the hidden units of needle's networks that a step of training drops.

    Raises:
        InputError: The user's class cannot be found, does not take its arguments, or makes no module.
    """
    kind = find(shape.network)
    dropped = {"dropout": dropout} if dropout and shape.network in catalogue.NETWORKS else {}
    with warnings.catch_warnings():  # a layer for the features of events that have particles alone has no weights
        warnings.filterwarnings("ignore", "Initializing zero-element tensors")
        network = kind(**{**dropped, **arguments(shape, kind)})
    if not isinstance(network, nn.Module):
        raise InputError(f"{refs.own_name(shape.network)} makes {type(network).__name__}; expected a torch.nn.Module")
    configure: Any = getattr(network, "configure_model", None)
    if configure is not None:  # Lightning's, which may be called twice
        configure()
    return heads.finished(network, shape.head, particles=sees_particles(network))


def uninitialised(network: nn.Module) -> bool:
    """Whether a network has lazy layers, which take their shape from the first batch."""
    return any(isinstance(part, (UninitializedParameter, UninitializedBuffer)) for part in tensors(network))


def completed(network: nn.Module, shape: NetworkShape) -> nn.Module:
    """Give lazy layers their shapes. Not before a training, where the first batch does it, and draws numbers in its own order."""
    if uninitialised(network):
        modes = [(part, part.training) for part in network.modules()]
        with torch.no_grad():
            network.eval()(*_blank(network, shape))
        for part, training in modes:
            part.training = training
    return network


def _blank(network: nn.Module, shape: NetworkShape) -> tuple[Any, ...]:
    """Give a network two events of zeros, with a particle each if it sees them."""
    x = torch.zeros(2, shape.features)
    if not sees_particles(network):
        return (x,)
    return x, Packed(torch.zeros(2, shape.particles), torch.arange(3), 1)


def described(text: str) -> NetworkShape:
    """Read the shape of a network from a file.

    Raises:
        ValueError: It is none.
    """
    table = json.loads(text)
    kinds = {field.name: KINDS[str(field.type)] for field in fields(NetworkShape)}
    wrong = [
        n for n, v in table.items() if type(v) is not kinds.get(n) or (isinstance(v, int) and not 0 <= v <= LARGEST)
    ]
    if wrong or not isinstance(json.loads(table["arguments"]), dict):
        raise ValueError(f"no shape of a network: {', '.join(wrong) or 'arguments'}")
    return NetworkShape(**table)


def find(name: str) -> Callable[..., nn.Module]:
    """Find what makes a network: one of needle's, or one that the user's analysis names.

    Raises:
        InputError: There is no such class, or only a file names it.
    """
    known = catalogue.NETWORKS.get(name)
    found = known.load() if known else refs.named_by_file(name)
    if not callable(found):
        raise InputError(f"{name} is no class of networks")
    kind: Callable[..., nn.Module] = found
    return kind


def arguments(shape: NetworkShape, kind: Callable[..., nn.Module]) -> dict[str, Any]:
    """Give a constructor what the user says, and what else it asks for by name: `features`, `layers`, `nodes`, `particles`, `outputs`.

    Raises:
        InputError: The user says what it does not take, or it needs what nobody says.
    """
    given = {name: _instantiated(value) for name, value in json.loads(shape.arguments).items()}
    offered = {n: getattr(shape, n) for n in ("features", "layers", "nodes", "particles")}
    offered |= {f"n_{name}": offered[name] for name in ("features", "layers", "nodes")}
    offered["outputs"] = heads.outputs(shape.head)
    known = inspect.signature(kind).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in known.values()):
        for name in given:
            if name not in known:
                raise InputError(f'{refs.own_name(shape.network)} takes no argument "{name}"{closest(name, known)}')
    if shape.head and "outputs" not in known:
        raise InputError(
            f'{refs.own_name(shape.network)} takes no "outputs", the number of classes that loss = "multiclass" needs'
        )
    taken: dict[str, Any] = {name: value for name, value in offered.items() if name in known} | given
    for name, parameter in known.items():
        named = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        if named and parameter.default is parameter.empty and name not in taken:
            raise InputError(
                f'{refs.own_name(shape.network)} needs an argument "{name}"; write network = {{ _target_ = "...", {name} = ... }}'
            )
    return taken


def _instantiated(value: Any) -> Any:
    """Make the object that a nested table with `_target_` describes, as Hydra does: `_args_`, and `_partial_` for a function."""
    if isinstance(value, list):
        return [_instantiated(item) for item in value]
    if not isinstance(value, dict):
        return value
    named = {name: _instantiated(item) for name, item in value.items() if name not in HYDRA}
    if "_target_" not in value:
        return named
    target, placed = refs.resolve(value["_target_"]), _instantiated(value.get("_args_", []))
    return partial(target, *placed, **named) if value.get("_partial_") else target(*placed, **named)


def takes(network: str, offered: Mapping[str, Any]) -> dict[str, Any]:
    """Choose what the constructor of a network asks for by name."""
    known = inspect.signature(find(network)).parameters
    return {name: value for name, value in offered.items() if name in known}


def separated(
    shape: NetworkShape, transform: Transform, inputs: npt.NDArray[np.float32]
) -> tuple[torch.Tensor | Packed, ...]:
    """Give a network its arguments.

    Args:
        shape: Of the network.
        transform: What features, and those of particles, go through.
        inputs: `Events.inputs`, or features alone.

    Raises:
        TaskError: The network sees particles, and there are none.
    """
    x = torch.from_numpy(transform(inputs[:, : transform.inputs]))
    if not shape.particles:
        return (x,)
    jets = transform.particles
    places, left = divmod(inputs.shape[1] - transform.inputs - 1, jets.inputs) if jets else (-1, 0)
    if jets is None or left or places < 0:
        raise TaskError(f"{shape.network} is a network of particles, and the events have none")
    padded = inputs[:, transform.inputs : -1].reshape(-1, places, jets.inputs)
    mask = np.arange(places) < inputs[:, -1:]
    counts = torch.from_numpy(mask.sum(axis=1))
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    longest = int(counts.max()) if len(counts) else 0
    return x, Packed(torch.from_numpy(jets(padded[mask])), offsets, longest)


def sees_particles(network: nn.Module) -> bool:
    """Whether the `forward` of a network takes features and particles."""
    kind: Any = type(network)
    return len(_own(kind)) > 1


def asks_for_particles(network: str) -> bool:
    """Whether the `forward` of a class of networks takes features and particles."""
    kind: Any = find(network)
    return isinstance(kind, type) and len(_own(kind)) > 1


@cache
def _own(kind: Any) -> tuple[str, ...]:
    """Name the arguments of the `forward` of a class of networks that have no default."""
    return tuple(p.name for p in inspect.signature(kind.forward).parameters.values() if p.default is p.empty)[1:]


def build(shape: NetworkShape, seed: int) -> nn.Module:
    """Make a network with initial weights that follow from the seed alone. Not for two threads at a time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return completed(make(shape), shape)


def empty(shape: NetworkShape) -> nn.Module:
    """Make a network whose weights will be filled in; touches no random state, which other threads may be using.

    Raises:
        InputError: There is no such network, or it cannot be made with what the shape says.
    """
    try:
        with OwnGenerator():
            return completed(make(shape), shape).eval()
    except (
        ArithmeticError,
        AssertionError,
        AttributeError,
        LookupError,
        MemoryError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"no network {refs.own_name(shape.network)} can be made of its shape ({type(error).__name__}: {reason})"
        ) from error


def evaluator(shape: NetworkShape) -> nn.Module:
    """Make a network whose weights will be filled in, and that gives ln r as a tensor of shape (N,)."""
    network = empty(shape)
    if shape.network in catalogue.NETWORKS:
        return network
    with OwnGenerator(), torch.no_grad():
        form = heads.Form(network(*_blank(network, shape)), shape)
    return heads.followed(network, form, particles=sees_particles(network)).eval() if form.needed else network


def vector(network: nn.Module) -> torch.Tensor:
    """Copy the weights of a network into one vector of float32, shape (P,): parameters, then buffers such as running means.

    Whole numbers and masks are in it, too: they may follow from the seed.
    """
    return joined(tensors(network))


def joined(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Copy weights into one vector of float32."""
    return torch.cat([part.detach().reshape(-1).float() for part in parts])


def fill(network: nn.Module, weights: torch.Tensor) -> None:
    """Give a network the weights that `vector` gave.

    Raises:
        InputError: It has other weights.
    """
    parts = tensors(network)
    if (size := sum(part.numel() for part in parts)) != len(weights):
        raise InputError(f"the network has {size} weights, and the file {len(weights)}")
    with torch.no_grad():
        for part, own in zip(parts, torch.split(weights, [part.numel() for part in parts]), strict=True):
            part.copy_(own.view_as(part))


def tensors(network: nn.Module) -> list[torch.Tensor]:
    """List what makes up the weights, in their order."""
    return [*network.parameters(), *network.buffers()]
