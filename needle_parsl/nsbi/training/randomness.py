"""The random states that a module may draw from: of torch, NumPy and Python; seeded, kept, and given back to others."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def seed(number: int) -> None:
    """Seed all three, as `lightning.seed_everything` does for a seed below 2**32."""
    torch.manual_seed(number % 2**63)
    np.random.seed(number % 2**32)  # noqa: NPY002  modules of users draw from NumPy's global state
    random.seed(number)


@contextmanager
def forked() -> Iterator[None]:
    """Give the states back as they were."""
    kept, plain = np.random.get_state(), random.getstate()  # noqa: NPY002  likewise
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        np.random.set_state(kept)  # noqa: NPY002  likewise
        random.setstate(plain)


def describe() -> dict[str, Any]:
    """Give the states, in tensors and numbers."""
    state: Any = np.random.get_state()  # noqa: NPY002  likewise
    name, keys, place, has, cached = state
    version, numbers, gauss = random.getstate()
    return {
        "torch": torch.random.get_rng_state(),
        "numpy": [name, torch.from_numpy(keys.astype(np.int64)), int(place), int(has), float(cached)],
        "python": [version, torch.tensor(numbers), gauss],
    }


def restore(state: Mapping[str, Any]) -> None:
    """Take them back."""
    torch.random.set_rng_state(state["torch"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002  likewise
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers.tolist()), gauss))
