"""Losses and combiners of the user's own: what they must be, what is said of those that are not, and that they do what needle's do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from needle_parsl import refs
from needle_parsl.analysis import Training
from needle_parsl.errors import InputError, TaskError
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.estimators import composing, ensembles, files
from needle_parsl.nsbi.estimators.composing import How
from needle_parsl.nsbi.programs import try_combiner, try_network
from needle_parsl.nsbi.training import losses, networks, packs, ratio_events, train
from needle_parsl.nsbi.training.engines import choosing, stacked
from needle_parsl.nsbi.training.members import Member, Settings, TrainingJob
from needle_parsl.nsbi.transforms.transform import Transform

SOURCE = """
import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits as entropy

number = 3

def same(logits, labels, weights):
    return (weights * entropy(logits, labels, reduction="none")).mean()

def steep(logits, labels, weights):
    return (weights * torch.exp((0.5 - labels) * logits)).mean()

def each(logits, labels, weights):
    return weights * logits

def plain(logits, labels, weights):
    return (weights * logits).mean().item()

def detached(logits, labels, weights):
    return (weights * logits.detach()).mean()

def rounded(logits, labels, weights):
    return (weights * logits.round()).mean()

def lost(logits, labels, weights):
    return (weights * torch.log(logits)).mean()

def kinked(logits, labels, weights):
    return torch.sqrt((logits - logits) ** 2).mean()

def two(logits, labels):
    return logits.mean()

def raising(*given):
    raise RuntimeError("no way")

def middle(log_ratios):
    return np.median(log_ratios, axis=0)

def mean(log_ratios):
    log_ratios -= 0  # its own copy
    return log_ratios.mean(axis=0)

def spoiling(log_ratios):
    log_ratios[:] = 7
    return np.zeros(log_ratios.shape[1])

def across(log_ratios):
    return log_ratios.mean(axis=1)

def one(log_ratios):
    return log_ratios.mean()

def words(log_ratios):
    return ["a"] * log_ratios.shape[1]

def spread(log_ratios):
    return log_ratios.mean(axis=0) / log_ratios.std(axis=0)

def together(log_ratios):
    return log_ratios.mean(axis=0) - log_ratios.mean()

import torch as _torch

class Stepping(_torch.nn.Module):
    def __init__(self, features):
        super().__init__()
        self.layer = _torch.nn.Linear(features, 1)
    def forward(self, x):
        return self.layer(x).squeeze(-1)
    def training_step(self, batch, batch_idx):
        return (batch.weight * self(batch.x)).mean()
    def validation_step(self, batch, batch_idx):
        pass
    def configure_optimizers(self):
        return _torch.optim.Adam(self.parameters())
"""
PHYSICS = (SOURCE, "physics.py")


def named(name: str) -> str:
    return refs.located(f"physics.py:{name}", *PHYSICS)


LOSSES = {
    "each": "each gives shape (64,) for 64 events; expected one number, such as a mean over them",
    "plain": "plain gives float for 64 events; expected one number",
    "detached": "detached gives a number that does not change with the logits; compute it from them by torch alone",
    "rounded": "rounded gives a number that does not change with the logits",
    "lost": "lost gives nan for logits between -4 and 4; expected a finite number",
    "kinked": "kinked has a gradient that is not finite for logits between -4 and 4",
    "two": "two: TypeError: two() takes 2 positional arguments but 3 were given; it is given logits, labels and weights",
    "raising": "physics.py:36: raising: RuntimeError: no way",
    "number": "number is no function; expected one of logits, labels and weights",
    "stepp": 'physics.py has no "stepp"; did you mean "steep"?',
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_that_cannot_be_used_is_refused_at_its_key(name: str) -> None:
    found = try_network.look(Training(loss=f"physics.py:{name}"), 2, 0, PHYSICS)
    ((key, said),) = found["problems"]
    assert (key, said[: len(LOSSES[name])]) == ("loss", LOSSES[name])


def test_a_module_with_a_step_of_its_own_takes_no_loss() -> None:
    table = Training(loss="physics.py:steep", network="physics.py:Stepping")
    ((key, said),) = try_network.look(table, 2, 0, PHYSICS)["problems"]
    assert (key, said) == ("loss", "has no meaning for Stepping, which has a training_step of its own; leave it out")


def test_a_loss_is_tried_with_needles_network_and_names_its_engine() -> None:
    found = try_network.look(Training(loss="physics.py:steep", layers=1, nodes=4), 2, 0, PHYSICS)
    assert (found["problems"], found["engine"], found["reason"]) == ([], "sequential", "")


def gaussian(n: int, mean: float, seed: int, start: int = 0) -> Events:
    x = np.random.default_rng(seed).normal(mean, 1, (n, 2)).astype(np.float32)
    return Events(names=("a", "b"), x=x, weight=np.ones(n), id=np.arange(start, start + n, dtype=np.uint64))


DATA = ratio_events.RatioEvents.build(gaussian(4000, 0.5, 1), gaussian(4000, 0.0, 2, start=10_000))
MEMBER = Member(
    member=0,
    fold=0,
    seed=100,
    view=ratio_events.MemberView(fold=0, folds=1, fold_salt=5, validation=0.2, validation_salt=6, bootstrap_salt=None),
)


def settings(loss: str, **table: Any) -> Settings:
    own = Training(loss=loss, layers=1, nodes=8, dropout=0.0, weight_decay=0.0, epochs=12, **table)
    return Settings.of(own, 2, 0, *PHYSICS)


def test_a_copy_of_the_cross_entropy_trains_as_carl_does() -> None:
    own, ours = (train.train(DATA, MEMBER, settings(loss)) for loss in ("physics.py:same", "carl"))
    assert (own.engine, own.reason) == ("sequential", "")
    np.testing.assert_allclose(own.history, ours.history, rtol=1e-4)


@pytest.mark.slow
def test_a_loss_of_the_users_learns_the_ratio() -> None:
    """ln r of two Gaussians at 0.5 and 0 in two features is 0.5 (a + b) - 0.25."""
    trained = train.train(DATA, MEMBER, settings("physics.py:steep", batch_size=64))
    network = networks.evaluator(settings("carl").shape)
    networks.fill(network, torch.from_numpy(trained.weights))
    x = np.random.default_rng(5).normal(0.25, 0.7, (500, 2)).astype(np.float32)
    with torch.no_grad():
        found = network(torch.from_numpy(DATA.transform(x))).numpy()
    truth = 0.5 * x.sum(axis=1) - 0.25
    assert np.polyfit(truth, found, 1) == pytest.approx([1, 0], abs=0.15)
    assert np.abs(found - truth).mean() < 0.12


def test_a_loss_of_the_users_can_be_stacked() -> None:
    job = TrainingJob(settings("physics.py:steep"), MEMBER.seed, *DATA.look(MEMBER.view))
    assert choosing.choose(job).engine == "sequential"
    assert stacked.faithful(job)


COMBINERS = {
    "across": "across gives shape (1,) for 1 members and 64 events; expected ln r of each event, shape (64,)",
    "one": "one gives shape () for 1 members and 64 events",
    "words": "words: ValueError: could not convert string to float: 'a'",
    "spread": "spread gives a number that is not finite for ln r of 1 members between -4 and 4",
    "together": "together gives an event another ln r when it comes alone; expected a function of its own column",
    "two": "two: TypeError: two() missing 1 required positional argument: 'labels'",
    "raising": "physics.py:36: raising: RuntimeError: no way",
    "number": "number is no function; expected one that is given ln r of the members",
    "midle": 'physics.py has no "midle"; did you mean "middle"?',
}


@pytest.mark.filterwarnings("ignore:.*divide:RuntimeWarning")
@pytest.mark.parametrize("name", COMBINERS)
def test_a_combiner_that_cannot_be_used_is_refused(name: str) -> None:
    (said,) = try_combiner.look(f"physics.py:{name}", PHYSICS)["problems"]
    assert said[: len(COMBINERS[name])] == COMBINERS[name]


def test_a_combiner_that_can_be_used_has_no_problem() -> None:
    assert try_combiner.look("physics.py:middle", PHYSICS)["problems"] == []


RNG = np.random.default_rng(3)
SHAPE = networks.NetworkShape(network="mlp", features=2, layers=1, nodes=4)
MEMBERS = tuple(
    packs.Trained(
        member=m,
        fold=m % 2,
        seed=m,
        weights=RNG.normal(0, 0.4, 17).astype(np.float32),
        history=np.ones((1, 2)),
        best_epoch=0,
        reason="",
    )
    for m in range(6)
)
PACK = packs.Pack(SHAPE, Transform.none("ab"), MEMBERS)
ABOVE, BELOW = gaussian(1000, 0.5, 3), gaussian(1000, 0.0, 4, start=1000)


def composed(combine: str, **how: Any) -> Any:
    return composing.compose("r", PACK, (ABOVE, BELOW), How(combine, 1.0, **how))


@pytest.mark.parametrize("how", [{}, {"calibration": "histogram"}, {"crossed": (2, 7)}, {"normalise": "none"}])
def test_the_same_function_gives_the_same_estimator(how: dict[str, Any]) -> None:
    ours, own = composed("mean_log", **how), composed(named("mean"), **how)
    np.testing.assert_allclose(own.of(BELOW), ours.of(BELOW), atol=1e-12)
    np.testing.assert_array_equal(own.log_ratio_error(BELOW.x), ours.log_ratio_error(BELOW.x))
    assert own.fitted is None  # it has no covariance


def test_what_a_combiner_changes_in_place_is_its_own() -> None:
    own = composed(named("spoiling"), normalise="none")
    found, error = own.combined_with_error(own.members(BELOW.x))
    assert not found.any()
    assert error.all()


def test_the_file_names_the_function_and_is_refused_where_the_analysis_does_not(tmp_path: Path) -> None:
    made = composed(named("middle"))
    files.write(tmp_path / "e.h5", made)
    np.testing.assert_array_equal(files.read(tmp_path / "e.h5").log_ratio(BELOW.x), made.log_ratio(BELOW.x))
    with h5py.File(tmp_path / "e.h5", "r+") as file:
        file.attrs["combine"] = "os:system"
    with pytest.raises(InputError, match="which is code, and not of the analysis"):
        files.read(tmp_path / "e.h5").log_ratio(BELOW.x)
    with h5py.File(tmp_path / "e.h5", "r+") as file:
        file.attrs["combine"] = "mean_lgo"
    with pytest.raises(InputError, match="do not belong together"):
        files.read(tmp_path / "e.h5")


def of_onnx(path: Path, made: Any) -> None:
    onnx_file = pytest.importorskip("needle_parsl.nsbi.estimators.exporting.onnx_file")
    onnx_file.write(path, {"r": made}, BELOW.x, onnx_file.FileFacts("test", {}))


def of_torch(path: Path, made: Any) -> None:
    from needle_parsl.nsbi.estimators.exporting import torch_file

    torch_file.write_program(path, made)


@pytest.mark.parametrize("write", [of_onnx, of_torch])
def test_a_file_that_cannot_hold_the_function_says_so(write: Callable[[Path, Any], None], tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="its members are combined by middle, code of yours that"):
        write(tmp_path / "file", replace(composed(named("middle")), ratio="r"))
    assert not (tmp_path / "file").exists()


def test_weights_leave_without_the_function(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    from safetensors.torch import load_file

    from needle_parsl.nsbi.estimators.exporting import torch_file

    torch_file.write_weights(tmp_path / "e.safetensors", composed(named("middle")))
    assert "members.5.stack.0.weight" in load_file(tmp_path / "e.safetensors")


def test_names_of_needles_are_found_as_before() -> None:
    assert losses.find("carl") is losses.carl
    assert ensembles.find("weighted") is ensembles.mean_ratio
