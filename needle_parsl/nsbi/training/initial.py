"""Weights that trainings start from: read from files of torch, safetensors, Lightning or needle, and given to networks by name.

Nothing that a file holds is executed: torch reads weights alone, safetensors and HDF5 know nothing else.
"""

from __future__ import annotations

import pickle
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import torch
from torch import nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from needle_parsl.analysis import catalogue
from needle_parsl.errors import InputError, closest, printable
from needle_parsl.nsbi.data import hdf5
from needle_parsl.nsbi.training import networks, packs

Named = Mapping[str, torch.Tensor]
LISTED = 6
"""Names that a message lists."""
TABLES = ("state_dict", "model_state_dict", "model", "network", "weights")
"""Where checkpoints keep their weights, beside the state of optimisers and callbacks."""
MEMBER = re.compile(r"members\.(\d+)\.(.+)")
"""A parameter of a member in the safetensors of an estimator."""


@dataclass(frozen=True)
class Initial:
    """Weights by member and fold; those of a file are for all, and stand under (0, 0)."""

    path: str
    weights: Mapping[tuple[int, int], Named | torch.Tensor]
    """By name in torch; or of needle's own packs as one vector, in the order of the network."""
    features: tuple[str, ...] = ()
    """What the networks of a pack were trained with; empty where nobody knows."""
    shapes: Mapping[tuple[int, int], networks.NetworkShape] = field(default_factory=dict)
    """Of the networks of a pack, by member and fold."""

    def only(self, member: int, fold: int) -> Initial:
        """Keep what a member starts from: its own, or one of its fold, or any."""
        known = sorted(self.weights)
        own = [name for name in known if name[1] == fold] or known
        chosen = (member, fold) if (member, fold) in self.weights else own[member % len(own)]
        shapes = {(0, 0): self.shapes[chosen]} if chosen in self.shapes else {}
        return Initial(self.path, {(0, 0): self.weights[chosen]}, self.features, shapes)

    def put(self, network: nn.Module, shape: networks.NetworkShape | None = None) -> Taken:
        """Give a network its weights.

        Args:
            network: To be given them.
            shape: Its own, held against that of a pack, whose weights have no names.

        Raises:
            InputError: They are those of another network.
        """
        (given,) = self.weights.values()
        own = tensors(network)
        if isinstance(given, torch.Tensor):
            if shape and (theirs := self.shapes.get((0, 0))):
                _same_shape(self.path, theirs, shape)
            try:
                networks.fill(network, given)
            except InputError as error:
                raise InputError(
                    f"{self.path}: {error}; its networks are others than those of this analysis"
                ) from error
            return Taken(tuple(own), (), (), "")
        found = _matched(self.path, own, given)
        with torch.no_grad():
            for name, value in found.names.items():
                _copied(own[name], given[value])
        left = tuple(name for name in own if name not in found.names)
        unused = tuple(name for name in given if name not in found.names.values())
        return Taken(tuple(found.names), left, unused, found.part)


DESCRIBED = ("network", "layers", "nodes", "head")
"""What networks of needle's must have in common, so that the weights of one are those of another."""


def _same_shape(path: str, theirs: networks.NetworkShape, own: networks.NetworkShape) -> None:
    """Refuse weights of another network, which may be as many by chance.

    Raises:
        InputError: They are.
    """
    if not {theirs.network, own.network} & catalogue.NETWORKS.keys():
        return
    for name in DESCRIBED:
        then, now = getattr(theirs, name), getattr(own, name)
        if then != now:
            said = (
                "other classes"
                if name == "head"
                else f"{name} = {printable(str(then))} instead of {printable(str(now))}"
            )
            raise InputError(f"{path}: its networks are others than those of this analysis: {said}")


@dataclass(frozen=True)
class Taken:
    """What a network has taken of a file."""

    taken: tuple[str, ...]
    left: tuple[str, ...]
    """What the file does not have, and starts at random."""
    unused: tuple[str, ...]
    """What the network does not have."""
    part: str
    """The part of the network that has the names of the file; empty for the whole."""

    def __str__(self) -> str:
        whole = len(self.taken) + len(self.left)
        said = f"{len(self.taken)} of {whole} parameters and buffers are taken"
        said += f', as its part "{self.part}"' if self.part else ""
        said += f"; not in it, and starting at random: {listed(self.left)}" if self.left else ""
        return said + (f"; not used: {listed(self.unused)}" if self.unused else "")


def listed(names: Sequence[str]) -> str:
    """List the first names."""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return printable(", ".join(names[:LISTED])) + more


def tensors(network: nn.Module) -> dict[str, torch.Tensor]:
    """Name the parameters and buffers of a network, each under all names that it has."""
    return {
        **dict(network.named_parameters(remove_duplicate=False)),
        **dict(network.named_buffers(remove_duplicate=False)),
    }


def _copied(own: torch.Tensor, value: torch.Tensor) -> None:
    if isinstance(own, (UninitializedParameter, UninitializedBuffer)):
        own.materialize(value.shape)
    own.copy_(value)


@dataclass(frozen=True)
class _Matched:
    """A way to read the names of a file."""

    names: Mapping[str, str]
    """Names of the file, by those of the network."""
    part: str = ""


def _matched(path: str, own: Named, given: Named) -> _Matched:
    """Find the names of a file in a network: as they are, or as those of one of its parts.

    Raises:
        InputError: Nothing fits, several parts fit alike, or a parameter has another shape.
    """
    same = {name: name for name in own if name in given}
    if not same:
        return _as_part(path, own, given)
    for name in same:
        if not _alike(own[name], given[name]):
            shapes = f"{list(given[name].shape)} in the file and {list(own[name].shape)} in the network"
            raise InputError(f"{path}: {printable(name)} has the shape {shapes}")
    return _Matched(same)


def _as_part(path: str, own: Named, given: Named) -> _Matched:
    """Let a file, or a part of it, fill a part of a network."""
    found: list[_Matched] = []
    for above, part in product(_parts(given), _parts(own)):
        inside = [name for name in own if name.startswith(part)]
        names = {name: above + name[len(part) :] for name in inside if above + name[len(part) :] in given}
        parameters = [name for name in inside if not name.endswith("num_batches_tracked")]
        if all(name in names and _alike(own[name], given[names[name]]) for name in parameters):
            found += [] if any(one.names == names for one in found) else [_Matched(names, part.rstrip("."))]
    if not found:
        raise InputError(
            f"{path}: has no parameter of the network; it has {listed(list(given))}, and the network {listed(list(own))}"
        )
    most = max(len(one.names) for one in found)
    best = [one for one in found if len(one.names) == most]
    if len(best) > 1:
        alike = " and ".join(f'"{one.part}" from {min(one.names.values())}' for one in best[:2])
        raise InputError(f"{path}: fits in several ways, {alike}; name its parameters as the network does")
    return best[0]


def _parts(names: Named) -> list[str]:
    """List the beginnings of names, each with its dot, that are at most two words long; the empty one is that of all."""
    words = (name.split(".")[:-1] for name in names)
    found = [".".join(own[:n]) + "." for own in words for n in (1, 2) if n <= len(own)]
    return ["", *Counter(found)]


def _alike(own: torch.Tensor, value: torch.Tensor) -> bool:
    lazy = isinstance(own, (UninitializedParameter, UninitializedBuffer))
    return lazy or own.shape == value.shape


def read(paths: Sequence[str]) -> Initial:
    """Read one file of weights, or packs of one ratio; a later pack has the last word.

    Raises:
        InputError: It is none, holds code, or values that are no numbers.
    """
    found: dict[tuple[int, int], Named | torch.Tensor] = {}
    features: tuple[str, ...] = ()
    shapes: dict[tuple[int, int], networks.NetworkShape] = {}
    for path in paths:
        read_in, features, shape = READERS.get(Path(path).suffix, _torch)(path)
        found |= read_in
        shapes |= dict.fromkeys(read_in, shape) if shape else {}
    for weights in found.values():
        named = {"": weights} if isinstance(weights, torch.Tensor) else weights
        for name, value in named.items():
            _judge(paths[0], printable(name), value)
    return Initial(paths[0], found, features, shapes)


Read = tuple[Mapping[tuple[int, int], Named | torch.Tensor], tuple[str, ...], networks.NetworkShape | None]
"""Weights, the features of a pack, and the shape of its networks."""


def _judge(path: str, name: str, value: torch.Tensor) -> None:
    where = f"{name} has" if name else "has"
    strange = f"{path}: {where} values of the kind {value.dtype}, which no network of needle has"
    if value.is_complex() or value.is_quantized or value.is_nested or value.layout is not torch.strided:
        raise InputError(strange)
    if value.is_meta or value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise InputError(f"{path}: {where} a shape, {list(value.shape)}, and not the values for it")
    try:
        finite = bool(torch.isfinite(value.float()).all())
    except RuntimeError as error:
        raise InputError(strange) from error
    if not finite:
        raise InputError(f"{path}: {where} values that are no finite numbers")


def _torch(path: str) -> Read:
    """Read a file of torch, or a Lightning checkpoint."""
    try:
        return {(0, 0): _table(torch.load(path, map_location="cpu", weights_only=True))}, (), None
    except pickle.UnpicklingError as error:
        code = re.search(r"GLOBAL ([\w.]+)", str(error))
        wrong = f"holds more than weights, {code[1]}" if code else "is no file of weights, or holds more than weights"
        raise InputError(
            f'{path}: {wrong}, which is not executed; write them alone: torch.save(module.state_dict(), "weights.pt")'
        ) from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (EOFError, *hdf5.DAMAGE) as error:
        raise InputError(f"{path}: is no file of weights that can be read ({_reason(error)})") from error


def _table(found: object) -> Named:
    """Find the weights in what a file holds.

    Raises:
        InputError: There are none.
    """
    if isinstance(found, Mapping):
        for name in TABLES:
            if isinstance(found.get(name), Mapping):
                return _table(found[name])
        weights = {str(name): value for name, value in found.items() if isinstance(value, torch.Tensor)}
        if weights:
            return weights
    raise InputError("holds no weights by name, as module.state_dict() gives them")


def _safetensors(path: str) -> Read:
    """Read safetensors; those of an estimator hold its members."""
    if not find_spec("safetensors"):
        raise InputError(f'{path}: needs safetensors, not installed here; pip install "needle-parsl[onnx]"')
    from safetensors import SafetensorError  # noqa: PLC0415  an extra
    from safetensors.torch import load_file  # noqa: PLC0415  an extra

    try:
        found = load_file(path)
    except (SafetensorError, *hdf5.DAMAGE) as error:
        raise InputError(f"{path}: is no file of safetensors that can be read ({_reason(error)})") from error
    members: dict[tuple[int, int], dict[str, torch.Tensor]] = {}
    for name, value in found.items():
        if parts := MEMBER.fullmatch(name):
            members.setdefault((int(parts[1]), 0), {})[parts[2]] = value
    return members or {(0, 0): found}, (), None


def _pack(path: str) -> Read:
    """Read a pack of needle's: the weights with which its members end."""
    pack = packs.read(Path(path))
    try:
        trained = [m for m in packs.settled(pack.members) if not m.reason]
        found = {(m.member, m.fold): torch.from_numpy(m.weights) for m in trained}
    except hdf5.DAMAGE as error:
        raise InputError(f"{path}: is no pack of networks that can be read ({_reason(error)})") from error
    if not found:
        raise InputError(f"{path}: has no member that has trained")
    return found, tuple(column.name for column in pack.transform.columns), pack.shape


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return printable(f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__)[:200]


READERS: dict[str, Callable[[str], Read]] = {".safetensors": _safetensors, ".h5": _pack}
"""By the end of a file's name; any other is one of torch."""


def freeze(network: nn.Module, parts: Sequence[str]) -> None:
    """Let parts of a network stay as they are: no gradients, and the mode of evaluation.

    Raises:
        InputError: There is no such part.
    """
    for part in parts:
        if part in (own := dict(network.named_parameters())):
            own[part].requires_grad = False
        elif part in (inner := dict(network.named_modules())) and part:
            inner[part].requires_grad_(requires_grad=False).eval()
        else:
            known = [name for name in (*inner, *own) if name]
            raise InputError(f'[training] frozen: the network has no part "{part}"{closest(part, known)}')
    if parts and not any(parameter.requires_grad for parameter in network.parameters()):
        raise InputError("[training] frozen: no parameter of the network is left to train")
