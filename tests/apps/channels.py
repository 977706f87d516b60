"""The channels app: exact fits of the events of a run, and what the run says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from needle_parsl import refs, shipped
from needle_parsl.analysis import Loaded
from needle_parsl.nsbi.statistics import dataset
from needle_parsl.nsbi.statistics.dataset import Dataset
from needle_parsl.nsbi.statistics.fits.fitting import minimise
from needle_parsl.nsbi.statistics.fits.result import Result
from needle_parsl.nsbi.statistics.model import regions
from needle_parsl.nsbi.statistics.model.builder import Builder
from needle_parsl.nsbi.statistics.results import RegionCounts
from needle_parsl.plan import inference

APP = shipped.folder("apps") / "channels"
PHYSICS = refs.load_source((APP / "physics.py").read_text(), str(APP / "physics.py"))
JETS = {"no_jet": 0, "one_jet": 1}


def exact(events: Dataset, jets: int) -> Dataset:
    """The same events with exact ratios."""
    x = events.x.astype(np.float64)

    def ratio(process: str, **moved: float) -> np.ndarray:
        return PHYSICS.log_p(process, jets, x, **moved) - PHYSICS.log_p("background", jets, x)

    found = {"signal": ratio("signal")}
    for nuisance in ("scale", "width"):
        for side, value in (("up", 1.0), ("down", -1.0)):
            found[f"background.{nuisance}.{side}"] = ratio("background", **{nuisance: value})
    return Dataset.of(
        events.x,
        {name: values for name, values in found.items() if name in events.ratios},
        weight=events.weight,
        samples={name: int((events.sample == place).sum()) for place, name in enumerate(events.samples)} or None,
        yields=events.yields,
    )


def exactly(run: Path, loaded: Loaded, data: str) -> Result:
    """Fit the events of a run with exact densities."""
    spec = inference.model_of(loaded.analysis, ("no_jet", "one_jet"), data)
    pairs = {}
    for name, folder in (("no_jet", run), ("one_jet", run / "analyses" / "one_jet")):
        simulation = exact(dataset.read(folder / "ratios/asimov.h5"), JETS[name])
        seen = simulation if data == "asimov" else exact(dataset.read(folder / f"ratios/{data}.h5"), JETS[name])
        pairs[name] = seen, simulation
    counted = RegionCounts.from_json(json.loads((run / "regions/control.json").read_text()))
    counts = regions.counts(counted, observed=data != "asimov")
    likelihood = Builder.of(spec.model, spec.shapes).joint(pairs, [counts])
    return minimise(likelihood, likelihood.rates)


def fit(run: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / f"fits/{name}.json").read_text())
    return found


def points(run: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((run / "intervals/coverage.json").read_text())["points"]
    return found
