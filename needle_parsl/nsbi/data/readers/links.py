"""Links of an HDF5 file: followed within the file, and never out of it, so that the digest of the file is that of its data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

OUT = "a link to another file, {}, which is not followed; copy the data with h5repack or h5copy"
NOWHERE = "a link that leads nowhere"
ELSEWHERE = "its data lies in another file, which is not read; copy it with h5repack"
NEVER = "its rows were never written"
MOST = 32
"""Links behind each other."""


@dataclass(frozen=True)
class Members:
    """The columns of a group."""

    columns: dict[str, Any]
    refused: dict[str, str]
    """Why what has the name of a column cannot be read."""


def members(file: Any, group: Any) -> Members:
    """List the data sets of a group; groups beside them are no columns."""
    import h5py

    found: dict[str, Any] = {name: inside(file, group, name) for name in group}
    refused = {name: item for name, item in found.items() if isinstance(item, str)}
    columns = {name: item for name, item in found.items() if isinstance(item, h5py.Dataset)}
    refused |= {name: why for name, item in columns.items() if (why := _elsewhere(item))}
    return Members({name: item for name, item in columns.items() if name not in refused}, refused)


def _elsewhere(item: Any) -> str:
    """Say why a data set has no data of its own."""
    if item.is_virtual or item.external:
        return ELSEWHERE
    return NEVER if item.size and not item.id.get_storage_size() else ""


def inside(file: Any, group: Any, name: str) -> Any:
    """Find what a name of a group stands for, within the file; else why that cannot be."""
    return _walk(file, group, [name], MOST)


def _walk(file: Any, group: Any, path: Sequence[str], left: int) -> Any:
    import h5py

    here = group
    for place, name in enumerate(path):
        if name in ("", "."):
            continue
        if left == 0 or not isinstance(here, h5py.Group) or (link := here.get(name, getlink=True)) is None:
            return NOWHERE
        if isinstance(link, h5py.ExternalLink):
            return OUT.format(link.filename)
        if isinstance(link, h5py.SoftLink):
            start = file["/"] if link.path.startswith("/") else here
            return _walk(file, start, [*link.path.split("/"), *path[place + 1 :]], left - 1)
        try:
            here = here[name]
        except (KeyError, OSError, RuntimeError):
            return NOWHERE
    return here
