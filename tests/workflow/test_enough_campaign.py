"""Members and events are really multiplied: what a run predicts of four times both is what independent runs then scatter by."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import generated
import numpy as np
import pytest

from needle_parsl import refs
from needle_parsl.nsbi.estimators import files, offsets
from needle_parsl.precision import PrecisionLaw

Floats = np.ndarray
YIELDS = {"signal": 80.0, "background": 400.0}
EVENTS, MEMBERS, MORE = 4_000, 2, 4
FEW, MANY = (1, 2, 3, 4), (11, 12, 13, 14, 15, 16)
"""Seeds of runs that predict, and of those that are measured."""
TEST = 20_000
"""Events of each process on which runs are compared."""
DATA = 300
"""Data sets that are fitted."""


def run(needle: Callable[..., Any], folder: Path, seed: int, scale: int) -> Path:
    """Run the small analysis with events and seeds of its own."""
    training = f"nodes = 32\nlayers = 2\nmembers = {scale * MEMBERS}"
    path = generated.write(folder / f"{scale}-{seed}", training, events=scale * EVENTS)
    ended = needle(
        "run", path, "--set", f"seed={seed}", "--set", "split.cross=5", "--out", folder / f"{scale}-{seed}" / "run"
    )
    assert ended.code == 0, ended.err
    return folder / f"{scale}-{seed}" / "run"


def drawn(app: ModuleType, process: str, events: int, rng: np.random.Generator) -> Floats:
    columns = app.draw(process, rng, events)
    return np.column_stack([columns[name] for name in app.FEATURES])


class Measured:
    """psi of test events and best values of data sets by each run, its ratios normalised anew on the test events."""

    def __init__(self, app: ModuleType) -> None:
        rng = np.random.default_rng(99)
        self.x = np.concatenate([drawn(app, process, TEST, rng) for process in YIELDS])
        self.label = np.repeat([0, 1], TEST)
        self.weight = np.array([*YIELDS.values()])[self.label] / TEST
        self.data = [
            np.concatenate([drawn(app, process, int(rng.poisson(n)), rng) for process, n in YIELDS.items()])
            for _ in range(DATA)
        ]
        exact = app.gaussian("signal", self.x, 0.0) - app.gaussian("background", self.x, 0.0)
        self.variance = 1 / float(self.weight @ self.score(exact + self.offset(exact)) ** 2)

    def offset(self, raw: Floats) -> float:
        """Normalise at the yields, so that what finite simulation does to the normalisation is not in it."""
        ids = np.arange(len(raw), dtype=np.uint64)
        events = offsets.Labelled(np.array([raw, 0 * raw]), self.label, self.weight, ids)
        found = offsets.fit(events, [-1, -1]).offset
        return float(found[0] - found[1])

    def score(self, log_ratio: Floats) -> Floats:
        expected = YIELDS["signal"] * np.exp(log_ratio)
        made: Floats = expected / (expected + YIELDS["background"])
        return made

    def of(self, root: Path) -> tuple[Floats, Floats]:
        """Give psi of the test events, and mu of each data set."""
        estimator = files.read(root / "estimators" / "signal" / "estimator.h5")
        raw = estimator.log_ratio(self.x.astype(np.float32))
        offset = self.offset(raw)
        every = np.exp(estimator.log_ratio(np.concatenate(self.data).astype(np.float32)) + offset)
        each = np.split(every, np.cumsum([len(x) for x in self.data])[:-1])
        return self.variance * self.score(raw + offset), np.array([fitted(ratio) for ratio in each])


def fitted(ratio: Floats) -> float:
    """Fit mu by Newton's method."""
    mu, expected = 1.0, YIELDS["signal"] * ratio
    for _ in range(50):
        slope = expected / (mu * expected + YIELDS["background"])
        mu += float(np.clip((slope.sum() - YIELDS["signal"]) / (slope**2).sum(), -0.5, 0.5))
    return mu


def share(variance: float, of: float) -> float:
    return float((variance / (variance + of)) ** 0.5)


@pytest.mark.campaign
def test_four_times_the_members_and_events_are_as_precise_as_predicted(
    needle: Callable[..., Any], tmp_path: Path
) -> None:
    """The scatter of six independent runs is known to some 7 % of the share."""
    laws = [
        PrecisionLaw.from_json(json.loads((run(needle, tmp_path, seed, 1) / "fits" / "precision.json").read_text()))
        for seed in FEW
    ]
    predicted = [law.share(MORE * law.members, MORE * law.events) for law in laws]
    app = refs.load_source((generated.ROOT / "apps" / "gaussian" / "physics.py").read_text(), "physics.py")
    measured = Measured(app)
    found = [measured.of(run(needle, tmp_path, seed, MORE)) for seed in MANY]
    scatter = float((np.var([psi for psi, _ in found], axis=0, ddof=1) * measured.weight).sum())
    fits = float(np.var([values for _, values in found], axis=0, ddof=1).mean())
    own, refitted = share(scatter, measured.variance), share(fits, measured.variance)
    mean = float(np.mean([value for value, _ in predicted]))
    print(f"predicted {predicted}, mean {mean:.4f}; measured {own:.4f}, by {DATA} fits {refitted:.4f}")
    assert own == pytest.approx(mean, rel=0.2)
    assert refitted == pytest.approx(mean, rel=0.25)
    last = tmp_path / f"{MORE}-{MANY[0]}" / "run" / "fits" / "precision.json"
    now = PrecisionLaw.from_json(json.loads(last.read_text()))
    assert now.share(now.members, now.events)[0] == pytest.approx(own, rel=0.3)
