"""The breakdown of an error: closed forms of a linear Gaussian model, pyhf with iminuit, and what adds up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from needle_parsl.analysis import Model, Nuisance, Parameter
from needle_parsl.densities import Shape
from needle_parsl.nsbi.statistics.analyses import break_down
from needle_parsl.nsbi.statistics.dataset import Dataset
from needle_parsl.nsbi.statistics.fits import weighted_data
from needle_parsl.nsbi.statistics.fits.fitting import minimise
from needle_parsl.nsbi.statistics.model.builder import Builder, Counts
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
from needle_parsl.nsbi.statistics.results import Breakdown, FittedParameter

Floats = np.ndarray
SIGNAL, FIRST, SECOND = np.array([20.0, 40.0, 10.0]), np.array([90.0, 70.0, 50.0]), np.array([60.0, 20.0, 10.0])
SLOPES = {"jes": (0.0, 0.12, -0.05), "jer": (0.0, 0.05, 0.1), "lumi": (0.03, 0.03, 0.03)}
"""Relative change of each process with one sigma."""
ERRORS = {"b": np.array([4.0, 3.0, 2.0])}
GROUPS = {"jet": ("jes", "jer"), "other": ("lumi",)}


def linear(observed: Floats | None = None, errors: dict[str, Floats] = ERRORS) -> Likelihood:
    """Three bins that are straight lines in all parameters, at mu = 1."""
    rates = [{name: (1 + d, 1 - d) for name, d in zip("sbc", slopes, strict=True) if d} for slopes in SLOPES.values()]
    rates[2].pop("s")  # so that mu and lumi do not multiply
    own = {name: Nuisance(interpolation="linear", rate=rate) for name, rate in zip(SLOPES, rates, strict=True)}
    model = Model({"mu": Parameter(1.0, (-9.0, 11.0))}, {"s": "mu", "b": "1", "c": "1"}, own)
    return Builder.of(model, []).counting([Counts("r", {"s": SIGNAL, "b": FIRST, "c": SECOND}, observed, errors)])


def closed(held: tuple[str, ...] = (), *, simulation: bool = True) -> dict[str, float]:
    """Give the variance of the best linear estimate of mu, and what each source adds to it."""
    columns = {name: b * FIRST + c * SECOND for name, (_, b, c) in SLOPES.items() if name not in held}
    parts = {"statistical": np.diag(SIGNAL + FIRST + SECOND), **{name: np.outer(d, d) for name, d in columns.items()}}
    if simulation:
        parts["simulation"] = np.diag(ERRORS["b"] ** 2)
    inverse = np.linalg.inv(sum(parts.values()))
    weight = inverse @ SIGNAL / (SIGNAL @ inverse @ SIGNAL)
    return {
        "all": float(1 / (SIGNAL @ inverse @ SIGNAL)),
        **{name: float(weight @ v @ weight) for name, v in parts.items()},
    }


def test_components_of_a_linear_gaussian_model_are_those_in_closed_form() -> None:
    found = break_down(linear(), "mu", GROUPS, expected=True)
    whole, by = closed(), {own.name: own for own in found.components}
    assert found.error == pytest.approx(whole["all"] ** 0.5, rel=1e-6)
    observable = {"statistical": whole["statistical"], "jet": whole["jes"] + whole["jer"], "other": whole["lumi"], "simulation": whole["simulation"]}  # fmt: skip
    rest = {
        "jet": closed(GROUPS["jet"]), "other": closed(GROUPS["other"]), "simulation": closed(simulation=False),
    }  # fmt: skip
    quadrature = {name: whole["all"] - own["all"] for name, own in rest.items()}
    quadrature["statistical"] = closed(tuple(SLOPES), simulation=False)["all"]
    for name, own in by.items():
        assert own.observable == pytest.approx(observable[name] ** 0.5, rel=1e-5)
        assert own.quadrature == pytest.approx(quadrature[name] ** 0.5, rel=1e-5)
    assert found.residual("observable") == pytest.approx(0.0, abs=1e-6)
    assert abs(found.residual("quadrature") or 0.0) > 1e-3  # correlated by the data
    for name in ("jet", "other", "simulation"):
        assert by[name].moved == pytest.approx((-(observable[name] ** 0.5), observable[name] ** 0.5), rel=0.05)


def test_order_reasons_and_what_is_beside() -> None:
    fitted = FittedParameter.from_json({"simulation_error": 0.3, "ensemble_error": 0.4, "error": 0.1})
    found = break_down(linear(), "mu", GROUPS, beside=fitted, expected=True)
    assert [own.name for own in found.components] == ["statistical", "jet", "other", "simulation", "finite simulation", "networks"]  # fmt: skip
    assert found.total == pytest.approx(((found.error or 0) ** 2 + 0.25) ** 0.5)
    assert [own.inside for own in found.components] == [True] * 4 + [False] * 2
    assert Breakdown.from_json(found.to_json()).to_json() == found.to_json()
    bounded = linear(np.array([20.0, 20.0, 20.0]))
    bounded = replace(bounded, rates=replace(bounded.rates, bounds=((0.0, 5.0), *bounded.rates.bounds[1:])))
    none = break_down(bounded, "mu", GROUPS)
    assert (none.error, none.reason) == (None, "it is at a bound")
    assert not none.components


@pytest.mark.slow
def test_a_binned_model_agrees_with_pyhf_and_iminuit() -> None:
    """Subtraction in quadrature as cabinetry does it, by fits with a group held; shifts of all that was observed, by differences."""
    pyhf, iminuit = pytest.importorskip("pyhf"), pytest.importorskip("iminuit")
    seen = np.array([175.0, 141.0, 62.0])
    rate = {"jes": {"b": (1.15, 0.9), "c": (0.95, 1.05)}, "jer": {"b": (1.04, 0.97), "c": (1.1, 0.9)}, "lumi": {"b": (1.03, 0.97), "c": (1.03, 0.97)}}  # fmt: skip
    own = {name: Nuisance(interpolation="code4", rate=rates) for name, rates in rate.items()}
    model = Model({"mu": Parameter(1.0, (0.0, 10.0))}, {"s": "mu", "b": "1", "c": "1"}, own)
    errors = {"b": np.array([6.0, 5.0, 4.0])}
    ours = Builder.of(model, []).counting([Counts("r", {"s": SIGNAL, "b": FIRST, "c": SECOND}, seen, errors)])
    found = break_down(ours, "mu", GROUPS)

    def systematics(process: str) -> list[dict]:
        return [
            {"name": name, "type": "normsys", "data": dict(zip(("hi", "lo"), rate[name][process], strict=True))}
            for name in rate
        ]

    free = [{"name": "mu", "type": "normfactor", "data": None}]
    samples = [
        {"name": name, "data": y.tolist(), "modifiers": [*others, {"name": "g", "type": "staterror", "data": errors.get(name, np.zeros(3)).tolist()}]}
        for name, y, others in (("s", SIGNAL, free), ("b", FIRST, systematics("b")), ("c", SECOND, systematics("c")))
    ]  # fmt: skip
    theirs = pyhf.Model(
        {"channels": [{"name": "r", "samples": samples}]},
        poi_name="mu",
        modifier_settings={"normsys": {"interpcode": "code4"}},
        validate=False,
    )
    data = np.array([*seen, *theirs.config.auxdata])
    labels = theirs.config.par_names

    def fit(observed: Floats) -> Floats:
        minuit = iminuit.Minuit(
            lambda x: -float(theirs.logpdf(x, observed)[0]), theirs.config.suggested_init(), name=labels
        )
        minuit.errordef, minuit.tol, minuit.strategy = 0.5, 1e-6, 2
        minuit.limits = theirs.config.suggested_bounds()
        return np.array(minuit.migrad().values)

    best, step = fit(data), 1e-3 * np.eye(len(labels))

    def variance(held: tuple[str, ...] = ()) -> float:
        """By differences, since those of iminuit's HESSE have errors of a few thousandths."""
        free = [place for place, name in enumerate(labels) if name.split("[")[0] not in held]
        points = [[[best + a * step[i] + b * step[j] for a, b in ((1, 1), (1, -1), (-1, 1), (-1, -1))] for i in free] for j in free]  # fmt: skip
        values = -np.array([[[float(theirs.logpdf(x, data)[0]) for x in row] for row in rows] for rows in points])
        hessian = values @ [1, -1, -1, 1] / 4e-6
        place = [labels[k] for k in free].index("mu")
        return float(np.linalg.inv(hessian)[place, place])

    by, whole = {c.name: c for c in found.components}, variance()
    assert (found.error or 0.0) ** 2 == pytest.approx(whole, rel=1e-3)
    for name, held in {**GROUPS, "simulation": ("g",)}.items():
        assert (by[name].quadrature or 0.0) ** 2 == pytest.approx(whole - variance(held), abs=1e-3 * whole)
    assert (by["statistical"].quadrature or 0.0) ** 2 == pytest.approx(variance((*rate, "g")), rel=1e-3)

    def moved(place: int, sigma: float) -> float:
        by_some = np.eye(len(data))[place] * 0.2 * sigma
        mu = labels.index("mu")
        return float(fit(data + by_some)[mu] - fit(data - by_some)[mu]) / 0.4

    def size(first: int, sigmas: Floats) -> float:
        return float(np.hypot.reduce([moved(first + k, sigma) for k, sigma in enumerate(sigmas)]))

    aux = list(theirs.config.auxdata_order)
    assert by["statistical"].observable == pytest.approx(size(0, np.sqrt(seen)), rel=0.01)
    places = {name: 3 + sum(theirs.config.param_set(n).n_parameters for n in aux[: aux.index(name)]) for name in aux}
    for group, members in GROUPS.items():
        expected = np.hypot.reduce([size(places[name], np.ones(1)) for name in members])
        assert by[group].observable == pytest.approx(expected, rel=0.01)
    spread = errors["b"] / (SIGNAL + FIRST + SECOND)
    assert by["simulation"].observable == pytest.approx(size(places["g"], spread), rel=0.01)


def unbinned(events: int = 4000) -> Likelihood:
    """Signal and background that are unit Gaussians one sigma apart, with exact ratios; a shift and two rates."""
    rng, sample = np.random.default_rng(3), np.repeat([0, 1], events)
    x = rng.normal(np.repeat([1.0, 0.0], events), 1.0)
    ratios = {"s": x - 0.5, "b.jes.up": 0.1 * x - 0.005, "b.jes.down": -0.1 * x - 0.005}
    yields = {"s": 100.0, "b": 500.0, "b.jes.up": 500.0, "b.jes.down": 500.0}
    weight = np.repeat([100.0, 500.0], events) / events
    data = Dataset(x=x[:, None].astype(np.float32), weight=weight, sample=sample, samples=("s", "b"), ratios=ratios, yields=yields)  # fmt: skip
    rates = {"jer": {"b": (1.05, 0.95)}, "lumi": {"s": (1.03, 0.97), "b": (1.03, 0.97)}}
    own = {"jes": Nuisance(), **{name: Nuisance(rate=rate) for name, rate in rates.items()}}
    model = Model({"mu": Parameter(1.0, (0.0, 5.0))}, {"s": "mu", "b": "1"}, own)
    return Builder.of(model, [Shape("b", "jes", "b.jes.up", "b.jes.down", "")]).likelihood(data, data)


def test_an_unbinned_asimov_fit_adds_up() -> None:
    """To the statistics of the simulated events: the Hessian is the scatter of slopes in the mean."""
    likelihood = unbinned()
    found = break_down(likelihood, "mu", GROUPS, expected=True)
    assert found.residual("observable") == pytest.approx(0.0, abs=3 / 4000**0.5 / 2)
    best = minimise(likelihood, likelihood.rates)
    assert found.components[0].quadrature == pytest.approx(best.statistical_errors()["mu"], rel=1e-6)
    moved = {own.name: own.moved for own in found.components if own.moved}
    for own in found.components[1:]:
        assert moved[own.name] == pytest.approx((-(own.observable or 0.0), own.observable), rel=0.1)


def test_weighted_data_has_the_error_of_its_weights() -> None:
    likelihood = unbinned(1000)
    best = minimise(likelihood, likelihood.rates)
    found = break_down(likelihood, "mu", GROUPS)
    assert found.error == pytest.approx(weighted_data.weighted(likelihood, best).error("mu"))
    assert found.residual("observable") == pytest.approx(0.0, abs=1e-6)
