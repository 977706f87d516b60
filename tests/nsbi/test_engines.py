"""Engines: whatever trains a user's module, the result is that of lightning.Trainer training it alone."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import lightning
import numpy as np
import pytest
import torch

from needle_parsl.errors import InputError
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.training import engine, modules, networks, state, views
from needle_parsl.nsbi.training.engines import alone, choosing
from needle_parsl.nsbi.training.members import Job, Member, Settings

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]
FEATURES = 4


def gaussian(n: int, mean: float, seed: int) -> Events:
    x = np.random.default_rng(seed).normal(mean, 1, (n, FEATURES)).astype(np.float32)
    return Events(tuple("abcd"), x, np.ones(n), np.arange(seed * 10**6, seed * 10**6 + n, dtype=np.uint64))


DATA = views.RatioEvents.build(gaussian(1500, 0.4, 1), gaussian(1500, 0.0, 2))


def settings(network: str, epochs: int = 4, **arguments: object) -> Settings:
    name = network if network in networks.NETWORKS else f"lightning_modules:{network}"
    shape = networks.Shape(name, FEATURES, 1, 8, json.dumps(arguments))
    return Settings(shape, "carl", "adamw", 3e-3, "constant", 1e-4, 128, epochs, 10)


def member(number: int = 0) -> Member:
    return Member(number, 0, 100 + number, views.MemberView(0, 1, 5, 0.2, 6, 11))


def job(how: Settings, number: int = 0) -> Job:
    return Job(how, member(number).seed, *DATA.look(member(number).view))


def by_lightning(how: Settings, number: int = 0) -> tuple[torch.Tensor, list[float]]:
    """Train a module with a Trainer alone: best weights, and validation loss by epoch."""
    own = job(how, number)
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
            return own.validation.batches(10_000)

    with torch.random.fork_rng():
        module = modules.build(how, own.seed)
        stopping = lightning.pytorch.callbacks.EarlyStopping("val_loss", patience=how.patience)
        trainer = lightning.Trainer(
            max_epochs=how.epochs, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, num_sanity_val_steps=0, callbacks=[Follow(), stopping],
        )  # fmt: skip
        trainer.fit(module, Shuffled(), Validation())
    return best[0], losses


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("network", "arguments"),
    [
        *(("Dropping", {"optimizer": name}) for name in ("adam", "adamw", "nadam", "sgd")),
        ("Residual", {}), ("Residual", {"optimizer": "nadam"}), ("Attention", {}), ("Plateau", {}), ("Cycle", {}), ("Normed", {}),
    ],
)  # fmt: skip
def test_rows_equal_lightning_training_each_alone(network: str, arguments: dict[str, str]) -> None:
    how = replace(settings(network, epochs=12, **arguments), patience=3)
    found = engine.train(DATA, member(), how)
    weights, losses = by_lightning(how)
    assert found.engine == "rows"
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


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        ("Manual", "it optimises manually"),
        ("Clipping", "it overrides on_before_optimizer_step"),
        ("Asking", "it uses self.trainer.strategy"),
    ],
)
def test_what_only_lightning_can_do_falls_back_and_says_so(network: str, reason: str) -> None:
    how = settings(network, epochs=2)
    with pytest.warns(UserWarning, match=f"{network} is trained by lightning.Trainer, one after the other: {reason}"):
        found = engine.train(DATA, member(), how)
    assert found.engine == "lightning"
    assert found.reason == ""
    assert len(found.history) == 2
    assert found.history[-1, 1] < 0.69


def test_fallback_equals_rows() -> None:
    how = settings("Dropping")
    course = engine.prepared(DATA, member(), how, 0)
    with torch.random.fork_rng():
        alone.run(course, lambda: None)
    ours = engine.train(DATA, member(), how)
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
    found = engine.train(DATA, member(), settings("Plain", width=5))
    assert found.engine == "rows"
    assert found.weights.shape == (FEATURES * 5 + 5 + 5 + 1,)
    assert found.history[-1, 1] < found.history[0, 1]


class StopError(Exception):
    pass


@pytest.mark.parametrize("network", ["Dropping", "Plateau", "Cycle", "Normed"])
@pytest.mark.parametrize("stopped_at", [1, 23, 45])
def test_users_module_goes_on_from_its_state_to_the_same_bits(tmp_path: Path, network: str, stopped_at: int) -> None:
    how, path, seen = settings(network), tmp_path / "s.h5", iter(range(10_000))

    def stop(describe) -> None:
        if next(seen) == stopped_at:
            state.write(path, describe(), "key")
            raise StopError

    members = [member(0), member(1)]
    whole = engine.train_pack(DATA, members, how, state.State(), state.never)
    with pytest.raises(StopError):
        engine.train_pack(DATA, members, how, state.State(), stop)
    kept = state.read(path, "key")
    for ours, theirs in zip(whole, engine.train_pack(DATA, members, how, kept, state.never), strict=True):
        np.testing.assert_array_equal(ours.weights, theirs.weights)
        np.testing.assert_array_equal(ours.history, theirs.history)
