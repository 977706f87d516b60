"""Networks of many classes: the minimum is at all true ratios at once, and one network gives them all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from needle_parsl import refs
from needle_parsl.errors import InputError, TaskError
from needle_parsl.nsbi import compilation
from needle_parsl.nsbi.data import store
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.data.loading.stretches import Stretch
from needle_parsl.nsbi.data.store import Schema
from needle_parsl.nsbi.estimators import composing
from needle_parsl.nsbi.training import heads, losses, networks, packs, state, train
from needle_parsl.nsbi.training.engines import choosing
from needle_parsl.nsbi.training.members import Member, Settings
from needle_parsl.nsbi.training.ratio_events import MemberView, RatioEvents
from needle_parsl.nsbi.training.stored_events import StoredEvents
from needle_parsl.nsbi.transforms.transform import Transform

pytestmark = pytest.mark.usefixtures("one_thread")
MEANS = {"s": (0.6, 0.0), "b": (0.0, 0.0), "t": (0.0, -0.5)}
"""Of unit Gaussians: ln p_j is linear in x but for what the classes share."""
HEAD = heads.of_classes(list(MEANS))
SETTINGS = Settings(
    shape=networks.NetworkShape(network="mlp", features=2, layers=1, nodes=8, head=HEAD),
    loss="multiclass",
    optimizer="adamw",
    learning_rate=1e-2,
    schedule="cosine",
    weight_decay=1e-4,
    batch_size=256,
    epochs=12,
    patience=12,
)
VIEW = MemberView(fold=0, folds=1, fold_salt=5, validation=0.2, validation_salt=6, bootstrap_salt=None)


def gaussian(name: str, n: int, first: int) -> Events:
    generator = np.random.default_rng(first)
    x = generator.normal(MEANS[name], 1, (n, 2)).astype(np.float32)
    return Events(
        names=("a", "b"), x=x, weight=generator.uniform(0.5, 1.5, n), id=np.arange(first, first + n, dtype=np.uint64)
    )


SAMPLES = {name: gaussian(name, 4000 + 2000 * k, 10_000 * (k + 1)) for k, name in enumerate(MEANS)}
DATA = RatioEvents.of_classes(SAMPLES)
X = np.random.default_rng(5).normal(0, 1, (500, 2)).astype(np.float32)


def log_ratio(numerator: str, shares: dict[str, float], x: np.ndarray) -> np.ndarray:
    """Give the exact ln of p over a mixture."""
    density = {name: np.exp(-0.5 * ((x - np.array(mean)) ** 2).sum(axis=1)) for name, mean in MEANS.items()}
    below = sum(share * density[name] for name, share in shares.items()) / sum(shares.values())
    return np.log(density[numerator] / below)


def member(number: int = 0) -> Member:
    return Member(member=number, fold=0, seed=100 + number, view=VIEW)


def test_minimum_is_at_all_true_ratios() -> None:
    """In a cell with weights p_j the gradient vanishes at l_j = ln p_j + anything, and the loss is larger beside it."""
    p = torch.tensor([0.5, 0.2, 1e-3], dtype=torch.float64)
    logits = (p.log() + 3.7).repeat(3, 1).requires_grad_()
    losses.multiclass(logits, torch.arange(3.0), p).backward()
    assert logits.grad is not None
    np.testing.assert_allclose(logits.grad.sum(dim=0), 0, atol=1e-15)
    least = float(losses.multiclass(logits.detach(), torch.arange(3.0), p))
    for moved in torch.eye(3, dtype=torch.float64) * 0.1:
        assert float(losses.multiclass(logits.detach() + moved, torch.arange(3.0), p)) > least
        assert float(losses.multiclass(logits.detach() - moved, torch.arange(3.0), p)) > least


def test_heads_are_exact() -> None:
    """Of exact log densities with anything added, a head makes the exact ratio to a mixture of any yields."""
    density = torch.from_numpy(np.stack([log_ratio(name, {"b": 1.0}, X) for name in MEANS], axis=1))
    logits = density + torch.linspace(-300, 300, len(X))[:, None]
    for numerator, below in (("s", {"b": 7.0}), ("t", {"s": 1.0, "b": 3.0}), ("s", {"s": 2.0, "b": 1.0, "t": 5.0})):
        head = heads.finished(torch.nn.Identity(), heads.of_ratio(HEAD, numerator, below), particles=False)
        np.testing.assert_allclose(head(logits), log_ratio(numerator, below, X), atol=1e-10)


def test_classes_are_balanced() -> None:
    fitting, validation = DATA.look(VIEW)
    for part in (fitting, validation):
        sums = [float(part.weight[part.label == k].sum()) for k in range(3)]
        np.testing.assert_allclose(sums, len(part) / 3, rtol=1e-5)
    nothing = {**SAMPLES, "t": replace(SAMPLES["t"], weight=np.zeros(len(SAMPLES["t"])))}
    with pytest.raises(TaskError, match="the weights of its t add up to 0"):
        RatioEvents.of_classes(nothing).look(VIEW)


def test_one_ensemble_learns_every_ratio() -> None:
    """Each ratio of one pack against its truth, and sum_j c_j r_j = 1 for the samples of the mixture."""
    trained = train.train_pack(DATA, [member(0), member(1)], SETTINGS, state.State(), state.never)
    assert {m.engine for m in trained} == {"native" if compilation.AVAILABLE else "sequential"}
    yields, found = {"s": 1.0, "b": 2.0}, {}
    for name in MEANS:
        shape = replace(SETTINGS.shape, head=heads.of_ratio(HEAD, name, yields))
        below = Events.join([replace(SAMPLES[k], weight=SAMPLES[k].weight * y / SAMPLES[k].weight.sum()) for k, y in yields.items()], ("a", "b"))  # fmt: skip
        pack = packs.Pack(shape, DATA.transform, trained)
        estimator = composing.compose(name, pack, (SAMPLES[name], below), composing.How("mean_ratio", 1.0))
        # A logistic fit of 1,600 effective events a class has slopes to 0.04; two members see the same events.
        assert np.abs(estimator.log_ratio(X) - log_ratio(name, yields, X)).mean() < 0.1
        assert abs(estimator.log_norm) < 0.05
        found[name] = np.exp(estimator.log_ratio(X) + estimator.log_norm)
    np.testing.assert_allclose(found["s"] / 3 + found["b"] * 2 / 3, 1, atol=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(not compilation.AVAILABLE, reason="numba is not installed")
@pytest.mark.parametrize("optimizer", ["adamw", "nadam", "sgd"])
def test_compiled_classes_equal_rows(monkeypatch: pytest.MonkeyPatch, optimizer: str) -> None:
    how = replace(SETTINGS, optimizer=optimizer)
    ours = train.train(DATA, member(), how)
    monkeypatch.setattr(compilation, "AVAILABLE", False)
    theirs = train.train(DATA, member(), how)
    assert (ours.engine, theirs.engine) == ("native", "sequential")
    np.testing.assert_allclose(ours.history, theirs.history, atol=1e-6)
    np.testing.assert_allclose(ours.weights, theirs.weights, atol=1e-5)


def test_stacked_classes_equal_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    how = replace(SETTINGS, epochs=3)
    alone = [train.train(DATA, member(k), how) for k in (0, 1)]
    monkeypatch.setattr(choosing, "accelerated", lambda: True)
    together = train.train_pack(DATA, [member(0), member(1)], how, state.State(), state.never)
    for ours, theirs in zip(together, alone, strict=True):
        assert ours.engine == "stacked"
        np.testing.assert_allclose(ours.history, theirs.history, atol=2e-6)


def test_classes_in_stores_are_the_same(tmp_path: Path) -> None:
    found = []
    for number, (name, sample) in enumerate(SAMPLES.items()):
        store.write(tmp_path / f"{name}.h5", sample, Schema(("a", "b"), (), 3))
        found.append(
            Stretch(path=str(tmp_path / f"{name}.h5"), start=0, stop=len(sample), label=float(number), factor=1.0)
        )
    for ours, theirs in zip(StoredEvents.of(found, dict(enumerate(SAMPLES))).look(VIEW), DATA.look(VIEW), strict=True):
        (batch,) = ours.batches(len(ours))
        assert len(batch.label) == len(theirs)
        for k in range(3):
            np.testing.assert_allclose(
                np.sort(batch.weight[batch.label == k]), np.sort(theirs.weight[theirs.label == k]), rtol=1e-5
            )


def test_a_network_without_outputs_is_refused() -> None:
    with pytest.raises(InputError, match='takes no "outputs", the number of classes that loss = "multiclass" needs'):
        networks.empty(replace(SETTINGS.shape, network=refs.located("lightning_modules:Plain")))


def test_a_head_goes_onto_networks_of_particles() -> None:
    shape = networks.NetworkShape(
        network="deepset", features=2, layers=1, nodes=4, particles=3, head=heads.of_ratio(HEAD, "s", {"b": 1.0})
    )
    inputs = np.concatenate([X[:5], np.ones((5, 6)), np.full((5, 1), 2)], axis=1).astype(np.float32)
    transform = replace(Transform.none("ab"), particles=Transform.none("cde"))
    assert networks.empty(shape)(*networks.separated(shape, transform, inputs)).shape == (5,)


@pytest.mark.slow
@pytest.mark.parametrize("yields", [{"b": 1.0}, {"s": 1.0, "b": 2.0, "t": 0.5}])
def test_a_ratio_of_a_network_of_classes_is_exported(tmp_path: Path, yields: dict[str, float]) -> None:
    onnx_file = pytest.importorskip("needle_parsl.nsbi.estimators.exporting.onnx_file")
    from needle_parsl.nsbi.estimators.exporting import torch_file

    shape = replace(SETTINGS.shape, head=heads.of_ratio(HEAD, "t", yields))
    size = sum(p.numel() for p in networks.empty(shape).parameters())
    weights = [np.random.default_rng(m).normal(0, 1, size).astype(np.float32) for m in range(3)]
    pack = packs.Pack(
        shape,
        DATA.transform,
        tuple(
            packs.Trained(member=m, fold=0, seed=m, weights=w, history=np.ones((1, 2)), best_epoch=0, reason="")
            for m, w in enumerate(weights)
        ),
    )
    estimator = composing.compose("t", pack, (SAMPLES["t"], SAMPLES["b"]), composing.How("mean_ratio", 1.0))
    assert onnx_file.write(tmp_path / "t.onnx", {"t": estimator}, X, onnx_file.FileFacts("test", {})) < 1e-5
    torch_file.write_program(tmp_path / "t.pt2", estimator)  # compares with needle itself
