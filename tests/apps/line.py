"""What a finished run has learned, ready to fit any data set of its app, beside the exact densities."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from needle_parsl import plan
from needle_parsl.analysis import load
from needle_parsl.files import read_json
from needle_parsl.nsbi.data import conversion, generation
from needle_parsl.nsbi.estimators import files
from needle_parsl.nsbi.estimators.exact import log_mixture
from needle_parsl.nsbi.statistics import dataset
from needle_parsl.nsbi.statistics.fits.fitting import minimise
from needle_parsl.nsbi.statistics.fits.result import Result
from needle_parsl.nsbi.statistics.model.exact import ExactLikelihood
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
from needle_parsl.nsbi.statistics.toys.pool import Beside
from needle_parsl.plan import specs
from needle_parsl.tasks import inputs
from needle_parsl.workflow import probe

Pair = tuple[Likelihood, ExactLikelihood]


def unbiased_and_covering(root: Path, truths: int, toys: int, errors: float) -> list[Any]:
    """Hold the toys of a run against bias, pull width and coverage of a good measurement, and give these numbers.

    Args:
        root: The run directory.
        truths: At how many values of the parameters.
        toys: Thrown at each.
        errors: Statistical errors that the pull width may lie outside its bounds.
    """
    found = read_json(root / "intervals" / "coverage.json")["points"]
    points = [point for point in found if point["level"] == 0.68 and point["method"] == "profile"]
    assert [point["toys"] + point["failed"] for point in points] == [toys] * truths
    for point in points:
        assert point["failed"] <= 0.01 * toys, point
        assert abs(point["bias"]) < 0.1 * point["spread"] + 2 * point["bias_error"], point
        assert abs(point["pull_width"] - 1) < 0.1 + errors / np.sqrt(2 * toys), point
        assert abs(point["coverage"] - 0.68) < 2.5 * point["error"], point
    return points


class Line:
    """The learned and the exact likelihood of data sets of an app."""

    def __init__(self, root: Path, analysis: Path) -> None:
        loaded = load(analysis)
        tasks = plan.build(loaded.analysis, probe.probe(loaded)[0], 8).tasks
        self.root = str(root)
        self.spec = next(t.of(specs.ToysSpec) for t in tasks if t.stage.name == "toys" and t.of(specs.ToysSpec).thrower)
        self.exact = next(t.spec for t in tasks if isinstance(t.spec, specs.Exact))
        self.simulation = inputs.dataset(self.root, "asimov")
        self.asimov = inputs.likelihood(self.root, inputs.expected(self.spec.fit))
        self.rates = self.asimov.rates
        thrower = self.spec.thrower
        assert thrower is not None
        self.thrower, self.recipe = thrower, inputs.recipe(thrower.kept)
        self.ratios = {name: files.read(root / "estimators" / name / "estimator.h5") for name in thrower.ratios}

    def both(self, learned: Likelihood, data: dataset.Dataset) -> Pair:
        """Put the exact likelihood of the same events beside the learned one."""
        density, shares = inputs.log_density(self.exact.physics), inputs.shares(self.root, self.exact.reference)
        reference = log_mixture(density, shares, data.x.astype(float))
        shapes = {p: [s.nuisance for s in self.spec.fit.shapes if s.process == p] for p in self.rates.processes}
        return learned, ExactLikelihood(learned, data, density, shapes, reference)

    def expected(self, mu: float) -> Pair:
        """Of Asimov data at mu; binned regions are those of the nominal parameters."""
        f, _ = self.rates.factors(self.rates.at({"mu": mu}))
        data = dataset.at(self.simulation, dict(zip(self.rates.processes, f, strict=True)))
        return self.both(inputs.likelihood_of(self.spec.fit, data, self.simulation), data)

    def thrown(self, mu: float, seed: int) -> Pair:
        """Of a data set drawn afresh, with its own counts and auxiliary observations."""
        truth, generator = self.rates.at({"mu": mu}), np.random.default_rng(seed)
        beside = Beside.throw(self.asimov, truth, generator)
        values = dict(zip(self.rates.parameters, self.rates.outward(truth).tolist(), strict=True))
        physics = self.thrower.physics
        made = generation.pseudo_data(self.thrower.reference, physics.source, physics.path, generator, values)
        data = dataset.observed(conversion.select(made, self.recipe, "toys"), self.ratios)
        regions = inputs.regions(self.root, self.spec.fit)
        learned = inputs.likelihood_of(self.spec.fit, data, self.simulation, regions)
        own = learned.take(slice(None), beside.constraints, beside.counts)
        return self.both(own.thinned(truth), data)

    def fits(self, mu: float, seed: int) -> tuple[Result, Result]:
        """Fit a data set drawn afresh with learned ratios and with exact densities."""
        learned, exact = self.thrown(mu, seed)
        return minimise(learned, self.rates), minimise(exact, self.rates)
