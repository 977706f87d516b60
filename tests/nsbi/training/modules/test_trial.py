"""What `needle check` says of a network: every engine's module is trained for two short epochs, with file, line and class."""

from __future__ import annotations

import pytest

from needle_parsl.analysis import Training
from needle_parsl.nsbi.programs import try_network

HEAD = """import lightning, torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce


class Base(lightning.LightningModule):
    def __init__(self, features):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(features, 8), nn.ReLU(), nn.Linear(8, 1))

    def forward(self, x):
        return self.net(x).squeeze(-1)

    def loss(self, b):
        return (b[2] * bce(self(b[0]), b[1], reduction="none")).mean()

    def training_step(self, b, i):
        return self.loss(b)

    def validation_step(self, b, i):
        self.log("val_loss", self.loss(b))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=3e-3)


class Mine(Base):
"""
LINE = HEAD.count("\n") + 1
MANUAL = """    def __init__(self, features):
        super().__init__(features)
        self.automatic_optimization = False

    def training_step(self, b, i):
        o = self.optimizers()
        o.zero_grad()
        self.manual_backward(self.loss(b))
        o.step()
"""
PLATEAU = """    def training_step(self, b, i):
        loss = self.loss(b)
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        return loss

    def configure_optimizers(self):
        o = super().configure_optimizers()
        s = torch.optim.lr_scheduler.ReduceLROnPlateau(o)
        return {{"optimizer": o, "lr_scheduler": {{"scheduler": s, "monitor": "{}"}}}}
"""


def looked(body: str, **table: object) -> dict:
    return try_network.look(Training(network="physics.py:Mine", **table), 3, 0, (HEAD + body, "/somewhere/physics.py"))


@pytest.mark.parametrize(
    ("body", "engine"),
    [
        ("    pass\n", ("native", "sequential")),
        (MANUAL, ("lightning",)),
        (PLATEAU.format("train_loss_epoch"), ("sequential",)),
        ("    def on_train_epoch_end(self):\n        self.logger.experiment.add_scalar('e', 1.0, 0)\n", ("lightning",)),
        ("    def training_step(self, b, i):\n        return None if i == 1 else self.loss(b)\n", ("sequential",)),
    ],
)
def test_what_lightning_trains_is_found_good(body: str, engine: tuple[str, ...]) -> None:
    found = looked(body)
    assert found["problems"] == []
    assert found["engine"] in engine


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "    def forward(self, x):\n        return self.ntt(x)\n",
            f"physics.py:{LINE + 1}: Mine.forward: AttributeError: ",
        ),
        ("    def loss(self, b):\n        return b['y']\n", f"physics.py:{LINE + 1}: Mine.loss: TypeError: "),
        (MANUAL.replace("o.step()", "o.stepp()"), f"physics.py:{LINE + 8}: Mine.training_step: AttributeError: "),
        (
            "    def on_train_epoch_end(self):\n        1 / (1 - self.current_epoch)\n",
            f"physics.py:{LINE + 1}: Mine.on_train_epoch_end: ZeroDivisionError: division by zero",
        ),
        (PLATEAU.format("val_los"), 'its scheduler looks at "val_los", which was not logged by then'),
        (
            "    def __init__(self, features):\n        raise KeyError('width')\n",
            f"physics.py:{LINE + 1}: Mine.__init__: KeyError: 'width'",
        ),
        (
            "    t = 1.0\n    def forward(self, x):\n        return super().forward(x) / self.t\n    def on_train_epoch_start(self):\n        self.t += 1\n",
            "forward uses what is neither parameter nor buffer",
        ),
    ],
)
def test_what_fails_in_the_run_is_said_at_check(body: str, message: str) -> None:
    (problem,) = looked(body)["problems"]
    assert problem[0] == "network"
    assert message in problem[1]


def test_arguments_of_a_trainer_are_passed_on() -> None:
    found = looked("    pass\n", trainer={"gradient_clip_val": 0.1, "accumulate_grad_batches": 2})
    assert (found["problems"], found["engine"]) == ([], "lightning")
    assert found["reason"] == "[training.trainer] has accumulate_grad_batches, gradient_clip_val"


def test_nested_targets_are_made_as_hydra_makes_them() -> None:
    network = {
        "_target_": "physics.py:Mine",
        "body": {"_target_": "torch.nn.Linear", "in_features": 3, "out_features": 1},
        "optimizer": {"_target_": "torch.optim.NAdam", "_partial_": True, "lr": 0.01},
    }
    body = (
        "    def __init__(self, body, optimizer):\n        lightning.LightningModule.__init__(self)\n"
        "        self.net, self.optimizer = body, optimizer\n"
        "    def configure_optimizers(self):\n        return self.optimizer(self.parameters())\n"
    )
    found = try_network.look(Training(network=network), 3, 0, (HEAD + body, "/somewhere/physics.py"))
    assert found["problems"] == []


CARL = '''import torch, lightning as L
from torch import nn


class Score(L.LightningModule):
    """A classifier of probabilities, as packages of the field have it."""

    def __init__(self, n_features, n_layers, n_nodes, learning_rate):
        super().__init__()
        self.save_hyperparameters()
        layers = [nn.Sequential(nn.Linear(n_features, n_nodes), nn.SiLU())]
        layers += [nn.Sequential(nn.Linear(n_nodes, n_nodes), nn.SiLU()) for _ in range(n_layers)]
        self.model = nn.Sequential(*layers, nn.Sequential(nn.Linear(n_nodes, 1), nn.Sigmoid()))
        self.judge = nn.BCELoss(reduction="none")

    def forward(self, x):
        return self.model(x)

    def shared(self, batch, name):
        x, y, w = batch
        loss = (self.judge(self.model(x).flatten(), y.flatten()) * w.flatten()).sum() / w.sum()
        self.log(name, loss, on_step=False, on_epoch=True, prog_bar=True, sync_dist=True)
        return loss

    def training_step(self, batch, batch_idx):
        return self.shared(batch, "train_loss")

    def validation_step(self, batch, batch_idx):
        return self.shared(batch, "val_loss")

    def configure_optimizers(self):
        optimizer = torch.optim.NAdam(self.parameters(), lr=self.hparams.learning_rate)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=5)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": "val_loss", "strict": True, "name": None}}
'''


def test_a_classifier_of_probabilities_trains_as_it_is() -> None:
    table = Training(network="physics.py:Score", layers=2, nodes=8, output="probability")
    found = try_network.look(table, 3, 0, (CARL, "/somewhere/physics.py"))
    assert (found["problems"], found["engine"]) == ([], "sequential")
