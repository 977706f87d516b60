"""HDF5 files as other programs write them: types that NumPy does not have, filters that are not installed, lists of words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from needle_parsl.errors import InputError
from needle_parsl.nsbi.data import readers
from needle_parsl.nsbi.programs import survey

N = 6
UNKNOWN = 32_999
"""Number of a filter that nobody has."""


def base(path: Path) -> h5py.File:
    file = h5py.File(path, "w")
    file["good"] = np.arange(float(N))
    return file


def write_with_type(file: h5py.File, name: str, kind: h5py.h5t.TypeID) -> None:
    made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    made.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    h5py.h5d.create(file.id, name.encode(), kind, h5py.h5s.create_simple((N,)), made)


def write_filtered(file: h5py.File, name: str, passed_over: int) -> None:
    """Write a chunk as a program would that has the filter (0), or that has passed it over (1)."""
    made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    made.set_chunk((N,))
    made.set_filter(UNKNOWN, h5py.h5z.FLAG_OPTIONAL)
    item = h5py.h5d.create(file.id, name.encode(), h5py.h5t.NATIVE_DOUBLE, h5py.h5s.create_simple((N,)), made)
    item.write_direct_chunk((0,), np.arange(float(N)).tobytes(), passed_over)


def wide_float() -> h5py.h5t.TypeID:
    kind = h5py.h5t.IEEE_F64LE.copy()
    kind.set_size(16)
    kind.set_precision(128)
    kind.set_fields(127, 112, 15, 0, 112)
    return kind


def time_type() -> h5py.h5t.TypeID:
    return h5py.h5t.UNIX_D32LE


@pytest.mark.parametrize("kind", [wide_float, time_type])
def test_a_type_that_numpy_does_not_have_is_named(kind: Callable[[], h5py.h5t.TypeID], tmp_path: Path) -> None:
    with base(tmp_path / "a.h5") as file:
        write_with_type(file, "odd", kind())
        compound = h5py.h5t.create(h5py.h5t.COMPOUND, 24)
        compound.insert(b"t", 0, kind())
        write_with_type(file, "records", compound)
    with readers.open_file(tmp_path / "a.h5") as reader:
        assert reader.entries == N
        with pytest.raises(
            InputError, match=r'column "odd" has a type that cannot be used \(a type that NumPy does not'
        ):
            readers.require(reader, "here", ["odd"])
        assert next(iter(reader.iterate(["good"], 0, 2, 2)))["good"].tolist() == [0, 1]
    assert survey.survey(tmp_path / "a.h5").features


def test_a_filter_that_is_not_installed_is_named(tmp_path: Path) -> None:
    with base(tmp_path / "a.h5") as file:
        write_filtered(file, "packed", passed_over=0)
        write_filtered(file, "plain", passed_over=1)
    with readers.open_file(tmp_path / "a.h5") as reader:
        with pytest.raises(
            InputError, match=rf'"packed" .*compressed by the filter {UNKNOWN}, .*pip install hdf5plugin'
        ):
            readers.require(reader, "here", ["packed"])
        assert next(iter(reader.iterate(["plain"], 0, 2, 2)))["plain"].tolist() == [0, 1]


def test_a_table_whose_filter_is_not_installed_is_refused_by_column(tmp_path: Path) -> None:
    kind = h5py.h5t.py_create(np.dtype([("x", "f8"), ("y", "f8")]))
    made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    made.set_chunk((N,))
    made.set_filter(UNKNOWN, h5py.h5z.FLAG_OPTIONAL)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        item = h5py.h5d.create(file.id, b"t", kind, h5py.h5s.create_simple((N,)), made)
        item.write_direct_chunk((0,), bytes(16 * N), 0)
    with readers.open_file(tmp_path / "a.h5") as reader:
        assert reader.entries == N
        with pytest.raises(InputError, match=r'"y" .*compressed by the filter'):
            readers.require(reader, "here", ["x", "y"])


def test_lists_of_words_are_no_text(tmp_path: Path) -> None:
    with base(tmp_path / "a.h5") as file:
        words = file.create_dataset("words", (N,), h5py.vlen_dtype(np.dtype("S2")))
        words[0] = np.array([b"a", b"bc"])
    refused = pytest.raises(InputError, match=r'"words" has a type that cannot be used \(object\)')
    with readers.open_file(tmp_path / "a.h5") as reader, refused:
        readers.require(reader, "here", ["words"])
    assert "words" not in survey.survey(tmp_path / "a.h5").features
