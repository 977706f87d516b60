"""The joint covariance of wifi ratios that share a reference, over replicas and against that of one ratio alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from problems.wifi import HOW, PACK, N, events

from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.estimators import composing, joint
from needle_parsl.nsbi.estimators.estimator import Estimator
from needle_parsl.nsbi.estimators.joint import Role


def fitted(samples: dict[str, Events]) -> tuple[dict[str, Estimator], joint.Covariance]:
    """Fit two signals over one reference, and a reweighted version of the first signal over that signal."""
    varied = replace(samples["a"], weight=samples["a"].weight * np.exp(0.3 * samples["a"].x[:, 0]))
    pairs = {
        "a": (samples["a"], samples["reference"]),
        "b": (samples["b"], samples["reference"]),
        "a.jes.up": (varied, samples["a"]),
    }
    made = {name: composing.compose(name, PACK, pair, HOW) for name, pair in pairs.items()}
    own = [Role("a", 0, samples["a"]), Role("a.jes.up", 0, varied), Role("a.jes.up", 1, samples["a"])]
    shared = [Role("a", 1, samples["reference"]), Role("b", 1, samples["reference"])]
    return made, joint.covariance(made, iter([own, [Role("b", 0, samples["b"])], shared]))


@pytest.mark.campaign
def test_replicas_scatter_as_the_joint_covariance_says() -> None:
    replicas, rng = 200, np.random.default_rng(9)
    probe = np.linspace(-1.5, 1.5, 5, dtype=np.float32)[:, None]
    seen: dict[str, list[np.ndarray]] = {"a": [], "b": [], "a.jes.up": []}
    said, independent = [], []
    for _ in range(replicas):
        samples = {"a": events(rng, 0.6, 0), "b": events(rng, -0.6, N), "reference": events(rng, 0.0, 2 * N, N // 2)}
        made, covariance = fitted(samples)
        z = {name: one.coordinates(probe).astype(np.float64) for name, one in made.items()}
        for name, one in made.items():
            seen[name].append(one.log_ratio(probe))
        pairs = (("a", "b"), ("a", "a.jes.up"))
        # ln r_a + ln r_b, and ln r_a + ln g: what a likelihood adds up
        said.append([[z[i][k] @ covariance.between(i, j) @ z[j][k] for k in range(5)] for i, j in pairs])
        independent.append([[z[i][k] @ covariance.between(i, i) @ z[i][k] for k in range(5)] for i in seen])
    values = {name: np.array(rows) for name, rows in seen.items()}
    alone = np.mean(independent, axis=0)
    for row, name in enumerate(seen):
        ratio = values[name].var(axis=0, ddof=1) / alone[row]
        assert abs(ratio.mean() - 1) < 3 * np.sqrt(2 / replicas), name
    for row, (i, j) in enumerate((("a", "b"), ("a", "a.jes.up"))):
        first, second = list(seen).index(i), list(seen).index(j)
        expected = alone[first] + alone[second] + 2 * np.mean(said, axis=0)[row]
        ratio = (values[i] + values[j]).var(axis=0, ddof=1) / expected
        assert abs(ratio.mean() - 1) < 3 * np.sqrt(2 / replicas), (i, j)
    # as if the reference were not shared, it would be plainly wrong
    naive = (values["a"] + values["b"]).var(axis=0, ddof=1) / (alone[0] + alone[1])
    assert naive.mean() - 1 > 3 * np.sqrt(2 / replicas)


def test_blocks_are_those_of_the_ratios_and_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rng = np.random.default_rng(10)
    samples = {"a": events(rng, 0.6, 0), "b": events(rng, -0.6, N), "reference": events(rng, 0.0, 2 * N)}
    made, covariance = fitted(samples)
    for name, one in made.items():
        np.testing.assert_allclose(covariance.between(name, name), one.wifi.spread, rtol=1e-8, atol=1e-14)
    monkeypatch.setattr(joint, "ENTRIES", 500)
    np.testing.assert_allclose(fitted(samples)[1].values, covariance.values, atol=1e-14)
    joint.write(tmp_path / "c.h5", covariance)
    back = joint.read(tmp_path / "c.h5")
    assert (back.ratios, back.sizes) == (covariance.ratios, covariance.sizes)
    np.testing.assert_array_equal(back.between("a", "b"), covariance.between("a", "b"))
