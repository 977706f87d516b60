"""LightningModules as users write them, for the tests of engines; each can be trained by lightning.Trainer alone."""

from __future__ import annotations

import lightning
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits


class Ratio(lightning.LightningModule):
    """The usual methods."""

    def __init__(self, optimizer: str = "adamw") -> None:
        super().__init__()
        self.optimizer = optimizer

    def loss(self, batch):
        x, label, weight = batch
        return (weight * binary_cross_entropy_with_logits(self(x), label, reduction="none")).mean()

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.loss(batch), prog_bar=True)

    def configure_optimizers(self):
        return {
            "adam": lambda p: torch.optim.Adam(p, lr=3e-3),
            "adamw": lambda p: torch.optim.AdamW(p, lr=3e-3, weight_decay=1e-2),
            "nadam": lambda p: torch.optim.NAdam(p, lr=3e-3),
            "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
        }[self.optimizer](self.parameters())


class Straight(Ratio):
    """A plain MLP, with a learning rate that waits for plateaus."""

    def __init__(self, features: int, optimizer: str = "adamw") -> None:
        super().__init__(optimizer)
        self.first, self.second, self.last = nn.Linear(features, 20), nn.Linear(20, 12), nn.Linear(12, 1)
        self.stack = nn.Sequential(self.first, nn.SiLU(), self.second, nn.SiLU(), self.last)

    def forward(self, x):
        return self.stack(x).squeeze(-1)

    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.3, patience=0)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "val_loss"}}


class Weighed(Straight):
    """Divides by the sum of weights."""

    def loss(self, batch):
        return super().loss(batch) * len(batch[0]) / batch[2].sum()


class Warming(Straight):
    """Its loss depends on the epoch."""

    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * (1 + self.current_epoch)


class Counting(Straight):
    """Remembers something."""

    steps = 0

    def training_step(self, batch, batch_idx):
        self.steps += 1
        return super().training_step(batch, batch_idx) / (1 + self.steps // 100)


class Introspective(Straight):
    """Its learning rate waits for plateaus of the training loss."""

    def configure_optimizers(self):
        configured = super().configure_optimizers()
        configured["lr_scheduler"]["monitor"] = "train_loss"
        return configured


class Noisy(Straight):
    """Adds noise to the features."""

    def training_step(self, batch, batch_idx):
        x, label, weight = batch
        return super().training_step((x + 0.01 * torch.randn_like(x), label, weight), batch_idx)


class Dropping(Ratio):
    """An MLP with dropout."""

    def __init__(self, features: int, width: int = 16, optimizer: str = "adamw") -> None:
        super().__init__(optimizer)
        self.stack = nn.Sequential(nn.Linear(features, width), nn.ReLU(), nn.Dropout(0.2), nn.Linear(width, 1))

    def forward(self, x):
        return self.stack(x).squeeze(-1)


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.inner, self.outer = nn.LayerNorm(width), nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x):
        return x + self.outer(nn.functional.gelu(self.inner(self.norm(x))))


class Residual(Ratio):
    """A residual MLP with layer normalisation."""

    def __init__(self, features: int, width: int = 16, blocks: int = 2, optimizer: str = "adamw") -> None:
        super().__init__(optimizer)
        self.stack = nn.Sequential(
            nn.Linear(features, width), *(Block(width) for _ in range(blocks)), nn.Linear(width, 1)
        )

    def forward(self, x):
        return self.stack(x).squeeze(-1)


class Attention(Ratio):
    """A transformer on the features as padded particles of two features; zeros pad."""

    def __init__(self, features: int, optimizer: str = "adamw") -> None:
        super().__init__(optimizer)
        self.particles = features // 2
        self.embedding = nn.Linear(2, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
        self.head = nn.Linear(8, 1)

    def forward(self, x):
        particles = x[:, : 2 * self.particles].unflatten(1, (self.particles, 2))
        absent = (particles[..., 0] < -1.0) & (torch.arange(self.particles) > 0)
        found = self.layer(self.embedding(particles), src_key_padding_mask=absent)
        return self.head(found.masked_fill(absent[..., None], 0).sum(1)).squeeze(-1)


class Jets(Ratio):
    """A transformer on padded particles, of which events have none to five, and one token of the event itself."""

    def __init__(self, features: int, particles: int, optimizer: str = "adamw") -> None:
        super().__init__(optimizer)
        self.event, self.particle = nn.Linear(features, 8), nn.Linear(particles, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
        self.head = nn.Linear(8, 1)

    def forward(self, x, particles):
        values, there = particles.padded(5)
        tokens = torch.cat([self.event(x)[:, None], self.particle(values)], 1)
        absent = nn.functional.pad(~there, (1, 0), value=False)
        return self.head(self.layer(tokens, src_key_padding_mask=absent)[:, 0]).squeeze(-1)

    def loss(self, batch):
        x, label, weight, particles = batch
        return (weight * binary_cross_entropy_with_logits(self(x, particles), label, reduction="none")).mean()


class Plateau(Residual):
    """With a scheduler that looks at the validation loss, and one value per batch kept as a number."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.last = loss.item()
        return loss

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=2e-2)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.3)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "val_loss"}}


class Cycle(Residual):
    """With a scheduler that moves at every step, and asks the Trainer how many there will be."""

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=2e-2)
        steps = self.trainer.estimated_stepping_batches
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-2, total_steps=int(steps))
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]


class Normed(Dropping):
    """With batch normalisation, whose running means belong to the weights."""

    def __init__(self, features: int) -> None:
        super().__init__(features)
        self.stack = nn.Sequential(nn.Linear(features, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 1))


class Manual(Dropping):
    """Optimises by hand."""

    def __init__(self, features: int) -> None:
        super().__init__(features)
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        optimizer.zero_grad()
        loss = self.loss(batch)
        self.manual_backward(loss)
        optimizer.step()
        return loss


class Clipping(Dropping):
    """Overrides a hook that only a Trainer calls."""

    def on_before_optimizer_step(self, optimizer):
        nn.utils.clip_grad_norm_(self.parameters(), 0.1)


class Asking(Dropping):
    """Asks the Trainer for what only a Trainer has, and only in the second epoch."""

    def training_step(self, batch, batch_idx):
        if self.current_epoch == 1:
            assert self.trainer.strategy is not None
        return super().training_step(batch, batch_idx)


class Stateless(Ratio):
    """No training_step of its own would be an error; this one returns a vector."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.layer = nn.Linear(features, 1)

    def forward(self, x):
        return self.layer(x).squeeze(-1)

    def training_step(self, batch, batch_idx):
        return self(batch[0]) ** 2


class Plain(nn.Module):
    """No LightningModule."""

    def __init__(self, features: int, width: int = 8) -> None:
        super().__init__()
        self.stack = nn.Sequential(nn.Linear(features, width), nn.Tanh(), nn.Linear(width, 1))

    def forward(self, x):
        return self.stack(x).squeeze(-1)


class Wide(Plain):
    """Does not take the features of the analysis."""

    def __init__(self) -> None:
        super().__init__(7)


class Untrainable(lightning.LightningModule):
    """A LightningModule without training_step."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.layer = nn.Linear(features, 1)


class Linear(nn.Module):
    """What the ratio of two shifted Gaussians is."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.layer = nn.Linear(features, 1)

    def forward(self, x):
        return self.layer(x).squeeze(-1)


class Called(Residual):
    """Brings callbacks that need no Trainer, and watches an accuracy."""

    def validation_step(self, batch, batch_idx):
        super().validation_step(batch, batch_idx)
        x, label, weight = batch
        self.log("accuracy", (weight * ((self(x) > 0) == (label > 0.5))).mean())

    def configure_callbacks(self):
        callbacks = lightning.pytorch.callbacks
        return [
            callbacks.EarlyStopping("accuracy", mode="max", patience=2, min_delta=1e-3),
            callbacks.ModelCheckpoint(monitor="accuracy", mode="max"),
            callbacks.LearningRateMonitor(),
        ]


class Steps(lightning.Callback):
    """Any other callback."""

    steps = 0

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        Steps.steps += 1


class CallingBack(Called):
    """Brings one that needs a Trainer beside those that do not."""

    def configure_callbacks(self):
        return [*super().configure_callbacks(), Steps()]


class Leaky(Plain):
    """Takes the dropout of the analysis."""

    def __init__(self, features: int, dropout: float = 0.5) -> None:
        super().__init__(features)
        self.share = dropout
