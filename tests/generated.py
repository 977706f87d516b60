"""A small analysis that generates its own events, for tests that are about machines: written into a folder, ready to run."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parent.parent
TEXT = """
name    = "NAME"
seed    = 7
physics = "physics.py"
[features]
names = ["x1", "x2", "x3", "x4"]
[split]
min_events = 100
[samples.signal]
generate = "physics.py:signal"
events   = EVENTS
yield    = 80.0
[samples.background]
generate = "physics.py:background"
events   = EVENTS
yield    = 400.0
[ratios]
reference = ["background"]
targets   = ["signal", "background"]
[training]
TRAINING
[model]
parameters.mu        = { nominal = 1.0, bounds = [0.0, 5.0], role = "poi" }
processes.signal     = "mu"
processes.background = "1"
[fit]
scan = { parameter = "mu", start = 0.2, stop = 2.0, points = 5 }
"""
QUICK = """layers     = 1
nodes      = 8
batch_size = 256
epochs     = 2
members    = 2"""


def write(folder: Path, training: str = QUICK, *, name: str = "small", events: int = 3_000, more: str = "", code: str = "") -> Path:  # fmt: skip
    """Write it.

    Args:
        folder: Where; made if it is not there.
        training: The lines of `[training]`.
        name: Of the analysis.
        events: Of each sample.
        more: Further tables.
        code: Further Python, after that of the Gaussian app.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = TEXT.replace("NAME", name).replace("EVENTS", str(events)).replace("TRAINING", training)
    (folder / "analysis.toml").write_text(text + more)
    (folder / "physics.py").write_text((ROOT / "apps" / "gaussian" / "physics.py").read_text() + code)
    return folder / "analysis.toml"
