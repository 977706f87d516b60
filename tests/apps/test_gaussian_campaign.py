"""Slow proofs on the Gaussian app, run by hand: `./scripts/test -m campaign -rP tests/apps/test_gaussian_campaign.py`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from line import Line

from needle_parsl import refs, salts, shipped
from needle_parsl.nsbi.data import hashing
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.estimators import composing
from needle_parsl.nsbi.statistics.fits.fitting import minimise
from needle_parsl.nsbi.training import networks, packs, train
from needle_parsl.nsbi.training.members import Member, Settings
from needle_parsl.nsbi.training.ratio_events import MemberView, RatioEvents

pytestmark = pytest.mark.campaign
APP = shipped.folder("apps") / "gaussian"
PHYSICS = refs.load_source((APP / "physics.py").read_text(), str(APP / "physics.py"))
NAMES = PHYSICS.FEATURES


def drawn(process: str, n: int, seed: int) -> Events:
    columns = PHYSICS.draw(process, np.random.default_rng(seed), n)
    x = np.column_stack([columns[name] for name in NAMES]).astype(np.float32)
    return Events(names=NAMES, x=x, weight=np.ones(n), id=hashing.mix(np.arange(n, dtype=np.uint64), seed))


def mean_square_errors(seed: int, members: int) -> tuple[float, float]:
    """Of ln r of the first member, and of all."""
    events = RatioEvents.build(drawn("signal", 30_000, 10 * seed), drawn("background", 30_000, 10 * seed + 1))
    settings = Settings(
        shape=networks.NetworkShape(network="mlp", features=4, layers=2, nodes=32),
        loss="carl",
        optimizer="adamw",
        learning_rate=4e-3,
        schedule="cosine",
        weight_decay=1e-4,
        batch_size=1024,
        epochs=10,
        patience=5,
    )
    views = [
        MemberView(
            fold=0,
            folds=1,
            fold_salt=1,
            validation=0.1,
            validation_salt=seed,
            bootstrap_salt=salts.key("bootstrap", seed, m),
        )
        for m in range(members)
    ]
    trained = tuple(
        train.train(events, Member(member=m, fold=0, seed=salts.key(seed, m), view=view), settings)
        for m, view in enumerate(views)
    )
    tests = drawn("signal", 20_000, 5), drawn("background", 20_000, 6)
    found = []
    for kept in (trained[:1], trained):
        made = composing.compose(
            "signal",
            packs.Pack(settings.shape, events.transform, kept),
            (drawn("signal", 20_000, 8), drawn("background", 20_000, 7)),
            composing.How("mean_ratio", 1.0),
        )
        errors = []
        for events_ in tests:
            x = events_.x.astype(float)
            truth = PHYSICS.log_density("signal", x, {}) - PHYSICS.log_density("background", x, {})
            errors.append(float(((made.log_ratio(events_.x) - truth) ** 2).mean()))
        found.append(float(np.mean(errors)))
    return found[0], found[1]


def test_ten_members_are_better_than_one() -> None:
    found = [mean_square_errors(seed, 10) for seed in range(10)]
    better = sum(ensemble < one for one, ensemble in found)
    print(f"better in {better} of 10; mean square errors of ln r: {found}")
    assert better >= 9


@pytest.fixture(scope="module")
def interference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interference app, up to its fits."""
    import subprocess
    import sys

    folder = tmp_path_factory.mktemp("interference")
    path = APP / "analysis_interference.toml"
    subprocess.run([sys.executable, "-m", "needle_parsl", "run", str(path), "--until", "fit"], cwd=folder, check=True)
    return folder / "runs" / "gaussian_interference"


@pytest.mark.parametrize("mu", [0.1, 1.0, 3.0])
def test_learned_fit_of_interference_agrees_with_the_exact_one(interference: Path, mu: float) -> None:
    """On Asimov data at mu within 0.2 standard errors; over 50 data sets the mean difference, too."""
    line = Line(interference, APP / "analysis_interference.toml")
    learned, exact = (minimise(one, line.rates) for one in line.expected(mu))
    width = (exact.value("mu") - learned.value("mu")) / exact.error("mu")
    differences = []
    for seed in range(50):
        pair = line.fits(mu, seed)
        roots = [np.sqrt(found.value("mu")) for found in pair]
        spread = np.sqrt(pair[1].theta_covariance[0, 0])
        if spread > 0:
            differences.append((roots[0] - roots[1]) / spread)
    d = np.array(differences)
    print(
        f"mu = {mu}: Asimov {-width:+.3f} sigma; {len(d)} toys, in s: mean {d.mean():+.3f}, median |d| {np.median(np.abs(d)):.3f}, rms {d.std():.3f}"
    )
    assert abs(width) < 0.2
    assert abs(np.median(d)) < 0.2


def test_no_fit_runs_away_with_the_normalisation(interference: Path) -> None:
    line = Line(interference, APP / "analysis_interference.toml")
    counts = {"with Z": 0, "without Z": 0}
    for seed in range(100):
        learned, _ = line.thrown(1.0, 1000 + seed)
        plain = replace(learned, tables=tuple(replace(table, simulation=()) for table in learned.tables))
        for name, one in (("with Z", learned), ("without Z", plain)):
            found = minimise(one, line.rates)
            counts[name] += bool(found.on_wall) or not found.converged
    print(json.dumps(counts))
    assert counts["with Z"] == 0


def test_demo_covers(needle: Callable[..., Any], tmp_path: Path) -> None:
    """200 toys from simulation: bias, pull width and coverage, within what 200 toys can tell."""
    ended = needle("run", APP / "analysis.toml", "--until", "coverage", "--json")
    assert ended.code == 0, ended.err
    points = json.loads((tmp_path / "runs" / "gaussian" / "intervals" / "coverage.json").read_text())["points"]
    print(json.dumps(points[:2]))
    for point in points:
        assert abs(point["coverage"] - point["level"]) < 3 * point["error"]
        assert abs(point["bias"]) < 0.2 * point["spread"] + 2 * point["bias_error"]
        assert abs(point["pull_width"] - 1) < 0.1 + 2 * point["pull_width_error"]
