"""Files of other people's, in a folder that NEEDLE_PUBLIC_FILES names: equal to a direct read, or refused in a sentence.

docs/data.md lists what was tried. `NEEDLE_PUBLIC_FILES=... python -m pytest -m campaign -rP tests/nsbi/data/test_public_files.py`
"""

from __future__ import annotations

import os
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from functools import reduce
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
import uproot
from problems.columns import as_awkward, equal

from needle_parsl.errors import InputError
from needle_parsl.nsbi.data import readers
from needle_parsl.nsbi.data.jagged import Jagged
from needle_parsl.nsbi.data.readers.columns import flat, jagged
from needle_parsl.nsbi.programs import survey

FOLDER = os.environ.get("NEEDLE_PUBLIC_FILES", "")
KINDS = (".root", ".parquet", ".h5", ".hdf5")
ROWS, COLUMNS = 500, 60
"""Rows of a column and columns of a tree that are compared."""


def parts(path: Path) -> list[str]:
    """List the trees of a ROOT file, groups and tables of an HDF5 file; "" where there is only one, or none can be found."""
    if path.suffix == ".root":
        with uproot.open(path) as file:
            return list(dict.fromkeys(file.keys(cycle=False, filter_classname=["TTree", "*RNTuple*"])))
    if path.suffix in (".h5", ".hdf5"):
        found: list[str] = []
        with h5py.File(path) as file:
            file.visititems(lambda name, _: found.append(name))
        return [*found, "/"]
    return [""]


def member(row: Any, name: str) -> Any:
    if row is None:
        return None
    return [member(one, name) for one in row] if isinstance(row, list) else row[name]


def parquet(path: Path, name: str) -> list[Any]:
    """Read a column with pyarrow alone; its name says which members of records it is."""
    table = pq.read_table(path).slice(0, ROWS)
    first = max((one for one in table.schema.names if name == one or name.startswith((f"{one}.", f"{one}_"))), key=len)
    members = name[len(first) + 1 :].split(".") if name != first else []
    return [reduce(member, members, row) for row in table[first].to_pylist()]


def hdf5(path: Path, part: str, name: str) -> list[Any]:
    with h5py.File(path) as file:
        found = file[part]
        return list(found[name][:ROWS] if isinstance(found, h5py.Group) else found[:ROWS][name])


def as_lists(value: Any) -> Any:
    """Values as Python has them; null is NaN."""
    if value is None or value is np.ma.masked:
        return np.nan
    if isinstance(value, list | tuple | np.ndarray):
        return [as_lists(one) for one in value]
    return value.decode() if isinstance(value, bytes) else value.item() if isinstance(value, np.generic) else value


def found(reader: readers.Reader, name: str) -> list[Any]:
    chunks = [chunk[name] for chunk in reader.iterate([name], 0, min(reader.entries, ROWS), 200)]
    return [row for one in chunks for row in (as_awkward(one).to_list() if isinstance(one, Jagged) else list(one))]


def sentence(path: Path, error: InputError) -> str:
    """Give what is said of a file without its name, which it must have."""
    assert str(path) in str(error)
    return str(error).replace(str(path), "").lstrip(": ")[:120]


def compare(path: Path, part: str, reader: readers.Reader) -> Iterator[str]:
    """Say of each column whether it is `equal`, is `of no type` that needle reads, or was `refused`."""
    names = list(reader.names)
    tree = uproot.open({path: part}) if path.suffix == ".root" else None
    for name in names[:: max(1, len(names) // COLUMNS)]:
        kind = reader.kind(name)
        if not flat(kind) and not jagged(kind):
            yield "of no type that is read"
            continue
        try:
            if tree is not None:
                equal(reader, tree, name)
            else:
                expected = parquet(path, name) if path.suffix == ".parquet" else hdf5(path, part, name)
                lists = [[] if row is None and jagged(kind) else row for row in expected]
                np.testing.assert_equal(as_lists(found(reader, name)), as_lists(lists), err_msg=f"{path} {name}")
        except InputError as error:
            yield "refused" if sentence(path, error) else ""
        else:
            yield "equal"


@pytest.mark.campaign
@pytest.mark.skipif(not FOLDER, reason="NEEDLE_PUBLIC_FILES names no folder")
def test_public_files_are_read_as_others_read_them_or_refused() -> None:
    warnings.simplefilter("ignore")
    counts: Counter[str] = Counter()
    files = [path for path in sorted(Path(FOLDER).rglob("*")) if path.suffix in KINDS and path.is_file()]
    for path in files:
        said, columns = set(), Counter[str]()
        try:
            trees = parts(path)
        except Exception as error:  # noqa: BLE001  of the other library's
            trees = [""]
            said.add(f"the other library: {type(error).__name__}")
        for part in trees or [""]:
            try:
                with readers.open_file(path, part) as reader:
                    columns.update(compare(path, part, reader))
            except InputError as error:
                said.add(sentence(path, error))
        try:
            survey.survey(path)
        except InputError as error:
            said.add(sentence(path, error))
        assert columns or said, path
        counts.update(columns)
        counts["files with equal columns"] += bool(columns["equal"])
        counts["files refused whole"] += not columns
        sys.stdout.write(f"{path.relative_to(FOLDER)}: {dict(columns)} {sorted(said)[:2] if not columns else ''}\n")
    sys.stdout.write(f"{len(files)} files: {dict(counts)}\n")
    assert len(files) >= 60
