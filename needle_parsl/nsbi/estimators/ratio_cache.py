"""Ratios that have been evaluated, kept by content: the version of the model, the events, and what was asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from needle_parsl import files

Floats = npt.NDArray[np.float64]
BYTES = 2 * 2**30
"""That are kept; what was used least recently goes first."""


class RatioCache:
    """A folder of arrays."""

    def __init__(self, folder: Path, most: int = BYTES) -> None:
        self.folder, self.most = folder, most

    @staticmethod
    def key(digest: str, x: npt.NDArray[np.float32], outputs: Sequence[str]) -> str:
        """Give the key of outputs of a version at events (N, F)."""
        said = f"{digest} {x.shape} {' '.join(outputs)}\n".encode()
        return files.digest_of(said + np.ascontiguousarray(x).tobytes())

    def get(self, key: str) -> dict[str, Floats] | None:
        """Read arrays; None if they are not there."""
        path = self.folder / f"{key}.npz"
        try:
            with np.load(path, allow_pickle=False) as found:
                arrays = {name: found[name] for name in found.files}
            path.touch()
        except (OSError, ValueError):
            return None
        return arrays

    def put(self, key: str, arrays: Mapping[str, Floats]) -> None:
        """Write arrays, and remove old ones that are too many."""
        with files.atomic(self.folder / f"{key}.npz") as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        paths = sorted(self.folder.glob("*.npz"), key=lambda path: path.stat().st_mtime, reverse=True)
        total = 0
        for path in paths:
            total += path.stat().st_size
            if total > self.most:
                path.unlink(missing_ok=True)
