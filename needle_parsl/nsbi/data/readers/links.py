"""Links of an HDF5 file: followed within the file, and to files that the user names, so that digests are those of the data."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py

from needle_parsl.nsbi.data.readers import storage

OUT = "a link to another file, {}, which is not followed; name that file in links, or copy the data with h5repack or h5copy"
NOWHERE = "a link that leads nowhere"
ELSEWHERE = (
    "its data lies in another file, {}, which is not read; name that file in links, or copy the data with h5repack"
)
NEVER = "its rows were never written"
MOST = 32
"""Links behind each other."""
SEARCHED = ("HDF5_VDS_PREFIX", "HDF5_EXTFILE_PREFIX", "HDF5_EXT_PREFIX")
"""Environment variables by which HDF5 finds other files than are written in a file."""


@dataclass(frozen=True)
class Members:
    """The columns of a group."""

    columns: dict[str, Any]
    refused: dict[str, str]
    """Why what has the name of a column cannot be read."""


def members(group: Any, allowed: Collection[str] = ()) -> Members:
    """List the data sets of a group; groups beside them are no columns.

    Args:
        group: Of an open file.
        allowed: Other files to which it may lead, as whole paths.
    """
    found: dict[str, Any] = {name: inside(group, name, allowed) for name in group}
    refused = {name: item for name, item in found.items() if isinstance(item, str)}
    columns = {name: item for name, item in found.items() if isinstance(item, h5py.Dataset)}
    refused |= {
        name: why
        for name, item in columns.items()
        if (why := _elsewhere(item, allowed, MOST) or storage.unreadable(item))
    }
    return Members({name: item for name, item in columns.items() if name not in refused}, refused)


def reached(path: str, allowed: Collection[str]) -> list[str]:
    """List the files, of those that are allowed, to which an HDF5 file leads, by itself or by one of them."""
    found, left = {path}, [path]
    while left:
        new = {name for name in _leads(left.pop()) if name in allowed} - found
        found |= new
        left += new
    return sorted(found - {path})


def _leads(path: str) -> list[str]:
    """List the other files that a file names, as whole paths; none for what is no HDF5 file, or a damaged one."""
    names: list[str] = []

    def look(_: str, item: Any) -> None:
        if isinstance(item, h5py.ExternalLink):
            names.append(item.filename)
        elif isinstance(item, h5py.Dataset):
            names.extend(_sources(item))

    try:
        with h5py.File(path, "r") as file:
            file.visititems_links(look)
            file.visititems(look)
            return [_whole(file, name) for name in names]
    except (OSError, RuntimeError, KeyError):
        return []  # reading it says what is wrong


def _sources(item: Any) -> list[str]:
    """List the files, as they are written, in which a data set has its data; none if it has its own."""
    if item.is_virtual:
        return [one.file_name for one in item.virtual_sources() if one.file_name != "."]
    return [os.fsdecode(name) for name, *_ in item.external or ()]


def _whole(file: Any, name: str) -> str:
    """Give the whole path of a file that another one names: beside it, and nowhere else."""
    return str((Path(file.filename).parent / name).resolve())


def _elsewhere(item: Any, allowed: Collection[str], left: int) -> str:
    """Say why the data of a data set is not read."""
    if not (item.is_virtual or item.external):
        return NEVER if item.size and not item.id.get_storage_size() else ""
    for name in _sources(item):
        if not _may(item.file, name, allowed) or "%" in name or not (item.is_virtual or Path(name).is_absolute()):
            return ELSEWHERE.format(name)
    if item.is_virtual and left:
        return next(filter(None, (_behind(item, one, allowed, left - 1) for one in item.virtual_sources())), "")
    return "" if left else NOWHERE


def _behind(item: Any, one: Any, allowed: Collection[str], left: int) -> str:
    """Say why a part of a virtual data set is not read."""
    file = item.file if one.file_name == "." else h5py.File(_whole(item.file, one.file_name), "r")
    found = _walk(file["/"], one.dset_name.split("/"), allowed, left)
    if isinstance(found, str):
        return found
    return _elsewhere(found, allowed, left) if isinstance(found, h5py.Dataset) else NOWHERE


def _may(file: Any, name: str, allowed: Collection[str]) -> bool:
    """Whether a file may lead to another one, which is there, and is the one that HDF5 would find."""
    place = _whole(file, name)
    return place in allowed and Path(place).is_file() and not any(os.environ.get(name) for name in SEARCHED)


def inside(group: Any, name: str, allowed: Collection[str] = ()) -> Any:
    """Find what a name of a group stands for, within what may be read; else why that cannot be."""
    return _walk(group, [name], allowed, MOST)


def _walk(group: Any, path: Sequence[str], allowed: Collection[str], left: int) -> Any:
    here = group
    for place, name in enumerate(path):
        if name in ("", "."):
            continue
        if left == 0 or not isinstance(here, h5py.Group) or (link := here.get(name, getlink=True)) is None:
            return NOWHERE
        rest = path[place + 1 :]
        if isinstance(link, h5py.ExternalLink):
            if not _may(here.file, link.filename, allowed):
                return OUT.format(link.filename)
            return _walk(_root(here.file, link.filename), [*link.path.split("/"), *rest], allowed, left - 1)
        if isinstance(link, h5py.SoftLink):
            start = here.file["/"] if link.path.startswith("/") else here
            return _walk(start, [*link.path.split("/"), *rest], allowed, left - 1)
        try:
            here = here[name]
        except (KeyError, OSError, RuntimeError):
            return NOWHERE
    return here


def _root(file: Any, name: str) -> Any:
    """Open another file; None if it is no HDF5 file."""
    try:
        return h5py.File(_whole(file, name), "r")["/"]
    except OSError:
        return None
