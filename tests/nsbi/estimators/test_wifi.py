"""The wifi fit: known weights, their scatter over replicas, degenerate members, and events that are in both classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

from needle_parsl.nsbi.estimators import wifi, wifi_loss
from needle_parsl.nsbi.estimators.wifi_design import Design
from needle_parsl.nsbi.training import losses


def sample(members: np.ndarray, start: int, weight: np.ndarray | None = None) -> wifi.ClassEvents:
    n = members.shape[1]
    return wifi.ClassEvents(
        members, np.ones(n) if weight is None else weight, np.arange(start, start + n, dtype=np.uint64)
    )


def gaussians(rng: np.random.Generator, above: int = 3000, below: int = 5000) -> tuple[np.ndarray, np.ndarray]:
    """Draw from unit Gaussians at +-0.25, whose ln r is x / 2."""
    return rng.normal(0.25, 1, (1, above)), rng.normal(-0.25, 1, (1, below))


def curved(x: np.ndarray) -> np.ndarray:
    """Make four members that are wrong in different ways."""
    return np.vstack([0.5 * x, 0.4 * x + 0.03 * x**2, 0.6 * x - 0.02 * x**3, 0.5 * np.tanh(x)])


@pytest.mark.slow
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


@pytest.mark.slow
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
        own = np.average(np.exp(-n) - n, weights=weights[0]) + np.average(np.exp(d) + d, weights=weights[1])
        return float(own + found.ridge / 2 * (w[0] ** 2 + ((w[1:] - 1 / 4) ** 2).sum()))

    other = minimize(loss, np.zeros(5), method="BFGS", options={"gtol": 1e-7})
    assert loss(found.values) <= other.fun + 1e-12
    assert loss(found.values) == pytest.approx(other.fun, abs=1e-9)
    assert found.condition < 2


@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_members_without_information_are_left_out_and_change_no_prediction(kind: type) -> None:
    rng = np.random.default_rng(14)
    plain = [(1.5 * curved(x)).astype(kind) for x in gaussians(rng)]  # the mean is wrong, and no ridge is wanted
    planted = [np.vstack([f, 0.3 * f[0] + 0.7 * f[1] + 0.1, f[2], np.full_like(f[0], 2.0)]).astype(kind) for f in plain]
    small = wifi.fit(sample(plain[0], 0), sample(plain[1], 3000))
    large = wifi.fit(sample(planted[0], 0), sample(planted[1], 3000))
    assert small.ridge == large.ridge == 0
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


@pytest.mark.slow
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
        if len(naive) < 50:
            naive.append(np.sum(wifi.fit(sample(np.vstack(f), 0), sample(np.vstack(g), 9000)).factor ** 2, axis=1))
    seen = np.var(values, axis=0, ddof=1)
    assert (np.abs(seen / np.mean(said, axis=0) - 1) < 4 * np.sqrt(2 / replicas)).all()
    assert (np.abs(seen / np.mean(naive, axis=0) - 1) > 4 * np.sqrt(2 / replicas)).any()


def test_separable_classes_get_a_ridge_or_no_weights() -> None:
    with pytest.raises(wifi.NoWeightsError):
        wifi.fit(sample(np.full((1, 50), 3.0), 0), sample(np.full((1, 1), -3.0), 50))
    found = wifi.fit(sample(np.full((1, 50), 3.0) + np.arange(50) / 50, 0), sample(np.full((1, 50), -3.0), 50))
    assert found.ridge > 0
    assert np.isfinite(found.values).all()


def member_errors(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.normal(0, 1, (count, max(4, count // 2)))


def wrong(x: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Make members that are wrong by small smooth functions, of the exact ln r = x / 2."""
    parts = np.stack([x, np.tanh(x), *(np.cos(k * x + k) for k in range(1, errors.shape[1] - 1))])
    return 0.5 * x + 0.1 * errors @ parts


def outliers(members: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Let every hundredth number be +-300."""
    return np.where(rng.random(members.shape) < 0.01, rng.choice([-300.0, 300.0], members.shape), members)


def signed(rng: np.random.Generator, share: float, size: int) -> np.ndarray:
    return np.where(rng.random(size) < share, -1.0, 1.0)


ZOO = {
    "gaussian": {},
    "one member": {"members": 1},
    "one member and few events": {"members": 1, "events": 30},
    "duplicates": {"copies": 3},
    "student t": {"heavy": True},
    "outliers": {"spoil": outliers},
    "3 % negative": {"negative": 0.03},
    "15 % negative": {"negative": 0.15},
    "40 % negative": {"negative": 0.4},
    "15 % negative, outliers, student t": {"negative": 0.15, "spoil": outliers, "heavy": True},
    "40 members on 200 events": {"members": 40, "events": 200},
    "few effective events": {"few": True},
    "members by hundreds": {"scale": 200.0},
}


def drawn(case: dict[str, Any], rng: np.random.Generator, events: int) -> tuple[wifi.ClassEvents, wifi.ClassEvents]:
    """Draw both classes of a case; its members are those of the case, whatever the events."""
    errors = np.repeat(member_errors(np.random.default_rng(2), case.get("members", 6)), case.get("copies", 1), axis=0)
    made = []
    for side, centre in enumerate((0.25, -0.25)):
        x = centre + (rng.standard_t(3, events) if case.get("heavy") else rng.normal(0, 1, events))
        f = wrong(x, errors) * case.get("scale", 1.0)
        f = case["spoil"](f, rng) if "spoil" in case else f
        weight = signed(rng, case.get("negative", 0.0), events)
        if case.get("few") and side == 0:
            weight = rng.pareto(0.7, events) + 1e-3
        made.append(sample(f, side * events, weight))
    return made[0], made[1]


def judged(samples: tuple[wifi.ClassEvents, wifi.ClassEvents], weights: np.ndarray) -> float:
    """Give the loss of weights, its exponent cut where that of the fit is."""
    total = 0.0
    for sign, one in zip((-1, 1), samples, strict=True):
        t = sign * (weights[0] + weights[1:] @ one.members)
        each = np.where(t > 20, np.exp(20) * (1 + t - 20), np.exp(np.minimum(t, 20))) + t
        total += float(np.average(each, weights=one.weight))
    return total


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.filterwarnings("error")
def test_weights_are_no_worse_than_equal_ones_or_there_are_none(name: str, seed: int) -> None:
    """Whatever members and events are like; the judges are 20,000 events that are in no fit."""
    case = ZOO[name]
    rng = np.random.default_rng(seed)
    samples = drawn(case, rng, case.get("events", 2000))
    try:
        found = wifi.fit(*samples)
    except wifi.NoWeightsError:
        assert name in {
            "few effective events",
            "40 % negative",
            "15 % negative, outliers, student t",
            "one member and few events",
        }
        return
    factor = found.factor
    assert np.isfinite(found.values).all()
    assert np.isfinite(factor).all()
    assert np.linalg.eigvalsh(found.spread)[0] >= -1e-12 * np.linalg.eigvalsh(found.spread)[-1]
    assert np.isfinite(found.error(samples[0].members)).all()
    equal = np.r_[0.0, np.full(len(found.values) - 1, 1 / (len(found.values) - 1))]
    fresh = drawn({**case, "negative": 0.0, "few": False}, np.random.default_rng(100 + seed), 20_000)
    unit = 2 * sum(1 / one.effective() for one in samples)
    assert found.held_out[0] <= found.held_out[1] + 3 * unit
    # free weights cost what their statistical error does
    assert judged(fresh, found.values) <= judged(fresh, equal) + (3 + found.freedom) * unit


@pytest.mark.parametrize("negative", [0.0, 0.03, 0.15])
def test_no_fit_fails_with_good_members_and_some_negative_weights(negative: float) -> None:
    """Twenty good members, near combinations of each other, of which the mean is nearly exact."""
    draw = np.random.default_rng(7)
    errors = draw.normal(size=(20, 5))

    def members(x: np.ndarray) -> np.ndarray:
        return np.array(
            [0.5 * x + 0.05 * a * np.tanh(x + b) + 0.05 * c * np.cos(d * x) + 0.03 * e * x for a, b, c, d, e in errors]
        )

    for seed in range(4):
        rng = np.random.default_rng(seed)
        above, below = (members(rng.normal(mean, 1, size)) for mean, size in ((0.25, 3000), (-0.25, 5000)))
        found = wifi.fit(sample(above, 0), sample(below, 3000, signed(rng, negative, 5000)))
        probe = np.linspace(-2, 2, 9)
        assert np.abs(found.values[0] + found.values[1:] @ members(probe) - probe / 2).max() < 0.5


def test_exponents_end_where_those_of_trainings_do() -> None:
    assert wifi_loss.LARGEST == losses.LARGEST
    below, above = np.array([19.9, 20.0]), np.array([20.1, 700.0])
    np.testing.assert_array_equal(wifi_loss.growth(below)[0], np.exp(below))
    np.testing.assert_allclose(wifi_loss.growth(above)[0], np.exp(20) * (above - 19))


def test_gradient_and_hessian_of_the_penalised_loss_are_its_differences() -> None:
    rng = np.random.default_rng(3)
    samples = drawn({"spoil": outliers, "negative": 0.1}, rng, 400)
    loss = Design.of(*samples).loss(samples, 1e-2)
    at = rng.normal(0, 0.05, len(loss.middle))
    found = loss(at)
    for place, step in enumerate(1e-5 * np.eye(len(at))):
        up, down = loss(at + step), loss(at - step)
        slope = (up.loss - down.loss) / 2e-5
        assert loss.slope(at, found)[place] == pytest.approx(slope, rel=1e-4, abs=1e-6 * found.size)
        bends = (loss.slope(at + step, up) - loss.slope(at - step, down)) / 2e-5
        np.testing.assert_allclose(found.hessian[place], bends, rtol=1e-3, atol=1e-6 * np.abs(found.hessian).max())
