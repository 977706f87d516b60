"""Versions of an event come in the same batch: in memory, from stores, whatever the pack; nothing changes where there are none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from needle_parsl.nsbi.data import store
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.data.loading.batches import InMemory, Streamed
from needle_parsl.nsbi.data.loading.stretches import Stretch, blocks, together
from needle_parsl.nsbi.data.loading.windows import Loading, largest
from needle_parsl.nsbi.data.store import Schema
from needle_parsl.nsbi.training import heads, networks, state, train
from needle_parsl.nsbi.training.members import Member, Settings
from needle_parsl.nsbi.training.ratio_events import MemberView, RatioEvents
from needle_parsl.nsbi.training.stored_events import StoredEvents

pytestmark = pytest.mark.usefixtures("one_thread")
VIEW = MemberView(fold=1, folds=3, fold_salt=5, validation=0.2, validation_salt=6, bootstrap_salt=11)
SALT = 3


def versions(first: int, last: int, shift: float) -> Events:
    """Draw a version of some of the events, whose number is their first feature."""
    number = np.arange(first, last)
    x = np.stack([number, np.random.default_rng(9).normal(0, 1, 60_000)[first:last] + shift], axis=1).astype(np.float32)
    return Events(names=("number", "y"), x=x, weight=np.ones(len(x)), id=number.astype(np.uint64))


NOMINAL, UP, DOWN = versions(0, 4000, 0.0), versions(500, 4500, 0.3), versions(0, 3000, -0.3)
CLASSES = RatioEvents.of_classes({"nominal": NOMINAL, "up": UP, "down": DOWN})


def assert_together(ids: np.ndarray) -> None:
    """Of each id all rows follow each other."""
    begun = np.flatnonzero(np.diff(ids, prepend=ids[0] - 1))
    assert len(begun) == len(np.unique(ids)) < len(ids)


@pytest.mark.parametrize(
    "view",
    [
        VIEW,
        replace(VIEW, replica=True),
        MemberView(fold=0, folds=1, fold_salt=5, validation=0.1, validation_salt=6, bootstrap_salt=None),
    ],
)
def test_versions_of_an_event_follow_each_other(view: MemberView) -> None:
    fitting, validation = CLASSES.look(view)
    assert fitting.id is not None
    generator = torch.Generator().manual_seed(1)
    orders = [fitting.order(generator).numpy() for _ in range(2)]
    for order in orders:
        np.testing.assert_array_equal(np.sort(order), np.arange(len(fitting)))
        assert_together(fitting.id[order])
    assert not np.array_equal(*orders)
    again = fitting.order(torch.Generator().manual_seed(1))
    np.testing.assert_array_equal(again, orders[0])
    assert not set(fitting.id) & set(validation.id)


def test_a_batch_shares_an_event_with_the_next_one_at_most() -> None:
    fitting, _ = CLASSES.look(VIEW)
    assert fitting.id is not None
    order = fitting.order(torch.Generator().manual_seed(2))
    seen = [set(fitting.id[rows.numpy()]) for rows in order.split(100)]
    for number, batch in enumerate(seen):
        others = [len(batch & other) for other in seen[number + 1 :]]
        assert sum(others) <= 1
        assert sum(others[1:]) == 0


def test_groups_are_shuffled_fairly() -> None:
    """Where an event comes does not depend on its row, nor on how many versions it has."""
    fitting, _ = CLASSES.look(
        MemberView(fold=0, folds=1, fold_salt=5, validation=0.1, validation_salt=6, bootstrap_salt=None)
    )
    generator, n = torch.Generator().manual_seed(3), len(fitting)
    places = np.mean([np.argsort(fitting.order(generator).numpy()) for _ in range(100)], axis=0) / n - 0.5
    for kind in range(3):
        own = places[fitting.label.numpy() == kind]
        error = np.sqrt(1 / 12 / 100 / len(own) * 3)
        assert abs(own.mean()) < 4 * error
        assert own.std() == pytest.approx(np.sqrt(1 / 12 / 100), rel=0.1)


def test_without_versions_the_shuffle_is_plain() -> None:
    apart = replace(UP, id=UP.id + np.uint64(10**6))
    fitting, _ = RatioEvents.build(apart, NOMINAL).look(VIEW)
    order = fitting.order(torch.Generator().manual_seed(4))
    assert torch.equal(order, torch.randperm(len(fitting), generator=torch.Generator().manual_seed(4)))


def test_pairs_that_a_member_does_not_see_leave_its_shuffle_plain() -> None:
    few = RatioEvents.build(versions(0, 3000, 0.3), versions(2999, 6000, 0.0))
    salt = next(s for s in range(100) if not {2999} & set(_seen(few, s)))
    fitting, _ = few.look(replace(VIEW, fold_salt=salt))
    assert few.shared
    order = fitting.order(torch.Generator().manual_seed(4))
    assert torch.equal(order, torch.randperm(len(fitting), generator=torch.Generator().manual_seed(4)))


def _seen(events: RatioEvents, salt: int) -> np.ndarray:
    ids = events.look(replace(VIEW, fold_salt=salt))[0].id
    assert ids is not None
    return ids


def test_neither_pack_nor_engine_changes_what_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = networks.NetworkShape(
        network="mlp", features=2, layers=1, nodes=8, head=heads.of_classes(["nominal", "up", "down"])
    )
    settings = Settings(
        shape=shape,
        loss="multiclass",
        optimizer="adamw",
        learning_rate=1e-2,
        schedule="cosine",
        weight_decay=1e-4,
        batch_size=256,
        epochs=3,
        patience=3,
    )
    members = [Member(member=k, fold=0, seed=100 + k, view=VIEW) for k in range(2)]
    together_ = train.train_pack(CLASSES, members, settings, state.State(), state.never)
    alone = [train.train(CLASSES, member, settings) for member in members]
    monkeypatch.setattr("needle_parsl.nsbi.compilation.AVAILABLE", False)
    rows = [train.train(CLASSES, member, settings) for member in members]
    for ours, theirs, other in zip(together_, alone, rows, strict=True):
        assert ours.weights.tobytes() == theirs.weights.tobytes()
        assert other.engine == "sequential"
        np.testing.assert_allclose(ours.history, other.history, atol=1e-6)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[Stretch]:
    """Stores with cells of 2, 3 and 1 leading bits."""
    folder, made = tmp_path_factory.mktemp("stores"), []
    for label, sample in enumerate((versions(0, 30_000, 0.0), versions(5_000, 45_000, 0.3), versions(0, 10_000, -0.3))):
        path = folder / f"{label}.h5"
        store.write(path, sample, Schema(sample.names, (), SALT))
        made.append(Stretch(path=str(path), start=0, stop=len(sample), label=float(label), factor=1.0))
    return made


def numbers(batches: object) -> np.ndarray:
    rows = [torch.stack([batch.x[:, 0], batch.label]) for batch in batches]  # type: ignore[attr-defined]  # any loader
    return torch.cat(rows, dim=1).numpy().astype(np.int64)


def test_versions_stay_together_in_windows(found: list[Stretch]) -> None:
    loading = Loading(memory=60_000 * 3 * 24, seed=7, paired=True)
    loader = Streamed(found, 512, loading)
    assert len(list(loader.plan())) > 1
    epochs = [numbers(Streamed(found, 512, loading)), numbers(loader)]
    for number, label in epochs:
        assert_together(number)
        np.testing.assert_array_equal(np.bincount(label), [30_000, 40_000, 10_000])
        assert len(set(zip(number.tolist(), label.tolist(), strict=True))) == 80_000
    assert not np.array_equal(*epochs)
    assert_together(numbers(InMemory(found, 512, loading))[0])


@pytest.mark.parametrize(("rows", "units"), [(60_000, 2), (25_000, 4), (20_000, 8), (10_000, 14)])
def test_a_range_that_does_not_fit_is_cut(found: list[Stretch], rows: int, units: int) -> None:
    """Memory comes first: windows are no larger than without versions."""
    loading = Loading(memory=rows * 3 * 24, seed=7, paired=True)
    made = together(blocks(found), largest(loading, 24))
    assert len(made) == units
    assert max(sum(block.stop - block.start for block in unit) for unit in made) <= rows
    number, label = numbers(Streamed(found, 512, loading))
    assert len(set(zip(number.tolist(), label.tolist(), strict=True))) == 80_000


def test_a_member_takes_versions_together_from_stores(found: list[Stretch]) -> None:
    events = StoredEvents.of(found, {0.0: "nominal", 1.0: "up", 2.0: "down"})
    view, validation = events.look(VIEW)
    assert events.shared
    order = view.order(torch.Generator().manual_seed(1))
    x = torch.cat([view.batch(order[k : k + 512]).x[:, 0] for k in range(0, len(view), 512)])
    assert len(x) == len(view)
    assert_together(x.numpy())  # the transform is the same for all versions
    assert sum(len(batch.x) for batch in validation.batches(1000)) == len(validation)


def test_stores_without_versions_are_read_as_before(tmp_path: Path, found: list[Stretch]) -> None:
    sample = versions(50_000, 60_000, 0.0)
    store.write(tmp_path / "other.h5", sample, Schema(sample.names, (), SALT))
    events = StoredEvents.of(
        [found[0], Stretch(path=str(tmp_path / "other.h5"), start=0, stop=len(sample), label=1.0, factor=1.0)]
    )
    assert not events.shared
    assert not events.look(VIEW)[0].shuffled.loading.paired
