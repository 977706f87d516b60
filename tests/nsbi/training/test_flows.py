"""Flows: densities that are right, through the same trainings, packs and estimators as classifiers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("zuko")

from needle_parsl import refs
from needle_parsl.analysis import Training
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.estimators import composing
from needle_parsl.nsbi.training import networks, packs, ratio_events, state, train
from needle_parsl.nsbi.training.members import Member, Settings

pytestmark = pytest.mark.usefixtures("one_thread")


def gaussian(n: int, mean: float, seed: int) -> Events:
    x = np.random.default_rng(seed).normal([mean, 0.0], [1.0, 2.0], (n, 2)).astype(np.float32)
    return Events(
        names=("a", "b"), x=x, weight=np.ones(n), id=np.arange(seed * 10**6, seed * 10**6 + n, dtype=np.uint64)
    )


@pytest.mark.slow
def test_densities_and_their_ratio_are_the_exact_ones() -> None:
    """ln r = 0.8 a - 0.32; both densities are normalised whatever was learned, and near the truth after training."""
    above, below = gaussian(3000, 0.8, 1), gaussian(3000, 0.0, 2)
    data = ratio_events.RatioEvents.build(above, below)
    network = {"_target_": "flow", "transforms": 1, "bins": 4}
    table = Training(network=network, layers=1, nodes=8, epochs=8, learning_rate=2e-2, batch_size=500)
    settings = Settings.of(table, 2)
    member = Member(
        member=0,
        fold=0,
        seed=7,
        view=ratio_events.MemberView(
            fold=0, folds=1, fold_salt=5, validation=0.1, validation_salt=6, bootstrap_salt=None
        ),
    )
    trained = train.train_pack(data, [member], settings, state.State(), state.never)
    assert trained[0].reason == ""
    pack = packs.Pack(settings.shape, data.transform, trained)
    made = composing.compose("r", pack, (above, below), composing.How("mean_ratio", 1.0, "none"))
    test = gaussian(1000, 0.4, 3)
    truth = 0.8 * test.x[:, 0] - 0.32
    assert np.sqrt(np.mean((made.log_ratio(test.x) - truth) ** 2)) < 0.3 * truth.std()
    flow = networks.empty(settings.shape)
    networks.fill(flow, torch.from_numpy(trained[0].weights))
    axis = torch.linspace(-5, 5, 120)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        total = [float(log.exp().sum() * (axis[1] - axis[0]) ** 2) for log in flow.densities(grid)]
        found = (
            flow.densities(torch.from_numpy(data.transform(test.x)))[0].numpy()
            - np.log(np.array([c.width for c in data.transform.columns])).sum()
        )
    np.testing.assert_allclose(total, 1, atol=0.02)
    exact = -0.5 * (test.x[:, 0] ** 2 + (test.x[:, 1] / 2) ** 2) - np.log(2 * np.pi * 2)
    assert np.mean(np.abs(found - exact)) < 0.12


def test_masks_and_orders_that_follow_from_the_seed_come_with_the_weights() -> None:
    arguments = '{"transforms": 2, "randperm": true}'
    shape = networks.NetworkShape(
        network=refs.located("zuko.flows:NSF"), features=3, layers=1, nodes=8, arguments=arguments
    )
    made = networks.build(shape, 5)
    before = torch.random.get_rng_state()
    filled = networks.empty(shape)
    torch.testing.assert_close(torch.random.get_rng_state(), before)
    networks.fill(filled, networks.vector(made))
    x = torch.randn(16, 3, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(filled().log_prob(x), made().log_prob(x))
