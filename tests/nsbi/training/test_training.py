"""Training: the loss is minimal at the true ratio, a member is itself wherever it is trained, and equals Lightning's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from small_training import DATA, SETTINGS, SHAPE, gaussian, member

from needle_parsl import salts
from needle_parsl.analysis import Training, catalogue
from needle_parsl.nsbi import compilation
from needle_parsl.nsbi.data import hashing
from needle_parsl.nsbi.training import losses, networks, packs, ratio_events, state, train
from needle_parsl.nsbi.training.members import Settings


def least(name: str, label: np.ndarray, weight: np.ndarray) -> float:
    """Minimise a loss over one logit that all events share."""

    def loss(f: float) -> float:
        return float(
            losses.find(name)(torch.full((len(label),), f, dtype=torch.float64), *map(torch.tensor, (label, weight)))
        )

    return float(minimize_scalar(loss, bounds=(-8, 8), method="bounded", options={"xatol": 1e-9}).x)


@pytest.mark.parametrize("name", catalogue.LOSSES)
def test_minimum_of_a_loss_is_at_the_true_ratio(name: str) -> None:
    """At one x, for z of five values: the best of p(x, z) is p_1(x) / p_0(x), and only there the gradient vanishes."""
    known, generator = catalogue.LOSSES[name], np.random.default_rng(3)
    p1, p0 = generator.exponential(1, 5), generator.exponential(1, 5)
    truth = np.log(p1.sum() / p0.sum())
    jointly = {"": np.ones(5), "score": p1 / (p1 + p0), "ratio": p1 / p0}[known.joint]
    # Each value of z is met in both classes, as often as it is drawn there.
    label = jointly if known.below else np.concatenate([jointly, jointly if known.joint else np.zeros(5)])
    weight = p0 if known.below else np.concatenate([p1, p0])

    def loss(logit: torch.Tensor) -> torch.Tensor:
        column = logit.expand(len(label))
        given = torch.stack([torch.zeros_like(column), column], dim=1) if known.classes else column
        return losses.find(name)(given, torch.tensor(label), torch.tensor(weight))

    at = torch.tensor(truth, requires_grad=True)
    loss(at).backward()
    assert float(at.grad) == pytest.approx(0, abs=1e-12)
    found = minimize_scalar(
        lambda f: float(loss(torch.tensor(f))), bounds=(-8, 8), method="bounded", options={"xatol": 1e-9}
    )
    assert found.x == pytest.approx(truth, abs=1e-5)
    assert abs(np.log(p1 / p0).mean() - truth) > 0.05  # it is not trivial


def test_taylor_coefficients_follow_from_regressions_at_points() -> None:
    """r(x, z | t) = 1 + a t + b t^2 with a(z) of both signs: ratios at three t give the means of a and b over p_0(z | x)."""
    generator = np.random.default_rng(4)
    p0, a, b = generator.exponential(1, 6), generator.normal(0.2, 1, 6), generator.exponential(1, 6)
    points = np.array([-0.5, 0.5, 1.0])
    ratios = np.exp([least("regression", 1 + a * t + b * t**2, p0) for t in points])
    constant, linear, square = np.linalg.solve(np.vander(points, 3, increasing=True), ratios)
    expected = [1.0, np.average(a, weights=p0), np.average(b, weights=p0)]
    np.testing.assert_allclose([constant, linear, square], expected, atol=1e-4)


def test_a_wild_start_of_a_regression_comes_home() -> None:
    logit = torch.tensor([25.0], requires_grad=True)
    losses.regression(logit, torch.ones(1), torch.ones(1)).backward()
    assert logit.grad is not None
    assert 0 < float(logit.grad[0]) < np.inf


def test_classes_are_balanced_and_parts_are_disjoint() -> None:
    fitting, validation = DATA.look(member().view)
    for part in (fitting, validation):
        sums = [float(part.weight[part.label == kind].sum()) for kind in (0, 1)]
        assert sums[0] == pytest.approx(sums[1], rel=1e-5)
        assert float(part.weight.mean()) == pytest.approx(1, rel=1e-5)
    without, _ = DATA.look(replace(member().view, bootstrap_salt=None))
    assert len(without.x) + len(validation.x) == 5000
    assert len(fitting.x) < len(without.x)  # a Poisson(1) bootstrap leaves out e^-1 of the events


@pytest.mark.parametrize("fold", range(3))
def test_folds_leave_their_own_events_out(fold: int) -> None:
    view = member(fold=fold, folds=3, bootstrap=None).view
    own = {tuple(row) for row in DATA.x[hashing.fold(DATA.id, 3, view.fold_salt) == fold].tolist()}
    seen = [{tuple(row) for row in part.x.tolist()} for part in DATA.look(view)]
    assert not own & (seen[0] | seen[1])
    assert len(own) + len(seen[0]) + len(seen[1]) == 5000


def test_bootstrap_is_the_same_draw_for_an_event_in_every_ratio() -> None:
    events = gaussian(1000, 0.0, 3)
    view = member().view
    alone = ratio_events.RatioEvents.build(events, gaussian(500, 1, 4, 5000)).look(view)[0]
    other = ratio_events.RatioEvents.build(events, gaussian(700, 2, 5, 9000)).look(view)[0]
    first, second = alone.weight[alone.label == 1], other.weight[other.label == 1]
    torch.testing.assert_close(first / first.sum(), second / second.sum())


def test_a_member_is_itself_whatever_was_trained_before() -> None:
    alone = train.train(DATA, member(1), SETTINGS)
    torch.manual_seed(12345)
    train.train(DATA, member(0), SETTINGS)
    again = train.train(DATA, member(1), SETTINGS)
    np.testing.assert_array_equal(alone.weights, again.weights)
    np.testing.assert_array_equal(alone.history, again.history)
    assert not np.array_equal(alone.weights, train.train(DATA, member(2), SETTINGS).weights)


def test_training_leaves_the_users_random_state_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    train.train(DATA, member(), replace(SETTINGS, epochs=1))
    torch.testing.assert_close(torch.rand(3), expected)


def test_best_epoch_is_kept_and_patience_ends_training() -> None:
    trained = train.train(DATA, member(), replace(SETTINGS, epochs=60, patience=3, learning_rate=0.05))
    assert len(trained.history) < 60
    assert trained.best_epoch == int(trained.history[:, 1].argmin()) == len(trained.history) - 4
    network, validation = networks.empty(SHAPE), DATA.look(member().view)[1]
    networks.fill(network, torch.from_numpy(trained.weights))
    with torch.no_grad():
        loss = float(losses.carl(network(validation.x), validation.label, validation.weight))
    assert loss == pytest.approx(trained.history[trained.best_epoch, 1], abs=1e-7)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"epochs": 50}, 50),
        ({"schedule": "plateau"}, 5),
        ({"patience": 3}, 3),
        ({"patience": 7, "schedule": "constant"}, 7),
    ],
)
def test_steps_that_shrink_are_all_taken_unless_patience_is_given(how: dict[str, Any], expected: int) -> None:
    assert Settings.of(Training(**how), 2).patience == expected


def test_divergence_is_a_record_after_one_retry() -> None:
    broken = replace(DATA, x=torch.full_like(DATA.x, float("inf")))
    trained = train.train(broken, member(), SETTINGS)
    assert trained.reason == "diverged in epoch 1"
    assert trained.seed != member().seed


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
def test_a_member_equals_lightning_training_it_alone() -> None:
    """Same start, same order of events: Lightning's Trainer ends at the same weights."""
    import lightning

    fitting, _ = DATA.look(member().view)

    class Alone(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = networks.build(SHAPE, member().seed)

        def training_step(self, rows: torch.Tensor) -> torch.Tensor:
            return losses.carl(self.network(fitting.x[rows]), fitting.label[rows], fitting.weight[rows])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), lr=1e-2, weight_decay=1e-4)

    generator = torch.Generator().manual_seed(member().seed)

    class Order(torch.utils.data.IterableDataset[torch.Tensor]):
        def __iter__(self):
            return iter(torch.randperm(len(fitting.x), generator=generator).split(256))

    module = Alone()
    trainer = lightning.Trainer(
        max_epochs=3, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False
    )  # fmt: skip
    trainer.fit(module, torch.utils.data.DataLoader(Order(), batch_size=None))
    trained = train.train(DATA, member(), replace(SETTINGS, epochs=3))
    assert trained.best_epoch == 2  # so that best weights are last weights
    expected = torch.nn.utils.parameters_to_vector(module.network.parameters()).detach().numpy()
    np.testing.assert_allclose(trained.weights, expected, atol=1e-6)


def test_pack_reads_back(tmp_path: Path) -> None:
    trained = tuple(train.train(DATA, member(k), replace(SETTINGS, epochs=1 + k)) for k in range(3))
    broken = replace(trained[0], member=3, reason="diverged in epoch 2")
    packs.write(tmp_path / "p.h5", packs.Pack(SHAPE, DATA.transform, (*trained, broken)))
    found = packs.read(tmp_path / "p.h5")
    assert found.shape == SHAPE
    assert found.transform == DATA.transform
    for ours, theirs in zip((*trained, broken), found.members, strict=True):
        np.testing.assert_array_equal(ours.weights, theirs.weights)
        np.testing.assert_array_equal(ours.history, theirs.history)
        assert (ours.member, ours.seed, ours.best_epoch, ours.reason) == (
            theirs.member, theirs.seed, theirs.best_epoch, theirs.reason,
        )  # fmt: skip
    assert [m.member for m in packs.join([found]).members] == [0, 1, 2, 3]


def test_a_network_to_be_filled_touches_no_random_state() -> None:
    """Evaluation runs beside training in other threads."""
    before = torch.random.get_rng_state()
    networks.empty(SHAPE)
    torch.testing.assert_close(torch.random.get_rng_state(), before)
    assert [p.shape for p in networks.empty(SHAPE).parameters()] == [
        p.shape for p in networks.build(SHAPE, 1).parameters()
    ]


def test_a_class_without_weight_is_a_record_with_a_reason() -> None:
    trained = train.train(replace(DATA, weight=np.where(DATA.label, 0.0, 1.0)), member(), SETTINGS)
    assert trained.reason == "the weights of its numerator add up to 0"
    assert trained.weights.shape == (2 * 8 + 8 + 8 + 1,)


def test_history_of_nan_survives_the_file(tmp_path: Path) -> None:
    broken = packs.Trained(
        member=0,
        fold=0,
        seed=1,
        weights=np.zeros(33, np.float32),
        history=np.full((1, 2), np.nan),
        best_epoch=0,
        reason="diverged in epoch 1",
    )
    good = train.train(DATA, member(1), replace(SETTINGS, epochs=2))
    packs.write(tmp_path / "p.h5", packs.Pack(SHAPE, DATA.transform, (broken, good)))
    assert [m.history.shape for m in packs.read(tmp_path / "p.h5").members] == [(1, 2), (2, 2)]


class StopError(Exception):
    pass


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
@pytest.mark.parametrize("stopped_at", [0, 1, 7, 16, 17, 40])
@pytest.mark.parametrize("made_by", ["sequential", "native"])
def test_a_pack_goes_on_from_its_state_to_the_same_bits(
    tmp_path: Path, schedule: str, stopped_at: int, made_by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped before any step, in any epoch of any member: the file has all that the next step depends on."""
    if made_by == "native":
        native = pytest.importorskip("needle_parsl.nsbi.training.engines.native")
        monkeypatch.setattr(native, "WORK", 0)  # a moment to stop between any two steps
    else:
        monkeypatch.setattr(compilation, "AVAILABLE", False)
    dropout = 0.2 if schedule == "cosine" else 0.0
    settings, members = replace(SETTINGS, schedule=schedule, dropout=dropout), [member(0), member(1)]
    path, seen = tmp_path / "s.h5", iter(range(10_000))

    def stop(describe) -> None:
        if next(seen) == stopped_at:
            state.write(path, describe(), "key")
            raise StopError

    whole = train.train_pack(DATA, members, settings, state.State(), state.never)
    with pytest.raises(StopError):
        train.train_pack(DATA, members, settings, state.State(), stop)
    kept = state.read(path, "key")
    assert kept is not None
    for ours, theirs in zip(whole, train.train_pack(DATA, members, settings, kept, state.never), strict=True):
        np.testing.assert_array_equal(ours.weights, theirs.weights)
        np.testing.assert_array_equal(ours.history, theirs.history)
        assert (ours.seed, ours.best_epoch, ours.reason) == (theirs.seed, theirs.best_epoch, theirs.reason)


def test_state_in_the_second_attempt_is_not_taken_for_the_first(tmp_path: Path) -> None:
    broken = replace(DATA, x=torch.full_like(DATA.x, float("inf")))
    path = tmp_path / "s.h5"

    def keep(describe) -> None:
        path.unlink(missing_ok=True)
        state.write(path, describe(), "key")

    train.train_pack(broken, [member()], SETTINGS, state.State(), keep)
    assert state.read(path, "key").running[0]["attempt"] == 1
    (again,) = train.train_pack(broken, [member()], SETTINGS, state.read(path, "key"), state.never)
    assert again.seed == salts.key("retry", member().seed)
    assert again.reason == "diverged in epoch 1"


@pytest.mark.slow
def test_state_with_a_flipped_bit_or_of_another_task_is_none(tmp_path: Path) -> None:
    steps: list[int] = []

    def keep(describe) -> None:
        if not steps:
            state.write(tmp_path / "s.h5", describe(), "key")
        steps.append(1)

    train.train_pack(DATA, [member()], replace(SETTINGS, epochs=1), state.State(), keep)
    with h5py.File(tmp_path / "s.h5", "r+") as file:  # as of a needle whose networks had other names for their layers
        form = file.attrs["form"]
        del file.attrs["form"]
    assert state.read(tmp_path / "s.h5", "key") is None
    with h5py.File(tmp_path / "s.h5", "r+") as file:
        file.attrs["form"] = form
    good = (tmp_path / "s.h5").read_bytes()
    assert state.read(tmp_path / "s.h5", "key") is not None
    assert state.read(tmp_path / "s.h5", "other") is None
    assert state.read(tmp_path / "none.h5", "key") is None
    whole = state.read(tmp_path / "s.h5", "key")
    for place in range(0, len(good), 97):
        (tmp_path / "s.h5").write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        found = state.read(tmp_path / "s.h5", "key")
        assert found is None or state._encode(found.running, []) == state._encode(whole.running, [])
    (tmp_path / "s.h5").write_bytes(good[: len(good) // 2])
    assert state.read(tmp_path / "s.h5", "key") is None
