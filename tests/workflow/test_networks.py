"""A network of the user's own, from `[training] network` to the log ratios, and what is said of one that cannot be used."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest

from needle_parsl.workflow import programs

OWN = '''

import lightning
import torch


class Network(lightning.LightningModule):
    """Takes its learning rate from [training]."""

    def __init__(self, features, learning_rate, width=8):
        super().__init__()
        self.rate = learning_rate
        self.stack = torch.nn.Sequential(torch.nn.Linear(features, width), torch.nn.GELU(), torch.nn.Linear(width, 1))

    def forward(self, x):
        return self.stack(x).squeeze(-1)

    def loss(self, batch):
        x, label, weight = batch
        each = torch.nn.functional.binary_cross_entropy_with_logits(self(x), label, reduction="none")
        return (weight * each).mean()

    def training_step(self, batch, batch_idx):
        return self.loss(batch)

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.loss(batch))

    def configure_optimizers(self):
        return torch.optim.NAdam(self.parameters(), lr=self.rate)


class Seven(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(7, 1)

    def forward(self, x):
        return self.layer(x).squeeze(-1)
'''


@pytest.fixture
def analysis(small_inputs: Path, tmp_path: Path) -> Path:
    folder = shutil.copytree(small_inputs, tmp_path / "analysis")
    (folder / "physics.py").write_text((folder / "physics.py").read_text() + OWN)
    return folder


def network(text: str) -> tuple[str, str]:
    return "--set", f"training.network={text}"


def test_own_module_is_trained_and_evaluated(analysis: Path, needle: Callable[..., Any], tmp_path: Path) -> None:
    own = network('{ _target_ = "physics.py:Network", width = 5 }')
    small = ("--set", "training.members=2", "--set", "training.folds=1")
    ended = needle("run", analysis, *own, *small, "--until", "interval", "--out", tmp_path / "run", "--json")
    assert ended.code == 0, ended.err
    with h5py.File(tmp_path / "run" / "packs" / "signal.0000.h5") as file:
        assert set(file["engine"][...]) == {b"sequential"}
        assert file["weights"].shape == (2, 4 * 5 + 5 + 5 + 1)
        assert json.loads(json.loads(file.attrs["shape"])["arguments"]) == {"learning_rate": 1e-2, "width": 5}
    lines = [json.loads(line) for line in (tmp_path / "run" / "ledger.jsonl").read_text().splitlines()]
    assert {line["engine"] for line in lines if line["stage"] == "train"} == {"sequential"}
    with h5py.File(tmp_path / "run" / "ratios" / "asimov.h5") as file:
        assert len(file)
    assert (tmp_path / "run" / "fits" / "closure.json").exists()  # its task makes the networks again


def test_plan_says_why_the_trainer_is_needed(
    small_inputs: Path, inside: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the trial of the network answers is in `tests/nsbi/training/test_engines.py`; a trial brings Lightning, for ten seconds."""
    ask = programs.ask
    answer = {"problems": [], "notes": [], "code": {}, "engine": "lightning", "reason": "it overrides a hook", "space": []}
    monkeypatch.setattr(programs, "ask", lambda *a: dict(answer) if programs.TRIAL in a else ask(*a))
    planned = inside("plan", small_inputs, *network("physics.py:Hooked"))
    assert "engine: lightning, since it overrides a hook" in planned.out, planned


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '{ _target_ = "physics.py:Network", wdith = 5 }',
            'training.network: Network takes no argument "wdith"; did you mean "width"?',
        ),
        # These take as long as the one before, since each brings Lightning; `tests/nsbi` has their messages, too.
        pytest.param(
            "physics.py:Seven",
            "Seven takes 7 features, and the analysis has 4 in features.names",
            marks=pytest.mark.campaign,
        ),
        pytest.param(
            "physics.py:Netwrok",
            'physics.py has no "Netwrok"; did you mean "Network"?',
            marks=pytest.mark.campaign,
        ),
        ("mpl", '"mpl" is no network; did you mean "mlp"?'),
        ("deepset", "deepset is a network of particles; name them in [features] particles"),
        ("{ width = 5 }", 'has no "_target_"; name the class, as in { _target_ = "physics.py:Name" }'),
    ],
)
def test_network_that_cannot_be_used_is_refused_before_anything_runs(
    analysis: Path, inside: Callable[..., Any], text: str, message: str
) -> None:
    ended = inside("check", analysis, *network(text))
    assert ended.code == 2, ended
    assert message in ended.err
    assert "training.network" in ended.err
    assert "Traceback" not in ended.err
