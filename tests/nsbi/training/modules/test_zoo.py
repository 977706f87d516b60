"""The zoo: whatever engine trains a module, the result is that of lightning.Trainer alone, or there is a reason."""

from __future__ import annotations

import logging
import math
import random
import warnings
from functools import cache

import lightning
import numpy as np
import pytest
import torch
import zoo

from needle_parsl import refs
from needle_parsl.errors import InputError
from needle_parsl.nsbi import compilation
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.training import modules, networks, ratio_events, state, train
from needle_parsl.nsbi.training.engines import choosing
from needle_parsl.nsbi.training.members import Member, Settings, TrainingJob
from needle_parsl.nsbi.training.packs import Trained

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore")]
TOLERANCES = {"sequential": (1e-6, 1e-5), "lightning": (1e-6, 1e-5), "native": (1e-6, 1e-5), "stacked": (1e-5, 1e-4)}
"""Of the validation loss and of the weights, by engine; stacked weights in ln r."""


def gaussian(n: int, mean: float, seed: int) -> Events:
    generator = np.random.default_rng(seed)
    x = generator.normal(mean, 1, (n, zoo.FEATURES)).astype(np.float32)
    weight = generator.uniform(0.5, 1.5, n) * np.where(generator.random(n) < 0.01, 20, 1)
    return Events(
        names=tuple("abcd"), x=x, weight=weight, id=np.arange(seed * 10**6, seed * 10**6 + n, dtype=np.uint64)
    )


DATA = ratio_events.RatioEvents.build(gaussian(500, 0.4, 1), gaussian(500, 0.0, 2))


def member(number: int = 0) -> Member:
    return Member(
        member=number,
        fold=0,
        seed=100 + number,
        view=ratio_events.MemberView(
            fold=0, folds=1, fold_salt=5, validation=0.2, validation_salt=6, bootstrap_salt=11 + number
        ),
    )


def settings(name: str) -> Settings:
    kind = getattr(zoo, name)
    shape = networks.NetworkShape(
        network=refs.located(f"zoo:{name}"),
        features=zoo.FEATURES,
        layers=1,
        nodes=8,
        output=getattr(kind, "OUTPUT", "logit"),
    )
    return Settings(
        shape=shape, loss="carl", optimizer="adamw", learning_rate=3e-3, schedule="constant", weight_decay=1e-4, batch_size=zoo.BATCH, epochs=zoo.EPOCHS, patience=zoo.EPOCHS + 1,
        batch=getattr(kind, "BATCH_FORM", "tuple"),
    )  # fmt: skip


@cache
def alone(name: str, number: int = 0) -> tuple[torch.Tensor, np.ndarray]:
    """Train a member with a Trainer alone: the weights of its best epoch, and the validation losses."""
    how, kind = settings(name), getattr(zoo, name)
    own = TrainingJob(how, member(number).seed, *DATA.look(member(number).view))
    order = torch.Generator().manual_seed(own.seed)
    monitor, sign = getattr(kind, "BEST", (getattr(kind, "LOSS", "val_loss"), 1))
    losses: list[float] = []
    best: list[tuple[float, torch.Tensor]] = []

    class Follow(lightning.Callback):
        weights: torch.Tensor

        def on_validation_epoch_end(self, trainer, module) -> None:  # noqa: ARG002
            self.weights = networks.vector(module)  # before an average is swapped back

        def on_validation_end(self, trainer, module) -> None:  # noqa: ARG002
            known = trainer.callback_metrics
            losses.append(float(known[getattr(kind, "LOSS", "val_loss")]))
            value = sign * float(known[monitor])
            if not best or value < best[0][0]:
                best[:] = [(value, self.weights)]

    class Shuffled:
        def __len__(self) -> int:
            return math.ceil(len(own.fitting) / zoo.BATCH)

        def __iter__(self):
            rows = torch.randperm(len(own.fitting), generator=order)
            for places in rows.split(zoo.BATCH):
                yield modules.given(own.fitting.batch(places), how)

    class Validation:
        def __iter__(self):
            return (modules.given(batch, how) for batch in own.validation.batches(zoo.BATCH))

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with torch.random.fork_rng():
        for seed in (torch.manual_seed, np.random.seed, random.seed):
            seed(own.seed)
        module = kind()
        trainer = lightning.Trainer(
            max_epochs=zoo.EPOCHS, accelerator="cpu", logger=Silent(), enable_progress_bar=False, enable_model_summary=False,
            num_sanity_val_steps=0, callbacks=[Follow()], enable_checkpointing=True,
        )  # fmt: skip
        trainer.fit(
            module,
            None if hasattr(kind, "train_dataloader") and "train_dataloader" in vars(kind) else Shuffled(),
            Validation(),
        )
    return (networks.vector(module) if getattr(kind, "LAST", False) else best[0][1]), np.array(losses)


class Silent(lightning.pytorch.loggers.Logger):
    """A logger that takes everything and keeps nothing."""

    name, version = "silent", 0
    experiment = type("Experiment", (), {"add_scalar": lambda *_: None})()

    def log_metrics(self, *_, **__) -> None:
        pass

    def log_hyperparams(self, *_, **__) -> None:
        pass


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints of the lone Trainer go to a folder of the test."""
    monkeypatch.chdir(tmp_path)


def log_ratio(how: Settings, weights: torch.Tensor) -> torch.Tensor:
    network = networks.evaluator(how.shape)
    networks.fill(network, weights)
    with torch.no_grad():
        return network(DATA.x[:200])


def compared(name: str, got: Trained, number: int = 0) -> None:
    """Hold a member beside the lone Trainer's."""
    weights, losses = alone(name, number)
    of_loss, of_weights = TOLERANCES[got.engine]
    history = got.history[: len(losses), 1]
    assert len(history) == len(losses)
    np.testing.assert_allclose(history, losses, rtol=0, atol=of_loss * max(1.0, float(np.abs(losses).max())))
    if got.engine == "stacked":
        torch.testing.assert_close(
            log_ratio(settings(name), torch.from_numpy(got.weights)),
            log_ratio(settings(name), weights),
            rtol=0,
            atol=of_weights,
        )
    else:
        np.testing.assert_allclose(got.weights, weights, rtol=0, atol=of_weights)


TRAINED = [name for name, kind in zoo.KINDS.items() if not hasattr(kind, "REFUSED")]
REFUSED = [name for name in zoo.KINDS if name not in TRAINED]


def test_there_are_ninety() -> None:
    assert len(zoo.KINDS) >= 90


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_a_module_is_trained_as_by_lightning_alone(name: str) -> None:
    kind = getattr(zoo, name)
    got = train.train(DATA, member(), settings(name))
    expected = "sequential" if kind.ENGINE == "native" and not compilation.AVAILABLE else kind.ENGINE
    assert got.engine == expected
    if hasattr(kind, "FAILS"):
        assert kind.FAILS in got.reason
        return
    assert got.reason == ""
    compared(name, got)


@pytest.mark.parametrize("name", TRAINED)
def test_a_module_is_trained_rightly_where_members_are_stacked(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU, as if there were an accelerator; members have their own numbers of events."""
    kind = getattr(zoo, name)
    monkeypatch.setattr(choosing, "accelerated", lambda: True)
    how = settings(name)
    choice = choosing.choose(TrainingJob(how, member().seed, *DATA.look(member().view)))
    assert choice.engine == kind.STACKED
    if choice.engine != "stacked" or getattr(kind, "RANDOM", False):
        return  # the other engines are compared above; random numbers of a stack are others
    for number, got in enumerate(train.train_pack(DATA, [member(0), member(1)], how, state.State(), state.never)):
        assert got.reason == ""
        assert got.engine == "stacked"
        compared(name, got, number)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_trained_is_refused_in_a_sentence(name: str) -> None:
    with pytest.raises(InputError, match=getattr(zoo, name).REFUSED):
        train.train(DATA, member(), settings(name))


def test_values_given_to_the_logger_are_kept() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = train.train(DATA, member(), settings("LoggerUse"))
    assert found.metrics["mine"].shape == (zoo.EPOCHS,)
    assert np.isfinite(found.metrics["mine"]).all()
