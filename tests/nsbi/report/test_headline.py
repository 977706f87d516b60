"""The page and the summary of a good and of a bad run: the headline says at first sight which is which, and why."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from needle_parsl.analysis import Model, Nuisance, Parameter, extras
from needle_parsl.cli import terminal
from needle_parsl.nsbi.report import headline, page
from needle_parsl.nsbi.report.gathering import Facts, Inference, Provenance, SampleRow, Subject
from needle_parsl.nsbi.statistics.dataset import Dataset
from needle_parsl.nsbi.statistics.fits import distributions, fitting, impacts
from needle_parsl.nsbi.statistics.fits.distributions import RegionEvents
from needle_parsl.nsbi.statistics.intervals import profile
from needle_parsl.nsbi.statistics.model.builder import Builder
from needle_parsl.summary import Summary


def facts(scale: float = 1.0, shift: float = 0.0, converged: bool = True, leaked: float = 0.0) -> Facts:
    """A measurement of `mu`, in units of `scale`, with a systematic uncertainty of the background; the Asimov data may be off."""
    size = 1500
    q = (np.arange(size) + 0.5) / size
    x = np.r_[1.2 + norm.ppf(q), norm.ppf(q)]
    ratios = {"signal": 1.2 * x - 0.72}
    names = {"signal": 100.0, "background": 500.0}
    weight = np.r_[np.full(size, 100 / size), np.full(size, 500 / size)]
    simulation = Dataset.of(x, ratios, weight=weight, samples=dict.fromkeys(names, size), yields=names)
    data = Dataset.of(x, ratios, weight=weight * np.r_[np.full(size, 1 + shift), np.ones(size)])
    model = Model({"mu": Parameter(scale, (0.0, 5.0 * scale))}, {"signal": f"mu / {scale!r}", "background": "1"},
                  {"norm": Nuisance(rate={"background": (1.05, 0.96)})})  # fmt: skip
    likelihood = Builder.of(model, []).likelihood(data, simulation)
    best = fitting.minimise(likelihood, likelihood.rates, minos=["mu"])
    fit = best.record(0, likelihood.normalisations(best.theta), np.array([0.02 * scale, 0.02]))
    fit = replace(fit, converged=converged)
    scan = replace(profile.scan(likelihood, best, "mu", None, [0.68, 0.95]), dataset="asimov")
    described = distributions.describe(likelihood, best, [RegionEvents(simulation, None, ("x",))])
    effective = {"train": 5000.0, "combine": 3000.0, "test": 4000.0}
    samples = [
        SampleRow(name=name, events=12_000, sum_of_weights=events, negative=0, effective=effective, leaked=leaked)
        for name, events in names.items()
    ]
    moved = impacts.impacts(likelihood, best, "mu", ["refit"])
    inference = Inference(
        fits={"asimov": fit},
        scans={"scan": scan},
        plane=None,
        impacts=moved,
        limits=None,
        distributions=described,
        belt=None,
        coverage=None,
        toys=[],
    )
    subject = Subject(name="small", seed=1, headline="asimov", poi="mu", blinded=False, features=("x",))
    return Facts(
        subject=subject,
        observed=None,
        feature_names=("x",),
        samples=samples,
        histories={},
        failed=[],
        diagnostics={},
        inference=inference,
        dataset=simulation,
        exact={},
        seconds={"fit": (1, 0.1)},
        provenance=Provenance({}, {}, ""),
    )


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Write a report without figures; give the page, the summary and what the terminal says."""
    monkeypatch.setattr(extras, "here", lambda _: False)

    def write(found: Facts) -> tuple[str, dict[str, Any], str]:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        page.write(folder, found)
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        terminal.OUT.file = None
        terminal.results(Summary.from_json(summary), "index.html")
        return (folder / "index.html").read_text(encoding="utf-8"), summary, capsys.readouterr().out

    return write


def test_good_run_says_so(written) -> None:
    html, summary, out = written(facts())
    assert summary["state"] == "pass", summary["findings"]
    assert out.startswith(f"all {len(summary['checks'])} checks pass\nmu = 1.00 ")
    assert "stat." in summary["result"]
    assert "syst." in summary["result"]
    assert "(MC stat.)" in summary["result"]
    assert 'class="headline pass"' in html


def test_bad_run_says_why(written) -> None:
    html, summary, out = written(facts(shift=0.6, leaked=0.01))
    assert summary["state"] == "fail"
    assert summary["checks"]["asimov"] == summary["checks"]["leaks"] == "fail"
    first, *others = out.splitlines()
    assert first == f"do not quote: 2 of {len(summary['checks'])} checks failed"
    assert any(line.startswith("FAIL leaks: 1 % of the test events") for line in others)
    assert 'class="headline fail"' in html
    assert "Do not quote: 2 of" in html


@pytest.mark.parametrize("scale", [1e-4, 1e5])
def test_scale_of_the_parameter_does_not_matter(written, scale: float) -> None:
    _, summary, out = written(facts(scale))
    assert f"e{round(np.log10(scale)):+03d}" in summary["result"]
    quoted = [line for line in out.splitlines() if line.startswith("mu =") or "interval" in line]
    assert len(quoted) == 3
    assert "0.000" not in "".join(quoted)
    assert summary["result"].count("e+") + summary["result"].count("e-") == 1, summary[
        "result"
    ]  # one scale for all parts
    assert "stat." in summary["result"].split(")e")[0]
    digits = summary["result"].partition("(")[2].partition(" ")[0]
    assert float(digits) == pytest.approx(1.0, abs=0.01)


def test_a_fit_that_did_not_converge_has_no_interval(written) -> None:
    _, summary, out = written(facts(converged=False))
    assert "did not converge" in summary["result"]
    assert summary["quoted_intervals"]["0.68"] == {"profile": "none, since the fit did not converge"}
    assert "±" not in summary["result"]
    assert out.startswith("do not quote")


def test_a_value_at_its_bound_bears_an_interval_without_an_end() -> None:
    found = facts()
    fit = replace(found.fit, at_bound=("mu",))
    scan = replace(found.scan, intervals={"0.68": ((0.0, None),), "0.95": ((0.0, 1.9),)})
    inference = replace(found.inference, fits={"asimov": fit}, scans={"scan": scan})
    assert headline._alone(0.0, replace(found, inference=inference), "mu") == "0.0, at its bound"
