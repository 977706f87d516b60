"""Dask on the Parsl workers of a run: the same results as dask's own scheduler, one array of all files, shared reading."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import awkward as ak
import dask
import numpy as np
import pyarrow as pa
import pytest
import uproot
from pyarrow import parquet

from needle_parsl.errors import InputError
from needle_parsl.nsbi.data import chunks, store
from needle_parsl.nsbi.data.arrays import events
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.data.loading.parallel import Parallel
from needle_parsl.nsbi.data.loading.stretches import stretches
from needle_parsl.nsbi.data.store import Schema
from needle_parsl.site import Site
from needle_parsl.workflow import dask as graphs

JETS = ak.Array([[1.0 * i] * (i % 3) for i in range(500)])


@pytest.fixture(scope="module")
def pool() -> Iterator[graphs.Pool]:
    with graphs.workers(Site(description="t", workers_per_node=2)) as found:
        yield found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same events in two ROOT files and two Parquet files."""
    path = tmp_path_factory.mktemp("files")
    for number, rows in enumerate((slice(0, 300), slice(300, 500))):
        x, jets = np.arange(500.0)[rows], JETS[rows]
        with uproot.recreate(path / f"{number}.root") as file:
            file.mktree("events", {"x": "f8", "y": "i4", "jet": "var * float64"})
            file["events"].extend({"x": x, "y": (x % 7).astype(np.int32), "jet": jets})
        table = {"x": x, "y": (x % 7).astype(np.int32), "jet": jets.to_list(), "name": ["a"] * len(x)}
        parquet.write_table(pa.table(table), path / f"{number}.parquet", row_group_size=90)
    return path


@pytest.mark.parametrize("kind", ["root", "parquet"])
def test_one_array_of_all_files(folder: Path, pool: graphs.Pool, kind: str) -> None:
    array = events(str(folder / f"*.{kind}"), rows=100)
    assert array.npartitions >= 5
    assert set(array.fields) - {"njet"} == {"x", "y", "jet"}
    for scheduler in ("sync", pool.get):
        assert array.x.compute(scheduler=scheduler).to_list() == list(range(500))
        assert array.jet.compute(scheduler=scheduler).to_list() == JETS.to_list()
    chosen = ak.sum(array.jet[array.y > 3], axis=None)
    expected = float(ak.sum(JETS[np.arange(500) % 7 > 3]))
    assert chosen.compute(scheduler=pool.get) == chosen.compute(scheduler="sync") == expected


def test_only_the_columns_that_are_used_are_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    original = chunks.Reading.__call__

    def spy(self: chunks.Reading, piece: Any) -> Any:
        asked.append(sorted(self.kinds))
        return original(self, piece)

    monkeypatch.setattr(chunks.Reading, "__call__", spy)
    array = events(str(folder / "*.root"), rows=1000)
    assert not asked
    ak.sum(array.x[array.y > 3]).compute(scheduler="sync")
    assert asked == [["x", "y"], ["x", "y"]]


def test_files_that_do_not_fit_are_named(folder: Path, tmp_path: Path) -> None:
    parquet.write_table(pa.table({"x": [1.0]}), tmp_path / "other.parquet")
    with pytest.raises(InputError, match=r'other.parquet: has no column "y"'):
        events([str(folder / "0.parquet"), str(tmp_path / "other.parquet")])
    with pytest.raises(InputError, match="no such file"):
        events(str(tmp_path / "nothing_*.root"))


def test_graphs_give_what_dask_gives(pool: graphs.Pool) -> None:
    @dask.delayed
    def add(a: int, b: int) -> int:
        return a + b

    tree: list[Any] = [add(i, 1) for i in range(32)]
    while len(tree) > 1:
        tree = [add(a, b) for a, b in zip(tree[::2], tree[1::2], strict=True)]
    several = [add(1, 2), add(tree[0], 1)]
    assert dask.compute(*several, scheduler=pool.get) == dask.compute(*several, scheduler="sync")


def test_error_of_a_node_is_its_own(pool: graphs.Pool) -> None:
    with pytest.raises(ZeroDivisionError):
        dask.delayed(lambda x: x + 1)(dask.delayed(lambda: 1 / 0)()).compute(scheduler=pool.get)


def test_workers_read_windows(pool: graphs.Pool, tmp_path: Path) -> None:
    number = np.arange(30_000)
    found = Events(
        names=("a",), x=number.astype(np.float32)[:, None], weight=np.ones(30_000), id=number.astype(np.uint64)
    )
    store.write(tmp_path / "s.h5", found, Schema(("a",), (), 1))
    batches = Parallel(stretches({tmp_path / "s.h5": 1.0}), 512, pool.submit)
    seen = np.concatenate([batch.x[:, 0].numpy() for batch in batches])
    np.testing.assert_array_equal(np.sort(seen), number)
