"""A pack file: the members that one task has trained, stacked, with their histories. HDF5, never a pickle."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote

import h5py
import numpy as np
import numpy.typing as npt

from needle_parsl.nsbi.data import hdf5
from needle_parsl.nsbi.training import networks
from needle_parsl.nsbi.training.networks import NetworkShape
from needle_parsl.nsbi.transforms.transform import Transform


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A member after training."""

    member: int
    fold: int
    seed: int
    weights: npt.NDArray[np.float32]
    """Parameters of the best epoch as one vector, shape (P,)."""
    history: npt.NDArray[np.float64]
    """Training and validation loss by epoch, shape (E, 2)."""
    best_epoch: int
    """Counted from 0."""
    reason: str
    """Why it failed; empty if it did not."""
    engine: str = ""
    """Which engine trained it; empty if none could."""
    metrics: Mapping[str, npt.NDArray[np.float64]] = field(default_factory=dict)
    """What else was measured on the validation events, and the learning rate, by epoch: shape (E,) each."""
    kept: Mapping[int, npt.NDArray[np.float32]] = field(default_factory=dict)
    """Weights at the lengths at which it might have ended, by epochs; empty where its own best epoch counts. Shape (P,) each."""
    settings: str = ""
    """What it has of its own in a mixed ensemble, in words."""
    shape: NetworkShape | None = None
    """Of its network, where packs of several shapes are joined and it is not that of all; never in a file."""


@dataclass(frozen=True)
class Pack:
    """The content of a pack file."""

    shape: NetworkShape
    transform: Transform
    """Of the features, with that of particles if its networks see them."""
    members: tuple[Trained, ...]


def write(path: Path, pack: Pack) -> None:
    """Write a pack; shorter histories are filled with NaN."""
    with h5py.File(path, "w") as file:
        file.attrs["shape"] = json.dumps(asdict(pack.shape))
        file["transform"] = pack.transform.to_json()
        put(file, pack.members)


def read(path: Path) -> Pack:
    """Read a pack."""
    with hdf5.opened(path, "pack of networks") as file:
        shape = networks.described(file.attrs["shape"])
        return Pack(shape, Transform.from_json(file["transform"].asstr()[()]), take(file))


def put(group: h5py.Group, members: Sequence[Trained]) -> None:
    """Write members, stacked."""
    epochs = max(len(m.history) for m in members)
    history = np.full((len(members), epochs, 2), np.nan)
    for row, m in zip(history, members, strict=True):
        row[: len(m.history)] = m.history
    for name in dict.fromkeys(name for m in members for name in m.metrics):
        curves = [m.metrics.get(name, np.empty(0)) for m in members]
        group[f"metrics/{_quoted(name)}"] = np.stack(
            [np.pad(c, (0, epochs - len(c)), constant_values=np.nan) for c in curves]
        )
    group["weights"], group["history"] = np.stack([m.weights for m in members]), history
    group["seed"] = np.array([m.seed for m in members], np.uint64)
    group["epochs"] = np.array([len(m.history) for m in members], np.int64)
    for name in ("member", "fold", "best_epoch"):
        group[name] = np.array([getattr(m, name) for m in members], np.int64)
    lengths = sorted({epochs for m in members for epochs in m.kept})
    if lengths:  # a member that has no length ended before
        none = np.full_like(members[0].weights, np.nan)
        group["lengths"] = np.array(lengths, np.int64)
        group["kept"] = np.stack([np.stack([m.kept.get(epochs, none) for epochs in lengths]) for m in members])
        group["reached"] = np.array([[epochs in m.kept for epochs in lengths] for m in members])
    group["reason"] = np.array([m.reason.encode() for m in members], "S200")
    group["engine"] = np.array([m.engine.encode() for m in members], "S16")
    if any(m.settings for m in members):
        group["settings"] = json.dumps([m.settings for m in members])


def _quoted(name: str) -> str:
    """Write a name that a module has logged as one of HDF5, to which slashes and single dots mean something."""
    return name.replace("%", "%25").replace("/", "%2F") if name.strip(".") else "%2E" * len(name)


def take(group: h5py.Group) -> tuple[Trained, ...]:
    """Read members."""
    names = ("member", "fold", "seed", "weights", "history", "epochs", "best_epoch")
    columns = {name: group[name][...] for name in names}
    metrics = {unquote(name): group["metrics"][name][...] for name in group.get("metrics", ())}
    lengths = group["lengths"][...].tolist() if "lengths" in group else []
    settings = json.loads(group["settings"].asstr()[()]) if "settings" in group else [""] * len(columns["member"])
    reached, weights = (group["reached"][...], group["kept"][...]) if lengths else (np.empty(0), np.empty(0))
    return tuple(
        Trained(
            member=int(columns["member"][k]),
            fold=int(columns["fold"][k]),
            seed=int(columns["seed"][k]),
            weights=columns["weights"][k],
            history=columns["history"][k][: columns["epochs"][k]],
            best_epoch=int(columns["best_epoch"][k]),
            reason=reason.decode(errors="replace"),
            engine=engine.decode(),
            metrics={name: curves[k][: columns["epochs"][k]] for name, curves in metrics.items()},
            kept={epochs: weights[k, n] for n, epochs in enumerate(lengths) if reached[k, n]},
            settings=str(settings[k]),
        )
        for k, (reason, engine) in enumerate(zip(group["reason"][...], group["engine"][...], strict=True))
    )


def join(packs: Sequence[Pack]) -> Pack:
    """Put packs of one ratio together, in canonical order of member and fold; their networks may have several shapes."""
    shape, members = packs[0].shape, [_shaped(m, pack.shape, packs[0].shape) for pack in packs for m in pack.members]
    transform = next((pack.transform for pack in packs if pack.transform.particles), packs[0].transform)
    return Pack(shape, transform, tuple(sorted(members, key=lambda m: (m.member, m.fold))))


def _shaped(member: Trained, own: NetworkShape, common: NetworkShape) -> Trained:
    return member if own == common else replace(member, shape=own)


def headed(pack: Pack, head: Callable[[NetworkShape], NetworkShape]) -> Pack:
    """Change all shapes of a pack."""
    members = tuple(m if m.shape is None else replace(m, shape=head(m.shape)) for m in pack.members)
    return replace(pack, shape=head(pack.shape), members=members)


def settled(members: Sequence[Trained]) -> tuple[Trained, ...]:
    """Let all members that trained alike have the same length: that with the smallest mean loss on the events that validate them.

    One member's validation events alone would choose by chance; so would its best epoch. A member that ended before a length stands for it
    with its last one.
    """
    alike: dict[str, list[Trained]] = {}
    for m in members:
        alike.setdefault(m.settings, []).append(m)
    found = {(m.member, m.fold): m for own in alike.values() for m in _settled(own)}
    return tuple(found[m.member, m.fold] for m in members)


def _settled(members: Sequence[Trained]) -> Sequence[Trained]:
    lengths = sorted({epochs for m in members if not m.reason for epochs in m.kept})
    if not lengths:
        return members
    losses = [_losses(m, lengths) for m in members if not m.reason and m.kept]
    best = lengths[int(np.mean(losses, axis=0).argmin())]
    return [m if m.reason or not m.kept else _ended(m, max(e for e in m.kept if e <= best)) for m in members]


def _losses(member: Trained, lengths: Sequence[int]) -> list[float]:
    """Give the validation loss at each length."""
    last = max(member.kept)
    return [float(member.history[min(epochs, last) - 1, 1]) for epochs in lengths]


def _ended(member: Trained, epochs: int) -> Trained:
    return replace(member, weights=member.kept[epochs], best_epoch=epochs - 1, kept={})
