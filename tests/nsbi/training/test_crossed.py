"""Cross-fitting: who judges which event, which length counts, what is shared between samples."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import ks_2samp

from needle_parsl import salts
from needle_parsl.analysis import Training, recommended
from needle_parsl.errors import TaskError
from needle_parsl.nsbi.data import hashing, shared_events
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.estimators.estimator import Crossed, Estimator
from needle_parsl.nsbi.statistics import dataset
from needle_parsl.nsbi.training import networks, packs
from needle_parsl.nsbi.training.packs import Trained
from needle_parsl.nsbi.training.ratio_events import MemberView, chosen
from needle_parsl.nsbi.transforms.transform import Transform

FOLDS, SALT = 5, salts.key("fold")
SHAPE = networks.NetworkShape(network="mlp", features=2, layers=1, nodes=3)


def events(count: int, seed: int = 1) -> Events:
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(count, 2)).astype(np.float32)
    return Events(
        names=("a", "b"), x=x, weight=np.ones(count), id=generator.integers(0, 2**63, count).astype(np.uint64)
    )


def estimator(fold: list[int]) -> Estimator:
    weights = np.stack([networks.vector(networks.build(SHAPE, seed)).numpy() for seed in range(len(fold))])
    crossed = Crossed(FOLDS, SALT, np.array(fold))
    equal = np.full(len(fold), 1 / len(fold))
    return Estimator(ratio="s", features=("a", "b"), shape=SHAPE, transform=Transform.none(("a", "b")), weights=weights, combine="mean_log", log_norm=0.1, coefficients=equal, slope=0.9, crossed=crossed)  # fmt: skip


def test_an_event_is_judged_by_members_that_did_not_see_it() -> None:
    some, made = events(200), estimator([0, 1, 2, 3, 4] * 2)
    members, where = made.members(some.x), hashing.fold(some.id, FOLDS, SALT)
    mine = np.array([[f == w for w in where] for f in made.crossed.fold])  # type: ignore[union-attr]
    expected = 0.9 * np.average(members, axis=0, weights=mine) - 0.1
    assert made.of(some) == pytest.approx(expected, abs=1e-6)
    other = np.array([[f == (w + 1) % FOLDS for w in where] for f in made.crossed.fold])  # type: ignore[union-attr]
    assert made.of(some, seen=True) == pytest.approx(0.9 * np.average(members, axis=0, weights=other) - 0.1, abs=1e-6)
    assert made.log_ratio(some.x) == pytest.approx(0.9 * members.mean(axis=0) - 0.1, abs=1e-6)


def test_observed_events_may_be_evaluated_as_simulated_ones() -> None:
    """By the networks of one fold each: the mean over folds scatters less, and is distributed otherwise."""
    some, made = events(20_000), estimator([0, 1, 2, 3, 4])
    alike = dataset.observed(some, {"s": made}, folds=True).ratios["s"]
    assert alike == pytest.approx(made.of(some))
    other = made.of(events(20_000, seed=2))
    assert ks_2samp(alike, other).pvalue > 1e-3
    assert ks_2samp(dataset.observed(some, {"s": made}).ratios["s"], other).pvalue < 1e-6


def test_training_and_judging_agree_on_folds() -> None:
    """What a member trains on is what it must not judge, event by event."""
    ids = events(1000).id
    for fold in range(FOLDS):
        training, validation = chosen(
            ids,
            MemberView(
                fold=fold, folds=FOLDS, fold_salt=SALT, validation=0.1, validation_salt=3, bootstrap_salt=None, own=1.0
            ),
        )
        assert (training == (hashing.fold(ids, FOLDS, SALT) != fold)).all()
        assert (validation == ~training).all()
        some = chosen(
            ids,
            MemberView(
                fold=fold, folds=FOLDS, fold_salt=SALT, validation=0.1, validation_salt=3, bootstrap_salt=None, own=0.5
            ),
        )[1]
        assert 0.3 < some.sum() / validation.sum() < 0.7
        assert not (some & ~validation).any()


def test_a_fold_without_members_is_said() -> None:
    with pytest.raises(TaskError, match="no member without the events of fold 4 has trained"):
        estimator([0, 1, 2, 3]).of(events(200))


def trained(member: int, losses: list[float], lengths: tuple[int, ...] = (2, 4, 8), reason: str = "") -> Trained:
    history = np.full((max(lengths), 2), 1.0)
    for epochs, loss in zip(lengths, losses, strict=True):
        history[epochs - 1, 1] = loss
    kept = {epochs: np.full(3, epochs, np.float32) for epochs in lengths}
    return Trained(
        member=member,
        fold=0,
        seed=member,
        weights=np.zeros(3, np.float32),
        history=history,
        best_epoch=0,
        reason=reason,
        kept=kept,
    )


def test_all_members_get_the_length_that_is_best_for_all() -> None:
    """One member alone would choose 8, the mean of all is best at 4."""
    found = packs.settled([trained(0, [0.5, 0.4, 0.39]), trained(1, [0.5, 0.4, 0.45]), trained(2, [0.5, 0.4, 0.41])])
    assert [m.best_epoch for m in found] == [3, 3, 3]
    assert all((m.weights == 4).all() for m in found)


def test_a_member_that_ended_before_stands_with_its_last_length() -> None:
    early = trained(0, [0.3, 0.35], (2, 4))
    found = packs.settled([early, trained(1, [0.5, 0.4, 0.1]), trained(2, [9.0, 9.0, 9.0], reason="diverged")])
    assert (found[0].weights == 4).all()
    assert (found[1].weights == 8).all()
    assert found[2].reason == "diverged"
    assert packs.settled([replace(early, kept={})])[0].best_epoch == 0


def test_lengths_travel_with_packs(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("packs") / "pack.h5"
    members = (trained(0, [0.3, 0.35], (2, 4)), trained(1, [0.5, 0.4, 0.1]))
    packs.write(path, packs.Pack(SHAPE, Transform.none(("a", "b")), members))
    read = packs.read(path).members
    assert [sorted(m.kept) for m in read] == [[2, 4], [2, 4, 8]]
    assert (read[1].kept[8] == 8).all()


@pytest.mark.parametrize(("events", "layers", "dropout"), [(3_000, 2, 0.1), (100_000, 3, 0.0)])
def test_defaults_follow_the_number_of_events(events: int, layers: int, dropout: float) -> None:
    table, lengths = recommended.suited(Training(), [events, events], part=0.8, crossed=True)
    assert (table.layers, table.dropout, table.nodes) == (layers, dropout, 64)
    steps = [epochs * 1.6 * events / 512 for epochs in lengths]
    assert steps[1] == pytest.approx(30 * events**0.4, rel=0.2)
    assert recommended.suited(Training(layers=5, epochs=7), [events], crossed=True)[1] == (7,)
    assert recommended.suited(Training(patience=3), [events])[1] == ()


def versions(shift: float, *, rename: bool) -> tuple[Events, Events]:
    """Events and their variation, in which a shift of one feature moves some out of the selection."""
    nominal = events(4000)
    x = nominal.x.copy()
    x[:, 0] += np.float32(shift)
    kept = np.flatnonzero(x[:, 0] > -1)
    ids = hashing.mix(nominal.id, 5) if rename else nominal.id
    return nominal, Events(names=nominal.names, x=x[kept], weight=np.ones(len(kept)), id=ids[kept])


def test_variations_of_the_same_events_are_found() -> None:
    nominal, by_id = versions(0.1, rename=False)
    _, by_content = versions(0.1, rename=True)
    found = shared_events.shared(nominal, {"s.a.up": by_id, "s.b.up": by_content, "s.c.up": events(4000, seed=2)})
    assert (found.ids, found.content, found.columns, found.own) == (("s.a.up",), ("s.b.up",), ("b",), ("s.c.up",))
    places = [nominal.names.index(name) for name in found.columns]
    ids, others = (hashing.content(one.x[:, places]) for one in (nominal, by_content))
    assert np.isin(others, ids).all()
    assert "contain the same events (recognised by b)" in shared_events.note("s", found)


def test_whole_numbers_in_common_are_no_proof() -> None:
    """Two samples have the same few values of a count, and are still independent."""

    def counted(seed: int) -> Events:
        some = events(3000, seed)
        return replace(some, x=np.stack([np.round(some.x[:, 0] * 3), some.x[:, 1]], axis=1))

    found = shared_events.shared(counted(1), {"s.a.up": counted(2)})
    assert found.own == ("s.a.up",)
    assert "assumed to be independent" in shared_events.note("s", found)


def test_all_features_moved_cannot_be_told() -> None:
    nominal = events(3000)
    other = replace(nominal, x=nominal.x * np.float32(1.01), id=hashing.mix(nominal.id, 9))
    assert shared_events.shared(nominal, {"s.a.up": other}).own == ("s.a.up",)


def test_content_ids_do_not_tell_zeros_apart() -> None:
    assert hashing.content(np.array([[0.0], [-0.0]], np.float32)).tolist() == [hashing.content(np.zeros((1, 1), np.float32))[0]] * 2  # fmt: skip


def test_what_a_variation_may_lose_is_no_id() -> None:
    """A jet that falls below the threshold leaves a placeholder; another feature names the event."""
    nominal = events(4000)
    lost = np.arange(4000) % 3 == 0
    jet = np.where(np.arange(4000) % 2, nominal.x[:, 0], np.float32(-25))
    both = replace(nominal, names=("jet", "eta"), x=np.stack([jet, nominal.x[:, 1]], axis=1))
    varied = replace(both, x=np.stack([np.where(lost, np.float32(-25), jet), both.x[:, 1]], axis=1), id=both.id + np.uint64(1))  # fmt: skip
    found = shared_events.shared(both, {"s.jes.up": varied})
    assert (found.content, found.columns) == (("s.jes.up",), ("eta",))
