"""Tasks of a belt, called without Parsl: rounds that are not needed, p-values without a signal."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from problems.likelihoods import counting
from problems.toys import SIGMA, thrown

from needle_parsl.analysis import Model
from needle_parsl.nsbi.statistics.analyses import toys as asked
from needle_parsl.nsbi.statistics.fits import fitting
from needle_parsl.nsbi.statistics.toys import block
from needle_parsl.nsbi.statistics.toys.compiled import compilation
from needle_parsl.nsbi.statistics.toys.pool import ToyPool, drawn
from needle_parsl.plan import Task, specs, stages
from needle_parsl.plan.stages import STAGES
from needle_parsl.tasks import inputs
from needle_parsl.tasks import toys as throwing

FIT = specs.FitSpec(dataset="asimov", model=Model({}, {}), shapes=())
GRID = (0.5, 1.0, 1.5, 2.0)


def toys(truth: float, **own: object) -> specs.ToysSpec:
    return specs.ToysSpec(
        fit=FIT,
        poi="mu",
        truth=(("mu", truth),),
        profiled=True,
        source="model",
        thrower=None,
        least=1.0,
        salt=0,
        first=0,
        count=3,
        **own,
    )  # type: ignore[arg-type]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run directory with toys at each value and without a signal; the data are a counting experiment of sigma 0.5."""
    data = counting(1.2 * 400 + 39_600, b=39_600, s=400)
    monkeypatch.setattr(inputs, "likelihood", lambda _root, _fit: data)
    for number, mu in enumerate((*GRID, 0.0)):
        path = tmp_path / stages.place("toys", f"neyman/mu={mu:g}.0000")
        path.parent.mkdir(parents=True, exist_ok=True)
        block.write(path, replace(thrown(mu, np.array(() if mu else GRID), 2000, number), effective=1e5))
    return tmp_path


def names(mu: float) -> tuple[str, ...]:
    return (f"neyman/mu={mu:g}.0000",)


def test_belt_with_toys_without_a_signal(run: Path) -> None:
    spec = specs.Neyman(
        fit=FIT,
        poi="mu",
        grid=GRID,
        blocks=tuple(map(names, GRID)),
        levels=(0.68, 0.95),
        without=0.0,
        background=names(0.0),
    )
    throwing.neyman(str(run), Task(stage=STAGES["neyman"], name="neyman", key="k", spec=spec, after=()))
    found = json.loads((run / stages.place("neyman", "neyman")).read_text())
    ((low, high),) = found["intervals"]["0.68"]
    assert (low, high) == (pytest.approx(1.2 - SIGMA, abs=0.1), pytest.approx(1.2 + SIGMA, abs=0.1))
    point = found["points"][0]
    assert abs(point["p_value"] - point["p_value_asymptotic"]) < 5 * point["p_value_error"]
    assert found["discovery"]["q_0"] == pytest.approx((1.2 / SIGMA) ** 2, rel=0.05)
    assert abs(found["discovery"]["significance"] - 2.4) < 0.3
    assert found["limits"]["upper"]["0.68"] == pytest.approx(1.44, abs=0.15)
    throwing.neyman(
        str(run), Task(stage=STAGES["neyman"], name="neyman", key="k", spec=replace(spec, statistic="q_mu"), after=())
    )
    limit = json.loads((run / stages.place("neyman", "neyman")).read_text())
    assert limit["intervals"]["0.68"] == [[0.5, pytest.approx(1.2 + 0.468 * SIGMA, abs=0.1)]]
    assert [point["t"] > 0 for point in limit["points"]] == [False, False, True, True]


def test_data_whose_fit_does_not_converge_have_no_belt_and_a_reason(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = fitting.minimise
    monkeypatch.setattr(asked, "minimise", lambda *given, **how: replace(free(*given, **how), converged=False))
    spec = specs.Neyman(fit=FIT, poi="mu", grid=GRID, blocks=tuple(map(names, GRID)), levels=(0.68,))
    throwing.neyman(str(run), Task(stage=STAGES["neyman"], name="neyman", key="k", spec=spec, after=()))
    found = json.loads((run / stages.place("neyman", "neyman")).read_text())
    assert found["reason"] == "the fit of the asimov data did not converge, so that there is no belt"
    throwing.toys(
        str(run),
        Task(stage=STAGES["toys"], name="neyman/mu=9.0000", key="n", spec=replace(toys(9.0), profiled=True), after=()),
    )
    assert len(inputs.blocks(str(run), ("neyman/mu=9.0000",)).t) == 0


@pytest.mark.filterwarnings("default:toys are fitted")
def test_further_round_throws_only_where_a_critical_value_decides(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation, "AVAILABLE", False)
    events = counting(40_000, b=39_600, s=400)
    truth = events.rates.at({"mu": 0.5})
    made = throwing.ToyBatch(
        events, drawn(ToyPool(events, np.array([39_800.0]), 0.0), truth, range(3)), truth, (1.0, 0.0)
    )
    monkeypatch.setattr(throwing, "throw", lambda _root, _spec: made)
    sure = toys(1.0, earlier=names(1.0), levels=(0.95,))
    throwing.toys(str(run), Task(stage=STAGES["toys"], name="neyman/mu=1.0001", key="a", spec=sure, after=()))
    assert len(inputs.blocks(str(run), ("neyman/mu=1.0001",)).t) == 0
    joined = inputs.blocks(str(run), (*names(1.0), "neyman/mu=1.0001"))
    assert len(joined.t) == 2000
    t = ((1.2 - 0.5) / SIGMA) ** 2
    level = float((inputs.blocks(str(run), names(0.5)).t <= t).mean())
    doubtful = toys(0.5, earlier=names(0.5), levels=(level,))
    record = throwing.toys(
        str(run), Task(stage=STAGES["toys"], name="neyman/mu=0.5.0001", key="b", spec=doubtful, after=())
    )
    assert "numba is not installed" in record.warnings
    assert throwing.decided(
        str(run), replace(doubtful, statistic="q_mu")
    )  # below the best value, which is not excluded
    assert len(inputs.blocks(str(run), ("neyman/mu=0.5.0001",)).t) == 3
