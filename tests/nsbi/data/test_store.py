"""The store: equal bits however the events were spread, exact sums, ranges of rows by purpose, and damage that is seen."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pytest

from needle_parsl.errors import InputError
from needle_parsl.nsbi.data import store
from needle_parsl.nsbi.data.events import Events, Fractions
from needle_parsl.nsbi.data.jagged import Jagged, ends
from needle_parsl.nsbi.data.store import Lost, Schema, Store, StoredSource
from needle_parsl.nsbi.data.store.layout import CELL, bits_for, pooled, runs

N = 60_000
SCHEMA = Schema(("a", "b"), ("pt", "eta"), salt=11, joint=("a.jes.up", "b"))


def events(n: int = N, seed: int = 1) -> Events:
    generator = np.random.default_rng(seed)
    counts = generator.integers(0, 5, n)
    particles = Jagged(generator.normal(size=(counts.sum(), 2)).astype(np.float32), ends(counts))
    x = generator.normal(5, 2, size=(n, 2)).astype(np.float32)
    joint = {name: generator.random(n, np.float32) for name in SCHEMA.joint}
    return Events(
        names=SCHEMA.features,
        x=x,
        weight=generator.normal(1, 0.7, n),
        id=np.arange(n, dtype=np.uint64) * 3,
        particles=particles,
        joint=joint,
    )


def payload(path: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    with h5py.File(path) as file:
        file.visititems(lambda k, v: found.update({k: v[...].tobytes()}) if isinstance(v, h5py.Dataset) else None)
        return {**found, **{k: str(v).encode() for k, v in file.attrs.items()}}


def cut_and_merge(tmp_path: Path, whole: Events, edges: list[int], bits: int, merges: int, memory: int) -> Path:
    """Write parts in the way of the tasks: read, merge range by range, join."""
    parts = []
    for number, (start, stop) in enumerate(pairwise(edges)):
        parts.append(tmp_path / f"part{number}.h5")
        store.write(parts[-1], whole.take(slice(start, stop)), SCHEMA, bits)
    parts.reverse()
    if merges > 1:
        ranges = [tmp_path / f"range{k}.h5" for k in range(merges)]
        for k, path in enumerate(ranges):
            store.merge(parts, path, memory, (k, merges))
        parts = ranges
    store.merge(parts, tmp_path / "merged.h5", memory)
    return tmp_path / "merged.h5"


@pytest.mark.parametrize(
    ("edges", "bits", "merges", "memory"),
    [
        ([0, N], 0, 1, 10**9),
        ([0, 10, 10, 30_000, N], 3, 1, 500_000),
        ([0, 20_000, 40_000, N], 6, 4, 100_000),
        ([0, 20_000, 40_000, N], 2, 4, 1),
    ],
)
def test_equal_bits_however_the_events_were_spread(
    tmp_path: Path, edges: list[int], bits: int, merges: int, memory: int
) -> None:
    whole = events()
    store.write(tmp_path / "whole.h5", whole, SCHEMA)
    merged = cut_and_merge(tmp_path, whole, edges, bits, merges, memory)
    ours, theirs = payload(merged), payload(tmp_path / "whole.h5")
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []
    assert {"x", "weight", "id", "particles", "offsets", "cells/checksum", "cells/mean"} <= ours.keys()


@pytest.mark.slow
def test_few_events_of_many_parts(tmp_path: Path) -> None:
    """A selection may leave less than the parts were cut for."""
    whole = events(100)
    store.write(tmp_path / "whole.h5", whole, SCHEMA)
    merged = cut_and_merge(tmp_path, whole, [0, 50, 100], 7, 8, 1000)
    assert payload(merged) == payload(tmp_path / "whole.h5")
    nothing = cut_and_merge(tmp_path, whole.take(slice(0, 0)), [0, 0, 0], 7, 8, 1000)
    assert len(store.read(nothing)) == 0


def test_rows_come_back_with_their_particles(tmp_path: Path) -> None:
    whole = events()
    store.write(tmp_path / "s.h5", whole, SCHEMA)
    place = {int(i): row for row, i in enumerate(whole.id)}
    with Store(tmp_path / "s.h5") as opened:
        for start, stop in ((0, N), (3, 4), (8000, 8400), (N - 1, N), (7, 7)):
            found = opened.read(start, stop)
            rows = np.array([place[int(i)] for i in found.id], dtype=np.intp)
            expected = whole.take(rows)
            np.testing.assert_array_equal(found.x, expected.x)
            np.testing.assert_array_equal(found.weight, expected.weight)
            np.testing.assert_array_equal(found.particles.values, expected.particles.values)
            np.testing.assert_array_equal(found.particles.offsets, expected.particles.offsets)


@pytest.mark.parametrize("part", ["train", "combine", "test"])
def test_a_part_is_a_range_of_rows(tmp_path: Path, part: str) -> None:
    whole = events()
    store.write(tmp_path / "s.h5", whole, SCHEMA)
    fractions = Fractions(0.6, 0.15, 0.25, SCHEMA.salt)
    expected = whole.ordered(SCHEMA.salt).part(part, fractions)
    np.testing.assert_array_equal(store.read(tmp_path / "s.h5", part, fractions).id, expected.id)


def test_sums_and_moments(tmp_path: Path) -> None:
    whole = events()
    store.write(tmp_path / "s.h5", whole, SCHEMA)
    with Store(tmp_path / "s.h5") as opened:
        sums = opened.attributes
        mean, width = opened.scale()
        some = opened.read(10_000, 40_000)
        near = opened.scale(10_000, 40_000)
    assert sums["sum_of_weights"] == pytest.approx(whole.weight.sum(), rel=1e-13)
    assert sums["sum_of_absolute_weights"] == pytest.approx(np.abs(whole.weight).sum(), rel=1e-13)
    assert sums["effective_events"] == pytest.approx(whole.effective(), rel=1e-12)
    assert sums["negative_weights"] == (whole.weight < 0).sum()
    np.testing.assert_allclose(mean, whole.x.mean(axis=0, dtype=np.float64), rtol=1e-12)
    np.testing.assert_allclose(width, whole.x.std(axis=0, dtype=np.float64), rtol=1e-12)
    np.testing.assert_allclose(near[0], some.x.mean(axis=0, dtype=np.float64), atol=0.05)


def test_moments_survive_a_large_offset() -> None:
    x = np.random.default_rng(2).normal(1e6, 1e-3, size=(4, 1000))
    counts, means = np.full(4, 1000), x.mean(axis=1)[:, None]
    squares = ((x - means) ** 2).sum(axis=1)[:, None]
    np.testing.assert_allclose(pooled(counts, means, squares)[1], x.std(), rtol=1e-6)


@pytest.mark.parametrize("name", ["x", "weight", "id", "particles"])
def test_flipped_bit_is_seen_when_its_rows_are_read(tmp_path: Path, name: str) -> None:
    store.write(tmp_path / "s.h5", events(), SCHEMA)
    with Store(tmp_path / "s.h5") as opened:
        place = opened.places[name][0] + 40
    data = bytearray((tmp_path / "s.h5").read_bytes())
    data[place] ^= 1
    (tmp_path / "s.h5").write_bytes(data)
    with Store(tmp_path / "s.h5") as opened:
        with pytest.raises(InputError, match=r"is damaged between rows 0 and \d+; run the same command again"):
            opened.read(0, 1)
        opened.read(N - 1, N)
    with pytest.raises(InputError, match="is damaged"):
        store.merge([tmp_path / "s.h5"], tmp_path / "t.h5", 10**6)


@pytest.mark.parametrize("keep", [0, 100, 5000, 300_000])
def test_truncated_store_is_a_sentence(tmp_path: Path, keep: int) -> None:
    store.write(tmp_path / "s.h5", events(), SCHEMA)
    data = (tmp_path / "s.h5").read_bytes()
    (tmp_path / "s.h5").write_bytes(data[:keep])
    with pytest.raises(InputError, match=r"s\.h5: is no store, or damaged"):
        store.read(tmp_path / "s.h5")


def test_repeated_ids_are_counted_across_parts(tmp_path: Path) -> None:
    whole = events(1000)
    for name in ("a", "b"):
        store.write(tmp_path / f"{name}.h5", whole, SCHEMA, bits=2)
    store.merge([tmp_path / "a.h5", tmp_path / "b.h5"], tmp_path / "c.h5", 10**6)
    with Store(tmp_path / "c.h5") as opened:
        assert opened.attributes["repeated_ids"] == 1000


def test_every_part_of_a_bad_file_is_left_out(tmp_path: Path) -> None:
    whole = events(3000)
    bad, good = StoredSource("bad.root", "1"), StoredSource("good.root", "2")
    lost = Lost("bad.root", "bad.root: is damaged", 0.4)
    store.write(tmp_path / "a.h5", whole.take(slice(0, 1000)), SCHEMA, 1, [bad])
    store.write(tmp_path / "b.h5", whole.take(slice(0, 0)), SCHEMA, 1, [], [lost])
    store.write(tmp_path / "c.h5", whole.take(slice(2000, 3000)), SCHEMA, 1, [good])
    store.merge([tmp_path / f"{n}.h5" for n in "abc"], tmp_path / "d.h5", 10**6)
    with Store(tmp_path / "d.h5") as opened:
        assert (len(opened), opened.lost, opened.sources) == (1000, [lost], [good])


def test_cells_hold_at_most_so_many_rows() -> None:
    assert [bits_for(n) for n in (0, 1, CELL, CELL + 1, 4 * CELL, 4 * CELL + 1)] == [0, 0, 0, 1, 2, 3]
    assert list(runs(np.array([3, 3, 9, 0, 1, 1]), 6)) == [(0, 2), (2, 3), (3, 6)]


@pytest.mark.parametrize("mapped", [10**12, 100_000])
def test_very_many_rows_stay_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mapped: int) -> None:
    monkeypatch.setattr(store.reader, "MAPPED", mapped)
    whole = events().ordered(SCHEMA.salt)
    store.write(tmp_path / "s.h5", whole, SCHEMA)
    with Store(tmp_path / "s.h5") as found:
        read = found.read(10_000, 50_000)
    assert isinstance(read.x, np.memmap) == (mapped < 10**12)
    np.testing.assert_array_equal(read.x, whole.x[10_000:50_000])
    np.testing.assert_array_equal(read.particles.values, whole.particles[10_000:50_000].values)
    data = bytearray((tmp_path / "s.h5").read_bytes())
    data[len(data) // 4] ^= 1
    (tmp_path / "s.h5").write_bytes(data)
    with Store(tmp_path / "s.h5") as found, pytest.raises(InputError, match="is damaged between rows"):
        found.read()


def test_sums_of_weights_are_those_of_the_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store.reader, "SCAN", 1000)
    whole = events().ordered(SCHEMA.salt)
    store.write(tmp_path / "s.h5", whole, SCHEMA)
    some = whole.take(slice(5_000, 17_500))
    with Store(tmp_path / "s.h5") as found:
        sums = found.sums(5_000, 17_500)
    assert (sums.events, sums.negative) == (12_500, int((some.weight < 0).sum()))
    assert sums.weight == pytest.approx(some.weight.sum(), rel=1e-12)
    assert sums.effective() == pytest.approx(some.effective(), rel=1e-12)
