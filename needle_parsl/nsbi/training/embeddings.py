"""Outputs of frozen parts for all events of a ratio, in files: each computed once, whatever packs, members and epochs need it.

A file holds those of neighbouring events, and is there as a whole or not at all. What its name is made of says all that the
numbers depend on, so that a file is never out of date, and any may be removed at any time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import torch
import xxhash
from torch import nn

from needle_parsl.errors import InputError
from needle_parsl.nsbi.data import hdf5
from needle_parsl.nsbi.data.loading.batches import Batch, ParticleBatch
from needle_parsl.nsbi.data.loading.particles import Packed
from needle_parsl.nsbi.training.engines import placing
from needle_parsl.nsbi.training.engines.refusing import NotEmbeddedError
from needle_parsl.nsbi.training.frozen import Embedding
from needle_parsl.nsbi.training.members import Settings
from needle_parsl.nsbi.training.views import RatioEvents

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Shelf:
    """Where files are kept."""

    folder: Path
    atomic: Callable[[Path], AbstractContextManager[Path]]
    """Gives a temporary name, and renames what was written to it."""
    code: str
    """A digest of the user's code, on which outputs depend."""
    memory: int
    """Bytes that the outputs for a ratio may take."""
    every: float = 8.0
    """Seconds of work between two files, as between two states of a pack."""

    def put(self, key: str, start: int, x: Floats) -> None:
        """Keep the outputs of the events from one on."""
        with (
            self.atomic(self.folder / key / f"{start:012d}-{start + len(x):012d}.h5") as path,
            h5py.File(path, "w") as f,
        ):
            f["x"], f.attrs["digest"] = x, xxhash.xxh3_128_hexdigest(np.ascontiguousarray(x).data)

    def take(self, key: str, x: Floats) -> int:
        """Fill in what is there without a gap, and say how many events that are."""
        done = 0
        for path in sorted((self.folder / key).glob("*.h5")):
            start, stop = map(int, path.stem.split("-"))
            if start <= done < stop <= len(x) and (found := _read(path, (stop - start, x.shape[1]))) is not None:
                x[start:stop], done = found, stop
        return done


def _read(path: Path, shape: tuple[int, int]) -> Floats | None:
    """Read a file; None if it is damaged, or another one."""
    try:
        with hdf5.opened(path, "file of embeddings") as file:
            found: Floats = file["x"][...]
            same = file.attrs["digest"] == xxhash.xxh3_128_hexdigest(found.data)
    except InputError:
        return None
    return found if same and found.shape == shape and found.dtype == np.float32 else None


def computed(
    events: RatioEvents,
    network: nn.Module,
    embedding: Embedding,
    settings: Settings,
    shelf: Shelf | None,
    between: Callable[[], None],
) -> Floats:
    """Compute the outputs for all events, shape (N, width), or take what is there.

    Args:
        events: Of a ratio.
        network: Whose parts they go through.
        embedding: The parts.
        settings: Of the training; as many events as in its batches are computed at a time.
        shelf: Where outputs are kept; None to compute them here and now.
        between: Called between two batches; what it raises ends the work.
    """
    x = np.empty((len(events.x), embedding.width), np.float32)
    key = _key(events, network, embedding, settings, shelf)
    done = shelf.take(key, x) if shelf else 0
    written, since = done, time.monotonic()
    for batch in _batches(events, done, settings.batch_size):
        between()
        with placing.blamed(settings.shape.network, passed=(NotEmbeddedError,)):
            x[done : done + len(batch.x)] = embedding.compute(network, batch).numpy()
        done += len(batch.x)
        if shelf and (done == len(x) or time.monotonic() - since >= shelf.every):
            shelf.put(key, written, x[written:done])
            written, since = done, time.monotonic()
    return x


def _batches(events: RatioEvents, first: int, size: int) -> Iterator[Batch | ParticleBatch]:
    """Give events in their order; a part may change its inputs in place, so that they are copies."""
    none = torch.zeros(0)
    for start in range(first, len(events.x), size):
        rows = slice(start, start + size)
        batch = Batch(events.x[rows].clone(), none, none)
        yield batch if events.particles is None else ParticleBatch(*batch, Packed.of(events.particles[rows]))


def _key(events: RatioEvents, network: nn.Module, embedding: Embedding, settings: Settings, shelf: Shelf | None) -> str:
    """Fingerprint all that outputs depend on: events, weights, code and the number of events at a time."""
    said = (embedding, settings.shape, settings.batch_size, shelf and shelf.code, torch.__version__)
    total = xxhash.xxh3_128(repr(said).encode())
    arrays = [events.x.numpy(), *([events.particles.values, events.particles.offsets] if events.particles else [])]
    for part in embedding.parts:
        inner = network.get_submodule(part)
        arrays += [own.detach().contiguous().numpy() for own in (*inner.parameters(), *inner.buffers())]
    for array in arrays:
        total.update(f"{array.dtype} {array.shape} ".encode())
        total.update(np.ascontiguousarray(array).data)
    return total.hexdigest()
