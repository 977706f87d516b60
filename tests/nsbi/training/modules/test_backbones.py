"""Frozen parts: computed once where nothing goes around them, with the result of computing them in every step; else the reason is said."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import backbones
import numpy as np
import pytest
import torch

from needle_parsl.analysis import Training
from needle_parsl.nsbi import compilation
from needle_parsl.nsbi.data import store
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.data.jagged import Jagged, ends
from needle_parsl.nsbi.data.loading.stretches import Stretch
from needle_parsl.nsbi.programs import try_network
from needle_parsl.nsbi.training import initial, networks, ratio_events, state, train, trained_part
from needle_parsl.nsbi.training.embeddings import Shelf
from needle_parsl.nsbi.training.engines import choosing
from needle_parsl.nsbi.training.members import Member, Settings
from needle_parsl.nsbi.training.packs import Trained
from needle_parsl.nsbi.training.stored_events import StoredEvents

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore"),
]


def gaussian(n: int, mean: float, seed: int) -> Events:
    generator = np.random.default_rng(seed)
    x, counts = generator.normal(mean, 1, (n, 3)).astype(np.float32), generator.integers(0, 4, n)
    jets = Jagged(generator.normal(mean, 1, (int(counts.sum()), 2)).astype(np.float32), ends(counts))
    return Events(names=tuple("abc"), x=x, weight=generator.uniform(0.5, 1.5, n), id=np.arange(seed * 10**6, seed * 10**6 + n, dtype=np.uint64), particles=jets)  # fmt: skip


WITH_JETS = ratio_events.RatioEvents.build(gaussian(300, 0.5, 1), gaussian(300, 0.0, 2))
DATA = replace(WITH_JETS, particles=None)
MEMBERS = [
    Member(
        member=k,
        fold=0,
        seed=7 + k,
        view=ratio_events.MemberView(
            fold=0, folds=1, fold_salt=5, validation=0.2, validation_salt=6, bootstrap_salt=11 + k
        ),
    )
    for k in range(2)
]


def settings(body: str, folder: Path, frozen: Sequence[str] = ("backbone",), particles: int = 0) -> Settings:
    """Say how to train a network whose weights are in a file."""
    table = Training(network="physics.py:Mine", epochs=3, batch_size=64, frozen=tuple(frozen))
    own = Settings.of(table, 3, particles, backbones.source(body), "/somewhere/physics.py")
    given = networks.build(own.shape, 1).state_dict()
    torch.save({name: value for name, value in given.items() if name.startswith("backbone")}, folder / "w.pt")
    return replace(own, initial=initial.read([str(folder / "w.pt")]))


def trained(how: Settings, data: ratio_events.RatioEvents = DATA, shelf: Shelf | None = None) -> Trained:
    return train.train_pack(data, MEMBERS[:1], how, state.State(), state.never, shelf)[0]


def uncached(how: Settings, data: ratio_events.RatioEvents = DATA) -> Trained:
    """Compute the frozen part in every step, as for a member that must be trained by `sequential`."""
    begun = state.State((), ({"name": (0, 0), "engine": "sequential"},))
    return train.train_pack(data, MEMBERS[:1], how, begun, state.never)[0]


CASES = [(by, name, body) for by, own in backbones.TAKEN.items() for name, body in own.items()]


@pytest.mark.slow
@pytest.mark.parametrize(("by", "name", "body"), CASES, ids=[name for _, name, _ in CASES])
def test_what_a_frozen_part_gives_is_computed_once(tmp_path: Path, by: str, name: str, body: str) -> None:
    how = settings(body, tmp_path)
    found, slow = trained(how), uncached(how)
    assert (found.reason, slow.reason, slow.engine) == ("", "", "sequential"), name
    assert found.engine == (by if compilation.AVAILABLE else "sequential")
    np.testing.assert_allclose(found.history, slow.history, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.weights, slow.weights, rtol=0, atol=1e-5)
    assert found.best_epoch == slow.best_epoch
    assert trained_part.prepare(DATA, MEMBERS[0], how).choice.reason == (
        "what backbone gives is computed once, and the rest is trained on it"
    )


@pytest.mark.parametrize(("reason", "body"), list(backbones.REFUSED.values()), ids=list(backbones.REFUSED))
def test_what_cannot_be_known_beforehand_is_computed_in_every_step(tmp_path: Path, reason: str, body: str) -> None:
    how = settings(body, tmp_path)
    choice = trained_part.prepare(DATA, MEMBERS[0], how).choice
    assert choice.reason.startswith("frozen parts are computed in every step: ")
    assert reason in choice.reason
    found, slow = trained(how), uncached(how)
    assert found.reason == ""
    np.testing.assert_array_equal(found.weights, slow.weights)


def test_particles_go_through_a_frozen_part_once(tmp_path: Path) -> None:
    how = settings(backbones.JETS, tmp_path, particles=2)
    found, slow = trained(how, WITH_JETS), uncached(how, WITH_JETS)
    assert found.engine == ("native" if compilation.AVAILABLE else "sequential")
    np.testing.assert_allclose(found.history, slow.history, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.weights, slow.weights, rtol=0, atol=1e-5)


def test_batches_may_be_tables(tmp_path: Path) -> None:
    body = """
    def loss(self, batch):
        return super().loss((batch["x"], batch["y"], batch["weight"]))
"""
    how = replace(settings(body, tmp_path), batch="dict")
    found, slow = trained(how), uncached(how)
    assert trained_part.prepare(DATA, MEMBERS[0], how).settings.embedding
    np.testing.assert_allclose(found.history, slow.history, rtol=0, atol=1e-6)


@pytest.mark.parametrize("body", ["", backbones.JETS], ids=["features", "particles"])
def test_heads_are_stacked_on_an_accelerator(tmp_path: Path, body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "accelerated", lambda: True)
    data = WITH_JETS if body else DATA
    how = settings(body, tmp_path, particles=2 if body else 0)
    pack = train.train_pack(data, MEMBERS, how, state.State(), state.never)
    assert [(m.engine, m.reason) for m in pack] == [("stacked", "")] * 2
    np.testing.assert_allclose(pack[0].history, uncached(how, data).history, rtol=0, atol=1e-5)


def test_events_in_stores_go_through_it_in_every_step(tmp_path: Path) -> None:
    schema, found = store.Schema(tuple("abc"), (), 3), []
    for name, sample, label in (("s", gaussian(300, 0.5, 1), 1.0), ("b", gaussian(300, 0.0, 2), 0.0)):
        store.write(tmp_path / f"{name}.h5", replace(sample, particles=None), schema)
        found.append(Stretch(path=str(tmp_path / f"{name}.h5"), start=0, stop=len(sample), label=label, factor=1.0))
    choice = trained_part.prepare(StoredEvents.of(found), MEMBERS[0], settings("", tmp_path)).choice
    assert choice.reason.endswith("the events stay in their stores; a larger [training] memory_mib would hold them")


def test_parts_in_a_row_are_all_known(tmp_path: Path) -> None:
    """Those of a network of needle's, too; its loss is needle's."""
    table = Training(epochs=3, batch_size=64, layers=2, nodes=8, dropout=0.0, frozen=("stack.0", "stack.1"))
    own = Settings.of(table, 3)
    torch.save(networks.build(own.shape, 1).state_dict(), tmp_path / "w.pt")
    how = replace(own, initial=initial.read([str(tmp_path / "w.pt")]))
    assert str(trained_part.prepare(DATA, MEMBERS[0], how).settings.embedding) == "stack.0, stack.1"
    found, slow = trained(how), uncached(how)
    np.testing.assert_allclose(found.history, slow.history, rtol=0, atol=1e-6)


def test_parts_that_differ_between_members_are_not_known(tmp_path: Path) -> None:
    how = settings("", tmp_path)
    alone = trained_part.prepare(DATA, MEMBERS[0], replace(how, initial=None)).choice.reason
    assert "backbone begins with random numbers" in alone
    assert how.initial
    (given,) = how.initial.weights.values()
    several = replace(how, initial=replace(how.initial, weights={(0, 0): given, (1, 0): given}))
    assert "members start from different weights" in trained_part.prepare(DATA, MEMBERS[0], several).choice.reason


def test_check_says_what_is_computed_once(tmp_path: Path) -> None:
    settings("", tmp_path)
    table = Training(network="physics.py:Mine", frozen=("backbone",))
    start = try_network.Start("w.pt", {"": [str(tmp_path / "w.pt")]}, {"signal": []}, ("a", "b", "c"))
    found = try_network.look(table, 3, 0, (backbones.source(""), "/somewhere/physics.py"), start)
    assert found["problems"] == []
    assert found["reason"] == "what backbone gives is computed once, and the rest is trained on it"


# --- files


@contextmanager
def renamed(path: Path) -> Iterator[Path]:
    """What `rundir.atomic` does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    yield temporary
    temporary.replace(path)


def shelf(folder: Path, **changed: object) -> Shelf:
    return Shelf(
        **{"folder": folder / "kept", "atomic": renamed, "code": "1", "memory": 2**20, "every": 0.0, **changed}
    )


class StoppedError(Exception):
    """What a worker's end raises between two steps."""


def stopping(steps: int) -> Callable[[Callable[[], state.State]], None]:
    """End a training after some steps."""
    left = iter(range(steps))

    def offer(describe: Callable[[], state.State]) -> None:
        if next(left, None) is None:
            raise StoppedError
        describe()

    return offer


def test_an_interrupted_work_goes_on_where_it_was(tmp_path: Path) -> None:
    """A file for each batch here; none is written twice, one that is damaged is made anew, and all bits are the same."""
    how, own = settings("", tmp_path), shelf(tmp_path)
    whole = trained(how)
    with pytest.raises(StoppedError):
        train.train_pack(DATA, MEMBERS[:1], how, state.State(), stopping(4), own)
    kept = sorted(own.folder.rglob("*.h5"))
    first = MEMBERS[0].seed  # of ten batches
    assert {int(path.stem[:12]) // 64 for path in kept} == {(first + n) % 10 for n in range(4)}
    before = [path.stat().st_mtime_ns for path in kept]
    kept[3].write_bytes(b"damaged")
    np.testing.assert_array_equal(trained(how, shelf=own).weights, whole.weights)
    assert [path.stat().st_mtime_ns for path in kept[:3]] == before[:3]
    files = list(own.folder.rglob("*.h5"))
    assert sorted(path.stem for path in files) == [
        f"{start:012d}-{min(start + 64, 600):012d}" for start in range(0, 600, 64)
    ]
    for path in files:
        os.utime(path, ns=(0, 0))
    np.testing.assert_array_equal(trained(how, shelf=own).weights, whole.weights)
    assert not any(path.stat().st_mtime_ns for path in own.folder.rglob("*.h5"))


def test_packs_that_begin_together_share_the_work(tmp_path: Path) -> None:
    """Between each two batches of one, another computes all that is left."""
    how, own, others = settings("", tmp_path), shelf(tmp_path), []

    def offer(_: Callable[[], state.State]) -> None:
        if not others:
            others.append(None)
            (others[0],) = train.train_pack(DATA, MEMBERS[1:], how, state.State(), state.never, own)

    (found,) = train.train_pack(DATA, MEMBERS[:1], how, state.State(), offer, own)
    np.testing.assert_array_equal(found.weights, trained(how).weights)
    np.testing.assert_array_equal(others[0].weights, train.train(DATA, MEMBERS[1], how).weights)
    assert len(list(own.folder.rglob("*.h5"))) == 10


def test_a_training_on_known_outputs_goes_on_where_it_was(tmp_path: Path) -> None:
    how = settings(backbones.TAKEN["sequential"]["head with batch normalisation and dropout"], tmp_path)
    whole, states = trained(how), [state.State()]

    def offer(describe: Callable[[], state.State]) -> None:
        states.append(describe())
        if len(states) == 22:  # ten of the outputs, and the rest of steps
            raise StoppedError

    with pytest.raises(StoppedError):
        train.train_pack(DATA, MEMBERS[:1], how, state.State(), offer, shelf(tmp_path))
    state.write(tmp_path / "state.h5", states[-1], "key")
    start = state.read(tmp_path / "state.h5", "key")
    assert start
    assert start.running
    (found,) = train.train_pack(DATA, MEMBERS[:1], how, start, state.never, shelf(tmp_path))
    np.testing.assert_array_equal(found.weights, whole.weights)
    np.testing.assert_array_equal(found.history, whole.history)


def test_a_state_with_the_frozen_part_is_none_without_it(tmp_path: Path) -> None:
    """Such a training begins anew, as one of an earlier version does."""
    how, states = settings("", tmp_path), [state.State()]

    def offer(describe: Callable[[], state.State]) -> None:
        states.append(describe())

    begun = state.State((), ({"name": (0, 0), "engine": "sequential"},))
    train.train_pack(DATA, MEMBERS[:1], how, begun, offer)
    (running,) = states[20].running
    start = state.State((), ({**running, "engine": ""},))
    (found,) = train.train_pack(DATA, MEMBERS[:1], how, start, state.never)
    np.testing.assert_array_equal(found.weights, trained(how).weights)


def test_members_are_the_same_in_a_pack_and_alone(tmp_path: Path) -> None:
    how = settings("", tmp_path)
    pack = train.train_pack(DATA, MEMBERS, how, state.State(), state.never, shelf(tmp_path))
    alone = [train.train(DATA, member, how) for member in MEMBERS]
    for one, other in zip(pack, alone, strict=True):
        np.testing.assert_array_equal(one.weights, other.weights)


def test_files_are_of_their_events_weights_and_code(tmp_path: Path) -> None:
    how, own = settings("", tmp_path), shelf(tmp_path, every=9.0)
    trained(how, shelf=own)
    trained(how, shelf=own)
    assert len(list(own.folder.iterdir())) == 1
    trained(how, shelf=replace(own, code="2"))
    trained(how, replace(DATA, x=DATA.x + 1), own)
    trained(settings(backbones.TAKEN["native"]["normed"], tmp_path), shelf=own)
    assert len(list(own.folder.iterdir())) == 4


def test_outputs_that_take_too_much_memory_are_computed_in_every_step(tmp_path: Path) -> None:
    found = trained_part.prepare(DATA, MEMBERS[0], settings("", tmp_path), shelf=shelf(tmp_path, memory=1000))
    assert found.choice.reason.endswith("[training] memory_mib is too small for what backbone gives, 1 MiB")
    assert not (tmp_path / "kept").exists()


def test_other_shapes_than_those_of_the_first_batch_are_noticed(tmp_path: Path) -> None:
    body = """
    def __init__(self, features):
        super().__init__(features)
        self.backbone = Longest(features)

    def forward(self, x):
        return self.head(self.backbone(x).sum(1)).squeeze(-1)


class Longest(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.inner = nn.Linear(features, 6)

    def forward(self, x):
        return self.inner(x)[:, None].expand(-1, len(x), -1)
"""
    assert "the shape of what backbone gives depends on the batch" in trained_part.prepare(DATA, MEMBERS[0], settings(body, tmp_path)).choice.reason  # fmt: skip


def test_whole_networks_are_stored(tmp_path: Path) -> None:
    """Frozen parts are in the pack as they came, whatever was trained on."""
    how = settings("", tmp_path)
    network = networks.make(how.shape)
    networks.fill(network, torch.from_numpy(trained(how).weights))
    given = torch.load(tmp_path / "w.pt", weights_only=True)
    for name, value in network.state_dict().items():
        assert name not in given or torch.equal(value, given[name])
