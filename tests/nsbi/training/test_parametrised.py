"""Networks with parameters as inputs: ln r(x | theta) is right at every theta, and the draw for the reference is the right one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from needle_parsl.nsbi.data import parameters
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.estimators import composing
from needle_parsl.nsbi.estimators.estimator import Estimator
from needle_parsl.nsbi.training import networks, packs, state, train
from needle_parsl.nsbi.training.members import Member, Settings
from needle_parsl.nsbi.training.ratio_events import MemberView, RatioEvents

pytestmark = pytest.mark.usefixtures("one_thread")
SLOPE = 0.8
"""Of the mean of x in theta: x ~ N(SLOPE theta, 1) over N(0, 1), so that ln r = SLOPE theta x - (SLOPE theta)^2 / 2."""


def numerator(n: int, seed: int) -> Events:
    """Draw theta with density 1 + theta / 2 over [-1, 1], which no network could learn as a part of the ratio."""
    generator = np.random.default_rng(seed)
    theta = 2 * (np.sqrt(generator.uniform(0.25, 2.25, n)) - 1)
    x = np.stack([generator.normal(SLOPE * theta, 1), theta], axis=1).astype(np.float32)
    return Events(names=("x", "theta"), x=x, weight=np.ones(n), id=np.arange(n, dtype=np.uint64) + seed * 10**6)


def reference(n: int, seed: int) -> Events:
    x = np.random.default_rng(seed).normal(0, 1, (n, 1)).astype(np.float32)
    return Events(names=("x",), x=x, weight=np.ones(n), id=np.arange(n, dtype=np.uint64) + seed * 10**6)


def pair(n: int, seed: int) -> tuple[Events, Events]:
    above = numerator(n, seed)
    return above, parameters.attached(reference(n, seed + 1), above, 1)


def test_parameters_of_the_reference_are_drawn_as_the_numerator_has_them() -> None:
    above, below = pair(40_000, 1)
    for power in (1, 2, 3):
        a, b = above.x[:, 1] ** power, below.x[:, 1] ** power
        assert abs(a.mean() - b.mean()) < 5 * np.sqrt((a.var() + b.var()) / 40_000)
    assert abs(np.corrcoef(below.x.T)[0, 1]) < 5 / np.sqrt(40_000)  # whatever x is
    assert below.names == ("x", "theta")


def test_draws_follow_the_weights_and_their_signs() -> None:
    """Weighted means over the denominator are those over the numerator, with negative weights, too."""
    above = numerator(40_000, 1)
    weight = np.where(np.random.default_rng(2).random(len(above)) < 0.1, -0.7, 1.0) * (1.5 + above.x[:, 1])
    above = replace(above, weight=weight)
    below = parameters.attached(reference(40_000, 2), above, 1)
    means = [np.average(events.x[:, 1], weights=events.weight) for events in (above, below)]
    assert means[0] == pytest.approx(means[1], abs=5 * 0.006)  # sqrt(0.3 / 40,000) times 1.5 for the signs, of both
    assert (below.weight < 0).any()


def test_a_draw_is_the_events_own() -> None:
    """A bootstrap, a fold or another order of the events leaves every event its value."""
    above, below = pair(1000, 1)
    again = parameters.attached(reference(1000, 2).take(slice(500, 600)), above, 1)
    np.testing.assert_array_equal(again.x, below.x[500:600])


@pytest.fixture(scope="module")
def learned() -> Estimator:
    how = Settings(
        shape=networks.NetworkShape(network="mlp", features=2, layers=2, nodes=24),
        loss="carl",
        optimizer="adamw",
        learning_rate=5e-3,
        schedule="cosine",
        weight_decay=1e-4,
        batch_size=512,
        epochs=15,
        patience=15,
    )
    members = [
        Member(
            member=k,
            fold=0,
            seed=100 + k,
            view=MemberView(fold=0, folds=1, fold_salt=5, validation=0.1, validation_salt=6, bootstrap_salt=None),
        )
        for k in range(3)
    ]
    data = RatioEvents.build(*pair(30_000, 10))
    trained = train.train_pack(data, members, how, state.State(), state.never)
    return composing.compose(
        "s", packs.Pack(how.shape, data.transform, trained), pair(10_000, 30), composing.How("mean_log", 1.0)
    )


@pytest.mark.slow
@pytest.mark.parametrize("theta", [-0.8, -0.3, 0.0, 0.4, 0.9])
def test_ratio_is_right_at_every_theta(learned: Estimator, theta: float) -> None:
    x = np.random.default_rng(7).normal(SLOPE * theta / 2, 1, (4000, 1)).astype(np.float32)
    truth = SLOPE * theta * x[:, 0] - (SLOPE * theta) ** 2 / 2
    found = learned.at(x, theta)
    # 27,000 events a class: an error of 2 / sqrt(27,000) = 0.012 for each of about ten directions that matter.
    assert np.abs(found - truth).mean() < 0.06
    r = np.exp(learned.at(reference(20_000, 50).x, theta))
    assert r.mean() == pytest.approx(1, abs=0.06)
