"""The quark/gluon calibration: its functions against exact answers, and a small run that recovers the planted scale factors."""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cluster
import numpy as np
import pytest

from needle_parsl import files, shipped

APP = shipped.folder("apps") / "qg_calibration"
LISTS = tomllib.loads((APP / "analysis.toml").read_text())["lists"]


@pytest.fixture(scope="module", autouse=True)
def beside() -> Any:
    """Modules beside physics.py find each other by their names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(APP))
        yield
    for name in [name for name in sys.modules if name.startswith("qg_")]:
        del sys.modules[name]


def spectra(tilt: float = 0.0) -> np.ndarray:
    """Expected events of quarks and gluons in the central and forward region, with a tilt that both flavours share; (P, R, F, X)."""
    x = np.arange(40)
    quark, gluon = np.exp(-0.5 * ((x - 14) / 5) ** 2), np.exp(-0.5 * ((x - 22) / 6) ** 2)
    shapes = np.stack([quark / quark.sum(), gluon / gluon.sum()])
    yields = np.array([[[400.0, 600.0], [550.0, 450.0]], [[500.0, 500.0], [650.0, 350.0]]])
    values = 1000 * yields[..., None] * shapes
    values[:, 1] *= np.exp(tilt * x)
    return values


def test_inversion_gives_the_flavours_back() -> None:
    import qg_method as method

    mc = spectra()
    found = method.calibrated(mc, 1.7 * mc.sum(axis=-2), np.ones((2, 40)))
    np.testing.assert_allclose(found.fraction, [[0.4, 0.55], [0.5, 0.65]])
    for shapes in (found.mc, found.data):
        np.testing.assert_allclose(shapes, method.normalised(mc[:, 0]), atol=1e-14)
    matrix = np.stack([found.fraction, 1 - found.fraction], axis=-1)
    np.testing.assert_allclose(
        method.coefficients(found.fraction) @ matrix, np.broadcast_to(np.eye(2), (2, 2, 2)), atol=1e-12
    )


def test_factors_make_central_jets_look_like_forward_ones() -> None:
    import qg_method as method

    mc = spectra(tilt=0.02)
    nothing = np.zeros((2, 40), bool)
    for flavour in (method.QUARK, method.GLUON):
        found = method.factors(mc, flavour, nothing)
        x = np.arange(40)
        np.testing.assert_allclose(
            found.values / found.values[:, :1], np.broadcast_to(np.exp(0.02 * x), (2, 40)), rtol=1e-9
        )
    ratio = method.factors(mc, method.QUARK, nothing).values
    with_pass_1 = method.calibrated(mc, mc.sum(axis=-2), ratio)
    np.testing.assert_allclose(with_pass_1.mc, with_pass_1.truth, atol=1e-12)  # a tilt of both flavours is undone
    without = method.calibrated(mc, mc.sum(axis=-2), np.ones_like(ratio))
    assert np.abs(without.mc - without.truth).max() > 0.01


def test_thin_tails_share_a_factor_and_empty_bins_have_none() -> None:
    import qg_method as method

    mc = spectra(tilt=0.02)
    mc[:, 0, :, 5] = 0
    found = method.factors(mc, method.QUARK, method.thin(mc, mc, method.QUARK))
    counts = mc[:, :, method.QUARK].min(axis=1)
    np.testing.assert_array_equal(found.pooled, counts < method.FEWEST)
    for p in range(2):
        high = found.pooled[p] & (np.arange(40) > 14)
        assert len(set(found.values[p][high])) == 1
    np.testing.assert_array_equal(method.factors(mc, method.QUARK, np.zeros((2, 40), bool)).values[:, 5], 1)


def test_cuts_are_the_smallest_that_reach_the_working_point() -> None:
    import qg_method as method

    quark = np.array([[0.1, 0.4, 0.3, 0.2]])
    cut = method.cuts(quark, (0.05, 0.1, 0.5, 0.7))
    assert cut.tolist() == [[1], [1], [2], [3]]
    shapes = np.stack([quark, quark[:, ::-1]], axis=1)
    found = method.efficiencies(shapes, cut)
    np.testing.assert_allclose(found[:, 0, 0], [0.1, 0.1, 0.5, 0.8])
    np.testing.assert_allclose(found[:, 1, 0], [0.8, 0.8, 0.5, 0.1])


def test_errors_are_the_spread_of_toys() -> None:
    import qg_method as method

    generator, mc = np.random.default_rng(3), spectra() / 40
    fraction = method.fractions(mc)
    matrix, regions = method.coefficients(fraction), mc.sum(axis=-2)
    cut = method.cuts(method.normalised(mc[:, 0])[:, method.QUARK], (0.5, 0.8))
    toys = method.drawn(generator, 3.0 * regions, 9.0 * regions, 4000)  # events with a weight of 3
    spread = method.efficiencies(method.extracted(method.normalised(toys), matrix), cut).std(axis=0)
    error = np.sqrt(method.efficiency_variances(3.0 * regions, 9.0 * regions, matrix, cut))
    np.testing.assert_allclose(error, spread, rtol=0.06)
    bins = method.extracted(method.shape_variances(regions, regions), matrix**2)
    shapes = method.extracted(method.normalised(method.drawn(generator, regions, regions, 4000)), matrix)
    np.testing.assert_allclose(np.sqrt(bins[..., 8:30]), shapes.std(axis=0)[..., 8:30], rtol=0.08)


def test_regions_that_tell_nothing_are_refused() -> None:
    import qg_method as method

    mc = spectra()
    mc[1] = mc[1, ::-1]
    with pytest.raises(
        ValueError, match=r"not above that of the central one in the pT bins \[1\].*use wider bins or more events"
    ):
        method.coefficients(method.fractions(mc))


def test_variations_are_combined_as_the_table_says() -> None:
    import qg_results as results

    shifts = {
        "tracking_eff": 0.03, "tracking_fake": -0.04, "jet_1_up": 0.03, "jet_1_down": -0.01, "jet_2_up": 0.04, "jet_2_down": 0.02,
        "pdf_1": 0.01, "pdf_2": -0.03, "scale_3": 0.02, "kernel": -0.05, "powheg": 0.06, "herwig_angular": 0.10, "herwig_dipole": 0.08,
        "sherpa_cluster": -0.02, "sherpa_lund": 0.01, "reweight_gluon": 0.005,
    }  # fmt: skip
    arrays = {name: np.array([shift]) for name, shift in shifts.items()}
    expected = {
        "tracking": 0.05, "jet energy": 0.05, "PDF": 0.03, "scale": 0.02, "splitting kernel": 0.05, "matrix element": 0.06,
        "parton shower": 0.02, "hadronisation": 0.03, "choice of reweighting": 0.005,
    }  # fmt: skip
    found = results.uncertainties(arrays)
    assert {name: float(size[0]) for name, size in found.items()} == pytest.approx(expected)
    assert results.total(found)[0] == pytest.approx(np.sqrt(sum(size**2 for size in expected.values())))
    assert results.uncertainties(arrays, replicas=True)["PDF"][0] == pytest.approx(np.std([0.01, -0.03], ddof=1))


@pytest.mark.parametrize("kind", ["ttree", "rntuple"])
def test_files_hold_what_was_simulated(kind: str, tmp_path: Path) -> None:
    import qg_selection as selection
    import qg_simulation as simulation
    import uproot

    generator = simulation.seeded("test")
    made = simulation.simulate("pythia", 490.0, 750.0, 2000, generator)
    simulation.write(
        str(tmp_path / "x.root"), "nominal", simulation.branches(made, "nominal", truth=True, vectors=True), kind
    )
    with uproot.open(tmp_path / "x.root") as file:
        records = file["nominal"].arrays()
    if kind == "ttree":
        assert {"njet", "jet_pt", "jet_nTracks_sys_eff", "pdf_weight", "pu_weight"} <= set(records.fields)
    import physics

    found = selection.selected(physics.flat(records), "jet_nTracks", 2.0, truth=True)
    two = (made["njet"] >= 2) & made["jet_fire"]
    pt, eta = made["jet_pt"][:, :2], np.abs(made["jet_eta"][:, :2])
    clean = ((made["jet_cleaning"] == 2) & (made["jet_nTracks"] > 1) & (made["jet_PartonTruthLabelID"] > 0))[:, :2].all(
        axis=1
    )
    kept = two & clean & (pt[:, 1] > 500) & (pt[:, 0] < 1.5 * pt[:, 1]) & (eta < 2.1).all(axis=1)
    np.testing.assert_allclose(found["pt"], pt[kept], rtol=1e-6)
    np.testing.assert_array_equal(found["n_trk"], made["jet_nTracks"][kept, :2])
    np.testing.assert_allclose(found["weight"], 2 * made["pu_weight"][kept], rtol=1e-6)
    assert (found["forward"].sum(axis=1) == 1).all()
    assert found["pdf"].shape[1] == 101
    np.testing.assert_allclose(found["scale"][:, 0], 1, rtol=1e-6)


def test_lists_have_60_and_239_variations_of_the_sample() -> None:
    names = [[one["name"] for one in LISTS[name]] for name in ("default", "more")]
    assert "reweight_gluon" in names[0]
    assert len(names[0]) - 1 == 60
    assert len(names[0]) - 1 + len(names[1]) == 239
    assert not set(names[0]) & set(names[1])


FEW = (
    "reweight_gluon", "tracking_eff", "tracking_fake", "powheg", "herwig_angular", "herwig_dipole", "sherpa_cluster", "sherpa_lund",
    "jet_1_up", "jet_1_down", "scale_3", "kernel", "pdf_1", "pdf_2",
)  # fmt: skip


def toml(table: dict[str, Any]) -> str:
    return "{" + ", ".join(f"{key} = {json.dumps(value)}" for key, value in table.items()) + "}"


def small() -> list[str]:
    variations = ", ".join(toml(one) for one in LISTS["default"] if one["name"] in FEW)
    settings = [
        f'lists.variation=["nominal", {variations}]',
        'lists.period=[{ name = "A", luminosity = 139.4 }]',
        "stages.simulate.params.mc=60_000",
        "stages.simulate_data.params.data=200_000",
        "stages.training_jets.params.training=12_000",
        "stages.truth.params.size=100_000",
        "training.epochs=4",
    ]
    return [part for setting in settings for part in ("--set", setting)]


def merged(site: str, needle: Callable[..., Any], root: Path, env: dict[str, str] | None = None) -> dict[str, str]:
    ended = needle("run", "--site", site, APP / "analysis.toml", "--out", root, "--json", *small(), env=env or {})
    assert ended.code == 0, ended.err
    assert not ended.json()["warnings"]
    found = sorted((root / "stages").glob("*/merged*/*"))
    return {str(path.relative_to(root)): files.digest(path) for path in found}


@pytest.mark.campaign
@pytest.mark.slurm
def test_sums_are_the_same_at_any_site(needle: Callable[..., Any], slurm: dict[str, str], tmp_path: Path) -> None:
    at = {"local": {}, "local-htex": {}, cluster.written(tmp_path): slurm}
    digests = [merged(site, needle, tmp_path / str(number), env) for number, (site, env) in enumerate(at.items())]
    assert digests[0] == digests[1] == digests[2]


@pytest.mark.slow
def test_planted_scale_factors_are_recovered(needle: Callable[..., Any], tmp_path: Path) -> None:
    assert len(merged("local", needle, tmp_path / "local")) > 40
    numbers = files.read_json(tmp_path / "local" / "stages" / "summary" / "nominal" / "numbers.json")
    assert numbers["row_difference"] < 1e-12
    for name in ("n_trk", "tagger"):
        pulls = np.array(numbers[name]["pull"])
        assert np.abs(pulls).max() < 4
        assert np.sqrt((pulls**2).mean()) < 1.6
        assert np.abs(np.array(numbers[name]["closure"])[0] - 1).max() < 0.06
    off = np.array(numbers["n_trk"]["closure_without_pass_1_errors"])[0, 0]
    assert (off > 0).all()
    assert np.sqrt((off**2).sum()) > 5  # of the six bins together
    page = (tmp_path / "local" / "report" / "index.html").read_text()
    assert "Quark/gluon scale factors" in page


@pytest.mark.campaign
def test_default_size(needle: Callable[..., Any], tmp_path: Path) -> None:
    ended = needle("run", "--site", "local", APP / "analysis.toml", "--out", tmp_path / "run", "--json")
    assert ended.code == 0, ended.err
    assert ended.json()["results"]["checks"] == {"Quark/gluon scale factors": "pass"}
    numbers = files.read_json(tmp_path / "run" / "stages" / "summary" / "nominal" / "numbers.json")
    assert np.abs(numbers["n_trk"]["closure_without_pass_1_errors"]).max() > 5
    assert np.abs(np.array([numbers[name]["pull"] for name in ("n_trk", "tagger")])).max() < 3


@pytest.mark.campaign
def test_pulls_of_many_toys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Over toys with other seeds: no bias, and errors of the right size; a linear score stands for the tagger."""
    import physics
    import qg_simulation as simulation

    monkeypatch.setattr(
        physics, "score", lambda rows, _: {"score": 0.25 * (rows["n_trk"] - 22) + 20 * (rows["width"] - 0.07)}
    )
    lists, period = LISTS["pt_slice"], {"name": "A", "luminosity": physics.LUMINOSITY}
    path, seeded = str(tmp_path / "x.root"), simulation.seeded

    def added(found: list[dict[str, Any]]) -> dict[str, Any]:
        return {name: sum(one[name] for one in found[1:]) + found[0][name] for name in found[0]}

    def mc(part: dict[str, Any]) -> dict[str, Any]:
        made = physics.simulate(part, period, path, "ttree", mc=36_000)
        rows = physics.select({"events": path, "sumw": made}, part, period)
        return physics.histogram(rows, physics.score(rows, None))

    def data(part: dict[str, Any]) -> dict[str, Any]:
        physics.simulate_data(part, period, path, "ttree", 200_000)
        rows = physics.select_data({"events": path})
        return physics.histogram_data(rows, physics.score(rows, None))

    truth = {
        model: added([physics.truth(model, part, 1, 300_000, None) for part in lists]) for model in ("data", "pythia")
    }
    pulls = []
    for toy in range(14):
        monkeypatch.setattr(simulation, "seeded", lambda *names, toy=toy: seeded("toy", toy, *names))
        simulated, observed = added([mc(part) for part in lists]), added([data(part) for part in lists])
        factors = physics.factors(simulated)
        sums = physics.reweight(simulated, observed, factors)
        shapes = physics.extract(sums)
        cut = physics.working_points(shapes, (0.5,))
        found = physics.scale_factors(sums, shapes, cut)
        spread = [physics.resample(simulated, observed, factors, cut, source, 1, 50) for source in ("data", "MC")]
        for name in physics.VARIABLES:
            error = np.hypot(*(one[name].std(axis=0, ddof=1) for one in spread))
            pulls.append((found[f"{name}.sf"] - physics.true_factors(truth, factors, cut[name], name)) / error)
    assert abs(np.mean(pulls)) < 0.3
    assert 0.75 < np.sqrt(np.mean(np.square(pulls))) < 1.25
