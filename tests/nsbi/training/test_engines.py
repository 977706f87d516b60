"""Engines: whatever trains a user's module, the result is that of lightning.Trainer training it alone."""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import replace
from pathlib import Path

import lightning
import numpy as np
import pytest
import torch
from scipy.special import expit

from needle_parsl import refs
from needle_parsl.analysis import catalogue
from needle_parsl.errors import InputError
from needle_parsl.nsbi import compilation
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.data.jagged import Jagged, ends
from needle_parsl.nsbi.data.loading.batches import Batch
from needle_parsl.nsbi.training import metrics, modules, networks, ratio_events, state, train
from needle_parsl.nsbi.training.engines import choosing
from needle_parsl.nsbi.training.engines import lightning_trainer as alone
from needle_parsl.nsbi.training.engines.sequential import MemberEngine
from needle_parsl.nsbi.training.members import Member, Settings, TrainingJob
from needle_parsl.nsbi.training.packs import Trained

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]
FEATURES = 4


def gaussian(n: int, mean: float, seed: int) -> Events:
    x = np.random.default_rng(seed).normal(mean, 1, (n, FEATURES)).astype(np.float32)
    return Events(
        names=tuple("abcd"), x=x, weight=np.ones(n), id=np.arange(seed * 10**6, seed * 10**6 + n, dtype=np.uint64)
    )


def jets(n: int, mean: float, seed: int) -> Events:
    """Draw events with up to five particles."""
    generator = np.random.default_rng(seed)
    counts = generator.integers(0, 6, n)
    values = generator.normal(mean, 1, (int(counts.sum()), 3)).astype(np.float32)
    return replace(gaussian(n, mean, seed), particles=Jagged(values, ends(counts)))


DATA = ratio_events.RatioEvents.build(gaussian(1500, 0.4, 1), gaussian(1500, 0.0, 2))
"""Without particles, and with them."""
WITH_JETS = ratio_events.RatioEvents.build(jets(1500, 0.4, 1), jets(1500, 0.0, 2))


def settings(network: str, epochs: int = 4, **arguments: object) -> Settings:
    name = network if network in catalogue.NETWORKS else refs.located(f"lightning_modules:{network}")
    shape = networks.NetworkShape(
        network=name,
        features=FEATURES,
        layers=1,
        nodes=8,
        arguments=json.dumps(arguments),
        particles=3 if network == "Jets" else 0,
    )
    return Settings(
        shape=shape,
        loss="carl",
        optimizer="adamw",
        learning_rate=3e-3,
        schedule="constant",
        weight_decay=1e-4,
        batch_size=128,
        epochs=epochs,
        patience=10,
    )


def member(number: int = 0) -> Member:
    return Member(
        member=number,
        fold=0,
        seed=100 + number,
        view=ratio_events.MemberView(
            fold=0, folds=1, fold_salt=5, validation=0.2, validation_salt=6, bootstrap_salt=11
        ),
    )


def job(how: Settings, number: int = 0) -> TrainingJob:
    return TrainingJob(how, member(number).seed, *DATA.look(member(number).view))


def by_lightning(how: Settings, data: ratio_events.RatioEvents = DATA) -> tuple[torch.Tensor, list[float]]:
    """Train a module with a Trainer alone: best weights, and validation loss by epoch."""
    own = TrainingJob(how, member().seed, *data.look(member().view))
    order = torch.Generator().manual_seed(own.seed)
    losses: list[float] = []
    best: list[torch.Tensor] = []

    class Follow(lightning.Callback):
        def on_validation_end(self, trainer, module) -> None:
            losses.append(float(trainer.callback_metrics["val_loss"]))
            if losses[-1] == min(losses):
                best[:] = [networks.vector(module)]

    class Shuffled:
        def __len__(self) -> int:
            return math.ceil(len(own.fitting) / how.batch_size)

        def __iter__(self):
            rows = torch.randperm(len(own.fitting), generator=order)
            yield from map(own.fitting.batch, rows.split(how.batch_size))

    class Validation:
        def __iter__(self):
            return own.validation.batches(how.batch_size)

    with torch.random.fork_rng():
        module = modules.build(how, own.seed)
        stopping = lightning.pytorch.callbacks.EarlyStopping("val_loss", patience=how.patience)
        trainer = lightning.Trainer(
            max_epochs=how.epochs, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, num_sanity_val_steps=0, callbacks=[Follow(), stopping],
        )  # fmt: skip
        trainer.fit(module, Shuffled(), Validation())
    return best[0], losses


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("network", "arguments"),
    [
        *(("Dropping", {"optimizer": name}) for name in ("adam", "nadam", "sgd")),
        ("Residual", {"optimizer": "nadam"}), ("Attention", {}), ("Cycle", {}), ("Normed", {}),
    ],
)  # fmt: skip
def test_rows_equal_lightning_training_each_alone(network: str, arguments: dict[str, str]) -> None:
    how = replace(settings(network, epochs=12, **arguments), patience=3)
    found = train.train(DATA, member(), how)
    weights, losses = by_lightning(how)
    assert found.engine == "sequential"
    assert len(found.history) == len(losses)  # the same epoch of stopping
    np.testing.assert_allclose(found.history[:, 1], losses, atol=1e-6)
    if network == "Normed":  # a bias before batch normalisation has no gradient but rounding; predictions are compared
        x = DATA.x[:200]
        ours, theirs = networks.empty(how.shape), networks.empty(how.shape)
        networks.fill(ours, torch.from_numpy(found.weights))
        networks.fill(theirs, weights)
        torch.testing.assert_close(ours(x), theirs(x), atol=1e-4, rtol=0)
    else:
        np.testing.assert_allclose(found.weights, weights, atol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("network", "epochs"),
    [
        *((name, 70) for name in ("Dropping", "Plateau")),
        *(pytest.param(name, 70, marks=pytest.mark.campaign) for name in ("Residual", "Jets")),
        *(pytest.param(name, 210, marks=pytest.mark.campaign) for name in ("Dropping", "Residual", "Jets", "Plateau")),
    ],
)
def test_rows_equal_lightning_over_a_thousand_steps(network: str, epochs: int) -> None:
    """In each run of the tests 1,000 steps, in the campaign 3,000; most of them end there by patience, at the same epoch."""
    data = WITH_JETS if network == "Jets" else DATA
    how = replace(settings(network, epochs=epochs), patience=epochs - 10, batch_size=100)
    found = train.train(data, member(), how)
    weights, losses = by_lightning(how, data)
    assert found.engine == "sequential"
    assert len(found.history) == len(losses)
    assert len(losses) * math.ceil(len(data.look(member().view)[0]) / how.batch_size) >= 1000 * epochs // 70
    np.testing.assert_allclose(found.history[:, 1], losses, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.weights, weights, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(not compilation.AVAILABLE, reason="numba is not installed")
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "nadam", "sgd"])
@pytest.mark.parametrize("network", ["Straight", "Weighed"])
def test_compiled_code_equals_lightning_training_each_alone(network: str, optimizer: str) -> None:
    how = replace(settings(network, epochs=20, optimizer=optimizer), patience=3)
    found = train.train(DATA, member(), how)
    weights, losses = by_lightning(how)
    assert found.engine == "native"
    assert len(found.history) == len(losses)
    np.testing.assert_allclose(found.history[:, 1], losses, atol=1e-6)
    np.testing.assert_allclose(found.weights, weights, atol=1e-5)


@pytest.mark.parametrize("network", ["Warming", "Counting", "Noisy", "Introspective"])
def test_what_compiled_code_would_get_wrong_is_trained_in_rows(network: str) -> None:
    assert choosing.choose(job(settings(network))).engine == "sequential"


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        ("Manual", "it optimises manually"),
        ("Clipping", "it overrides on_before_optimizer_step"),
        ("Asking", "it uses self.trainer.strategy"),
        ("CallingBack", "its callback Steps needs one"),
    ],
)
def test_what_only_lightning_can_do_falls_back_and_says_so(network: str, reason: str) -> None:
    how = settings(network, epochs=2)
    with pytest.warns(UserWarning, match=f"{network} is trained by lightning.Trainer, one after the other: {reason}"):
        found = train.train(DATA, member(), how)
    assert found.engine == "lightning"
    assert found.reason == ""
    assert len(found.history) == 2
    assert found.history[-1, 1] < 0.69


def test_choosing_leaves_the_warnings_of_other_threads_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """`warnings.catch_warnings` changes filters that all threads share, and would lose what their tasks warn of meanwhile."""
    before, seen, build = list(warnings.filters), [], modules.build

    def watched(*given):
        seen.append(list(warnings.filters))
        return build(*given)

    monkeypatch.setattr(modules, "build", watched)
    choosing.choose(job(settings("Straight")))
    assert seen
    assert all(filters == before for filters in seen)


def test_fallback_equals_rows() -> None:
    how = settings("Dropping")
    course = train.prepared(DATA, member(), how, 0)
    with torch.random.fork_rng():
        alone.run(course, lambda: None)
    ours = train.train(DATA, member(), how)
    np.testing.assert_allclose(course.trained(torch.empty, "").weights, ours.weights, atol=1e-6)
    np.testing.assert_allclose(np.array(course.history), ours.history, atol=1e-6)


@pytest.mark.parametrize(
    ("network", "arguments", "message"),
    [
        ("Stateless", {}, "training_step returns a loss of shape (128,); expected one number, such as its mean"),
        ("Untrainable", {}, "is a LightningModule without training_step; add it, or derive from torch.nn.Module"),
        ("Wide", {}, "takes 7 features, and the analysis has 4 in features.names"),
        ("Plain", {"wdith": 3}, 'takes no argument "wdith"; did you mean "width"?'),
        ("Plian", {}, 'lightning_modules has no "Plian"; did you mean "Plain"?'),
    ],
)
def test_unusable_module_is_refused_in_a_sentence(network: str, arguments: dict[str, int], message: str) -> None:
    with pytest.raises(InputError) as caught:
        choosing.choose(job(settings(network, **arguments)))
    assert message in str(caught.value)


def test_plain_module_gets_needles_loss_and_its_own_arguments() -> None:
    found = train.train(DATA, member(), settings("Plain", width=5))
    assert found.engine in {"native", "sequential"}
    assert found.weights.shape == (FEATURES * 5 + 5 + 5 + 1,)
    assert found.history[-1, 1] < found.history[0, 1]


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "nadam", "sgd"])
@pytest.mark.parametrize("loss", ["carl", "mlc"])
def test_every_loss_and_optimizer_learns_the_true_ratio(loss: str, optimizer: str) -> None:
    """ln r = sum_i 0.4 x_i - 0.32 for unit Gaussians at 0.4 and 0; a linear network can hold it exactly."""
    rate = {"sgd": 0.02}.get(optimizer, 0.02)
    how = replace(settings("Linear", epochs=25), loss=loss, optimizer=optimizer, learning_rate=rate, schedule="plateau")
    found = train.train(DATA, replace(member(), view=replace(member().view, bootstrap_salt=None)), how)
    network = networks.empty(how.shape)
    networks.fill(network, torch.from_numpy(found.weights))
    slope = network.layer.weight.detach().numpy()[0] / np.array([c.width for c in DATA.transform.columns])
    # The slopes of a logistic fit to 1,200 events a class have errors of sqrt(2 / 1200) = 0.04 or a little more.
    np.testing.assert_allclose(slope, 0.4, atol=5 * 0.045)


LATENT = 0.6
"""Width of the smearing from z to x."""


def latent(n: int, mean: float, seed: int) -> Events:
    """Draw z ~ N(mean, 1), x = z + smearing in each feature; p(z) of both classes is known: N(0.4, 1) over N(0, 1)."""
    generator = np.random.default_rng(seed)
    z = generator.normal(mean, 1, (n, FEATURES))
    log_ratio = (0.4 * z - 0.08).sum(axis=1)
    x = (z + generator.normal(0, LATENT, z.shape)).astype(np.float32)
    ids = np.arange(seed * 10**6, seed * 10**6 + n, dtype=np.uint64)
    joint = {"score": expit(log_ratio).astype(np.float32), "ratio": np.exp(log_ratio).astype(np.float32)}
    return Events(names=tuple("abcd"), x=x, weight=np.ones(n), id=ids, joint=joint)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("loss", ["alice", "regression"])
def test_joint_losses_learn_the_ratio_of_what_is_seen(loss: str, optimizer: str) -> None:
    """x is N(0.4, 1 + LATENT^2) over N(0, 1 + LATENT^2): the slope is 0.4 / (1 + LATENT^2) = 0.294, not the 0.4 of z."""
    above, below = latent(3000, 0.4, 1), latent(3000, 0.0, 2)
    data = (
        ratio_events.RatioEvents.build(above, below, "score")
        if loss == "alice"
        else ratio_events.RatioEvents.build(None, below, "ratio")
    )
    how = replace(settings("Linear", epochs=25), loss=loss, optimizer=optimizer, learning_rate=0.01, schedule="plateau")
    found = train.train(data, replace(member(), view=replace(member().view, bootstrap_salt=None)), how)
    network = networks.empty(how.shape)
    networks.fill(network, torch.from_numpy(found.weights))
    slope, offset = (
        network.layer.weight.detach().numpy()[0] / np.array([c.width for c in data.transform.columns]),
        float(network.layer.bias.detach()),
    )
    # Standard deviations of slope and offset in 20 replicas; joint ratios have long tails. The slope of z would be 0.106 off.
    width, at = {"alice": (0.007, 0.0065), "regression": (0.021, 0.05)}[loss]
    truth = 0.4 / (1 + LATENT**2)
    np.testing.assert_allclose(slope, truth, atol=5 * width)
    at_zero = offset - float(slope @ np.array([c.shift for c in data.transform.columns]))
    assert at_zero == pytest.approx(-4 * truth * 0.2, abs=5 * at)


@pytest.mark.slow
def test_soft_labels_have_less_noise_than_labels() -> None:
    """What `alice` is for: over replicas the slopes scatter less than those of `carl` on the same events."""
    slopes: dict[str, list[np.ndarray]] = {"carl": [], "alice": []}
    for replica in range(8):
        above, below = latent(600, 0.4, 100 + replica), latent(600, 0.0, 200 + replica)
        for loss, joint in (("carl", ""), ("alice", "score")):
            data = ratio_events.RatioEvents.build(above, below, joint)
            how = replace(settings("Linear", epochs=25), loss=loss, learning_rate=0.03, schedule="plateau")
            found = train.train(data, replace(member(), view=replace(member().view, bootstrap_salt=None)), how)
            slopes[loss].append(found.weights[:FEATURES] / np.array([c.width for c in data.transform.columns]))
    scatter = {loss: np.std(np.stack(found), axis=0).mean() for loss, found in slopes.items()}
    assert scatter["alice"] < 0.5 * scatter["carl"]  # 0.007 against 0.04 in 20 larger replicas


def test_label_smoothing_moves_the_minimum_as_it_should() -> None:
    logit, weight = torch.tensor([0.3], requires_grad=True), torch.ones(1)
    how = replace(settings("Linear"), label_smoothing=0.2)
    module = modules.Classifier(torch.nn.Identity(), how)
    loss = module.training_step(Batch(logit, torch.ones(1), weight), 0)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logit, torch.tensor([0.9]))
    torch.testing.assert_close(loss, expected)


class StopError(Exception):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("network", ["Dropping", "Plateau", "Cycle", "Normed"])
@pytest.mark.parametrize("stopped_at", [1, 23, 45])
def test_users_module_goes_on_from_its_state_to_the_same_bits(tmp_path: Path, network: str, stopped_at: int) -> None:
    how, path, seen = settings(network), tmp_path / "s.h5", iter(range(10_000))

    def stop(describe) -> None:
        if next(seen) == stopped_at:
            state.write(path, describe(), "key")
            raise StopError

    members = [member(0), member(1)]
    whole = train.train_pack(DATA, members, how, state.State(), state.never)
    with pytest.raises(StopError):
        train.train_pack(DATA, members, how, state.State(), stop)
    kept = state.read(path, "key")
    for ours, theirs in zip(whole, train.train_pack(DATA, members, how, kept, state.never), strict=True):
        np.testing.assert_array_equal(ours.weights, theirs.weights)
        np.testing.assert_array_equal(ours.history, theirs.history)


@pytest.fixture
def stacked(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if there were an accelerator; the device is the CPU."""
    monkeypatch.setattr(choosing, "accelerated", lambda: True)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.usefixtures("stacked")
@pytest.mark.parametrize(
    ("network", "arguments"),
    [("Residual", {"optimizer": name}) for name in ("adam", "adamw", "nadam", "sgd")] + [("Cycle", {}), ("Plain", {})],
)
def test_stacked_members_equal_each_alone(
    network: str, arguments: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Members with their own numbers of events, learning rates and epochs of stopping."""
    how = replace(settings(network, epochs=6, **arguments), patience=1, schedule="plateau")
    members = [member(k) if k else replace(member(k), own=(("learning_rate", 0.03),)) for k in range(3)]
    together = train.train_pack(DATA, members, how, state.State(), state.never)
    monkeypatch.setattr(choosing, "accelerated", lambda: False)
    alone = [train.train(DATA, m, how) for m in members]
    assert {m.engine for m in together} == {"stacked"}
    for ours, theirs in zip(together, alone, strict=True):
        assert len(ours.history) == len(theirs.history)
        np.testing.assert_allclose(ours.history, theirs.history, atol=2e-6)
        np.testing.assert_allclose(predictions(how, ours), predictions(how, theirs), atol=1e-4)


def predictions(how: Settings, trained: Trained) -> np.ndarray:
    network = networks.empty(how.shape)
    networks.fill(network, torch.from_numpy(trained.weights))
    with torch.no_grad():
        return network(DATA.x[:500]).numpy()


@pytest.mark.usefixtures("stacked")
def test_stacked_dropout_learns_as_well() -> None:
    found = train.train_pack(DATA, [member(0), member(1)], settings("Dropping", epochs=8), state.State(), state.never)
    assert {m.engine for m in found} == {"stacked"}
    assert max(m.history[:, 1].min() for m in found) < 0.66  # ln 2 without learning; 0.63 at best


@pytest.mark.usefixtures("stacked")
@pytest.mark.parametrize("network", ["Plateau", "Normed"])  # it keeps loss.item(); its running means change
def test_what_cannot_be_stacked_is_trained_one_after_the_other(network: str) -> None:
    assert choosing.choose(job(settings(network))).engine == "sequential"


@pytest.mark.usefixtures("stacked")
@pytest.mark.parametrize("stopped_at", [2, 15, 27])
def test_a_stack_goes_on_from_its_state_to_the_same_bits(tmp_path: Path, stopped_at: int) -> None:
    how, members = settings("Cycle", epochs=3), [member(0), member(1)]
    path, seen = tmp_path / "s.h5", iter(range(10_000))

    def stop(describe) -> None:
        if next(seen) == stopped_at:
            state.write(path, describe(), "key")
            raise StopError

    whole = train.train_pack(DATA, members, how, state.State(), state.never)
    with pytest.raises(StopError):
        train.train_pack(DATA, members, how, state.State(), stop)
    for ours, theirs in zip(
        whole, train.train_pack(DATA, members, how, state.read(path, "key"), state.never), strict=True
    ):
        np.testing.assert_array_equal(ours.weights, theirs.weights)
        np.testing.assert_array_equal(ours.history, theirs.history)


@pytest.mark.usefixtures("stacked")
def test_a_member_that_diverges_leaves_the_others_of_its_stack_alone() -> None:
    how = settings("Plain")
    wild = replace(member(1), own=(("learning_rate", 1e30),))
    found = train.train_pack(DATA, [member(0), wild, member(2)], how, state.State(), state.never)
    assert [m.reason.partition(" in")[0] for m in found] == ["", "diverged", ""]
    assert found[1].seed != member(1).seed
    np.testing.assert_allclose(
        predictions(how, found[2]), predictions(how, train.train(DATA, member(2), how)), atol=1e-4
    )


@pytest.mark.usefixtures("stacked")
def test_a_stack_that_does_not_fit_into_memory_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    def crowded(jobs):
        if len(jobs) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB")
        return MemberEngine(jobs)

    monkeypatch.setattr(train, "_arithmetic", lambda _, jobs: crowded(jobs))
    with pytest.warns(UserWarning, match="3 members do not fit into memory together; 1 are tried"):
        found = train.train_pack(DATA, [member(k) for k in range(3)], settings("Plain"), state.State(), state.never)
    assert [m.reason for m in found] == ["", "", ""]


def test_a_member_that_does_not_fit_is_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_jobs):
        raise MemoryError

    monkeypatch.setattr(compilation, "AVAILABLE", False)
    monkeypatch.setattr(train, "_arithmetic", lambda _, jobs: full(jobs))
    assert train.train(DATA, member(), settings("Plain")).reason == "out of memory: MemoryError"


def test_early_stopping_and_checkpoint_of_a_module_decide_without_a_trainer() -> None:
    how = replace(settings("Called", epochs=30), patience=100)
    found = train.train(DATA, member(), how)
    assert found.engine == "sequential"
    accuracy = found.metrics["accuracy"].astype(np.float32)
    assert found.best_epoch == int(accuracy.argmax())
    mark, waited = -np.inf, 0
    for value in accuracy:
        mark, waited = (value, 0) if value - np.float32(1e-3) > mark else (mark, waited + 1)
    assert waited == 2
    assert len(accuracy) < 30
    assert set(found.metrics) == {"accuracy", "learning_rate", "train_loss"}


@pytest.mark.parametrize("accelerated", [True, False])
def test_metrics_of_the_ratio_are_measured_in_every_epoch(accelerated: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "accelerated", lambda: accelerated)
    how = replace(
        settings("Plain", epochs=6), metrics=("closure_chi2", "wasserstein", "ece", "mce"), learning_rate=1e-2
    )
    found = train.train(DATA, member(), how)
    assert set(found.metrics) == {*how.metrics, "learning_rate"}
    for name in how.metrics:
        curve = found.metrics[name]
        assert curve.shape == (6,)
        assert np.isfinite(curve).all()
    assert found.metrics["wasserstein"][-1] < found.metrics["wasserstein"][0]
    assert found.metrics["closure_chi2"][-1] < found.metrics["closure_chi2"][0]


def test_metrics_of_the_exact_ratio_are_those_of_noise() -> None:
    """ln r = 0.5 x - 0.125: chi2 / ndf is 1 within its error, and the distances are below those without weights."""
    random = np.random.default_rng(3)
    label = np.arange(20_000) < 10_000
    x = random.normal(0.5 * label, 1)[:, None]
    exact = metrics.Judged(x, label, np.ones(20_000), 0.5 * x[:, 0] - 0.125)
    flat = exact._replace(log_ratio=np.zeros(20_000))
    assert metrics.closure_chi2(exact) == pytest.approx(1, abs=5 * np.sqrt(2 / 24))
    assert metrics.closure_chi2(flat) > 10
    assert metrics.wasserstein(exact) < 0.05
    assert metrics.wasserstein(flat) == pytest.approx(0.5, abs=0.07)
    assert metrics.ece(exact) < 0.03
    assert metrics.mce(exact) < 0.1
