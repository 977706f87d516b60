"""Files as others write them: odd types, records, nulls, quotes and damage. Each works, or gives one clear sentence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import awkward as ak
import h5py
import numpy as np
import pyarrow as pa
import pytest
import uproot
from pyarrow import parquet

from needle_parsl.errors import InputError
from needle_parsl.nsbi.data import conversion
from needle_parsl.nsbi.data.particles import ParticleRecipe
from needle_parsl.nsbi.data.recipes import FileRange, InputFile, Recipe

N = 60
GENERATOR = np.random.default_rng(8)
X = GENERATOR.normal(size=N)
COUNTS = GENERATOR.integers(0, 4, N)
JETS = ak.unflatten(GENERATOR.exponential(30, COUNTS.sum()).astype(np.float32), COUNTS)
RECORDS = ak.zip({"x": X, "Jet": ak.zip({"pt": JETS, "eta": JETS / 10}), "M": ak.zip({"a": X})}, depth_limit=1)


def table(path: Path, **columns: Any) -> None:
    parquet.write_table(pa.table({"x": X, **columns}), path)


def ntuple(path: Path, **columns: Any) -> None:
    with uproot.recreate(path) as file:
        file.mkrntuple("events", {"x": X, **columns})


def hdf5(path: Path, **columns: Any) -> None:
    with h5py.File(path, "w") as file:
        for name, column in {"x": X, **columns}.items():
            file[f"events/{name}"] = column


def vectors(path: Path) -> None:
    hdf5(path)
    with h5py.File(path, "a") as file:
        rows = file.create_dataset("events/Jet_pt", (N,), h5py.vlen_dtype(np.float32))
        for number, jets in enumerate(JETS):
            rows[number] = np.asarray(jets)


def groups(path: Path) -> None:
    data = pa.table({"x": X})
    with parquet.ParquetWriter(path, data.schema) as writer:
        for start, stop in ((0, 0), (0, 20), (20, 20), (20, N), (N, N)):
            writer.write_table(data.slice(start, stop - start))


def records(path: Path) -> None:
    rows = np.zeros(N, [("x", ">f8"), ("name", "S4"), ("flag", "?"), ("v", "f4", (3,))])
    rows["x"], rows["flag"] = X, X > 0
    with h5py.File(path, "w") as file:
        file["events"] = rows


def text(*lines: str) -> Callable[[Path], None]:
    return lambda path: path.write_text("\n".join(lines) + "\n", encoding="utf-8") and None


def convert(path: Path, names: Sequence[str], selection: str = "", jets: tuple[str, ...] = (), weight: str = "") -> Any:
    particles = ParticleRecipe(jets, "Jet" if jets != ("list",) else "", 4) if jets else None
    recipe = Recipe(
        sample="s",
        features=tuple(names),
        weight=weight or 1.0,
        selections=(selection,) if selection else (),
        id=(),
        derived=(),
        computed=(),
        particles=particles,
    )
    return conversion.convert(FileRange(InputFile(path=str(path), tree="", label="label")), recipe)


NULLS = pa.array([None if i % 2 else 1.0 for i in range(N)])
WORKS: dict[str, tuple[str, Callable[[Path], None], dict[str, Any], int]] = {
    "row groups without rows": ("a.parquet", groups, {}, N),
    "records of parquet": ("a.parquet", lambda p: ak.to_parquet(RECORDS, p) and None, {"names": ("x", "M_a")}, N),
    "decimals": ("a.parquet", lambda p: table(p, d=pa.array([1] * N, pa.decimal128(9, 2))), {"names": ("d",)}, N),
    "half precision": ("a.parquet", lambda p: table(p, h=X.astype(np.float16)), {"names": ("h",)}, N),
    "nulls that are selected away": ("a.parquet", lambda p: table(p, v=NULLS), {"names": ("v",), "selection": "v > 0"}, N // 2),
    "conditions with nulls": ("a.parquet", lambda p: table(p, b=pa.array([True, None] * (N // 2))), {"selection": "b"}, N // 2),
    "categories": (
        "a.parquet",
        lambda p: table(p, c=pa.array(["sig", "bkg"] * (N // 2)).dictionary_encode()),
        {"selection": 'c == "sig"'},
        N // 2,
    ),
    "text in an ntuple": ("a.root", lambda p: ntuple(p, s=ak.Array(["ab"] * N)), {"selection": 's == "ab"'}, N),
    "records of hdf5": ("a.h5", records, {"names": ("x", "flag")}, N),
    "big-endian": ("a.h5", lambda p: hdf5(p, be=X.astype(">f4")), {"names": ("be",)}, N),
    "quotes": ("a.csv", text('"x","a, b"', *['1.5,"he said ""no"", twice"'] * N), {"names": ("x",)}, N),
    "a byte order mark": ("a.csv", text("\ufeffx,y", *["1.5,2"] * N), {"names": ("x", "y")}, N),
    "small integers beyond their range": (
        "a.root",
        lambda p: ntuple(p, u=np.full(N, 200, np.uint8)),
        {"selection": "u * 300 > 59999"},
        N,
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", WORKS)
def test_odd_file_is_read(tmp_path: Path, what: str) -> None:
    name, write, asked, rows = WORKS[what]
    write(tmp_path / name)
    events = convert(tmp_path / name, **{"names": ("x",), **asked})
    assert len(events) == rows
    assert np.isfinite(events.x).all()


JAGGED: dict[str, tuple[str, Callable[[Path], None]]] = {
    "list of records in parquet": ("a.parquet", lambda p: ak.to_parquet(RECORDS, p) and None),
    "collection of an ntuple": ("a.root", lambda p: ntuple(p, Jet=ak.zip({"pt": JETS, "eta": JETS / 10}))),
    "vectors of hdf5": ("a.h5", vectors),
}


@pytest.mark.parametrize("what", JAGGED)
def test_particles_come_from_records(tmp_path: Path, what: str) -> None:
    name, write = JAGGED[what]
    write(tmp_path / name)
    found = convert(tmp_path / name, ("x",), jets=("pt",)).particles
    np.testing.assert_array_equal(found.counts, ak.num(JETS))
    np.testing.assert_array_equal(found.values[:, 0], ak.flatten(JETS))


SAYS: dict[str, tuple[str, Callable[[Path], None], dict[str, Any], str]] = {
    "no table of commas": ("a.csv", text("x;y", "1;2"), {}, r"a.csv: its columns are separated by ';'; expected commas"),
    "no names": ("a.csv", text("1.5,2", "1,2"), {}, r"its first line holds numbers; expected the names of the columns"),
    "two of a name": ("a.csv", text("x,x", "1,2"), {}, r'has several columns called "x"; give each a name of its own'),
    "dates": ("a.parquet", lambda p: table(p, t=pa.array([1] * N, pa.timestamp("s"))), {"names": ("t",)}, r'"t" has a type that cannot be used \(timestamp'),
    "nothing but nulls": ("a.parquet", lambda p: table(p, v=pa.nulls(N)), {"names": ("v",)}, rf'"v" is NaN or infinite in {N} of {N} events'),
    "lists of lists": ("a.parquet", lambda p: table(p, v=pa.array([[[1.0]]] * N)), {"names": ("v",)}, r'"v" has a type that cannot be used \(list'),
    "a list": ("a.parquet", lambda p: table(p, v=pa.array([[1.0]] * N)), {"names": ("v",)}, r'"v" is not flat \(jagged float64\)'),
    "a fixed array": ("a.root", lambda p: ntuple(p, m=np.zeros((N, 3))), {"names": ("m",)}, r'"m" has a type that cannot be used \(std::array'),
    "text as a feature": ("a.h5", lambda p: hdf5(p, s=np.array([b"ab"] * N)), {"names": ("s",)}, r'column "s" holds no numbers'),
    "text as a weight": ("a.parquet", lambda p: table(p, s=["a"] * N), {"weight": "s"}, r"the weight holds no numbers"),
    "text compared with numbers": ("a.parquet", lambda p: table(p, s=["a"] * N), {"selection": "s > 3"}, r'"s > 3" cannot be computed'),
    "whole numbers beyond 2^63": (
        "a.root",
        lambda p: ntuple(p, u=np.arange(N).astype(np.uint64) + np.uint64(2**63)),
        {"selection": "u > 5"},
        r'"u > 5" cannot be computed: there are whole numbers up to \d+, and only those below 2\^63',
    ),
    "a parquet file called .root": ("a.root", table, {}, r"a.root: is no readable ROOT file"),
    "a folder": ("a.root", lambda p: p.mkdir(), {}, r"a.root: is a folder; name the files in it"),
    "bytes": ("a.csv", lambda p: p.write_bytes(bytes(range(256)) * 9) and None, {}, r"a.csv: .*"),
}  # fmt: skip


@pytest.mark.parametrize("what", SAYS)
def test_what_cannot_be_read_is_one_sentence(tmp_path: Path, what: str) -> None:
    name, write, asked, said = SAYS[what]
    write(tmp_path / name)
    with pytest.raises(InputError, match=said) as caught:
        convert(tmp_path / name, **{"names": ("x",), **asked})
    assert str(caught.value).startswith(str(tmp_path / name))
    assert len(str(caught.value).splitlines()) == 1
    assert str(caught.value).isprintable()


def test_csv_without_rows_has_no_events(tmp_path: Path) -> None:
    text("x,y")(tmp_path / "a.csv")
    assert len(convert(tmp_path / "a.csv", ("x",))) == 0
