"""Modules of kinds that people write, small; each can be trained by lightning.Trainer alone, but for those under `REFUSED`.

`ENGINE` of a class says which engine is expected on a CPU, `STACKED` which one with an accelerator.
"""

from __future__ import annotations

import copy
import math
import random
from itertools import pairwise
from typing import ClassVar

import lightning
import numpy as np
import torch
import torch.utils.checkpoint
import torchmetrics
from lightning.pytorch import callbacks
from torch import nn
from torch.nn import functional as F  # noqa: N812  as everybody calls it
from torch.optim import lr_scheduler

FEATURES, BATCH, EPOCHS = 4, 64, 3


def bce(logit, batch):
    _, label, weight, *_ = batch
    return (weight * F.binary_cross_entropy_with_logits(logit, label, reduction="none")).mean()


class Base(lightning.LightningModule):
    """A perceptron that compiled code knows."""

    ENGINE, STACKED = "sequential", "sequential"
    RATE = 1e-2

    def __init__(self, features: int = FEATURES) -> None:
        super().__init__()
        self.net = self.made(features)

    def made(self, features):
        return nn.Sequential(nn.Linear(features, 8), nn.SiLU(), nn.Linear(8, 1))

    def forward(self, x):
        return self.net(x).squeeze(-1)

    def loss(self, batch):
        return bce(self(batch[0]), batch)

    def training_step(self, batch, batch_idx):
        return self.loss(batch)

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.loss(batch))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), self.RATE)


class Gelu(Base):
    """Never by compiled code."""

    STACKED = "stacked"

    def made(self, features):
        return nn.Sequential(nn.Linear(features, 8), nn.GELU(), nn.Linear(8, 1))


class InSequence(Gelu):
    """Nor stacked."""

    STACKED = "sequential"


class InTrainer(Gelu):
    ENGINE = STACKED = "lightning"


# --- what is recognised


class Plain(Base):
    ENGINE, STACKED = "native", "stacked"


class PlainLogged(Plain):
    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        self.log("train_loss", loss, on_step=True, on_epoch=True, prog_bar=True)
        return loss


class Relu(Plain):
    def made(self, features):
        return nn.Sequential(nn.Linear(features, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1))


class WeightSum(Plain):
    def loss(self, batch):
        x, label, weight = batch
        return (weight * F.binary_cross_entropy_with_logits(self(x), label, reduction="none")).sum() / weight.sum()


class CosineEpoch(Plain):
    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        return [optimizer], [lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)]


class OneCycleEpoch(Plain):
    """Moves beta1 with the rate."""

    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        return [optimizer], [lr_scheduler.OneCycleLR(optimizer, 3e-2, total_steps=EPOCHS + 1)]


class CyclicEpoch(Plain):
    """Moves the momentum."""

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), 0.05, momentum=0.9)
        return [optimizer], [lr_scheduler.CyclicLR(optimizer, 0.05, 0.2, step_size_up=2)]


class ValidationOfBatch(Plain):
    """Its loss depends on how many events are validated at a time."""

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.loss(batch), batch_size=1)

    STACKED = "sequential"


# --- what compiled code must not take


class Branch(Base):
    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        return loss * 0.1 if loss < 0.68 else loss


class Flood(Base):
    STACKED = "stacked"

    def training_step(self, batch, batch_idx):
        return (self.loss(batch) - 0.66).abs() + 0.66


class ClampLogit(Base):
    STACKED = "stacked"

    def forward(self, x):
        return super().forward(x).clamp(-0.3, 0.3)


class ClampWeight(Base):
    STACKED = "stacked"

    def loss(self, batch):
        return super().loss((batch[0], batch[1], batch[2].clamp(max=1.5)))


class ClampInput(Base):
    STACKED = "stacked"

    def forward(self, x):
        return super().forward(x.clamp(-1, 1))


class MiddleEpoch(Base):
    STACKED = "stacked"

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        return loss + self(batch[0]).pow(2).mean() if self.current_epoch == 1 else loss


class BatchIdx(Base):
    def training_step(self, batch, batch_idx):
        return self.loss(batch) * (1 + batch_idx % 3)

    STACKED = "sequential"


class LaterBatches(Base):
    def training_step(self, batch, batch_idx):
        return self.loss(batch) if batch_idx < 2 else self.loss(batch) + self(batch[0]).pow(2).mean()

    STACKED = "sequential"


class LastBatch(Base):
    """The number of batches differs between members."""

    def training_step(self, batch, batch_idx):
        return self.loss(batch) * (0.2 if batch_idx == self.trainer.num_training_batches - 1 else 1.0)


class GlobalStep(Base):
    def training_step(self, batch, batch_idx):
        return self.loss(batch) / (1 + self.global_step)


class AnnealVal(Base):
    lam = 0.0

    def training_step(self, batch, batch_idx):
        return self.loss(batch) + self.lam * self(batch[0]).pow(2).mean()

    def on_validation_epoch_end(self):
        self.lam += 0.3


class AnnealStep(Base):
    """Without a hook: in validation_step."""

    lam = 1.0
    ENGINE, STACKED = "sequential", "stacked"

    def training_step(self, batch, batch_idx):
        return self.loss(batch) * self.lam

    def validation_step(self, batch, batch_idx):
        super().validation_step(batch, batch_idx)
        if batch_idx == 0:
            self.lam += 1.0


class DecayHook(Base):
    def configure_optimizers(self):
        self.adam = torch.optim.AdamW(self.parameters(), 1e-2, weight_decay=1e-3)
        return self.adam

    def on_validation_epoch_end(self):
        for group in self.adam.param_groups:
            group["weight_decay"] *= 30


class PostHook(Base):
    def configure_optimizers(self):
        optimizer = super().configure_optimizers()

        def clip(*_):
            with torch.no_grad():
                for p in self.parameters():
                    p.clamp_(-0.25, 0.25)

        optimizer.register_step_post_hook(clip)
        return optimizer


class PreHook(InTrainer):
    """Lightning calls it before the loss is computed: it sees the gradients of the step before."""

    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        optimizer.register_step_pre_hook(lambda *_: self.shrink())
        return optimizer

    def shrink(self):
        with torch.no_grad():
            for p in self.parameters():
                p.mul_(1.0 if p.grad is None else 0.99)


class ParamHook(Base):
    def __init__(self) -> None:
        super().__init__()
        for p in self.parameters():
            p.register_hook(lambda g: g.clamp(-0.01, 0.01))


class ForwardHook(Base):
    def __init__(self) -> None:
        super().__init__()
        self.net[0].register_forward_hook(lambda _m, _i, out: out.clamp(-1, 1))


class TensorHook(Base):
    def forward(self, x):
        found = super().forward(x)
        if found.requires_grad:
            found.register_hook(lambda g: g.clamp(-1e-3, 1e-3))
        return found


class Counting(Base):
    steps = 0

    def training_step(self, batch, batch_idx):
        self.steps += 1
        return self.loss(batch) / (1 + self.steps // 5)


class CountingOutside(Base):
    """Counts in a variable of its class."""

    STEPS: ClassVar[list[int]] = []

    def training_step(self, batch, batch_idx):
        if self.global_step == 0:
            self.STEPS.clear()
        self.STEPS.append(1)
        return self.loss(batch) / (1 + len(self.STEPS) // 5)


class ListMemory(InSequence):
    def __init__(self) -> None:
        super().__init__()
        self.memory = []

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        self.memory.append(loss.item())
        return loss * (1 + len(self.memory) % 2)


class ByNumpy(Base):
    """Looks at values through NumPy."""

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        return loss * (2.0 if batch[0].numpy().max() > 3.0 else 1.0)


class GlobalNoise(InSequence):
    def training_step(self, batch, batch_idx):
        return self.loss((batch[0] + 0.1 * torch.from_numpy(np.random.normal(size=batch[0].shape)).float(), *batch[1:]))  # noqa: NPY002


class PythonNoise(InSequence):
    def training_step(self, batch, batch_idx):
        return self.loss(batch) * random.choice([0.5, 1.5])


class TorchNoise(InSequence):
    """Noise that does not end with the mode of evaluation is not compared."""

    def training_step(self, batch, batch_idx):
        return self.loss((batch[0] + 0.1 * torch.randn_like(batch[0]), *batch[1:]))


class SigmoidOut(Base):
    """Cross-entropy of probabilities."""

    STACKED = "stacked"

    def loss(self, batch):
        x, label, weight = batch
        return (weight * F.binary_cross_entropy(torch.sigmoid(self(x)), label, reduction="none")).mean()


# --- networks


class Drop(Gelu):
    RANDOM = True

    def made(self, features):
        return nn.Sequential(nn.Linear(features, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 1))


class Norm(InSequence):
    def made(self, features):
        return nn.Sequential(nn.Linear(features, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))


class LayerNormed(Gelu):
    def made(self, features):
        return nn.Sequential(nn.Linear(features, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 1))


class Spectral(InSequence):
    def made(self, features):
        first = nn.utils.parametrizations.spectral_norm(nn.Linear(features, 8))
        return nn.Sequential(first, nn.ReLU(), nn.Linear(8, 1))


class WeightNormed(Gelu):
    def made(self, features):
        first = nn.utils.parametrizations.weight_norm(nn.Linear(features, 8))
        return nn.Sequential(first, nn.ReLU(), nn.Linear(8, 1))


class DeepSetOfColumns(Gelu):
    def made(self, features):
        return nn.ModuleList([nn.Linear(2, 8), nn.Linear(8, 1)])

    def forward(self, x):
        return self.net[1](F.relu(self.net[0](x.unflatten(1, (2, 2)))).mean(1)).squeeze(-1)


class Recurrent(InSequence):
    def made(self, features):
        return nn.ModuleList([nn.LSTM(1, 6, batch_first=True), nn.Linear(6, 1)])

    def forward(self, x):
        return self.net[1](self.net[0](x.unsqueeze(-1))[0][:, -1]).squeeze(-1)


class Attention(InSequence):
    def made(self, features):
        return nn.ModuleList(
            [nn.Linear(1, 8), nn.TransformerEncoderLayer(8, 2, 8, dropout=0.0, batch_first=True), nn.Linear(8, 1)]
        )

    def forward(self, x):
        return self.net[2](self.net[1](self.net[0](x.unsqueeze(-1))).mean(1)).squeeze(-1)

    STACKED = "stacked"


class Tied(Gelu):
    def made(self, features):
        shared = nn.Linear(8, 8)
        return nn.Sequential(nn.Linear(features, 8), nn.Tanh(), shared, nn.Tanh(), shared, nn.Tanh(), nn.Linear(8, 1))


class Lazy(InSequence):
    def made(self, features):
        return nn.Sequential(nn.LazyLinear(8), nn.GELU(), nn.LazyLinear(1))


class LazyDrop(InSequence):
    """What is drawn for the layers comes before what is drawn for dropout."""

    RANDOM = True

    def made(self, features):
        return nn.Sequential(nn.LazyLinear(8), nn.GELU(), nn.Dropout(0.1), nn.LazyLinear(1))


class Configured(Gelu):
    """Makes its layers in configure_model."""

    def __init__(self) -> None:
        lightning.LightningModule.__init__(self)
        self.net = None

    def configure_model(self):
        if self.net is None:
            self.net = self.made(FEATURES)


class Embed(InSequence):
    def made(self, features):
        return nn.ModuleDict({"words": nn.Embedding(4, 3), "last": nn.Linear(features + 3, 1)})

    def forward(self, x):
        return self.net["last"](torch.cat([x, self.net["words"]((x[:, 0] > 0).long())], 1)).squeeze(-1)

    STACKED = "stacked"


class Saved(Gelu):
    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(FEATURES, self.hparams.width), nn.GELU(), nn.Linear(self.hparams.width, 1))


class Buffer(InSequence):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(FEATURES))

    def training_step(self, batch, batch_idx):
        self.mean.mul_(0.9).add_(0.1 * batch[0].mean(0))
        return self.loss(batch)

    def forward(self, x):
        return super().forward(x - self.mean)


class Column(Gelu):
    """Gives (N, 1)."""

    def forward(self, x):
        return self.net(x)

    def loss(self, batch):
        return bce(self(batch[0]).flatten(), batch)


class Several(Gelu):
    """Gives a tuple; ln r comes first."""

    def made(self, features):
        return nn.Sequential(nn.Linear(features, 8), nn.GELU(), nn.Linear(8, 2))

    def forward(self, x):
        found = self.net(x)
        return found[:, 0], found[:, 1]

    def loss(self, batch):
        first, second = self(batch[0])
        return bce(first, batch) + F.mse_loss(second, batch[0][:, 0])


class Probability(Gelu):
    OUTPUT = "probability"

    def made(self, features):
        return nn.Sequential(nn.Linear(features, 8), nn.SiLU(), nn.Linear(8, 1), nn.Sigmoid())

    def forward(self, x):
        return self.net(x)

    def loss(self, batch):
        x, label, weight = batch
        return (F.binary_cross_entropy(self(x).flatten(), label, reduction="none") * weight).sum() / weight.sum()


class Double(InSequence):
    def __init__(self) -> None:
        super().__init__()
        self.net.double()

    def forward(self, x):
        return super().forward(x.double()).float()


class Autocast(InSequence):
    def forward(self, x):
        with torch.autocast("cpu", torch.bfloat16):
            return super().forward(x).float()

    STACKED = "sequential"


class Mixture(Gelu):
    """A loss by log-densities."""

    def loss(self, batch):
        x, label, weight = batch
        return -(weight * torch.where(label > 0.5, F.logsigmoid(self(x)), F.logsigmoid(-self(x)))).mean()


class Spline(Gelu):
    """Sums of basis functions, as in KAN."""

    def made(self, features):
        return nn.Linear(3 * features, 1)

    def forward(self, x):
        return self.net(torch.cat([x, x.sin(), (-x.pow(2)).exp()], 1)).squeeze(-1)


# --- optimisers, groups, freezing


class Groups(InSequence):
    def configure_optimizers(self):
        groups = [{"params": self.net[0].parameters(), "lr": 1e-4}, {"params": self.net[2].parameters()}]
        return torch.optim.AdamW(groups, 3e-2)


class NoDecay(InSequence):
    def configure_optimizers(self):
        named = list(self.named_parameters())
        groups = [
            {"params": [p for n, p in named if n.endswith("weight")], "weight_decay": 0.3},
            {"params": [p for n, p in named if n.endswith("bias")], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, 1e-2)


class Frozen(InSequence):
    def __init__(self) -> None:
        super().__init__()
        self.net[0].requires_grad_(False)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), 1e-2, weight_decay=0.5)


class Head(InSequence):
    def configure_optimizers(self):
        return torch.optim.Adam(self.net[2].parameters(), 1e-2)


class FrozenInHook(InSequence):
    def on_fit_start(self):
        self.net[0].requires_grad_(False)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), 3e-2, weight_decay=0.5)


class Unfreezing(InSequence):
    def on_train_epoch_start(self):
        self.net[0].requires_grad_(self.current_epoch > 0)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), 3e-2, weight_decay=0.5)


class Refreezing(InSequence):
    """Learns first, then freezes: its state of Adam waits."""

    def on_train_epoch_start(self):
        self.net[0].requires_grad_(self.current_epoch != 1)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), 3e-2, weight_decay=0.5)


class Detached(InSequence):
    """A part without gradient in some steps, by detach."""

    def training_step(self, batch, batch_idx):
        hidden = self.net[1](self.net[0](batch[0]))
        return bce(self.net[2](hidden.detach() if batch_idx % 2 else hidden).squeeze(-1), batch)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), 3e-2, weight_decay=0.5)


class Unused(InSequence):
    """Has a layer that plays no part."""

    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Linear(3, 3)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), 1e-2, weight_decay=0.5)


class Replaced(InSequence):
    """Gives a parameter new storage."""

    def on_train_epoch_start(self):
        self.net[0].weight.data = self.net[0].weight.data * 0.5


class Amsgrad(InSequence):
    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 1e-2, amsgrad=True)


class Adamax(InSequence):
    def configure_optimizers(self):
        return torch.optim.Adamax(self.parameters(), 1e-2)


class Rprop(InSequence):
    def configure_optimizers(self):
        return torch.optim.Rprop(self.parameters(), 1e-3)


class Lookahead(torch.optim.Adam):
    pass


class OwnOptimizer(InTrainer):
    def configure_optimizers(self):
        return Lookahead(self.parameters(), 1e-2)


class Lbfgs(InTrainer):
    def configure_optimizers(self):
        return torch.optim.LBFGS(self.parameters(), 0.1, max_iter=3)


class Manual(InTrainer):
    """Returns nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(self.loss(batch))
        optimizer.step()


class ManualReturns(Manual):
    def training_step(self, batch, batch_idx):
        super().training_step(batch, batch_idx)
        return self.loss(batch).detach()


class Adversary(InTrainer):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.other = nn.Linear(1, 1)

    def training_step(self, batch, batch_idx):
        one, two = self.optimizers()
        for optimizer, sign in ((one, -0.1), (two, 1.0)):
            optimizer.zero_grad()
            out = self(batch[0])
            against = F.mse_loss(self.other(out.unsqueeze(-1)).squeeze(-1), batch[0][:, 0])
            self.manual_backward(bce(out, batch) + sign * against if optimizer is one else against)
            optimizer.step()
        self.log("train_loss", against)

    def configure_optimizers(self):
        return [torch.optim.Adam(self.net.parameters(), 1e-2), torch.optim.Adam(self.other.parameters(), 1e-2)]


# --- schedulers


def scheduled(kind, **entry):
    def configure(self):
        optimizer = torch.optim.Adam(self.parameters(), 2e-2)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": kind(optimizer), **entry}}

    return configure


def plateau(optimizer):
    return lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5, threshold=0.05)


class OneCycleStep(Gelu):
    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), 2e-2)
        steps = int(self.trainer.estimated_stepping_batches)
        return [optimizer], [
            {"scheduler": lr_scheduler.OneCycleLR(optimizer, 2e-2, total_steps=steps), "interval": "step"}
        ]


class StepFrequency(Gelu):
    configure_optimizers = scheduled(lambda o: lr_scheduler.ExponentialLR(o, 0.7), interval="step", frequency=4)


class EpochFrequency(Gelu):
    configure_optimizers = scheduled(lambda o: lr_scheduler.ExponentialLR(o, 0.5), frequency=2)


class Warmup(Gelu):
    configure_optimizers = scheduled(lambda o: lr_scheduler.LinearLR(o, 0.1, total_iters=5), interval="step")


class WarmRestarts(Gelu):
    configure_optimizers = scheduled(lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 6), interval="step")


class Chained(Gelu):
    configure_optimizers = scheduled(
        lambda o: lr_scheduler.SequentialLR(
            o, [lr_scheduler.ConstantLR(o, 0.1, 1), lr_scheduler.ExponentialLR(o, 0.5)], [1]
        )
    )


class PlateauVal(Gelu):
    configure_optimizers = scheduled(plateau, monitor="val_loss")


class PlateauMonitorOutside(Gelu):
    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), 2e-2)
        return {"optimizer": optimizer, "lr_scheduler": plateau(optimizer), "monitor": "val_loss"}


class Logging(InSequence):
    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        self.log("train_loss", loss)
        return loss

    STACKED = "stacked"


class PlateauTrain(Logging):
    configure_optimizers = scheduled(plateau, monitor="train_loss")

    STACKED = "sequential"


class PlateauStep(Logging):
    configure_optimizers = scheduled(plateau, monitor="train_loss", interval="step")

    STACKED = "sequential"


class PlateauStepVal(InSequence):
    configure_optimizers = scheduled(plateau, monitor="val_loss", interval="step", strict=False)


class PlateauTrainEpoch(InSequence):
    configure_optimizers = scheduled(plateau, monitor="train_loss_epoch")

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        return loss


class ReduceMax(InSequence):
    configure_optimizers = scheduled(plateau, monitor="worst")

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        self.log("worst", loss, on_step=False, on_epoch=True, reduce_fx="max")
        return loss


class ReduceSum(InSequence):
    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.loss(batch), reduce_fx=torch.sum)


class OwnScheduler(InTrainer):
    """Overrides lr_scheduler_step."""

    configure_optimizers = scheduled(lambda o: lr_scheduler.ExponentialLR(o, 0.5))

    def lr_scheduler_step(self, scheduler, metric):
        scheduler.step()


# --- logging


class Metrics(InSequence):
    def __init__(self) -> None:
        super().__init__()
        self.accuracy = torchmetrics.Accuracy("binary")

    def validation_step(self, batch, batch_idx):
        super().validation_step(batch, batch_idx)
        self.accuracy(self(batch[0]), batch[1].int())
        self.log("accuracy", self.accuracy)

    configure_optimizers = scheduled(
        lambda o: lr_scheduler.ReduceLROnPlateau(o, mode="max", patience=0), monitor="accuracy"
    )


class MetricTraining(InSequence):
    """A metric of the training, by epoch, decides on the rate."""

    def __init__(self) -> None:
        super().__init__()
        self.accuracy = torchmetrics.Accuracy("binary")

    def training_step(self, batch, batch_idx):
        found = self(batch[0])
        self.accuracy(found, batch[1].int())
        self.log("accuracy", self.accuracy, on_step=True, on_epoch=True)
        return bce(found, batch)

    configure_optimizers = scheduled(
        lambda o: lr_scheduler.ReduceLROnPlateau(o, mode="max", patience=0, threshold=0.1), monitor="accuracy_epoch"
    )


class LogDict(Gelu):
    def validation_step(self, batch, batch_idx):
        loss = self.loss(batch)
        self.log_dict({"val_loss": loss, "twice": 2 * loss})


class EpochEnd(InSequence):
    """Logs its val_loss in a hook."""

    def on_validation_epoch_start(self):
        self.parts = []

    def validation_step(self, batch, batch_idx):
        self.parts.append(self.loss(batch))

    def on_validation_epoch_end(self):
        self.log("val_loss", torch.stack(self.parts).mean())


class TrainEpochEnd(InSequence):
    """A value of a hook decides on the rate."""

    configure_optimizers = scheduled(plateau, monitor="size")

    def on_train_epoch_end(self):
        self.log("size", sum(p.norm() for p in self.parameters()))


class Slash(Gelu):
    LOSS = "val/loss"

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", self.loss(batch))


class SlashStopping(Slash):
    def configure_callbacks(self):
        return [callbacks.EarlyStopping("val/loss", patience=1)]


class DictReturn(Gelu):
    def training_step(self, batch, batch_idx):
        return {"loss": self.loss(batch), "extra": 1}


class Short(Gelu):
    """Without batch_idx."""

    def training_step(self, batch):
        return self.loss(batch)

    def validation_step(self, batch):
        self.log("val_loss", self.loss(batch))


class Skipping(InSequence):
    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        return None if batch_idx == 3 else loss

    configure_optimizers = scheduled(lambda o: lr_scheduler.ExponentialLR(o, 0.9), interval="step")


class Printing(InSequence):
    def on_train_epoch_end(self):
        self.print("", end="")


class Table(InSequence):
    BATCH_FORM = "dict"

    def loss(self, batch):
        return bce(self(batch["x"]), (batch["x"], batch["y"], batch["weight"]))


# --- callbacks


class Stopping(Gelu):
    def configure_callbacks(self):
        return [callbacks.EarlyStopping("val_loss", patience=1, min_delta=0.01)]


class StoppingAtOnce(Gelu):
    """Patience 0."""

    RATE = 0.1

    def configure_callbacks(self):
        return callbacks.EarlyStopping("val_loss", patience=0, min_delta=0.05)


class StoppingMax(InSequence):
    def validation_step(self, batch, batch_idx):
        super().validation_step(batch, batch_idx)
        self.log("accuracy", ((self(batch[0]) > 0) == (batch[1] > 0.5)).float().mean())

    def configure_callbacks(self):
        return [
            callbacks.EarlyStopping("accuracy", mode="max", patience=1),
            callbacks.ModelCheckpoint(monitor="accuracy", mode="max"),
        ]

    BEST = ("accuracy", -1)
    STACKED = "stacked"


class StoppingThreshold(InTrainer):
    def configure_callbacks(self):
        return [callbacks.EarlyStopping("val_loss", stopping_threshold=10.0)]


class Averaged(InTrainer):
    AVERAGE = True

    def configure_callbacks(self):
        return [callbacks.EMAWeightAveraging(decay=0.9)]


class AveragedAtEnd(InTrainer):
    LAST = True

    def configure_callbacks(self):
        return [callbacks.StochasticWeightAveraging(1e-2, swa_epoch_start=1, annealing_epochs=1)]


class OwnAverage(InSequence):
    """Averages its weights in hooks: the average is validated, and put back after it."""

    AVERAGE = True

    def on_fit_start(self):
        self.average = [p.detach().clone() for p in self.parameters()]

    def swap(self):
        for p, average in zip(self.parameters(), self.average, strict=True):
            kept = p.detach().clone()
            p.data.copy_(average)
            average.copy_(kept)

    def training_step(self, batch, batch_idx):
        for p, average in zip(self.parameters(), self.average, strict=True):
            average.lerp_(p.detach(), 0.2)
        return self.loss(batch)

    def on_validation_epoch_start(self):
        self.swap()

    def on_validation_epoch_end(self):
        self.swap()


class Watching(lightning.Callback):
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        pl_module.seen = pl_module.seen + 1


class OwnCallback(InTrainer):
    seen = 0

    def configure_callbacks(self):
        return [Watching()]


class Checkpointing(InTrainer):
    def configure_callbacks(self):
        return [callbacks.ModelCheckpoint(monitor="val_loss", save_last=True)]


class Rates(Gelu):
    def configure_callbacks(self):
        return [callbacks.LearningRateMonitor(), callbacks.ModelCheckpoint(monitor="val_loss", save_top_k=3)]


class SeveralCheckpoints(Logging):
    """The first decides; the other is of the training loss."""

    def configure_callbacks(self):
        return [callbacks.ModelCheckpoint(monitor="val_loss"), callbacks.ModelCheckpoint(monitor="train_loss")]

    # --- hooks and what only a Trainer has

    STACKED = "stacked"


class EpochEndHook(InSequence):
    def on_train_epoch_end(self):
        with torch.no_grad():
            self.net[2].bias.mul_(0.5)


class ClipHook(InTrainer):
    def configure_gradient_clipping(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None):
        self.clip_gradients(optimizer, gradient_clip_val=0.05, gradient_clip_algorithm="norm")


class OptimizerStep(InTrainer):
    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure=None):
        optimizer.step(closure=optimizer_closure)
        with torch.no_grad():
            self.net[0].weight.clamp_(-0.3, 0.3)


class AfterTransfer(InTrainer):
    """Gives a plain tuple."""

    def on_after_batch_transfer(self, batch, dataloader_idx):
        x, label, weight, *_ = batch
        return x * 1.01, label, weight


class BatchEnd(InTrainer):
    def on_train_batch_end(self, outputs, batch, batch_idx):
        with torch.no_grad():
            self.net[2].bias.mul_(0.9)


class BackwardHook(InTrainer):
    def on_after_backward(self):
        for p in self.parameters():
            p.grad.mul_(0.5)


class Setup(InTrainer):
    def setup(self, stage):
        self.scale = 0.5

    def training_step(self, batch, batch_idx):
        return self.loss(batch) * self.scale


class LoggerUse(InTrainer):
    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        self.logger.experiment.add_scalar("mine", loss.detach(), self.global_step)
        return loss


class LoggersLoop(InTrainer):
    def on_train_epoch_end(self):
        for logger in self.loggers:
            logger.log_metrics({"epoch_number": self.current_epoch})


class CallbackMetrics(InTrainer):
    def on_train_epoch_end(self):
        if float(self.trainer.callback_metrics["val_loss"]) > 0.6:
            self.optimizers().param_groups[0]["lr"] *= 0.5


class Swallowing(InTrainer):
    """Catches every exception of its question."""

    def training_step(self, batch, batch_idx):
        try:
            scale = 1.0 + 0 * len(self.trainer.callbacks)
        except Exception:  # noqa: BLE001  as people write it
            scale = 0.0
        return self.loss(batch) * scale


class ShouldStop(InTrainer):
    def on_train_epoch_end(self):
        if self.current_epoch == 1:
            self.trainer.should_stop = True

    STACKED = "sequential"


class OwnLoader(InTrainer):
    """Brings its own training events."""

    def train_dataloader(self):
        generator = torch.Generator().manual_seed(3)
        label = (torch.rand(200, generator=generator) > 0.5).float()
        x = torch.randn(200, FEATURES, generator=generator) + 0.4 * label[:, None]
        return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, label, torch.ones(200)), batch_size=50)


class Compiled(InSequence):
    """Of torch.compile, in the mode that only traces."""

    def __init__(self) -> None:
        super().__init__()
        self.net = torch.compile(self.net, backend="eager")

    STACKED = "stacked"


class Evaluating(InSequence):
    """A part that stays in the mode of evaluation."""

    RANDOM = False

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(FEATURES, 8), nn.BatchNorm1d(8), nn.GELU(), nn.Linear(8, 1))
        self.net[1].eval()

    STACKED = "stacked"


class Uncertain(Gelu):
    """The square of a difference, with a weight of each term that is learned."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(2))

    def loss(self, batch):
        x, label, weight = batch
        found = self(x)
        terms = torch.stack([bce(found, batch), ((torch.sigmoid(found) - label) ** 2 * weight).mean()])
        return (terms * torch.exp(-self.scale) + self.scale).sum()


class PlainTensor(InSequence):
    """A tensor that is neither parameter nor buffer, the same in every copy."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = torch.full((FEATURES,), 0.1)

    def forward(self, x):
        return super().forward(x + self.shift)

    STACKED = "stacked"


# --- whose members fail, with the reason


class Annealed(InSequence):
    """A plain number that training moves and forward uses is not in the weights."""

    FAILS = "forward uses what is neither parameter nor buffer"
    temperature = 1.0

    def forward(self, x):
        return super().forward(x) / self.temperature

    def on_train_epoch_start(self):
        self.temperature += 1.0


class Plainly(InSequence):
    """The same by a tensor."""

    FAILS = "forward uses what is neither parameter nor buffer"

    def __init__(self) -> None:
        super().__init__()
        self.shift = torch.zeros(1)

    def forward(self, x):
        return super().forward(x + self.shift)

    def on_train_epoch_start(self):
        self.shift = self.shift + 1.0


# --- as public projects have them


class CarlBatchNorm(InSequence):
    """Normalises, drops, and runs one cycle over all steps that the Trainer foresees."""

    STACKED = "sequential"

    def __init__(self, hidden=(16, 8), learning_rate=1e-2, dropout=0.1) -> None:
        super().__init__()
        self.save_hyperparameters()
        widths = [FEATURES, *hidden]
        parts = [
            part
            for a, b in pairwise(widths)
            for part in (nn.Linear(a, b), nn.BatchNorm1d(b), nn.LeakyReLU(), nn.Dropout(dropout))
        ]
        self.net = nn.Sequential(*parts, nn.Linear(widths[-1], 1))
        self.example_input_array = torch.zeros(2, FEATURES)

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        self.log("train_loss", loss, on_step=True, on_epoch=True, prog_bar=True, logger=True)
        return loss

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), self.hparams.learning_rate, weight_decay=1e-2)
        steps = self.trainer.estimated_stepping_batches
        schedule = lr_scheduler.OneCycleLR(optimizer, self.hparams.learning_rate, total_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step", "frequency": 1}}


class AttentionPooling(InSequence):
    """A set of two objects of two columns, pooled by a learned question."""

    STACKED = "stacked"

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 8), nn.GELU())
        self.question = nn.Parameter(torch.randn(1, 1, 8))
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.answer = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 1))

    def forward(self, x):
        objects = self.net(x.reshape(len(x), 2, 2))
        pooled, _ = self.attention(self.question.expand(len(x), -1, -1), objects, objects, need_weights=False)
        return self.answer(pooled[:, 0])[:, 0]


class MeanTeacher(InSequence):
    """Agrees with a slow copy of itself, which is moved in the step."""

    def __init__(self) -> None:
        super().__init__()
        self.teacher = copy.deepcopy(self.net).requires_grad_(False)

    def training_step(self, batch, batch_idx):
        with torch.no_grad():
            for slow, fast in zip(self.teacher.parameters(), self.net.parameters(), strict=True):
                slow.lerp_(fast, 0.1)
            target = self.teacher(batch[0]).squeeze(-1)
        return self.loss(batch) + F.mse_loss(self(batch[0]), target)


class Decorrelated(InTrainer):
    """A classifier against an adversary that guesses a column from its answer: two optimisers, toggled, and a schedule by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.adversary = nn.Sequential(nn.Linear(1, 8), nn.ReLU(), nn.Linear(8, 1))
        self.automatic_optimization = False

    def guess(self, logit, batch):
        return F.mse_loss(self.adversary(logit.unsqueeze(-1)).squeeze(-1), batch[0][:, 0])

    def training_step(self, batch, batch_idx):
        classifier, adversary = self.optimizers()
        self.toggle_optimizer(adversary)
        loss = self.guess(self(batch[0]).detach(), batch)
        adversary.zero_grad()
        self.manual_backward(loss)
        adversary.step()
        self.untoggle_optimizer(adversary)
        self.toggle_optimizer(classifier)
        total = self.loss(batch) - 0.1 * self.guess(self(batch[0]), batch)
        classifier.zero_grad()
        self.manual_backward(total)
        self.clip_gradients(classifier, gradient_clip_val=1.0, gradient_clip_algorithm="norm")
        classifier.step()
        self.untoggle_optimizer(classifier)
        self.log_dict({"classifier": total, "adversary": loss}, prog_bar=True)

    def on_train_epoch_end(self):
        self.lr_schedulers().step()

    def configure_optimizers(self):
        classifier = torch.optim.Adam(self.net.parameters(), 1e-2)
        adversary = torch.optim.Adam(self.adversary.parameters(), 1e-2)
        return [classifier, adversary], [lr_scheduler.ExponentialLR(classifier, 0.9)]


class Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, strength):
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        return -ctx.strength * gradient, None


class GradientReversal(InSequence):
    """One optimiser; what the adversary learns pushes the body the other way, more and more."""

    def __init__(self) -> None:
        super().__init__()
        self.adversary = nn.Linear(1, 1)

    def training_step(self, batch, batch_idx):
        logit = self(batch[0])
        strength = 2 / (1 + math.exp(-10 * self.global_step / 20)) - 1
        guess = self.adversary(Reversed.apply(logit.unsqueeze(-1), strength)).squeeze(-1)
        return bce(logit, batch) + F.mse_loss(guess, batch[0][:, 1])


class Mixup(InSequence):
    """Mixes events by numbers of NumPy and torch."""

    RANDOM = True

    def training_step(self, batch, batch_idx):
        x, label, weight = batch
        share, other = float(np.random.beta(0.2, 0.2)), torch.randperm(len(x))  # noqa: NPY002  as people write it
        mixed = [share * column + (1 - share) * column[other] for column in (x, label, weight)]
        return self.loss(mixed)


class PriorByMomentum(InSequence):
    """A buffer that follows the classes, as a centre or a prior does."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("prior", torch.tensor(0.5))

    def training_step(self, batch, batch_idx):
        self.prior.mul_(0.9).add_(0.1 * batch[1].mean())
        return self.loss(batch)

    def forward(self, x):
        return super().forward(x) + torch.logit(self.prior)


class FourierFeatures(Gelu):
    """Random frequencies in a buffer, sines between the layers."""

    STACKED = "stacked"

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.randn(FEATURES, 8))
        self.net = nn.Linear(16, 1)

    def forward(self, x):
        angles = x @ self.frequencies
        return self.net(torch.cat([angles.sin(), angles.cos()], dim=1)).squeeze(-1)


class StochasticDepth(InSequence):
    """Leaves a residual block out of some events."""

    STACKED, RANDOM = "stacked", True

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(FEATURES, 8)
        self.block, self.answer = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8), nn.GELU()), nn.Linear(8, 1)

    def forward(self, x):
        x = self.net(x)
        block = self.block(x)
        if self.training:
            block = block * (torch.rand(len(x), 1) < 0.8) / 0.8
        return self.answer(x + block).squeeze(-1)


class CheckpointedBlock(Gelu):
    """Computes activations again on the way back."""

    STACKED = "sequential"

    def forward(self, x):
        return torch.utils.checkpoint.checkpoint(self.net, x, use_reentrant=False).squeeze(-1)


class Collection(InSequence):
    """Two collections of metrics with prefixes, one of them a curve that is read at the end."""

    def __init__(self) -> None:
        super().__init__()
        metrics = torchmetrics.MetricCollection(
            {"auroc": torchmetrics.AUROC("binary"), "accuracy": torchmetrics.Accuracy("binary")}
        )
        self.seen, self.judged = metrics.clone(prefix="train/"), metrics.clone(prefix="val/")

    def training_step(self, batch, batch_idx):
        logit = self(batch[0])
        self.log_dict(self.seen(logit, batch[1].int()), on_step=True, on_epoch=False)
        return bce(logit, batch)

    def validation_step(self, batch, batch_idx):
        super().validation_step(batch, batch_idx)
        self.judged.update(self(batch[0]), batch[1].int())

    def on_validation_epoch_end(self):
        self.log_dict(self.judged.compute())
        self.judged.reset()


class Bars(InTrainer):
    """Brings the bar and the summary of its own project, and stops early."""

    def configure_callbacks(self):
        return [
            callbacks.TQDMProgressBar(),
            callbacks.RichModelSummary(),
            callbacks.EarlyStopping("val_loss", patience=2),
        ]


class LayerwiseDecay(InSequence):
    """Smaller steps for lower layers, each group with its own schedule."""

    def configure_optimizers(self):
        groups = [
            {"params": part.parameters(), "lr": 1e-2 * 0.5**depth, "weight_decay": 0.1 * depth}
            for depth, part in enumerate(reversed([p for p in self.net if list(p.parameters())]))
        ]
        optimizer = torch.optim.AdamW(groups)
        return [optimizer], [lr_scheduler.LambdaLR(optimizer, [lambda e: 0.9**e, lambda e: 0.8**e])]


class BatchesBefore(InTrainer):
    """Asks for the number of batches when Lightning does not know it yet, and says that it is infinite."""

    def configure_optimizers(self):
        batches = self.trainer.num_training_batches
        optimizer = torch.optim.Adam(self.parameters(), 1e-2)
        length = 100 if math.isinf(batches) else batches
        return [optimizer], [{"scheduler": lr_scheduler.LinearLR(optimizer, 0.1, 1.0, length), "interval": "step"}]


class BatchesAtStart(InTrainer):
    """The same in a hook before the loaders are known."""

    def on_fit_start(self):
        self.scale = 1.0 if math.isinf(self.trainer.num_training_batches) else 0.5

    def training_step(self, batch, batch_idx):
        return self.loss(batch) * self.scale


class AlwaysDropping(InSequence):
    """Drops in validation, too: numbers are drawn there as by Lightning alone."""

    RANDOM = True

    def forward(self, x):
        return super().forward(F.dropout(x, 0.2, training=True))


class AlwaysDroppingInTrainer(AlwaysDropping):
    ENGINE = STACKED = "lightning"

    def on_before_optimizer_step(self, optimizer):
        pass


class Closed(InTrainer):
    """Steps by itself, and has no optimiser that Lightning knows."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.own = [torch.optim.SGD(self.parameters(), 0.1)]

    def training_step(self, batch, batch_idx):
        self.own[0].zero_grad()
        self.manual_backward(self.loss(batch))
        self.own[0].step()

    def configure_optimizers(self):
        return None


# --- refused in a sentence


class WithoutMonitor(Gelu):
    REFUSED = r'WithoutMonitor: configure_optimizers: ReduceLROnPlateau has no "monitor"'
    configure_optimizers = scheduled(plateau)


class OddInterval(Gelu):
    REFUSED = r'OddInterval: configure_optimizers: a scheduler has the interval "steps"'
    configure_optimizers = scheduled(lambda o: lr_scheduler.ExponentialLR(o, 0.5), interval="steps")


class OtherSpelling(Gelu):
    REFUSED = r'OtherSpelling: configure_optimizers: gives a table without "optimizer"'

    def configure_optimizers(self):
        return {"optimiser": torch.optim.Adam(self.parameters())}


class Pair(Gelu):
    """Takes pairs, in which weights have no place."""

    REFUSED = r"zoo.py:\d+: Pair.loss: ValueError: too many values to unpack .*a batch is \(x, label, weight\)"

    def loss(self, batch):
        x, label = batch
        return F.binary_cross_entropy_with_logits(self(x), label)


class TableWithoutKey(Gelu):
    REFUSED = r'zoo.py:\d+: TableWithoutKey.loss: TypeError: .*\[training\] batch = "dict"'

    def loss(self, batch):
        return bce(self(batch["x"]), (batch["x"], batch["y"], batch["weight"]))


class EmbedRaw(Gelu):
    """Standardised features are no words."""

    REFUSED = r"zoo.py:\d+: EmbedRaw.forward: IndexError"

    def made(self, features):
        return nn.Embedding(4, 1)

    def forward(self, x):
        return self.net(x[:, 0].long()).squeeze(-1)


class Nameless(Gelu):
    REFUSED = r'Nameless logs no "val_loss" .*; it logs score'

    def validation_step(self, batch, batch_idx):
        self.log("score", self.loss(batch))


class Misspelt(Gelu):
    REFUSED = r"zoo.py:\d+: Misspelt.forward: AttributeError"

    def forward(self, x):
        return self.nett(x).squeeze(-1)


class Unscheduled(Gelu):
    REFUSED = r"zoo.py:\d+: Unscheduled.configure_optimizers: ZeroDivisionError"

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 1 / 0)


class Records(Gelu):
    """Gives a table."""

    REFUSED = r"Records gives shape dict"

    def forward(self, x):
        return {"logit": self.net(x).squeeze(-1)}

    def loss(self, batch):
        return bce(self(batch[0])["logit"], batch)


KINDS = {
    name: kind
    for name, kind in list(globals().items())
    if isinstance(kind, type) and issubclass(kind, Base) and kind not in (Base, Gelu, InSequence, InTrainer)
}
