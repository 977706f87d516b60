"""The tracking chain: its steps against exact answers, and runs whose tracks are compared with the truth."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from needle_parsl import files, shipped

APP = shipped.folder("apps") / "tracking"


@pytest.fixture(scope="module", autouse=True)
def beside() -> Any:
    """Modules beside physics.py find each other by their names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(APP))
        yield
    for name in [name for name in sys.modules if name.startswith("tracking_")]:
        del sys.modules[name]


def event(particle: list[int]) -> Any:
    """Make an event of hits of these particles, each one further out than the one before."""
    import tracking_events as toy

    x = np.zeros((len(particle), 4), np.float32)
    x[:, 0] = 0.1 * (1 + np.arange(len(particle)))
    number = max(particle) + 1
    return toy.Event(x, np.array(particle), np.ones(number), np.zeros(number))


def test_every_lone_hit_is_a_component_of_its_own() -> None:
    import tracking_chain as chain

    labels = chain.components(7, np.array([[1, 3], [3, 5]]))
    assert labels.dtype == np.int64
    assert labels[1] == labels[3] == labels[5]
    assert len(set(labels[[0, 1, 2, 4, 6]].tolist())) == 5
    assert len(set(chain.components(4, np.zeros((2, 0), np.int64)).tolist())) == 4
    assert chain.components(0, np.zeros((2, 0), np.int64)).shape == (0,)


def test_neighbours_are_those_within_the_radius() -> None:
    import tracking_chain as chain

    generator = np.random.default_rng(1)
    x, place = np.zeros((60, 4), np.float32), generator.normal(size=(60, 3))
    x[:, 0] = generator.integers(1, 6, 60)
    found = chain.neighbours(x, place, 0.9)
    distance = np.linalg.norm(place[:, None] - place[None], axis=2)
    inner, outer = np.nonzero((distance < 0.9) & (x[:, None, 0] < x[None, :, 0]))
    np.testing.assert_array_equal(found, [inner, outer])
    nearest = chain.neighbours(x, place, 0.9, most=2)
    assert {tuple(edge) for edge in nearest.T} < {tuple(edge) for edge in found.T}
    assert chain.neighbours(x[:0], place[:0], 0.9).shape == (2, 0)


def test_hits_are_on_helices() -> None:
    """The circle through the beam line and two hits of a particle has R = pT / (0.3 B)."""
    import tracking_events as toy

    for one in toy.events_of(toy.simulate(3, 40, 5)):
        a, b = toy.true_edges(one)
        assert len(a) == sum(max(0, n - 1) for n in np.bincount(one.particle[one.particle >= 0]))
        assert (one.x[a, 0] < one.x[b, 0]).all()
        assert (one.particle[a] == one.particle[b]).all()
        far = one.x[b, 0] > 0.8  # where the resolution does not matter
        first, last = (one.x[end][far].astype(float) for end in (a, b))
        sine = first[:, 1] * last[:, 2] - first[:, 2] * last[:, 1]
        turn = np.abs(np.arcsin(sine))
        radius = one.pt[one.particle[b[far]]] / (0.3 * toy.FIELD)
        expected = np.arcsin(last[:, 0] / (2 * radius)) - np.arcsin(first[:, 0] / (2 * radius))
        np.testing.assert_allclose(turn, expected, atol=6 * 2 * toy.AROUND)
        assert toy.are_true(one, np.stack([a, b])).all()
        assert not toy.are_true(one, np.stack([b, a])).any()
        assert 0.02 < (one.particle < 0).mean() < 0.2


def test_matching_wants_both_majorities() -> None:
    import tracking_results as results

    own = event([0, 0, 0, 0, 1, 1, 1, 1, -1, -1, -1, 2, 2])
    apart = results.matched(own, np.array([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 3, 3]))
    assert apart.countable.tolist() == [True, True, False]  # two hits are no track
    assert apart.found.tolist() == [True, True, False]
    assert apart.real.tolist() == [True, True, False]  # the third is noise
    merged = results.matched(own, np.array([0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 4]))
    assert not merged.found.any()
    assert merged.real.tolist() == [False]
    three = results.matched(own, np.array([0, 0, 0, 1, 2, 2, 3, 3, 2, 4, 5, 6, 6]))
    assert three.found.tolist() == [True, False, False]  # 3 of 4; 2 of 4
    assert three.real.tolist() == [True, False]


SMALL = (
    'lists.part=[{ name = "training", events = 12, seed = 1 }, { name = "test", events = 6, seed = 2 }]',
    "stages.simulate.params.tracks=15",
    "stages.embedding.params.epochs=12",
    "stages.edge_filter.params.epochs=6",
    "stages.interaction.params.epochs=25",
    "stages.performance.params.demanded=0.7",
)


def test_a_small_run(needle: Callable[..., Any], tmp_path: Path) -> None:
    settings = [part for one in SMALL for part in ("--set", one)]
    ended = needle("run", "--site", "local", APP / "analysis.toml", "--out", tmp_path / "run", "--json", *settings)
    assert ended.code == 0, ended.err
    assert set(ended.json()["results"]["checks"]) == {"Tracks"}
    numbers = files.read_json(tmp_path / "run" / "stages" / "performance" / "test" / "numbers.json")
    assert numbers["particles"] == 90
    assert numbers["efficiency"][0] > 0.7
    near, filtered, kept = numbers["steps"].values()
    assert near["efficiency"] >= filtered["efficiency"] >= kept["efficiency"]
    assert near["purity"] < filtered["purity"] < kept["purity"]
    import uproot

    with uproot.open(tmp_path / "run" / "stages" / "simulate" / "test" / "hits.root") as file:
        assert file.classnames(cycle=False) == {"events": "ROOT::RNTuple"}
        assert file["events"].arrays()["r"].type.content.content.primitive == "float32"


@pytest.mark.campaign
def test_sixty_tracks(needle: Callable[..., Any], tmp_path: Path) -> None:
    ended = needle("run", "--site", "local", APP / "analysis.toml", "--out", tmp_path / "run", "--json")
    assert ended.code == 0, ended.err
    assert ended.json()["results"]["checks"] == {"Tracks": "pass"}
    numbers = files.read_json(tmp_path / "run" / "stages" / "performance" / "test" / "numbers.json")
    assert numbers["efficiency"][0] > 0.93
    assert numbers["fakes"][0] < 0.16
