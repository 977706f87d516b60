"""A dataset: weighted events with every learned log ratio, and what the model needs to know of the samples' yields."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Dataset:
    """Events of an Asimov data set, or observed ones."""

    x: npt.NDArray[np.float32]
    """Features, shape (N, F)."""
    weight: Floats
    """Shape (N,): the samples' yields for simulation, 1 for observed events."""
    sample: npt.NDArray[np.int64]
    """Index into `samples`, shape (N,); -1 for observed events."""
    samples: tuple[str, ...]
    ratios: Mapping[str, Floats]
    """Log ratio by name, each of shape (N,)."""
    yields: Mapping[str, float]
    """Expected events by sample and by varied sample, `background.jes.up`; empty for observed events."""


def write(path: Path, dataset: Dataset) -> None:
    """Write a dataset as HDF5."""
    with h5py.File(path, "w") as file:
        file["x"], file["weight"], file["sample"] = dataset.x, dataset.weight, dataset.sample
        for name, values in dataset.ratios.items():
            file[f"log_ratio/{name}"] = values
        file.attrs["samples"], file.attrs["yields"] = json.dumps(dataset.samples), json.dumps(dict(dataset.yields))


def read(path: Path) -> Dataset:
    """Read a dataset."""
    with h5py.File(path, "r") as file:
        group = file["log_ratio"] if "log_ratio" in file else {}
        return Dataset(
            file["x"][...],
            file["weight"][...],
            file["sample"][...],
            tuple(json.loads(file.attrs["samples"])),
            {name: values[...] for name, values in group.items()},
            json.loads(file.attrs["yields"]),
        )
