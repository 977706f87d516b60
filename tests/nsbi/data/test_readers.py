"""Readers: the same columns from every format, any range of rows, kinds by name, and what they refuse."""

from __future__ import annotations

import gc
import time
from pathlib import Path

import awkward as ak
import h5py
import numpy as np
import pyarrow as pa
import pytest
import uproot
from pyarrow import csv, parquet

from needle_parsl.errors import InputError
from needle_parsl.nsbi.data import readers
from needle_parsl.nsbi.data.jagged import Jagged
from needle_parsl.nsbi.data.readers.columns import length

N = 1000
GENERATOR = np.random.default_rng(3)
FLAT = {
    "pt": GENERATOR.exponential(40, N).astype(np.float32),
    "mass": GENERATOR.normal(91, 3, N),
    "n": np.arange(N, dtype=np.int32) % 7,
    "event": np.arange(N, dtype=np.int64) + 2**40,
}
JETS = ak.Array([list(map(float, range(i % 4))) for i in range(N)])
FORMATS = ["ttree.root", "rntuple.root", "plain.parquet", "groups.h5", "records.hdf5", "text.csv"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same events in every format, in clusters of 300 rows where there are any."""
    path = tmp_path_factory.mktemp("formats")
    with uproot.recreate(path / "ttree.root") as file:
        file.mktree("events", {**{k: v.dtype for k, v in FLAT.items()}, "jet_pt": "var * float64"})
        for start in range(0, N, 300):
            rows = slice(start, start + 300)
            file["events"].extend({**{k: v[rows] for k, v in FLAT.items()}, "jet_pt": JETS[rows]})
    with uproot.recreate(path / "rntuple.root") as file:
        ntuple = file.mkrntuple("events", {**{k: v[:300] for k, v in FLAT.items()}, "jet_pt": JETS[:300]})
        for start in range(300, N, 300):
            rows = slice(start, start + 300)
            ntuple.extend({**{k: v[rows] for k, v in FLAT.items()}, "jet_pt": JETS[rows]})
    table = pa.table({**FLAT, "jet_pt": JETS.to_list()})
    parquet.write_table(table, path / "plain.parquet", row_group_size=300, write_page_checksum=True)
    csv.write_csv(pa.table(FLAT), path / "text.csv")
    with h5py.File(path / "groups.h5", "w") as file:
        for name, column in FLAT.items():
            file[f"events/{name}"] = column
    with h5py.File(path / "records.hdf5", "w") as file:
        file["events"] = np.rec.fromarrays(list(FLAT.values()), names=list(FLAT))
    return path


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(("start", "stop", "step"), [(0, N, N), (0, N, 77), (250, 650, 100), (999, N, 10), (5, 5, 10)])
def test_every_format_gives_the_same_rows(folder: Path, name: str, start: int, stop: int, step: int) -> None:
    with readers.open_file(folder / name) as reader:
        assert reader.entries == N
        chunks = list(reader.iterate(list(FLAT), start, stop, step))
    assert all(0 < length(chunk) <= step for chunk in chunks)
    for column, values in FLAT.items():
        found = np.concatenate([np.empty(0), *(chunk[column] for chunk in chunks)])
        np.testing.assert_allclose(found, values[start:stop], rtol=1e-7 if "csv" in name else 0)


@pytest.mark.parametrize("name", FORMATS[:3])
def test_jagged_columns_come_as_values_and_offsets(folder: Path, name: str) -> None:
    with readers.open_file(folder / name) as reader:
        assert reader.kind("jet_pt").startswith("jagged float")
        chunks = [chunk["jet_pt"] for chunk in reader.iterate(["jet_pt"], 290, 700, 100)]
    assert all(isinstance(chunk, Jagged) for chunk in chunks)
    np.testing.assert_array_equal(np.concatenate([c.counts for c in chunks]), ak.num(JETS[290:700]))
    np.testing.assert_array_equal(np.concatenate([c.values for c in chunks]), ak.flatten(JETS[290:700]))


@pytest.mark.parametrize("name", FORMATS)
def test_kinds_are_numpys(folder: Path, name: str) -> None:
    with readers.open_file(folder / name) as reader:
        kinds = [reader.kind(column) for column in FLAT]
    expected = ["float64", "float64", "int64", "int64"] if "csv" in name else ["float32", "float64", "int32", "int64"]
    assert kinds == expected


def test_borders_are_those_of_the_file(folder: Path) -> None:
    for name, expected in [
        ("ttree.root", 4),
        ("rntuple.root", 4),
        ("plain.parquet", 4),
        ("groups.h5", 1),
        ("text.csv", 1),
    ]:
        with readers.open_file(folder / name) as reader:
            borders = list(reader.borders(list(FLAT)))
        assert (borders[0], borders[-1], len(borders)) == (0, N, expected + 1)


def test_jagged_picks_events_in_any_order() -> None:
    column = Jagged(np.arange(6.0), np.array([0, 2, 2, 5, 6]))
    picked = column[np.array([2, 0, 1])]
    np.testing.assert_array_equal(picked.values, [2, 3, 4, 0, 1])
    np.testing.assert_array_equal(picked.counts, [3, 2, 0])
    np.testing.assert_array_equal(column[1:3].values, [2, 3, 4])


def test_flipped_byte_in_a_parquet_page_is_found(folder: Path, tmp_path: Path) -> None:
    data = bytearray((folder / "plain.parquet").read_bytes())
    data[len(data) // 3] ^= 1
    (tmp_path / "bad.parquet").write_bytes(data)
    with readers.open_file(tmp_path / "bad.parquet") as reader, pytest.raises(InputError, match="is damaged"):
        list(reader.iterate(list(FLAT), 0, N, N))


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda f: f.create_dataset("a", data=[1.0, 2.0]) and f.create_dataset("b", data=[1.0]), "different lengths"),
        (lambda f: (f.create_dataset("s/a", data=[1.0]), f.create_dataset("t/a", data=[1.0])), "several tables"),
        (lambda _: None, "contains no table"),
    ],
)
def test_hdf5_that_is_no_table(tmp_path: Path, write: object, said: str) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        write(file)  # type: ignore[operator]
    with pytest.raises(InputError, match=said):
        readers.open_file(tmp_path / "a.h5")


def test_csv_whose_numbers_become_words(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n" + "1,2\n" * 2_000_000 + "one,2\n")
    with (
        pytest.raises(InputError, match=r"a.csv: is damaged, or a column is something else further down: .*one"),
        readers.open_file(tmp_path / "a.csv") as reader,
    ):
        list(reader.iterate(["x"], 0, reader.entries, 10**6))


def test_real_rntuple_has_particles_and_their_counter(sample_data: Path) -> None:
    name = "Run2012BC_DoubleMuParked_Muons_1000evts_rntuple_v1-0-0-0.root"
    with readers.open_file(sample_data / "cms_open_data" / name) as reader:
        assert (reader.entries, reader.kind("Muon_pt"), reader.kind("nMuon")) == (1000, "jagged float32", "int64")
        (chunk,) = reader.iterate(["Muon_pt", "nMuon"], 0, 1000, 1000)
    np.testing.assert_array_equal(chunk["Muon_pt"].counts, chunk["nMuon"])


@pytest.mark.slow
def test_particles_of_the_same_events_from_ttree_rntuple_and_parquet(sample_data: Path) -> None:
    names = ["Muon_pt", "Jet_eta", "Electron_phi"]
    found = []
    for file, tree in (("nano_dy.root", "Events"), ("nano_dy_rntuple.root", ""), ("nano_dy.parquet", "")):
        with readers.open_file(sample_data / "cms_open_data" / file, tree) as reader:
            (chunk,) = reader.iterate(names, 0, 40, 100)
        found.append(chunk)
    for name in names:
        for other in found[1:]:
            np.testing.assert_array_equal(found[0][name].values, other[name].values)
            np.testing.assert_array_equal(found[0][name].offsets, other[name].offsets)


@pytest.mark.parametrize(
    ("name", "tree", "column", "kind"),
    [
        ("nanoAOD_2015_CMS_Open_Data_ttbar.root", "Events", "Jet_pt", "jagged float32"),
        ("uproot-HZZ.root", "events", "Muon_Charge", "jagged int32"),
        ("uproot-HZZ.root", "", "EventWeight", "float32"),
    ],
)
def test_real_trees(sample_data: Path, name: str, tree: str, column: str, kind: str) -> None:
    with readers.open_file(sample_data / "cms_open_data" / name, tree) as reader:
        assert reader.kind(column) == kind
        assert sum(length(chunk) for chunk in reader.iterate([column], 0, reader.entries, 99)) == reader.entries


def test_a_thousand_fields_are_listed_at_once(sample_data: Path) -> None:
    """Each of them was once looked for among all others."""
    started = time.process_time()
    with readers.open_file(sample_data / "cms_open_data" / "nano_dy_rntuple.root") as reader:
        assert len(reader.names) > 1000
        assert reader.kind("MET_pt") == "float32"
    assert time.process_time() - started < 5


@pytest.mark.slow
def test_a_parquet_file_leaves_nothing_behind(tmp_path: Path) -> None:
    """No cycle of references: the metadata of many row groups would stay until Python looks for such."""
    path = tmp_path / "many.parquet"
    parquet.write_table(pa.table({"a": np.arange(100.0), "b": [[1.0]] * 100}), path, row_group_size=10)
    gc.collect()
    gc.disable()
    try:
        with readers.open_file(path) as file:
            read = [columns["a"] for columns in file.iterate(["a", "b"], 5, 35, 10)]
        del file
        assert gc.collect() == 0
    finally:
        gc.enable()
    assert np.array_equal(np.concatenate(read), np.arange(5.0, 35.0))
