"""Networks with a frozen part, as text: of users, who write them in `physics.py`. Each says its engine, or why its part is computed in every step."""

BASE = """import lightning, torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, dropout


class Base(lightning.LightningModule):
    def __init__(self, features):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(features, 8), nn.SiLU(), nn.Linear(8, 6))
        self.head = nn.Sequential(nn.Linear(6, 8), nn.SiLU(), nn.Linear(8, 1))

    def forward(self, x):
        return self.head(self.backbone(x)).squeeze(-1)

    def loss(self, batch):
        x, label, weight = batch
        return (weight * binary_cross_entropy_with_logits(self(x), label, reduction="none")).mean()

    def training_step(self, batch, batch_idx):
        return self.loss(batch)

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.loss(batch))

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-2)


"""
TAKEN = {
    "native": {
        "perceptron": "",
        "normed": """
    def __init__(self, features):
        super().__init__(features)
        self.backbone = nn.Sequential(nn.Linear(features, 8), nn.BatchNorm1d(8), nn.SiLU(), nn.Linear(8, 6))
""",
        "dropping": """
    def __init__(self, features):
        super().__init__(features)
        self.backbone = nn.Sequential(nn.Linear(features, 8), nn.Dropout(0.5), nn.SiLU(), nn.Linear(8, 6))
""",
        "reading": """
    def __init__(self, features):
        super().__init__(features)
        self.backbone = Scaled(features)


class Scaled(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.inner = nn.Linear(features, 6)
        self.register_buffer("largest", torch.tensor(50.0), persistent=False)

    def forward(self, x):
        return self.inner(x / min(self.largest.item(), 50.0))
""",
        "by name": """
    def forward(self, x):
        return self.head(self.backbone(input=x)).squeeze(-1)
""",
    },
    "sequential": {
        "head with batch normalisation and dropout": """
    def __init__(self, features):
        super().__init__(features)
        self.head = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.SiLU(), nn.Linear(8, 1))
""",
        "twice": """
    def training_step(self, batch, batch_idx):
        self.log("mean", self(batch[0]).mean())
        return self.loss(batch)
""",
        "several outputs": """
    def __init__(self, features):
        super().__init__(features)
        self.backbone = Several(features)

    def forward(self, x):
        found, nothing, more = self.backbone(x)
        return self.head(found + more["tokens"].sum(1)).squeeze(-1)


class Several(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.inner = nn.Linear(features, 24)

    def forward(self, x):
        found = self.inner(x)
        return found[:, :6], None, {"tokens": found[:, 6:].view(-1, 3, 6)}
""",
    },
}
REFUSED = {
    "features around it": ("cat is computed with its inputs outside of backbone", """
    def __init__(self, features):
        super().__init__(features)
        self.head = nn.Sequential(nn.Linear(6 + features, 8), nn.SiLU(), nn.Linear(8, 1))

    def forward(self, x):
        return self.head(torch.cat([self.backbone(x), x], dim=1)).squeeze(-1)
"""),
    "a branch on a feature": ("max is computed with its inputs outside of backbone", """
    def forward(self, x):
        return super().forward(x) * (2.0 if x.max() > 1e6 else 1.0)
"""),
    "features in the loss": ("mul is computed with its inputs outside of backbone", """
    def loss(self, batch):
        return super().loss(batch) + 0 * (batch[0] * 2).sum()
"""),
    "features in validation": ("sum is computed with its inputs outside of backbone", """
    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.loss(batch) + 0 * batch[0].sum())
"""),
    "prepared features": ("no frozen part is called with the features", """
    def forward(self, x):
        return super().forward(2 * x)
"""),
    "an inner output": ("t is computed with its inputs outside of backbone", """
    def __init__(self, features):
        super().__init__(features)
        self.backbone = Inner(features)

    def forward(self, x):
        found = self.backbone(x)
        return self.head(found + self.backbone.last(self.backbone.seen)).squeeze(-1)


class Inner(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.first, self.last = nn.Linear(features, 6), nn.Linear(6, 6)

    def forward(self, x):
        self.seen = self.first(x)
        return self.last(self.seen)
"""),
    "a weight of it": ("computed with its inputs outside of backbone", """
    def forward(self, x):
        return super().forward(x) + self.backbone[0].bias.sum()
"""),
    "thawed in a hook": ("on_train_epoch_start may thaw it", """
    def on_train_epoch_start(self):
        if self.current_epoch == 1:
            self.backbone.requires_grad_(True)
"""),
    "thawed in a step": ("its step asks for current_epoch", """
    def training_step(self, batch, batch_idx):
        if self.current_epoch == 1:
            self.backbone.requires_grad_(True)
        return self.loss(batch)
"""),
    "counting": ("its step changes attributes", """
    steps = 0

    def training_step(self, batch, batch_idx):
        self.steps += 1
        return self.loss(batch)
"""),
    "a value that leaves": ("its step uses item", """
    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        if loss.item() < 1e-3:
            self.backbone.requires_grad_(True)
        return loss
"""),
    "random numbers": ("backbone draws random numbers", """
    def __init__(self, features):
        super().__init__(features)
        self.backbone = Random(features)


class Random(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.inner = nn.Linear(features, 6)

    def forward(self, x):
        return self.inner(dropout(x, 0.1))
"""),
    "others of the batch": ("depends on the others of its batch", """
    def __init__(self, features):
        super().__init__(features)
        self.backbone = Centred(features)


class Centred(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.inner = nn.Linear(features, 6)

    def forward(self, x):
        return self.inner(x - x.mean(0))
"""),
    "a hook of the part": ("hooks of the network", """
    def __init__(self, features):
        super().__init__(features)
        self.backbone[0].register_forward_hook(lambda module, given, found: found + 1)
"""),
    "a lazy head": ("hooks of the network", """
    def __init__(self, features):
        super().__init__(features)
        self.head = nn.Sequential(nn.LazyLinear(8), nn.SiLU(), nn.Linear(8, 1))
"""),
    "a rate of its own": ("it uses parameters of its frozen part", """
    def configure_optimizers(self):
        own = [{"params": self.backbone.parameters(), "lr": 1e-5}, {"params": self.head.parameters()}]
        return torch.optim.AdamW(own, lr=1e-2)
"""),
}  # fmt: skip
JETS = """
class Mine(Base):
    def __init__(self, features, particles):
        super().__init__(features)
        self.backbone = Summed(features, particles)

    def forward(self, x, particles):
        return self.head(self.backbone(x, particles)).squeeze(-1)

    def loss(self, batch):
        x, label, weight, particles = batch
        return (weight * binary_cross_entropy_with_logits(self(x, particles), label, reduction="none")).mean()


class Summed(nn.Module):
    def __init__(self, features, particles):
        super().__init__()
        self.inner = nn.Linear(features + particles, 6)

    def forward(self, x, particles):
        return self.inner(torch.cat([x, particles.sum(particles.values)], dim=1))
"""


def source(body: str) -> str:
    """Give the text of a whole file."""
    return BASE + (body if "class Mine" in body else f"class Mine(Base):\n    pass\n{body}")
