"""Columns by any name: dots, slashes and colons at any depth, flat and jagged, in every format; equal to a direct read."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot
from problems.columns import as_awkward, equal

from needle_parsl.errors import InputError
from needle_parsl.nsbi.data import readers
from needle_parsl.nsbi.data.readers.names import Names
from needle_parsl.nsbi.programs import survey

SAMPLES = Path(os.environ.get("NEEDLE_SAMPLE_DATA", Path(__file__).parents[4] / "shared" / "data"))
FILES = sorted(SAMPLES.parent.glob("experiments/*.root")) + sorted((SAMPLES / "cms_open_data").glob("*.root"))
JETS = ak.Array([[1.0, 2.0], [], [3.0]])
FLAT = np.arange(3.0)


def read(path: Path, *names: str, tree: str = "events", step: int = 2) -> dict:
    with readers.open_file(path, tree if path.suffix == ".root" else "") as reader:
        readers.require(reader, "here", [], either=names)
        chunks = list(reader.iterate(names, 0, reader.entries, step))
    return {name: ak.concatenate([as_awkward(chunk[name]) for chunk in chunks]).to_list() for name in names}


@pytest.mark.parametrize(
    "name", ["Muon.pt", "Muon:pt", "AnalysisJetsAuxDyn:pt", "a::b.c", "MET.Phi.", "pt[0]", "Muon_pt"]
)
@pytest.mark.parametrize("values", [FLAT, JETS], ids=["flat", "jagged"])
def test_any_branch_of_a_tree_is_read(tmp_path: Path, name: str, values: ak.Array) -> None:
    path = tmp_path / "a.root"
    kind = "float64" if values is FLAT else "var * float64"
    with uproot.recreate(path) as file:
        file.mktree(
            "events",
            {name: kind, "met.x": "float32", "n": "int32"},
            counter_name=lambda c: "n" + "".join(filter(str.isalnum, c)),
        )
        file["events"].extend({name: values, "met.x": FLAT, "n": np.arange(3)})
    assert read(path, name, "met.x", "n") == {name: ak.to_list(values), "met.x": [0, 1, 2], "n": [0, 1, 2]}


@pytest.mark.parametrize("asked", ["Jet.pt", "Jet_pt", "Jet:pt", "Jet/pt"])
@pytest.mark.parametrize("called", ["Jet.pt", "Jet_pt", "Jet:pt"])
def test_a_collection_has_any_separator(tmp_path: Path, called: str, asked: str) -> None:
    path = tmp_path / "a.root"
    with uproot.recreate(path) as file:
        file.mktree("events", {called: "var * float64"}, counter_name=lambda _: "njets")
        file["events"].extend({called: JETS})
    assert read(path, asked) == {asked: JETS.to_list()}


def test_members_of_records_are_columns_at_any_depth(tmp_path: Path) -> None:
    jets = ak.Array([[{"pt": 1.0, "p4": {"x": 1.0, "y": 2.0}}], [], [{"pt": 3.0, "p4": {"x": 5.0, "y": 6.0}}] * 2])
    event = ak.Array([{"a": n, "v": [1.0] * n, "in": {"b": 2.0 * n}} for n in range(3)])
    path = tmp_path / "a.root"
    with uproot.recreate(path) as file:
        file.mkrntuple("events", {"MET.Phi": FLAT, "Jet": jets, "rec": event})
    parquet = tmp_path / "a.parquet"
    pq.write_table(pa.table({"MET.Phi": FLAT, "Jet": jets.to_list(), "rec": event.to_list()}), parquet)
    expected = {
        "MET.Phi": [0, 1, 2], "Jet_pt": [[1], [], [3, 3]], "Jet.p4.x": [[1], [], [5, 5]], "rec_a": [0, 1, 2],
        "rec.v": [[], [1], [1, 1]], "rec.in.b": [0, 2, 4],
    }  # fmt: skip
    for file in (path, parquet):
        assert read(file, *expected) == expected
        for name, values in expected.items():
            assert read(file, name) == {name: values}


def test_equal_short_names_are_asked_for_by_their_path() -> None:
    names = Names([("x", "a/x"), ("x", "b/x"), ("y", "a/y")])
    assert list(names) == ["a/x", "b/x", "y"]
    assert names.number("b/x") == 1
    assert "x" not in names
    assert "a/y" in names
    assert names.hint("x") == ", but several that end so; write the path: a/x, b/x"


def test_trees_side_by_side_are_one(tmp_path: Path) -> None:
    path = tmp_path / "a.root"
    with uproot.recreate(path) as file:
        for tree, columns in {
            "events": {"x": FLAT, "same": FLAT},
            "weights": {"w": 2 * FLAT, "same": 3 * FLAT},
            "short": {"z": FLAT[:2]},
        }.items():
            file.mktree(tree, dict.fromkeys(columns, "float64"))
            file[tree].extend(columns)
        file.mkrntuple("new", {"x": FLAT})
    assert read(path, "x", "w", "weights/same", tree="events + weights") == {
        "x": [0, 1, 2],
        "w": [0, 2, 4],
        "weights/same": [0, 3, 6],
    }
    with pytest.raises(InputError, match=r'has no column "same", but several .*: events/same, weights/same'):
        read(path, "same", tree="events + weights")
    with pytest.raises(InputError, match="trees side by side have 3 and 2 rows"):
        read(path, "x", tree="events + short")
    with pytest.raises(InputError, match="new is an RNTuple, and only TTrees are put side by side"):
        read(path, "x", tree="events + new")


@pytest.mark.slow
@pytest.mark.skipif(not FILES, reason=f"no sample files at {SAMPLES}")
@pytest.mark.parametrize("most", [12, pytest.param(10**6, marks=pytest.mark.campaign)], ids=["some", "all"])
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_columns_of_experiments_are_those_of_a_direct_read(path: Path, most: int) -> None:
    """Columns of every tree, spread over it, are equal, or are refused with a sentence."""
    compared, refused = columns_compared(path, most)
    assert compared > 0
    assert all(message.startswith(str(path)) for message in refused)


def columns_compared(path: Path, most: int) -> tuple[int, list[str]]:
    """Read the columns of a file both ways: how many are equal, and what is said of the others."""
    refused: list[str] = []
    compared = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with uproot.open(path) as file:
            trees = list(dict.fromkeys(file.keys(cycle=False, filter_classname=["TTree", "*RNTuple*"])))
            for tree in trees:
                with readers.open_file(path, tree) as reader:
                    names = list(reader.names)
                    for name in names[:: max(1, len(names) // most)]:
                        try:
                            compared += equal(reader, file[tree], name)
                        except InputError as error:
                            refused.append(str(error))
    return compared, refused


@pytest.mark.slow
@pytest.mark.skipif(not FILES, reason=f"no sample files at {SAMPLES}")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_init_passes_over_what_cannot_be_read(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = survey.survey(path)
    assert found.entries > 0
    assert not {"Particle", "Track", "Jet", "Event"} & {*found.features}  # counters of collections


def test_lhe_events_as_hdf5_are_refused_in_a_sentence() -> None:
    path = SAMPLES.parent / "experiments" / "pylhe-testfile-hpcgen.hdf5"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    with pytest.raises(
        InputError, match=r"its columns have different lengths \(events 100, init 10, .*\); expected one row per event"
    ):
        readers.open_file(path)
