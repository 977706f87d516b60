"""The wifi fit: known weights, their scatter over replicas, degenerate members, and events that are in both classes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from needle_parsl.errors import TaskError
from needle_parsl.nsbi.estimators import wifi


def sample(members: np.ndarray, start: int, weight: np.ndarray | None = None) -> wifi.Sample:
    n = members.shape[1]
    return wifi.Sample(members, np.ones(n) if weight is None else weight, np.arange(start, start + n, dtype=np.uint64))


def gaussians(rng: np.random.Generator, above: int = 3000, below: int = 5000) -> tuple[np.ndarray, np.ndarray]:
    """Draw from unit Gaussians at +-0.25, whose ln r is x / 2."""
    return rng.normal(0.25, 1, (1, above)), rng.normal(-0.25, 1, (1, below))


def curved(x: np.ndarray) -> np.ndarray:
    """Make four members that are wrong in different ways."""
    return np.vstack([0.5 * x, 0.4 * x + 0.03 * x**2, 0.6 * x - 0.02 * x**3, 0.5 * np.tanh(x)])


def test_scatter_of_the_weights_over_replicas() -> None:
    """arXiv:2506.00113: the sandwich covariance is that of the fitted weights, for classes of unequal size."""
    replicas, rng, found = 300, np.random.default_rng(11), []
    for _ in range(replicas):
        above, below = gaussians(rng)
        found.append(wifi.fit(sample(above, 0), sample(below, 3000)))
    w = np.array([one.values for one in found])
    predicted = np.mean([np.sum(one.factor**2, axis=1) for one in found], axis=0)
    np.testing.assert_allclose(predicted, [3.8e-5, 6.2e-4], rtol=0.03)
    assert (np.abs(w.mean(axis=0) - [0, 0.5]) < 4 * np.sqrt(predicted / replicas)).all()
    assert (np.abs(w.var(axis=0, ddof=1) / predicted - 1) < 3 * np.sqrt(2 / replicas)).all()


def test_pointwise_variance_over_replicas_of_weighted_events() -> None:
    """Events with weights from 0 to 2, four near-degenerate members that are wrong: the prediction scatters as it says."""
    replicas, rng = 400, np.random.default_rng(12)
    probe = curved(np.linspace(-2, 2, 20)[None])
    seen, said = [], []
    for _ in range(replicas):
        above, below = (curved(x) for x in gaussians(rng, 2000, 3000))
        one = wifi.fit(sample(above, 0, rng.uniform(0, 2, 2000)), sample(below, 2000, rng.uniform(0, 2, 3000)))
        seen.append(one.values @ np.vstack([np.ones(20), probe]))
        said.append(one.error(probe) ** 2)
    ratio = np.var(seen, axis=0, ddof=1) / np.mean(said, axis=0)
    assert abs(ratio.mean() - 1) < 3 * np.sqrt(2 / replicas)


def test_minimum_is_that_of_an_independent_minimiser() -> None:
    rng = np.random.default_rng(13)
    above, below = (curved(x) for x in gaussians(rng))
    weights = rng.uniform(0.5, 1.5, 3000), rng.uniform(0.5, 1.5, 5000)
    found = wifi.fit(sample(above, 0, weights[0]), sample(below, 3000, weights[1]))

    def loss(w: np.ndarray) -> float:
        n, d = w[0] + w[1:] @ above, w[0] + w[1:] @ below
        return float(np.average(np.exp(-n) - n, weights=weights[0]) + np.average(np.exp(d) + d, weights=weights[1]))

    other = minimize(loss, np.zeros(5), method="BFGS", options={"gtol": 1e-7})
    assert loss(found.values) <= other.fun + 1e-12
    assert loss(found.values) == pytest.approx(other.fun, abs=1e-9)
    assert found.condition < 2


@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_members_without_information_are_left_out_and_change_no_prediction(kind: type) -> None:
    rng = np.random.default_rng(14)
    plain = [curved(x).astype(kind) for x in gaussians(rng)]
    planted = [np.vstack([f, 0.3 * f[0] + 0.7 * f[1] + 0.1, f[2], np.full_like(f[0], 2.0)]).astype(kind) for f in plain]
    small = wifi.fit(sample(plain[0], 0), sample(plain[1], 3000))
    large = wifi.fit(sample(planted[0], 0), sample(planted[1], 3000))
    assert not small.dropped
    assert len(large.dropped) == 3
    assert (large.values[[1 + k for k in large.dropped]] == 0).all()
    assert large.condition < 2
    one, other = (w.values[0] + w.values[1:] @ f[1] for w, f in ((small, plain), (large, planted)))
    tolerance = 1e-9 if kind is np.float64 else 1e-3
    np.testing.assert_allclose(one, other, atol=tolerance)
    np.testing.assert_allclose(
        small.error(plain[1]), large.error(planted[1]), rtol=1e-6 if kind is np.float64 else 1e-2
    )


def test_an_event_in_both_classes_is_correlated_with_itself() -> None:
    """The reference is a mixture that holds the numerator's own events: only the shared influence predicts the scatter."""
    replicas, rng, values, said, naive = 300, np.random.default_rng(15), [], [], []
    for _ in range(replicas):
        x, y = rng.normal(1, 1, (1, 2000)), rng.normal(-1, 1, (1, 1000))
        both = np.hstack([x, y])
        f, g = ([np.tanh(part), part] for part in (x, both))
        one = wifi.fit(sample(np.vstack(f), 0), sample(np.vstack(g), 0))
        values.append(one.values)
        said.append(np.sum(one.factor**2, axis=1))
        naive.append(np.sum(wifi.fit(sample(np.vstack(f), 0), sample(np.vstack(g), 9000)).factor ** 2, axis=1))
    seen = np.var(values, axis=0, ddof=1)
    assert (np.abs(seen / np.mean(said, axis=0) - 1) < 4 * np.sqrt(2 / replicas)).all()
    assert (np.abs(seen / np.mean(naive, axis=0) - 1) > 4 * np.sqrt(2 / replicas)).any()


def test_separable_classes_are_refused() -> None:
    with pytest.raises(TaskError, match=r"separable|no minimum"):
        wifi.fit(sample(np.full((1, 50), 3.0) + np.arange(50) / 50, 0), sample(np.full((1, 50), -3.0), 50))
