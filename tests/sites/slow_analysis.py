"""A small analysis whose training takes as long as tests of sites need."""

from __future__ import annotations

from pathlib import Path

import generated

SLOW = """network    = "slow_network:Slow"
batch_size = 500
epochs     = EPOCHS
patience   = 1000
members    = 1"""


def analysis(folder: Path, epochs: int = 2, more: str = "") -> Path:
    """Write a small analysis, whose training takes about 0.7 s an epoch."""
    file = generated.write(folder, SLOW.replace("EPOCHS", str(epochs)), code=more)
    file.write_text(file.read_text().replace("[split]", "[split]\ncross = 0"))  # one network a member
    return file
