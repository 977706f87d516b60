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
from needle_parsl.nsbi.training import user_errors
from needle_parsl.nsbi.training.frozen import Embedding
from needle_parsl.nsbi.training.members import Settings, TrainingJob
from needle_parsl.nsbi.training.ratio_events import RatioEvents
from needle_parsl.nsbi.training.refusals import NotEmbeddedError

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

    def take(self, key: str, x: Floats, seen: set[str]) -> Iterator[range]:
        """Fill in what is there, and has not been seen before; give its events."""
        for path in sorted((self.folder / key).glob("*.h5")):
            if path.name not in seen:
                seen.add(path.name)
                rows = range(*map(int, path.stem.split("-")))
                found = _read(path, (len(rows), x.shape[1])) if rows.stop <= len(x) else None
                if found is not None:
                    x[rows.start : rows.stop] = found
                    yield rows


def _read(path: Path, shape: tuple[int, int]) -> Floats | None:
    """Read a file; None if it is damaged, or another one."""
    try:
        with hdf5.opened(path, "file of embeddings") as file:
            found: Floats = file["x"][...]
            same = file.attrs["digest"] == xxhash.xxh3_128_hexdigest(found.data)
    except InputError:
        return None
    return found if same and found.shape == shape and found.dtype == np.float32 else None


class _Work:
    """What is left to compute, and what is written of it; several packs may be at it, and see what the others have written."""

    def __init__(self, x: Floats, size: int, shelf: Shelf | None, key: str) -> None:
        self.x, self.size, self.shelf, self.key = x, size, shelf, key
        self.there: set[int] = set()
        """First events of the batches that are computed."""
        self.seen: set[str] = set()
        self.run, self.since = range(0), time.monotonic()
        """Events that are computed and not yet written, and since when."""

    def left(self, first: int) -> Iterator[range]:
        """Give the events of batches that nobody has computed.

        Args:
            first: The batch to begin with; each pack begins elsewhere, so that they meet late.
        """
        starts = list(range(0, len(self.x), self.size))
        place = first % len(starts)
        self._look()
        for start in (*starts[place:], *starts[:place]):
            if start not in self.there:
                rows = range(start, min(start + self.size, len(self.x)))
                yield rows
                self._done(rows)
        self._write()

    def _done(self, rows: range) -> None:
        self.there.add(rows.start)
        if self.run.stop != rows.start:
            self._write()
        self.run = range(self.run.start if self.run else rows.start, rows.stop)
        if self.shelf and time.monotonic() - self.since >= self.shelf.every:
            self._write()
            self._look()

    def _write(self) -> None:
        if self.shelf and self.run:
            self.shelf.put(self.key, self.run.start, self.x[self.run.start : self.run.stop])
        self.run, self.since = range(0), time.monotonic()

    def _look(self) -> None:
        """See what others have written."""
        for rows in self.shelf.take(self.key, self.x, self.seen) if self.shelf else ():
            self.there |= set(rows[:: self.size])


def computed(
    events: RatioEvents,
    network: nn.Module,
    embedding: Embedding,
    job: TrainingJob,
    shelf: Shelf | None,
    between: Callable[[], None],
) -> Floats:
    """Compute the outputs for all events, shape (N, width), or take what is there.

    Args:
        events: Of a ratio.
        network: Whose parts they go through.
        embedding: The parts.
        job: Of a member; as many events as in its batches are computed at a time.
        shelf: Where outputs are kept; None to compute them here and now.
        between: Called between two batches; what it raises ends the work.
    """
    x = np.empty((len(events.x), embedding.width), np.float32)
    key = _key(events, network, embedding, job.settings, shelf)
    for rows in _Work(x, job.settings.batch_size, shelf, key).left(job.seed if shelf else 0):
        between()
        with user_errors.blamed(job.settings.shape.network, passed=(NotEmbeddedError,)):
            x[rows.start : rows.stop] = embedding.compute(network, _batch(events, rows)).numpy()
    return x


def _batch(events: RatioEvents, rows: range) -> Batch | ParticleBatch:
    """Give some events; a part may change its inputs in place, so that they are copies."""
    part, none = slice(rows.start, rows.stop), torch.zeros(0)
    batch = Batch(events.x[part].clone(), none, none)
    return batch if events.particles is None else ParticleBatch(*batch, Packed.of(events.particles[part]))


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
