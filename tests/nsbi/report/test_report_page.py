"""The page of the report on numbers of all kinds: what cannot be drawn or written is replaced by its reason, and the rest is there."""

from __future__ import annotations

import html
import json
import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from problems.closure import GOOD
from problems.likelihoods import SHAPES, TABLE, simulated
from problems.toys import block
from problems.wifi import HOW, PACK, events

from needle_parsl.analysis import Diagnostics
from needle_parsl.json_records import JsonRecord
from needle_parsl.nsbi.estimators import composing, diagnostics
from needle_parsl.nsbi.report import gathering, page
from needle_parsl.nsbi.report.figures import FIGURES, closure
from needle_parsl.nsbi.report.gathering import Facts, Inference, Provenance, SampleRow, Subject
from needle_parsl.nsbi.report.sections import Section, SectionTable
from needle_parsl.nsbi.statistics import blinding
from needle_parsl.nsbi.statistics.blinding import HiddenOffset
from needle_parsl.nsbi.statistics.fits import breakdown as components
from needle_parsl.nsbi.statistics.fits import distributions, impacts
from needle_parsl.nsbi.statistics.fits.distributions import RegionEvents
from needle_parsl.nsbi.statistics.fits.fitting import minimise
from needle_parsl.nsbi.statistics.intervals import coverage, neyman, profile
from needle_parsl.nsbi.statistics.model.builder import Builder
from needle_parsl.nsbi.statistics.results import (
    Breakdown,
    ClsLimits,
    Correction,
    Coverage,
    GoodnessOfFit,
    InjectionTests,
    LargestRatios,
    Limits,
    Mixture,
    MixturePoint,
    ProfilePlane,
    RatioTails,
    Replicas,
    Residuals,
    ResidualShift,
    Validation,
)
from needle_parsl.nsbi.training import packs
from needle_parsl.nsbi.training.packs import Pack
from needle_parsl.precision import MeasuredVariance, PrecisionLaw

pytest.importorskip("matplotlib")
LEVELS = [0.68, 0.95]


POINT = MeasuredVariance(source="members", size=1, variance=2e-4, relative_error=0.2, row=(2.0, 0.0, 0.0))
VALIDATION = Validation.from_json(
    json.loads((Path(__file__).parent.parent / "statistics" / "results" / "validation.json").read_text())
)
GOODNESS = GoodnessOfFit.from_json(
    json.loads((Path(__file__).parent.parent / "statistics" / "results" / "goodness.json").read_text())
)
LAW = PrecisionLaw(
    parameter="mu",
    sigma=0.2,
    members=2,
    events=600,
    bagging=0.0,
    growth=0.4,
    training=1e-4,
    simulation=4e-4,
    floor=1e-4,
    covariance=((1e-10, 0.0, 0.0), (0.0, 4e-9, 0.0), (0.0, 0.0, 1e-9)),
    points=(
        POINT,
        replace(POINT, source="folds", size=0, variance=2e-3, row=(16.0, 1.0, 0.0)),
        replace(POINT, source="repeats", size=0),
        replace(POINT, source="replicas", size=0, variance=6e-4, row=(2.0, 1.0, 0.0)),
        replace(POINT, source="weights", size=0, variance=4e-4, row=(0.0, 1.0, 0.0)),
    ),
)

LARGEST = LargestRatios(events=0.001, mean=0.05, upper=0.04)
RESIDUALS = Residuals(
    parameter="mu",
    shifts=(
        ResidualShift(ratio="s", kind="normalisation", column="", at={"mu": 1.0}, shift=0.3, error=0.05),
        ResidualShift(ratio="s", kind="closure", column="x", at={"mu": 1.2}, shift=-0.1, error=0.2),
        ResidualShift(ratio="s", kind="closure", column="ln r", at={"mu": 1.0}, shift=0.05, error=0.1),
        ResidualShift(ratio="s", kind="calibration", column="ln r", at={"mu": 0.8}, shift=0.6, error=0.1),
    ),
    tails={"s": RatioTails(reference=LARGEST, numerator=LARGEST), "b": RatioTails(reference=LARGEST)},
    weighted=True,
)


@cache
def whole() -> Facts:
    """Facts of which every figure and every part can be made."""
    data = simulated(300)
    likelihood = Builder.of(TABLE, SHAPES).likelihood(data, data)
    best = minimise(likelihood, likelihood.rates)
    fit = best.record(0, likelihood.normalisations(best.theta))
    toys = block(np.linspace(0, 4, 100))
    grid = np.arange(5.0)
    line = neyman.belt("mu", grid, [toys] * 5, np.array([9.0, 0.5, 0.1, 0.2, 9.0]), LEVELS, likelihood.rates)
    scan = profile.scan(likelihood, best, "mu", None, LEVELS)
    numbers = {"total": 0.2, "simulation": 0.1, "training": 0.15, "uncertainty": {"total": 0.05, "simulation": 0.05, "training": 0.05}}  # fmt: skip
    replicas = {
        "replicas": 4, "repeats": 4, "members": 2, "failed": 0, "reasons": [],
        "fits": {"asimov": {name: {**numbers, "failed": 0, "resampled": [0.8, 1.0, 1.3], "repeated": [0.9, 1.1, 1.0]} for name in fit.parameters}},
        "log_ratio": {"s": {**numbers, "bins": [{"log_ratio": x, **numbers} for x in (-1.0, 0.0, 1.0)]}},
    }  # fmt: skip
    plane = {
        "parameters": ["mu", "k"], "heights": {"0.68": 2.28, "0.95": 5.99}, "best": {"mu": 1.0, "k": 1.0},
        "points": [{"mu": x, "k": y, "t": 4 * ((x - 1) ** 2 + (y - 1) ** 2)} for x in np.linspace(0, 2, 7) for y in np.linspace(0.2, 2, 7)],
    }  # fmt: skip
    cls = {
        "points": [{"mu": x, "cls": np.exp(-x), "cls_error": 0.05, "expected": [0.1, 0.2, 0.3, 0.4, 0.5]} for x in grid.tolist()],
        "upper": {"0.95": 3.0},
    }  # fmt: skip
    rng = np.random.default_rng(1)
    above, below = events(rng, 0.6, 0, 400), events(rng, 0.0, 400, 400)
    members = tuple(replace(PACK.members[m % 2], member=m) for m in range(4))
    pack = Pack(PACK.shape, PACK.transform, members)
    measured = diagnostics.diagnose(
        composing.compose("s", pack, (above, below), HOW), (above, below), (above, below), None
    )
    inference = Inference(
        fits={"asimov": fit},
        scans={"scan": scan},
        plane=ProfilePlane.from_json(plane),
        impacts=replace(impacts.impacts(likelihood, best, "mu", ["covariance", "refit"]), dataset="asimov"),
        limits=Limits.from_json({"level": 0.95, "background": 0.0, "reasons": {}, "observed": 2.0, "expected": {str(n): 2.0 + n / 4 for n in range(-2, 3)}, "discovery": {"significance": 2.0, "p_value": 0.02}}),
        distributions=distributions.describe(likelihood, best, [RegionEvents(data, replace(data, weight=np.ones(300), sample=np.full(300, -1)), ("x",))]),
        belt=replace(line, limits=ClsLimits.from_json(cls, "mu"), normalisation=Correction(0.1, "s", "data", {"mu": 1.0})),
        coverage=Coverage("mu", tuple(coverage.points(toys, "mu", LEVELS, None, None)), None),
        toys=[toys],
        bootstrap=Replicas.from_json(replicas),
        mixture=Mixture("mu", tuple(MixturePoint(x, 1.0 + x / 50, 0.01, 0.0) for x in grid.tolist())),
        closure=InjectionTests.from_json(GOOD),
        precision=LAW,
        goodness=GOODNESS,
        validation=VALIDATION,
        breakdowns=[Breakdown(parameter="mu", error=0.3, total=0.31, components=components.components(likelihood, best, "mu", {"jet": ("jes", "jer"), "lumi": ("lumi",)}), sums={"observable": 0.3, "quadrature": 0.29})],
        residuals=RESIDUALS,
    )  # fmt: skip
    return Facts(
        subject=Subject(
            name="fuzz", seed=1, headline="asimov", poi="mu", blinded=False, features=("x",), thresholds=Diagnostics()
        ),
        observed=None,
        feature_names=("x",),
        samples=[
            SampleRow(
                name="s",
                events=300,
                sum_of_weights=80.0,
                negative=3,
                effective={"train": 100.0, "combine": 100.0, "test": 100.0},
            )
        ],
        histories={"s": [np.array([[0.7, 0.7], [0.6, 0.65]])]},
        failed=[],
        diagnostics={"s": replace(measured, training=diagnostics.training(pack))},
        inference=inference,
        dataset=replace(data, x=rng.normal(size=(300, 1)).astype(np.float32)),
        exact={},
        seconds={"train": (4, 2.0)},
        provenance=Provenance({"numpy": "2"}, {}, "name = 1"),
        transforms={"s": PACK.transform},
    )


def spoilt(value: Any, change: Callable[[Any], Any]) -> Any:
    """Change every number, deep down; names, flags and counts of things stay."""
    if isinstance(value, JsonRecord):
        return type(value).from_json(spoilt(value.to_json(), change))
    if isinstance(value, dict):
        return {key: spoilt(inner, change) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(spoilt(inner, change) for inner in value)
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return np.array([change(x) for x in value.ravel().tolist()], value.dtype).reshape(value.shape)
    return change(value) if isinstance(value, float) else value


def shortened(value: Any, size: int) -> Any:
    """Keep so many entries of every list of numbers or records."""
    if isinstance(value, JsonRecord):
        return type(value).from_json(shortened(value.to_json(), size))
    if isinstance(value, dict):
        return {key: shortened(inner, size) for key, inner in value.items()}
    if isinstance(value, list) and not all(isinstance(inner, str) for inner in value):
        return [shortened(inner, size) for inner in value[:size]]
    return value


def changed(change: Callable[[Any], Any]) -> Facts:
    """Change all that figures and parts are made of."""
    facts = whole()
    parts = {name: change(getattr(facts.inference, name)) for name in Inference.__dataclass_fields__ if name != "toys"}
    toys = [replace(b, **{n: change(getattr(b, n)) for n in ("truth", "values", "errors", "pulls", "t")}) for b in facts.inference.toys]  # fmt: skip
    data = replace(facts.dataset, x=change(facts.dataset.x), ratios=change(facts.dataset.ratios))
    return replace(
        facts,
        inference=replace(facts.inference, **parts, toys=toys),
        diagnostics=change(facts.diagnostics),
        histories=change(facts.histories),
        dataset=data,
    )


def written(folder: Path, facts: Facts, monkeypatch: pytest.MonkeyPatch) -> tuple[str, list[str]]:
    """Write the page; give its text and what was warned of by the page itself."""
    monkeypatch.setattr(page, "FORMATS", {"png": {"dpi": 20}})
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        page.write(folder / "report", facts)
    text = (folder / "report" / "index.html").read_text()
    assert text.rstrip().endswith("</html>")
    json.loads((folder / "report" / "summary.json").read_text(), parse_constant=pytest.fail)
    said = [str(w.message) for w in heard if re.match("the figure|a part of the report", str(w.message))]
    assert len(re.findall('class="weak missing"', text)) == len(said), said
    return text, said


@pytest.mark.slow
def test_page_has_all_figures_of_good_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, said = written(tmp_path, whole(), monkeypatch)
    assert not said
    assert {p.stem for p in (tmp_path / "report").glob("*.png")} == set(FIGURES) - {
        "interest",
        "region",
    }  # of several parameters of interest
    assert text.count("<h2") == 15


@pytest.mark.slow
def test_page_lists_the_members_of_a_mixed_ensemble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what they have of their own, counted in all packs; where all are alike there is no table."""
    monkeypatch.setattr(page, "_figures", lambda *_: [])
    rates = {"learning_rate": np.array([0.003])}
    usual = tuple(replace(m, metrics=rates) for m in PACK.members)
    deep, other = (
        replace(m, settings=f"initial = w.pt ({content}), layers = 4", metrics={"learning_rate": np.array([0.01])})
        for m, content in zip(PACK.members, ("0a1b2c3d", "12345678"), strict=True)
    )
    own = replace(deep, settings="network = p.py:Net", metrics={}, reason="diverged")
    shapes = (PACK.shape, replace(PACK.shape, layers=4), replace(PACK.shape, network="/p.py:Net"))
    for number, (shape, members) in enumerate(zip(shapes, (usual, (deep, other), (own,)), strict=True)):
        packs.write(tmp_path / f"{number}.h5", Pack(shape, PACK.transform, members))
    files = {f"s.{number:04d}": tmp_path / f"{number}.h5" for number in range(3)}
    kinds = gathering._histories(files)[3]
    size, layers = PACK.shape.nodes, PACK.shape.layers
    assert [(k.settings, k.network, k.layers, k.nodes, k.learning_rate, k.count) for k in kinds] == [
        ("", "mlp", layers, size, 0.003, len(usual)),
        ("initial = w.pt, layers = 4", "mlp", 4, size, 0.01, 2),
        ("network = p.py:Net", "Net", None, None, None, 1),
    ]
    page.write(tmp_path / "report", replace(whole(), kinds=kinds))
    text = (tmp_path / "report" / "index.html").read_text()
    row = re.search("<tr><td[^>]*>network = p.py:Net(.*)</tr>", text)
    assert row
    assert re.findall("<td[^>]*>(.*?)</td>", row[1]) == ["Net", "–", "–", "–", "1"]
    assert gathering._histories({"s.0000": tmp_path / "0.h5"})[3] == []


WAYS: dict[str, Callable[[Any], Any]] = {
    "NaN": lambda v: spoilt(v, lambda _: float("nan")),
    "minus infinity": lambda v: spoilt(v, lambda _: float("-inf")),
    "null": lambda v: v if isinstance(v, np.ndarray) else spoilt(v, lambda x: None if isinstance(x, float) else x),
    "huge": lambda v: spoilt(v, lambda x: 1e300 * (1 + x)),
    "all equal": lambda v: spoilt(v, lambda _: 1.0),
    "every other NaN": lambda v: spoilt(v, lambda x: float("nan") if hash(x) % 2 else x),
    "empty": lambda v: shortened(v, 0),
    "one entry": lambda v: shortened(v, 1),
}


MISSING = {
    "huge": {"belt", "features", "goodness", "likelihood", "precision", "transforms"},
    "all equal": {"closure", "plane"},
    "every other NaN": {"injected_variations", "likelihood", "mixture", "overtraining", "plane", "precision"},
}
"""Figures that cannot be drawn of such numbers; all others are."""


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_page_is_written_whatever_the_numbers_are(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = changed(WAYS[way])
    text, said = written(tmp_path, facts, monkeypatch)
    for line in said:
        assert re.fullmatch(r"[^\n]{20,250}[^.]\.", line)
    missing = {name for name in FIGURES if f'The figure "{name}" cannot be drawn' in html.unescape(text)}
    drawn = {p.stem for p in (tmp_path / "report").glob("*.png")}
    assert not missing & drawn
    left_out = {
        "breakdown",
        "goodness",
        "validation",
        "correlations",
        "interest",
        "region",
        "limits",
        "statistic",
        "pulls",
        "bootstrap",
        "closure",
        "spread",
        "mixture",
        "impacts",
        "ratios",
        "precision",
        "residuals",
    }
    assert set(FIGURES) - missing - drawn <= left_out | set(closure.FIGURES)  # where there is nothing of a kind
    assert missing <= MISSING.get(way, set(FIGURES)), said


@pytest.mark.slow
def test_figures_are_those_of_matplotlibs_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `matplotlibrc` of the current folder is read by matplotlib, whoever has written it."""
    import matplotlib as mpl

    with mpl.rc_context({"text.usetex": True, "savefig.dpi": 5}):
        _, said = written(tmp_path, whole(), monkeypatch)
        assert mpl.rcParams["text.usetex"]
    assert not said


@pytest.mark.slow
def test_page_has_the_sections_of_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = SectionTable(("sample", "mean"), (("a<b>", 0.25), ("c", None)), "Of the <first> feature.")
    section = Section("Means of <features>", "Of all events.", (table,))
    assert Section.from_json(json.loads(json.dumps(section.to_json()))) == section
    monkeypatch.setattr(page, "_figures", lambda *_: [])
    text, said = written(tmp_path, replace(whole(), sections=[section]), monkeypatch)
    assert said == []
    assert "Means of &lt;features&gt;</h2>" in text
    assert '<a href="#section-1">Means of &lt;features&gt;</a>' in text
    assert "<tr><td>a&lt;b&gt;</td><td>0.25</td></tr>" in text
    assert "<tr><td>c</td><td>–</td></tr>" in text
    assert '<p class="quiet">Of the &lt;first&gt; feature.</p>' in text


@pytest.mark.slow
def test_page_shows_no_value_on_a_bound_with_a_hidden_offset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = whole()
    offset = HiddenOffset(0.7, 0.2, (1.0, 5.0))  # as if mu were there
    fit = blinding.hide_fit(replace(facts.fit, at_bound=("mu",)), {"mu": offset})
    scan = blinding.hide_scan(replace(facts.scan, best=1.0), offset)
    inference = replace(facts.inference, fits={"observed": fit}, scans={"scan": scan}, belt=None, bootstrap=None)
    subject = replace(facts.subject, headline="observed", offset=("mu",))
    text, _ = written(tmp_path, replace(facts, inference=inference, subject=subject), monkeypatch)
    assert "mu: not shown, since it is on a bound" in text
    assert "68 % profile interval: not shown, since a bound is near" in text
    assert "mu: shifted by a hidden offset in everything that is of data." in text
    assert json.loads((tmp_path / "report" / "summary.json").read_text())["offset"] == ["mu"]
