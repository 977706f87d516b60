"""The state of a pack in training: what it takes to go on after a kill, to the same bits. HDF5, never a pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from needle_parsl.errors import InputError
from needle_parsl.nsbi.data import hdf5
from needle_parsl.nsbi.training import packs
from needle_parsl.nsbi.training.packs import Trained


@dataclass(frozen=True)
class State:
    """Where a pack stands."""

    finished: tuple[Trained, ...] = ()
    """Members that need no more work."""
    running: tuple[Mapping[str, Any], ...] = ()
    """The trainings in progress, each with the `name` of its member: tables and lists of tensors, numbers and texts."""


FORM = 2
"""Of what engines describe; a state of another form is none, and its pack begins anew. 2: names of layers without those of dropout."""
Offer = Callable[[Callable[[], State]], None]
"""What an engine calls between two steps, with how to describe its state. May raise, and training ends there."""


def never(_: Callable[[], State]) -> None:
    """Keep no state: for trainings that are too short to be worth it."""


def write(path: Path, state: State, key: str) -> None:
    """Write a state.

    Args:
        path: A file that does not exist yet.
        state: What to write.
        key: Of the task that it belongs to.

    Raises:
        TypeError: The engine described its state with something else than tensors and plain values.
    """
    with h5py.File(path, "w") as file:
        file.attrs["key"], file.attrs["form"] = key, FORM
        put(file, state)
        file.attrs["digest"] = _digest(file)


def put(group: h5py.Group, state: State) -> None:
    """Write a state into a group of its own.

    Raises:
        TypeError: As `write`.
    """
    tensors: list[torch.Tensor] = []
    tree = json.dumps(_encode(state.running, tensors))
    group["running"] = np.frombuffer(tree.encode(), np.uint8)
    for number, tensor in enumerate(tensors):
        group[f"tensors/{number}"] = tensor.detach().cpu().numpy()
    if state.finished:
        packs.put(group.create_group("finished"), state.finished)


def take(group: h5py.Group) -> State:
    """Read what `put` has written."""
    tree = json.loads(group["running"][...].tobytes())
    tensors = [torch.from_numpy(group[f"tensors/{n}"][...]) for n in range(len(group.get("tensors", ())))]
    finished = packs.take(group["finished"]) if "finished" in group else ()
    return State(finished, tuple(_decode(tree, tensors)))


def read(path: Path, key: str) -> State | None:
    """Read a state; None if there is none, if it is another task's, or if a single bit of it has changed."""
    try:
        with h5py.File(path, "r") as file:
            hdf5.plain(file)
            if (file.attrs["key"], file.attrs["form"]) != (key, FORM) or file.attrs["digest"] != _digest(file):
                return None
            return take(file)
    except (InputError, *hdf5.DAMAGE):  # whatever h5py says of damaged files
        return None


def _digest(file: h5py.File) -> str:
    """Fingerprint the content: names, types, shapes and bytes of all data sets."""
    total = hashlib.blake2b(digest_size=16)

    def add(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            total.update(f"{name} {item.dtype} {item.shape} ".encode() + item[...].tobytes())

    file.visititems(add)
    return total.hexdigest()


def _encode(value: Any, tensors: list[torch.Tensor]) -> Any:
    """Turn nested tables and lists into JSON, with the tensors set aside; keys of tables may be numbers."""
    if isinstance(value, torch.Tensor):
        tensors.append(value)
        return {"tensor": len(tensors) - 1}
    if isinstance(value, Mapping):
        return {"table": [[_encode(k, tensors), _encode(v, tensors)] for k, v in value.items()]}
    if isinstance(value, (list, tuple)):
        return {type(value).__name__: [_encode(item, tensors) for item in value]}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"a training state cannot hold {type(value).__name__}")


def _decode(value: Any, tensors: list[torch.Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "table":
        return {_decode(k, tensors): _decode(v, tensors) for k, v in content}
    items = [_decode(item, tensors) for item in content]
    return tuple(items) if kind == "tuple" else items
