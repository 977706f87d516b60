"""The network of joint variations, and the events on a grid that it is trained on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.training import networks, packs, quadratic
from needle_parsl.nsbi.transforms.transform import Transform
from needle_parsl.nsbi.transforms.wanted import Wanted

SHAPE = quadratic.shape(networks.NetworkShape(network="mlp", features=5, layers=1, nodes=6), 3)
X = np.random.default_rng(1).normal(size=(40, 2)).astype(np.float32)


def pack() -> packs.Pack:
    weights = networks.vector(networks.build(SHAPE, 4)).numpy()
    member = packs.Trained(member=0, fold=0, seed=4, weights=weights, history=np.zeros((1, 2)), best_epoch=0, reason="")
    return packs.Pack(SHAPE, Transform.none("ab"), (member,))


def test_at_one_point_it_is_the_same_function_of_the_features() -> None:
    """ln g is a quadratic form: 0 at nu = 0, and of nu and -nu the even part is the same."""
    whole = networks.evaluator(SHAPE)
    networks.fill(whole, torch.from_numpy(pack().members[0].weights))
    found = {}
    for nu in ((1.0, 0.0, -2.0), (-1.0, 0.0, 2.0), (2.0, 0.0, -4.0)):
        own = quadratic.at(pack(), nu)
        network = networks.evaluator(own.shape)
        networks.fill(network, torch.from_numpy(own.members[0].weights))
        found[nu] = network(torch.from_numpy(X)).detach().numpy()
        given = np.concatenate([np.tile(np.float32(nu), (len(X), 1)), X], axis=1)
        np.testing.assert_allclose(found[nu], whole(torch.from_numpy(given)).detach().numpy(), rtol=1e-5, atol=1e-6)
    one, other, twice = found.values()
    np.testing.assert_allclose(twice, 4 * (one + other) / 2 + 2 * (one - other) / 2, rtol=1e-4, atol=1e-5)


def test_every_point_stands_against_the_nominal_events_at_its_nu() -> None:
    nominal = Events(names=("a", "b"), x=X, weight=np.ones(40), id=np.arange(40, dtype=np.uint64))
    up, both = replace(nominal, x=X + 1), replace(nominal.take(slice(0, 10)), weight=np.full(10, 7.0))
    grid = [({"jes": 1.0}, up), ({"met": -1.0, "jes": 1.0}, both)]
    found = quadratic.on_grid(
        ("jes", "met"), nominal, grid, Wanted.of((-1.0,))
    )  # -1 stands for nothing measured, but in nu
    assert found.counts() == {1.0: 50, 0.0: 80}
    nu = found.x[:, :2].numpy()
    np.testing.assert_array_equal(nu[:50], [[1, 0]] * 40 + [[1, -1]] * 10)
    np.testing.assert_array_equal(nu[50:], [[1, 0]] * 40 + [[1, -1]] * 40)
    np.testing.assert_array_equal(found.x[50:, 2:], np.tile(found.transform(X), (2, 1)))
    np.testing.assert_allclose([found.weight[:40].sum(), found.weight[40:50].sum()], 1.0)  # points count alike
    assert found.transform.inputs == 2
    assert found.shared
