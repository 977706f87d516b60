"""Windows that are read by a pool of workers, and used by one consumer: any executor, a dask client, or the workers of a run."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from needle_parsl.nsbi.data.jagged import Jagged
from needle_parsl.nsbi.data.loading import windows
from needle_parsl.nsbi.data.loading.batches import Batch, ParticleBatch, Streamed, cut
from needle_parsl.nsbi.data.loading.stretches import CellRows, Stretch
from needle_parsl.nsbi.data.loading.windows import Loading, WindowRows
from needle_parsl.nsbi.data.store import Store

Submit = Callable[..., Any]
"""Calls a function with arguments somewhere else, and returns something with `result()`."""


class Parallel:
    """Batches of an epoch, from windows that workers have read; the same batches as `Streamed` gives, in the same order."""

    def __init__(
        self, found: Sequence[Stretch], batch_size: int, submit: Submit, loading: Loading | None = None, *, ahead: int = 4,
        scratch: Path | None = None,
    ) -> None:  # fmt: skip
        """Choose what is loaded, and by whom.

        Args:
            found: From `stretches`.
            batch_size: Events of a batch.
            submit: `ThreadPoolExecutor().submit`, the `submit` of a dask client, or `workflow.dask.Pool(kernel).submit`.
            loading: How events are made ready.
            ahead: Windows that are read before they are needed.
            scratch: A folder that workers and consumer share; windows travel through it as files.
        """
        self.plain = Streamed(found, batch_size, loading, prefetch=False)
        self.submit, self.ahead, self.scratch = submit, ahead, scratch

    def __len__(self) -> int:
        """Count the batches of an epoch."""
        return len(self.plain)

    def __iter__(self) -> Iterator[Batch | ParticleBatch]:
        """Go through an epoch."""
        yield from cut(self._read(self.plain.plan()), self.plain.batch_size)

    def _read(self, plan: Iterator[tuple[int, list[CellRows]]]) -> Iterator[WindowRows]:
        with TemporaryDirectory(dir=self.scratch) as folder:
            coming: deque[Any] = deque()
            for seed, window in plan:
                coming.append(self.submit(read_apart, window, seed, self.plain.loading, folder))
                if len(coming) > self.ahead:
                    yield _taken(coming.popleft().result())
            while coming:
                yield _taken(coming.popleft().result())


def read_apart(window: Sequence[CellRows], seed: int, loading: Loading, folder: str) -> str:
    """Read a window on a worker, and leave it in a file; give its path."""
    with ExitStack() as stack:
        stores = {path: stack.enter_context(Store(path)) for path in {block.stretch.path for block in window}}
        rows = windows.read(window, seed, loading, stores)
    columns: dict[str, Any] = {"x": rows.x, "label": rows.label, "weight": rows.weight, "id": rows.id}
    if rows.particles is not None:
        columns |= {"values": rows.particles.values, "offsets": rows.particles.offsets}
    path = Path(folder) / f"{secrets.token_hex(8)}.npz"
    np.savez(path, allow_pickle=False, **columns)
    return str(path)


def _taken(path: str) -> WindowRows:
    """Read a window that a worker has left, and remove its file."""
    with np.load(path, allow_pickle=False) as file:
        particles = Jagged(file["values"], file["offsets"]) if "values" in file else None
        rows = WindowRows(file["x"], file["label"], file["weight"], file["id"], particles)
    Path(path).unlink()
    return rows
