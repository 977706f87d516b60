"""Networks of particles from `[training] network` to the combined ratio."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from needle_parsl.analysis import Training, catalogue
from needle_parsl.errors import TaskError
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.data.jagged import Jagged, ends
from needle_parsl.nsbi.estimators import composing
from needle_parsl.nsbi.training import networks, packs, ratio_events, state, train
from needle_parsl.nsbi.training.members import Member, Settings

pytestmark = pytest.mark.usefixtures("one_thread")


def events(n: int, shift: float, seed: int) -> Events:
    """Poisson(2) particles at `shift`; the ratio of two of these is exp of the sum over the particles, and of nothing else."""
    random = np.random.default_rng(seed)
    counts = random.poisson(2.0, n)
    values = random.normal([shift, 5.0], [1.0, 3.0], (counts.sum(), 2)).astype(np.float32)
    x = random.normal(0, 1, (n, 1)).astype(np.float32)
    ids = np.arange(seed * 10**6, seed * 10**6 + n, dtype=np.uint64)
    return Events(names=("a",), x=x, weight=np.ones(n), id=ids, particles=Jagged(values, ends(counts)))


ABOVE, BELOW = events(1200, 0.5, 1), events(1200, 0.0, 2)
DATA = ratio_events.RatioEvents.build(ABOVE, BELOW)


@pytest.mark.parametrize("name", ["deepset", "transformer"])
def test_ratio_of_particles_is_learned_and_evaluated(name: str) -> None:
    table = Training(network=name, layers=1, nodes=8, epochs=5, learning_rate=2e-2, schedule="constant", batch_size=128)
    assert DATA.transform.particles is not None
    settings = Settings.of(table, 1, 2)
    members = [
        Member(
            member=k,
            fold=0,
            seed=7 + k,
            view=ratio_events.MemberView(
                fold=0, folds=1, fold_salt=5, validation=0.1, validation_salt=6, bootstrap_salt=None
            ),
        )
        for k in range(1)
    ]
    trained = train.train_pack(DATA, members, settings, state.State(), state.never)
    pack = packs.Pack(settings.shape, DATA.transform, trained)
    made = composing.compose("r", pack, (ABOVE, BELOW), composing.How("mean_ratio", 1.0, "none"))
    test = events(500, 0.2, 3)
    assert test.particles is not None
    truth = np.array(
        [(0.5 * v[:, 0] - 0.125).sum() for v in np.split(test.particles.values, test.particles.offsets[1:-1])]
    )
    found = made.log_ratio(test.inputs)
    assert np.sqrt(np.mean((found - truth) ** 2)) < 0.6 * truth.std()  # without learning anything, 1 or more
    some = test.take(slice(100, 200))  # fewer places are padded
    np.testing.assert_allclose(made.log_ratio(some.inputs), found[100:200], atol=1e-5)
    with torch.no_grad():
        network = networks.empty(settings.shape)
        networks.fill(network, torch.from_numpy(trained[0].weights))
        batch = next(iter(DATA.look(members[0].view)[0].batches(64)))
        direct = network(batch.x, batch.particles).numpy()
    own = replace(ABOVE, x=ABOVE.x).inputs
    place = {float(v): k for k, v in enumerate(DATA.x[:1200, 0].tolist())}
    rows = [place[float(v)] for v in batch.x[:, 0].tolist() if float(v) in place]
    kept = [k for k, v in enumerate(batch.x[:, 0].tolist()) if float(v) in place]
    np.testing.assert_allclose(made.members(own[rows])[0], direct[kept], atol=1e-4)
    with pytest.raises(TaskError, match=f"{name} is a network of particles, and the events have none"):
        made.log_ratio(test.x)


def test_network_of_features_sees_no_particles() -> None:
    settings = Settings.of(Training(layers=1, nodes=4, epochs=1), 1, 2)
    assert settings.shape.particles == 0
    found = train.train(
        DATA,
        Member(
            member=0,
            fold=0,
            seed=7,
            view=ratio_events.MemberView(
                fold=0, folds=1, fold_salt=5, validation=0.1, validation_salt=6, bootstrap_salt=None
            ),
        ),
        settings,
    )
    assert found.reason == ""


@pytest.mark.parametrize("name", [name for name, known in catalogue.NETWORKS.items() if known.particles])
def test_a_network_of_particles_alone_is_made_without_a_warning(name: str) -> None:
    made = networks.empty(networks.NetworkShape(network=name, features=0, layers=1, nodes=4, particles=3))
    assert networks.sees_particles(made)
