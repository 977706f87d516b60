"""Job S of `bench_packing.py`: 20,480 events, an MLP 16-64-64-64-1, batches of 1024, 5 epochs, validation; and ways to do it."""

from __future__ import annotations

import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

FEATURES, EVENTS, VALIDATION, RATE = 16, 20_480, 4_096, 1e-3


@dataclass(frozen=True)
class Work:
    """What is trained."""

    nodes: int = 64
    layers: int = 3
    batch_size: int = 1024
    epochs: int = 5
    events: int = EVENTS

    @property
    def parameters(self) -> int:
        """Count the weights."""
        return FEATURES * self.nodes + (self.layers - 1) * self.nodes**2 + (self.layers + 1) * self.nodes + 1

    @property
    def operations(self) -> float:
        """Count the floating-point operations of the training, without validation."""
        return 6.0 * self.parameters * self.events * self.epochs


def table(events: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Draw features, labels and weights."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(events, FEATURES, generator=g)
    label = (torch.rand(events, generator=g) < torch.sigmoid(x[:, 0] + 0.5 * x[:, 1] * x[:, 2])).float()
    return x, label, torch.rand(events, generator=g) + 0.5


def network(work: Work) -> Any:
    """Make a LightningModule as a user writes it."""
    import lightning
    from torch import nn
    from torch.nn.functional import binary_cross_entropy_with_logits

    class Net(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            widths = [FEATURES, *[work.nodes] * work.layers]
            hidden = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.SiLU())]
            self.net = nn.Sequential(*hidden, nn.Linear(widths[-1], 1))

        def forward(self, x: torch.Tensor) -> Any:
            return self.net(x).squeeze(-1)

        def loss(self, batch: Any) -> torch.Tensor:
            x, label, weight = batch
            each = binary_cross_entropy_with_logits(self(x), label, reduction="none")
            total: torch.Tensor = (each * weight).sum() / weight.sum()
            return total

        def training_step(self, batch: Any, _number: int) -> torch.Tensor:
            loss = self.loss(batch)
            self.log("train_loss", loss, on_step=False, on_epoch=True)
            return loss

        def validation_step(self, batch: Any, _number: int) -> None:
            self.log("val_loss", self.loss(batch), on_step=False, on_epoch=True)

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), lr=RATE)

    return Net()


class Whole(torch.utils.data.IterableDataset[Any]):
    """Yields whole batches."""

    def __init__(self, columns: tuple[torch.Tensor, ...], size: int, shuffle: bool) -> None:
        self.columns, self.size, self.shuffle = columns, size, shuffle

    def __len__(self) -> int:
        return len(self.columns[0]) // self.size

    def __iter__(self) -> Iterator[Any]:
        rows = len(self.columns[0])
        order = torch.randperm(rows) if self.shuffle else torch.arange(rows)
        for places in torch.split(order, self.size):
            yield tuple(column[places] for column in self.columns)


def by_lightning(work: Work, seed: int, whole: bool) -> None:
    """Train with lightning.Trainer: checkpoint of the best epoch, early stopping, CSV log."""
    import lightning
    from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
    from lightning.pytorch.loggers import CSVLogger
    from torch.utils.data import DataLoader, TensorDataset

    def loader(columns: tuple[torch.Tensor, ...], shuffle: bool) -> Any:
        if whole:
            return DataLoader(Whole(columns, work.batch_size, shuffle), batch_size=None)
        return DataLoader(TensorDataset(*columns), batch_size=work.batch_size, shuffle=shuffle)

    torch.manual_seed(seed)
    with tempfile.TemporaryDirectory() as folder:
        trainer = lightning.Trainer(
            accelerator="cpu", devices=1, max_epochs=work.epochs, enable_progress_bar=False, enable_model_summary=False,
            logger=CSVLogger(folder), callbacks=[ModelCheckpoint(folder, monitor="val_loss"), EarlyStopping("val_loss", patience=50)],
        )  # fmt: skip
        trainer.fit(network(work), loader(table(work.events, 1), True), loader(table(VALIDATION, 2), False))


def job(work: Work, seed: int, classes: int = 1, dropout: float = 0.0) -> Any:
    """Describe the training to needle's engines; with many classes, labels are drawn among them."""
    from needle_parsl.nsbi.training import heads
    from needle_parsl.nsbi.training.members import Settings, TrainingJob
    from needle_parsl.nsbi.training.networks import NetworkShape
    from needle_parsl.nsbi.training.ratio_events import Batchable

    head, loss = ("", "carl") if classes == 1 else (heads.of_classes([str(k) for k in range(classes)]), "multiclass")
    shape = NetworkShape(network="mlp", features=FEATURES, layers=work.layers, nodes=work.nodes, head=head)
    settings = Settings(
        shape=shape,
        loss=loss,
        optimizer="adam",
        learning_rate=RATE,
        schedule="constant",
        weight_decay=0.0,
        batch_size=work.batch_size,
        epochs=work.epochs,
        patience=50,
        dropout=dropout,
    )
    fitting, validation = (Batchable(*table(events, number)) for events, number in ((work.events, 1), (VALIDATION, 2)))
    if classes > 1:
        label = torch.randint(classes, (work.events,), generator=torch.Generator().manual_seed(3)).float()
        fitting = replace(fitting, label=label)
    return TrainingJob(settings, seed, fitting, validation)


def by_engine(make: Callable[[list[Any]], Any], trained: Any) -> Any:
    """Train with one of needle's engines, to the best weights; give the course."""
    from needle_parsl.nsbi.training import loop
    from needle_parsl.nsbi.training.members import Member
    from needle_parsl.nsbi.training.ratio_events import MemberView

    member = Member(
        member=0,
        fold=0,
        seed=trained.seed,
        view=MemberView(fold=0, folds=1, fold_salt=0, validation=0.1, validation_salt=0, bootstrap_salt=None),
    )
    done = loop.MemberTraining(member, 0, trained)
    loop.run([done], make([trained]), lambda _left: None)
    return done


def quiet() -> None:
    """Keep Lightning from talking."""
    warnings.filterwarnings("ignore")
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.set_num_threads(1)


def cpu(function: Callable[[], Any]) -> float:
    """Give the processor time of a call, in milliseconds."""
    before = time.process_time()
    function()
    return 1e3 * (time.process_time() - before)


if __name__ == "__main__":  # a process of its own for one network, as batch-style workflows start them
    quiet()
    by_lightning(Work(), int(sys.argv[1]), whole=False)
    Path(sys.argv[2]).touch()
