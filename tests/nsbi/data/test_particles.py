"""Particles: packed, padded and nested are one thing; networks see no order; both kinds learn."""

from __future__ import annotations

from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import torch
import uproot

from needle_parsl.analysis import catalogue
from needle_parsl.errors import InputError
from needle_parsl.nsbi.data import conversion, store
from needle_parsl.nsbi.data.jagged import Jagged, ends
from needle_parsl.nsbi.data.loading.particles import Packed, Padded
from needle_parsl.nsbi.data.particles import ParticleRecipe, gather
from needle_parsl.nsbi.data.recipes import ComputedColumn, FileRange, InputFile, Recipe
from needle_parsl.nsbi.data.store import Schema
from needle_parsl.nsbi.training import networks
from needle_parsl.nsbi.training.particles import packed

PARTICLE_NETWORKS = [name for name, known in catalogue.NETWORKS.items() if known.particles]
pytestmark = pytest.mark.usefixtures("one_thread")


def particles(events: int = 50, seed: int = 1) -> Jagged:
    generator = np.random.default_rng(seed)
    counts = generator.integers(0, 7, events)
    return Jagged(generator.normal(size=(counts.sum(), 3)).astype(np.float32), ends(counts))


def network(name: str) -> torch.nn.Module:
    torch.manual_seed(3)
    return networks.find(name)(2, 3, 2, 16)


def test_forms_hold_the_same_particles() -> None:
    plain = Packed.of(particles())
    values, mask = plain.padded()
    assert mask.sum(dim=1).tolist() == plain.counts.tolist()
    assert torch.equal(values[mask], plain.values)
    assert (values[~mask] == 0).all()
    for other in (packed(Padded(values, mask)), packed(plain.nested())):
        assert torch.equal(other.values, plain.values)
        assert torch.equal(other.offsets, plain.offsets)
        assert other.longest == plain.longest


def test_narrow_padding_cuts_the_last_particles_off() -> None:
    plain = Packed.of(particles())
    values, mask = plain.padded(2)
    assert mask.sum(dim=1).tolist() == plain.counts.clamp(max=2).tolist()
    first = plain.offsets[:-1][plain.counts > 0]
    assert torch.equal(values[plain.counts > 0, 0], plain.values[first])


def test_nested_knows_its_bounds() -> None:
    """Without them, padding a nested tensor tries to allocate terabytes."""
    plain = Packed.of(particles())
    assert plain.nested().to_padded_tensor(0.0).shape == (50, plain.longest, 3)


@pytest.mark.parametrize("name", PARTICLE_NETWORKS)
def test_every_form_gives_the_same_logits_and_gradients(name: str) -> None:
    plain, x, made = (
        Packed.of(particles()),
        torch.randn(50, 2, generator=torch.Generator().manual_seed(1)),
        network(name),
    )
    logits, gradients = [], []
    for form in (plain, plain.padded(), plain.padded(11), plain.nested()):
        made.zero_grad()
        found = made(x, form)
        torch.autograd.backward(found.square().sum())
        logits.append(found.detach())
        gradients.append(torch.cat([p.grad.flatten() for p in made.parameters()]))
    for other, slope in zip(logits[1:], gradients[1:], strict=True):
        torch.testing.assert_close(other, logits[0], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(slope, gradients[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", PARTICLE_NETWORKS)
def test_order_of_particles_does_not_matter(name: str) -> None:
    plain, x, made = particles(), torch.zeros(50, 2), network(name)
    mixed = plain.values.copy()
    for start, stop in zip(plain.offsets[:-1], plain.offsets[1:], strict=True):
        mixed[start:stop] = mixed[start:stop][::-1]
    other = Jagged(mixed, plain.offsets)
    torch.testing.assert_close(made(x, Packed.of(plain)), made(x, Packed.of(other)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", PARTICLE_NETWORKS)
def test_events_without_particles_are_finite(name: str) -> None:
    nothing = Packed.of(Jagged(np.empty((0, 3), np.float32), np.zeros(5, np.int64)))
    for form in (nothing, nothing.padded()):
        assert torch.isfinite(network(name)(torch.zeros(4, 2), form)).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", PARTICLE_NETWORKS)
@pytest.mark.parametrize("form", ["packed", "padded", "nested"])
def test_both_learn_the_sum_of_a_feature(name: str, form: str) -> None:
    jets = particles(400, seed=2)
    plain = Packed.of(jets)
    goal = plain.sum(plain.values[:, :1]).squeeze(1)
    made, x = network(name), torch.zeros(400, 2)
    inputs = {"packed": plain, "padded": plain.padded(), "nested": plain.nested()}[form]
    optimizer = torch.optim.Adam(made.parameters(), 1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        loss = (made(x, inputs) - goal).square().mean()
        torch.autograd.backward(loss)
        optimizer.step()
    assert float(loss.detach()) < 0.3 * float(goal.var())


COLUMNS = {
    "Jet_pt": Jagged(np.array([30.0, 50, 10, 40, 20, 60]), np.array([0, 3, 3, 6])),
    "Jet_eta": Jagged(np.array([1.0, -2, 3, 0, -1, 2]), np.array([0, 3, 3, 6])),
}


@pytest.mark.parametrize(
    ("changes", "pt", "counts"),
    [
        ({}, [30, 50, 10, 40, 20, 60], [3, 0, 3]),
        ({"most": 2}, [30, 50, 40, 20], [2, 0, 2]),
        ({"sort": "pt"}, [50, 30, 10, 60, 40, 20], [3, 0, 3]),
        ({"sort": "pt", "most": 1}, [50, 60], [1, 0, 1]),
        ({"selection": "abs(eta) < 1.5"}, [30, 40, 20], [1, 0, 2]),
        ({"selection": "abs(eta) < 1.5", "sort": "pt", "most": 1}, [30, 40], [1, 0, 1]),
        ({"selection": "pt > 100"}, [], [0, 0, 0]),
    ],
)
def test_particles_are_chosen_ordered_and_cut(changes: dict[str, object], pt: list[float], counts: list[int]) -> None:
    recipe = ParticleRecipe(**{"names": ("pt", "eta"), "collection": "Jet", "most": 9, **changes})
    found = gather(COLUMNS, recipe, "file: sample s")
    assert found.values[:, 0].tolist() == pt
    assert found.counts.tolist() == counts


def test_particles_that_do_not_fit_are_named() -> None:
    recipe = ParticleRecipe(("pt", "eta"), "Jet", 9)
    other = {**COLUMNS, "Jet_eta": Jagged(np.ones(2), np.array([0, 1, 1, 2]))}
    with pytest.raises(InputError, match='columns "Jet_eta" and "Jet_pt" have different numbers of particles'):
        gather(other, recipe, "file: sample s")
    broken = {**COLUMNS, "Jet_pt": Jagged(np.array([1, np.nan, 1, 1, 1, 1]), COLUMNS["Jet_pt"].offsets)}
    with pytest.raises(InputError, match='column "Jet_pt" is NaN or infinite'):
        gather(broken, recipe, "file: sample s")


SOURCE = """
import awkward as ak
def ht(events): return ak.sum(events.Jet_Px**2, axis=1) + 0 * events.NJet
def wrong(events): return events.Jet_Px
def fails(events): return events.Jet_Pq
"""


def hzz(sample_data: Path, function: str = "ht", **changes: object) -> tuple[FileRange, Recipe]:
    computed = (ComputedColumn("ht", f"physics.py:{function}", ("Jet_Px", "NJet")),)
    fields = {
        "sample": "s", "features": ("ht", "MET_px"), "weight": "EventWeight", "selections": ("NJet >= 1",), "id": (),
        "derived": (), "computed": computed, "particles": ParticleRecipe(("Px", "E"), "Jet", 2, "E"), "physics": (SOURCE, "physics.py"),
    }  # fmt: skip
    path = sample_data / "cms_open_data" / "uproot-HZZ.root"
    return FileRange(InputFile(path=str(path), tree="", label="d")), Recipe(**{**fields, **changes})


def test_real_jets_and_a_function_of_them(sample_data: Path, tmp_path: Path) -> None:
    found = conversion.convert(*hzz(sample_data))
    with uproot.open(sample_data / "cms_open_data" / "uproot-HZZ.root") as file:
        jets = file["events"].arrays(["Jet_Px", "Jet_E", "NJet"])
    jets = jets[jets.NJet >= 1]
    np.testing.assert_allclose(found.x[:, 0], ak.to_numpy(ak.sum(jets.Jet_Px**2, axis=1)), rtol=1e-6)
    assert found.particles.counts.tolist() == np.minimum(ak.to_numpy(jets.NJet), 2).tolist()
    leading = np.asarray(ak.max(jets.Jet_E, axis=1))
    np.testing.assert_array_equal(found.particles.values[found.particles.offsets[:-1], 1], leading)
    store.write(tmp_path / "s.h5", found, Schema(("ht", "MET_px"), ("Px", "E"), 1))
    assert len(store.read(tmp_path / "s.h5").particles.values) == len(found.particles.values)


@pytest.mark.parametrize(
    ("function", "said"),
    [("wrong", 'physics.py:wrong for "ht" failed'), ("fails", "no field"), ("hts", 'has no "hts"; did you mean "ht"')],
)
def test_function_is_held_to_its_contract(sample_data: Path, function: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        conversion.convert(*hzz(sample_data, function))


def test_flat_column_is_no_particle(sample_data: Path) -> None:
    with pytest.raises(InputError, match='column "MET_px" is not jagged'):
        conversion.convert(*hzz(sample_data, particles=ParticleRecipe(("px",), "MET", 2)))
