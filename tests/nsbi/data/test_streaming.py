"""Events that stay in their stores: a member sees the same ones with the same weights as from memory, and learns as well."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from needle_parsl.errors import TaskError
from needle_parsl.nsbi.data import store
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.data.jagged import Jagged, ends
from needle_parsl.nsbi.data.loading.stretches import Stretch, held
from needle_parsl.nsbi.data.store import Schema
from needle_parsl.nsbi.training import networks, train
from needle_parsl.nsbi.training.members import Member, Settings
from needle_parsl.nsbi.training.ratio_events import MemberView, RatioEvents
from needle_parsl.nsbi.training.stored_events import StoredEvents

pytestmark = pytest.mark.usefixtures("one_thread")
VIEW = MemberView(fold=1, folds=3, fold_salt=5, validation=0.2, validation_salt=6, bootstrap_salt=11)
FACTOR = 0.3


def events(n: int, mean: float, first: int) -> Events:
    generator = np.random.default_rng(first)
    x = generator.normal(mean, 1, (n, 2)).astype(np.float32)
    counts = generator.integers(0, 4, n)
    jets = Jagged(generator.exponential(30, (counts.sum(), 2)).astype(np.float32), ends(counts))
    return Events(
        names=("a", "b"),
        x=x,
        weight=generator.normal(1, 0.3, n),
        id=np.arange(first, first + n, dtype=np.uint64),
        particles=jets,
    )


SAMPLES = (events(20_000, 0.5, 0), events(30_000, 0.0, 100_000))


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[RatioEvents, StoredEvents]:
    """The same events in memory and in stores; the weights of the denominator are multiplied."""
    folder, found = tmp_path_factory.mktemp("stores"), []
    for name, sample, label, factor in zip(("s", "b"), SAMPLES, (1.0, 0.0), (1.0, FACTOR), strict=True):
        path = folder / f"{name}.h5"
        store.write(path, sample, Schema(("a", "b"), ("pt", "eta"), 3))
        found.append(Stretch(path=str(path), start=0, stop=len(sample), label=label, factor=factor))
    b = SAMPLES[1]
    below = Events(names=b.names, x=b.x, weight=b.weight * FACTOR, id=b.id, particles=b.particles)
    return RatioEvents.build(SAMPLES[0], below), StoredEvents.of(found)


def table(batches: Iterable[Any]) -> np.ndarray[Any, Any]:
    """One row per event, in an order that is the same for the same events; particles count by their sums."""
    rows = [
        torch.cat([b.x, b.label[:, None], b.weight[:, None], b.particles.counts[:, None], b.particles.sum(b.particles.values)], 1)
        for b in batches
    ]  # fmt: skip
    found = torch.cat(rows).numpy()
    return found[np.lexsort(found[:, :2].T)]


@pytest.mark.parametrize("replica", [False, True])
@pytest.mark.parametrize("part", [0, 1])
def test_a_member_sees_the_same_events_with_the_same_weights(
    both: tuple[RatioEvents, StoredEvents], part: int, replica: bool
) -> None:
    ours, theirs = (source.look(replace(VIEW, replica=replica))[part] for source in both[::-1])
    assert len(ours) == len(theirs)
    np.testing.assert_allclose(table(ours.batches(1000)), table(theirs.batches(1000)), rtol=2e-5, atol=2e-5)
    order = ours.order(torch.Generator().manual_seed(1))
    shuffled = [ours.batch(order[start : start + 999]) for start in range(0, len(order), 999)]
    assert {len(batch.x) for batch in shuffled[:-1]} == {999}
    np.testing.assert_allclose(table(shuffled), table(theirs.batches(1000)), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("loss", ["alice", "regression"])
def test_what_is_known_jointly_is_the_same_from_stores(tmp_path: Path, loss: str) -> None:
    found, known = [], []
    for name, sample, label in zip(("s", "b"), SAMPLES, (1.0, 0.0), strict=True):
        joint = {
            "s": np.random.default_rng(len(sample)).random(len(sample), np.float32),
            "other": np.ones(len(sample), np.float32),
        }
        known.append(replace(sample, joint=joint))
        store.write(tmp_path / f"{name}.h5", known[-1], Schema(("a", "b"), ("pt", "eta"), 3, ("s", "other")))
        found.append(
            Stretch(path=str(tmp_path / f"{name}.h5"), start=0, stop=len(sample), label=label, factor=1.0, joint="s")
        )
    stored = StoredEvents.of(found) if loss == "alice" else StoredEvents.of(found[1:], (False,))
    held_ = RatioEvents.build(known[0] if loss == "alice" else None, known[1], "s")
    for ours, theirs in zip(stored.look(VIEW), held_.look(VIEW), strict=True):
        assert float(theirs.weight.mean()) == pytest.approx(1, rel=1e-5)
        assert 0.45 < float(theirs.label.mean()) < 0.55
        np.testing.assert_allclose(table(ours.batches(1000)), table(theirs.batches(1000)), rtol=2e-5, atol=2e-5)


def test_an_epoch_goes_on_where_it_was_interrupted(both: tuple[RatioEvents, StoredEvents]) -> None:
    view, _ = both[1].look(VIEW)
    order = view.order(torch.Generator().manual_seed(1))
    whole = [view.batch(order[start : start + 1000]).x for start in range(0, 9000, 1000)]
    order = view.order(torch.Generator().manual_seed(1))
    torch.testing.assert_close(view.batch(order[8000:9000]).x, whole[-1], rtol=0, atol=0)
    order = view.order(torch.Generator().manual_seed(2))
    assert not torch.equal(view.batch(order[:1000]).x, whole[0])


@pytest.mark.slow
@pytest.mark.parametrize(("network", "particles"), [("mlp", 0), ("deepset", 2)])
def test_training_from_stores_is_as_good(both: tuple[RatioEvents, StoredEvents], network: str, particles: int) -> None:
    """Shuffled otherwise, the two networks differ by their own noise: the loss is of second order in it."""
    shape = networks.NetworkShape(network=network, features=2, layers=1, nodes=8, particles=particles)
    settings = Settings(
        shape=shape,
        loss="carl",
        optimizer="adamw",
        learning_rate=1e-2,
        schedule="cosine",
        weight_decay=1e-4,
        batch_size=256,
        epochs=3,
        patience=10,
    )
    losses = [
        train.train(source, Member(member=0, fold=0, seed=7, view=VIEW), settings).history[-1, 1] for source in both
    ]
    assert losses[0] == pytest.approx(losses[1], abs=2e-3)
    assert losses[1] < 0.69  # ln 2, of a network that knows nothing


def test_particles_come_in_every_form(both: tuple[RatioEvents, StoredEvents]) -> None:
    for source in both:
        view, _ = source.look(VIEW)
        batch: Any = view.batch(view.order(torch.Generator().manual_seed(1))[:100])
        values, mask = batch.particles.padded()
        assert (values.shape[0], values.shape[2], int(mask.sum())) == (100, 2, len(batch.particles.values))
        assert len(batch.particles.nested().unbind()) == 100
        assert abs(float(batch.particles.values.mean())) < 1  # standardised: exponentials of 30 GeV


def test_classes_without_weight_are_refused(both: tuple[RatioEvents, StoredEvents]) -> None:
    below = [s for s in both[1].found if not s.label]
    with pytest.raises(TaskError, match="numerator add up to 0"):
        StoredEvents.of(below).look(VIEW)


def test_bytes_are_counted_before_anything_is_read(both: tuple[RatioEvents, StoredEvents]) -> None:
    particles = sum(len(s.particles.values) for s in SAMPLES if s.particles)
    assert held(both[1].found) == 50_000 * (2 * 4 + 16) + particles * 2 * 4
