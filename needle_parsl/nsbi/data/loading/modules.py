"""A LightningDataModule of every way to load: in memory, streamed, processed in torch workers, read in parallel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning
from torch.utils.data import DataLoader, Dataset

from needle_parsl.nsbi.data.loading.batches import InMemory, Streamed
from needle_parsl.nsbi.data.loading.parallel import Parallel, Submit
from needle_parsl.nsbi.data.loading.stretches import Range, Stretch, stretches
from needle_parsl.nsbi.data.loading.transforming import fitted_to_stores
from needle_parsl.nsbi.data.loading.windows import Loading

Batches = Iterable[Any]
Load = Callable[[Sequence[Stretch], Loading], Batches]
Stores = Mapping[str | Path, float]
"""The label of the events of each store."""
TRAIN: tuple[Range, ...] = ((0.0, 0.9),)
VALIDATION: tuple[Range, ...] = ((0.9, 1.0),)


class EventData(lightning.LightningDataModule):
    """Batches for training and validation."""

    def __init__(self, train: Batches, validation: Batches, loading: Loading) -> None:
        super().__init__()
        self.train, self.validation = train, validation
        self.loading = loading
        """How the events are made ready; its transform belongs to the trained network."""

    def train_dataloader(self) -> Batches:
        """Give the batches of an epoch, in an order of its own each time."""
        return self.train

    def val_dataloader(self) -> Batches:
        """Give the batches for validation."""
        return self.validation


def module(
    stores: Stores, load: Load, loading: Loading | None, train: Sequence[Range] = TRAIN, validation: Sequence[Range] = VALIDATION
) -> EventData:  # fmt: skip
    """Make a data module.

    Args:
        stores: The label of the events of each store; all labels get the same sum of weights.
        load: Makes batches of stretches.
        loading: How events are made ready; by default with a transform that is fitted to them, in 200 MiB.
        train: Ranges of the hash to train on; `stretches.fold` leaves one of k folds out.
        validation: Ranges to validate on, in an order that stays.
    """
    found = stretches(stores, train)
    loading = loading or Loading(transform=fitted_to_stores(found))
    still = replace(loading, shuffle=False, bootstrap=None)
    return EventData(load(found, loading), load(stretches(stores, validation), still), loading)


def in_memory(
    stores: Stores, batch_size: int = 1024, loading: Loading | None = None, **ranges: Sequence[Range]
) -> EventData:
    """Read everything once; the fastest way, where it fits. `ranges` are `train` and `validation` of `module`."""
    return module(stores, lambda found, how: InMemory(found, batch_size, how), loading, **ranges)


def streamed(
    stores: Stores, batch_size: int = 1024, loading: Loading | None = None, **ranges: Sequence[Range]
) -> EventData:
    """Read windows of bounded memory, one ahead, for stores of any size."""
    return module(stores, lambda found, how: Streamed(found, batch_size, how), loading, **ranges)


def processed(
    stores: Stores, process: Callable[[Any], Any], workers: int, batch_size: int = 1024, loading: Loading | None = None,
    **ranges: Sequence[Range],
) -> EventData:  # fmt: skip
    """Read in this process, and let torch's workers make of each batch what `process` returns, in the same order."""

    def load(found: Sequence[Stretch], how: Loading) -> Batches:
        batches: Any = Streamed(
            found, batch_size, how, prefetch=False
        )  # workers are forked, and a thread might hold a lock
        return DataLoader(_Processed(process), sampler=batches, batch_size=None, num_workers=workers)

    return module(stores, load, loading, **ranges)


def parallel(
    stores: Stores, submit: Submit, batch_size: int = 1024, loading: Loading | None = None, **ranges: Sequence[Range]
) -> EventData:
    """Let a pool of workers read windows for this process."""
    return module(stores, lambda found, how: Parallel(found, batch_size, submit, how), loading, **ranges)


class _Processed(Dataset[Any]):
    """Asked for a batch by itself: the sampler of its DataLoader gives batches where others give numbers."""

    def __init__(self, process: Callable[[Any], Any]) -> None:
        self.process = process

    def __getitem__(self, batch: Any) -> Any:
        return self.process(batch)
