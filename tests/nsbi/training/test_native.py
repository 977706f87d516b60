"""Training of perceptrons in cache against torch: gradients, optimisers, a thousand steps, odd sizes, bad numbers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

pytest.importorskip("numba")

from needle_parsl.nsbi import compilation
from needle_parsl.nsbi.training import losses
from needle_parsl.nsbi.training.engines import recognition
from needle_parsl.nsbi.training.kernels import passes, updates
from needle_parsl.nsbi.training.kernels.passes import EventTable
from needle_parsl.nsbi.training.kernels.trainer import CompiledTrainer, Goal, Structure
from needle_parsl.nsbi.training.kernels.updates import UpdateRule

ACTIVATIONS = {passes.SILU: nn.SiLU, passes.RELU: nn.ReLU, passes.TANH: nn.Tanh}
RULES: dict[str, tuple[UpdateRule, Callable[..., torch.optim.Optimizer]]] = {
    "adam": (UpdateRule(updates.ADAM, weight_decay=0.02), lambda p: torch.optim.Adam(p, lr=0.002, weight_decay=0.02)),
    "adamw": (
        UpdateRule(updates.ADAM, 0.8, 0.99, 1e-6, 0.05, decoupled=True),
        lambda p: torch.optim.AdamW(p, lr=0.002, betas=(0.8, 0.99), eps=1e-6, weight_decay=0.05),
    ),
    "nadam": (UpdateRule(updates.NADAM), lambda p: torch.optim.NAdam(p, lr=0.002)),
    "sgd": (UpdateRule(updates.SGD, 0.0), lambda p: torch.optim.SGD(p, lr=0.002)),
    "momentum": (
        UpdateRule(updates.SGD, 0.9, weight_decay=0.01, dampening=0.1),
        lambda p: torch.optim.SGD(p, lr=0.002, momentum=0.9, weight_decay=0.01, dampening=0.1),
    ),
    "nesterov": (
        UpdateRule(updates.SGD, 0.9, nesterov=True),
        lambda p: torch.optim.SGD(p, lr=0.002, momentum=0.9, nesterov=True),
    ),
}


def network(widths: tuple[int, ...], activation: int, seed: int = 1, outputs: int = 1) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        hidden = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), ACTIVATIONS[activation]())]
        return nn.Sequential(*hidden, nn.Linear(widths[-1], outputs))


def flat(module: nn.Module) -> Any:
    return nn.utils.parameters_to_vector(module.parameters()).detach().numpy().copy()


def events(count: int, features: int, seed: int = 2) -> EventTable:
    random = np.random.default_rng(seed)
    x = random.standard_normal((count, features), dtype=np.float32)
    label = (random.random(count) < 1 / (1 + np.exp(-x[:, 0]))).astype(np.float32)
    weight = random.poisson(1.0, count) * random.uniform(-0.2, 2.0, count)  # zeros, and some below zero
    return EventTable(x, label, weight.astype(np.float32))


def loss(goal: Goal, module: nn.Module, table: EventTable, rows: Any) -> torch.Tensor:
    kind = next(module.parameters()).dtype
    x, label, weight = (torch.from_numpy(column[rows]).to(kind) for column in table)
    label = label * (1 - goal.smoothing) + goal.smoothing / 2
    logit = module(x).squeeze(-1)
    if goal.loss == passes.SOFTMAX:
        value = losses.multiclass(module(x), label, weight)
        return value * (len(rows) / weight.sum() if goal.by_weight else 1)
    if goal.loss == passes.MLC:
        value = losses.mlc(logit, label, weight)
        return value * (len(rows) / weight.sum() if goal.by_weight else 1)
    if goal.loss == passes.BCE:
        each = binary_cross_entropy_with_logits(logit, label, reduction="none")
    else:
        each = (logit - label) ** 2
    return (weight * each).sum() / (weight.sum() if goal.by_weight else len(rows))


SHAPES = [(4, 32, 32), (16, 64, 64, 64), (5, 7, 13, 9), (1, 1), (3, 17), (33, 48, 100)]


@pytest.mark.parametrize("widths", SHAPES, ids=str)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(
    "goal",
    [Goal(passes.BCE), Goal(passes.BCE, smoothing=0.1, by_weight=True), Goal(passes.MSE), Goal(passes.MLC)],
    ids=["bce", "smoothed", "mse", "mlc"],
)
def test_loss_and_gradient_are_those_of_autograd(widths: tuple[int, ...], activation: int, goal: Goal) -> None:
    module, table = network(widths, activation), events(301, widths[0])
    trainer = CompiledTrainer(Structure(widths, activation), goal, UpdateRule(updates.ADAM))
    for count in (3, 128, 300):
        rows = np.random.default_rng(count).permutation(301)[:count]
        single, exact = gradient(goal, module, table, rows), gradient(goal, deepcopy(module).double(), table, rows)
        value, found = trainer.differentiate(flat(module), table, rows)
        assert value == pytest.approx(exact[0], rel=1e-6, abs=1e-7)
        rounding = np.abs(single[1] - exact[1]).max() + 2e-7 * np.abs(exact[1]).max()
        assert np.abs(found - exact[1]).max() <= 5 * rounding


@pytest.mark.parametrize("outputs", [2, 3, 8, 40])
@pytest.mark.parametrize("by_weight", [False, True])
@pytest.mark.parametrize("widths", [(4, 32, 32), (5, 7, 13, 9), (1, 1), (33, 48, 100)], ids=str)
def test_softmax_has_the_loss_and_gradient_of_autograd(widths: tuple[int, ...], by_weight: bool, outputs: int) -> None:
    goal, module = Goal(passes.SOFTMAX, by_weight=by_weight), network(widths, passes.SILU, outputs=outputs)
    table = classes(301, widths[0], outputs)
    trainer = CompiledTrainer(Structure(widths, passes.SILU, outputs), goal, UpdateRule(updates.ADAM))
    for count in (3, 128, 300):
        rows = np.random.default_rng(count).permutation(301)[:count]
        single, exact = gradient(goal, module, table, rows), gradient(goal, deepcopy(module).double(), table, rows)
        value, found = trainer.differentiate(flat(module), table, rows)
        assert value == pytest.approx(exact[0], rel=1e-6, abs=1e-7)
        rounding = np.abs(single[1] - exact[1]).max() + 2e-7 * np.abs(exact[1]).max()
        assert np.abs(found - exact[1]).max() <= 5 * rounding


def classes(count: int, features: int, outputs: int) -> EventTable:
    table = events(count, features)
    label = np.random.default_rng(3).integers(outputs, size=count) * (table.x[:, 0] > -0.5)
    return table._replace(label=label.astype(np.float32))


def gradient(goal: Goal, module: nn.Module, table: EventTable, rows: Any) -> tuple[float, Any]:
    module.zero_grad()
    value = loss(goal, module, table, rows)
    torch.autograd.backward(value)
    return float(value.detach()), nn.utils.parameters_to_vector([p.grad for p in module.parameters()]).numpy()


def by_torch(module: nn.Module, make: Any, goal: Goal, table: EventTable, order: Any, batch: int) -> list[float]:
    optimizer, found = make(module.parameters()), []
    for rows in np.split(order, range(batch, len(order), batch)):
        optimizer.zero_grad()
        value = loss(goal, module, table, rows)
        torch.autograd.backward(value)
        optimizer.step()
        found.append(float(value.detach()))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("activation", [passes.SILU, passes.TANH])
def test_a_thousand_steps_end_where_those_of_torch_end(name: str, activation: int) -> None:
    compare_a_thousand_steps(name, activation, Goal(passes.BCE), events(1500, 6), 1)


@pytest.mark.slow
def test_a_thousand_steps_of_classes_end_where_those_of_torch_end() -> None:
    compare_a_thousand_steps("adamw", passes.SILU, Goal(passes.SOFTMAX), classes(1500, 6, 3), 3)


def compare_a_thousand_steps(name: str, activation: int, goal: Goal, table: EventTable, outputs: int) -> None:
    rule, make = RULES[name]
    widths, batch = (6, 24, 20), 70
    order = np.concatenate([np.random.default_rng(n).permutation(1500) for n in range(47)])[: 70 * 1000 - 33]
    module = network(widths, activation, outputs=outputs)
    start = flat(module)
    expected = by_torch(module, make, goal, table, order, batch)
    trainer, found = CompiledTrainer(Structure(widths, activation, outputs), goal, rule), start.copy()
    moments = trainer.begin()
    told = [
        trainer.train_batches(found, moments, table, part, batch, 0.002)
        for part in np.split(order, range(70 * 90, len(order), 70 * 90))
    ]
    assert np.abs(flat(module) - start).max() > 0.02
    assert np.abs(np.concatenate(told) - expected).max() < 2e-6
    assert np.abs(found - flat(module)).max() < 1e-5


def test_a_training_cut_in_pieces_has_the_same_bits() -> None:
    table, order = events(900, 6), np.random.default_rng(4).permutation(900)
    trainer = CompiledTrainer(Structure((6, 24, 20), passes.SILU), Goal(passes.BCE), RULES["nadam"][0])
    whole = flat(network((6, 24, 20), passes.SILU))
    pieces, moments, kept = whole.copy(), trainer.begin(), trainer.begin()
    trainer.train_batches(whole, moments, table, order, 64, 0.01)
    other = CompiledTrainer(Structure((6, 24, 20), passes.SILU), Goal(passes.BCE), RULES["nadam"][0])
    for part in np.split(order, [64 * 3, 64 * 4, 64 * 11]):
        other.train_batches(pieces, kept, table, part, 64, 0.01)
        other.differentiate(pieces, table, order)
    assert whole.tobytes() == pieces.tobytes()
    assert all(a.tobytes() == b.tobytes() for a, b in zip(moments, kept, strict=True))


@pytest.mark.parametrize("broken", [0, 7, -1, -4])
def test_nan_in_any_logit_shows(broken: int) -> None:
    trainer = CompiledTrainer(Structure((2, 3), passes.SILU, 3), Goal(passes.SOFTMAX), UpdateRule(updates.ADAM))
    parameters, table = flat(network((2, 3), passes.SILU, outputs=3)), classes(40, 2, 3)
    parameters[broken] = np.nan
    loss, found = trainer.differentiate(parameters, table, np.arange(40))
    assert np.isnan(loss)
    assert np.isnan(found[-3:]).all()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_nan_shows_and_stays_with_its_member(activation: int) -> None:
    widths, table = (6, 24, 20), events(300, 6)
    trainer, order = CompiledTrainer(Structure(widths, activation), Goal(passes.BCE), RULES["adam"][0]), np.arange(300)
    broken = flat(network(widths, activation))
    broken[3] = np.nan
    assert np.isnan(trainer.train_batches(broken, trainer.begin(), table, order, 100, 0.01)).all()
    assert np.isnan(trainer.differentiate(broken, table, order)[0])
    sound, moments = flat(network(widths, activation)), trainer.begin()
    fresh = CompiledTrainer(Structure(widths, activation), Goal(passes.BCE), RULES["adam"][0])
    alone = sound.copy()
    fresh.train_batches(alone, fresh.begin(), table, order, 100, 0.01)
    trainer.train_batches(sound, moments, table, order, 100, 0.01)
    assert sound.tobytes() == alone.tobytes()


def test_extreme_logits_give_torchs_losses() -> None:
    x = np.array([[-1e4], [-90.0], [-30.0], [-1e-6], [0.0], [20.0], [88.0], [3e4]], np.float32)
    table = EventTable(x, np.tile(np.float32([0, 1]), 4), np.ones(8, np.float32))
    module = network((1, 1), passes.RELU)
    parameters = np.float32([1.0, 1e5, 1.0, -1e5])  # the logit is x, as exactly as float32 allows
    nn.utils.vector_to_parameters(torch.from_numpy(parameters), module.parameters())
    trainer = CompiledTrainer(Structure((1, 1), passes.RELU), Goal(passes.BCE), UpdateRule(updates.ADAM))
    expected = loss(Goal(passes.BCE), module, table, np.arange(8))
    assert trainer.differentiate(parameters, table, np.arange(8))[0] == pytest.approx(
        float(expected.detach()), rel=1e-6
    )


def test_extreme_logits_of_classes_give_torchs_losses_and_gradients() -> None:
    """One class's logit is x, the others' are 0 and -x: from 1e4 to -3e4, where exponentials are no numbers."""
    x = np.repeat(np.array([-1e4, -90.0, -1e-6, 0.0, 20.0, 88.0, 3e4], np.float32), 3)
    table = EventTable(
        x[:, None], np.tile(np.arange(3, dtype=np.float32), 7), np.linspace(-0.5, 2, 21, dtype=np.float32)
    )
    module, goal = network((1, 1), passes.RELU, outputs=3), Goal(passes.SOFTMAX)
    parameters = np.float32([1.0, 1e5, 1.0, 0.0, -1.0, -1e5, 0.0, 1e5])
    nn.utils.vector_to_parameters(torch.from_numpy(parameters), module.parameters())
    trainer = CompiledTrainer(Structure((1, 1), passes.RELU, 3), goal, UpdateRule(updates.ADAM))
    for row in np.arange(21)[:, None]:
        expected = gradient(goal, module, table, row)
        value, found = trainer.differentiate(parameters, table, row)
        assert value == pytest.approx(expected[0], rel=1e-6)
        np.testing.assert_allclose(found, expected[1], rtol=1e-6, atol=1e-6)


def test_events_without_weight_change_nothing() -> None:
    widths, table = (6, 24), events(256, 6)
    table.weight[::2] = 0.0
    trainer = CompiledTrainer(
        Structure(widths, passes.SILU), Goal(passes.BCE, by_weight=True), UpdateRule(updates.ADAM)
    )
    parameters = flat(network(widths, passes.SILU))
    all_of_them = trainer.differentiate(parameters, table, np.arange(256))
    some = trainer.differentiate(parameters, table, np.arange(1, 256, 2))
    assert all_of_them[0] == pytest.approx(some[0], rel=1e-6)
    np.testing.assert_allclose(all_of_them[1], some[1], rtol=1e-5, atol=1e-7)


def test_classes_that_are_the_same_do_not_hide_that_the_arithmetic_is() -> None:
    """Each event is there with both labels: gradients cancel, and what is left is little more than rounding."""
    widths, goal, once = (4, 32, 32), Goal(passes.BCE), events(1000, 4)
    labels = np.repeat(np.array([0, 1], np.float32), 1000)
    twice = EventTable(np.tile(once.x, (2, 1)), labels, np.ones(2000, np.float32))
    for seed in range(20):
        module = network(widths, passes.SILU, seed)
        with torch.no_grad():
            module[-1].weight *= 0.01  # logits near 0
            module[-1].bias.zero_()
        value, expected = gradient(goal, module, twice, np.arange(2000))
        sample = recognition.ObservedBatch(twice, value, torch.from_numpy(expected))
        wrong = Goal(passes.MSE)
        assert (
            recognition.plan(recognition.structures(module), [goal], torch.from_numpy(flat(module)), [sample])
            is not None
        ), seed
        assert (
            recognition.plan(recognition.structures(module), [wrong], torch.from_numpy(flat(module)), [sample]) is None
        ), seed


def test_compiled_code_is_kept_per_processor_and_source_and_only_where_it_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "a.py").write_text("a = 1")
    before = compilation.folder(tmp_path / "code")
    assert before.parent == tmp_path
    assert compilation.folder(tmp_path / "code") == before
    (tmp_path / "code" / "a.py").write_text("a = 2")
    assert compilation.folder(tmp_path / "code") != before
    (tmp_path / "file").touch()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file"))

    def double(x: float) -> float:
        return 2 * x

    assert compilation.compiled(double)(3.0) == 6.0


SUMS = """
from needle_parsl.nsbi.compilation import compiled
@compiled
def inner(x): return 2 * x
@compiled
def outer(x): return inner(x) + 1
"""
COMPILE = """
import sys
sys.path.insert(0, sys.argv[1])
import sums
print(flush=True)
sys.stdin.readline()
assert sums.outer(3.0) == 7.0
print(sum(sums.outer.stats.cache_misses.values()))
"""


@pytest.mark.slow
def test_of_many_processes_one_compiles(tmp_path: Path) -> None:
    """They begin together; a function that calls another one is compiled under the same lock."""
    (tmp_path / "sums.py").write_text(SUMS)
    command = [sys.executable, "-c", COMPILE, tmp_path]
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "code")}
    began = [
        subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    for process in began:
        assert process.stdout
        process.stdout.readline()
    for process in began:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate(timeout=60)[0] for process in began]
    assert sorted(map(int, said)) == [0, 0, 1]
