"""The tasks of `[bootstrap]`: a replica of all ratios and fits, and what their scatter says. Imports the science inside functions."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from needle_parsl import rundir
from needle_parsl.errors import TaskError
from needle_parsl.plan import Task, specs
from needle_parsl.workflow import inputs, normalising
from needle_parsl.workflow.records import Record, writing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from needle_parsl.nsbi.estimators.estimator import Estimator
    from needle_parsl.nsbi.statistics.bootstrap import Fitted, Replica
    from needle_parsl.nsbi.statistics.dataset import Dataset


def replica(root: str, task: Task, *_before: Record) -> Record:
    """Combine the members of one replica, and fit the data with its ratios; too few members are its reason, and no failure."""
    from needle_parsl.nsbi.statistics import bootstrap

    spec = task.of(specs.Replica)
    with writing(root, task) as out:
        try:
            made = remade(root, spec.again)
        except TaskError as error:
            bootstrap.write(out.path, bootstrap.Replica(str(error), {}, {}))
        else:
            bootstrap.write(out.path, _fits(root, spec, made))
    return out.record(root)


def remade(root: str, again: specs.Again) -> dict[str, Estimator]:
    """Make the ratios of the model again.

    Args:
        root: The run directory.
        again: How.

    Raises:
        TaskError: A ratio has too few members.
    """
    found = {one.ratio.name: _estimator(root, again, one) for one in again.combines}
    nominal = None
    for spec in again.normalises:
        raw = {one.ratio.name: found[one.ratio.name] for one in spec.ratios}
        normalised = normalising.normalised(root, spec, raw, nominal, again.resampled)
        nominal = nominal or normalised
        found |= {name: normalised.scales[name].apply(estimator) for name, estimator in raw.items()}
    return found


def _estimator(root: str, again: specs.Again, combine: specs.Combine) -> Estimator:
    """Make the estimator of one ratio; the events that combine it are resampled, too."""
    from needle_parsl.nsbi.training import packs

    pack = packs.join([packs.read(inputs.path(root, "train", name)) for name in combine.packs])
    first, last = again.members
    own = replace(pack, members=tuple(m for m in pack.members if first <= m.member < last))
    return normalising.made(root, combine, own, again.resampled)


def _fits(root: str, spec: specs.Replica, ratios: Mapping[str, Estimator]) -> Replica:
    from needle_parsl.nsbi.statistics import bootstrap, dataset

    simulation = inputs.simulated(root, spec.again.simulation, ratios)

    def fitted(fit: specs.Fit) -> Fitted:
        data = (
            inputs.weighted(fit, simulation)
            if fit.dataset == spec.again.simulation.dataset
            else dataset.observed(inputs.store(root, fit.dataset), ratios)
        )
        return _fitted(root, fit, data, simulation)

    found = {fit.dataset: fitted(fit) for fit in spec.fits}
    return bootstrap.Replica("", found, bootstrap.points(simulation))


def _fitted(root: str, fit: specs.Fit, data: Dataset, simulation: Dataset) -> Fitted:
    from needle_parsl.nsbi.statistics.bootstrap import Fitted
    from needle_parsl.nsbi.statistics.fits.fitting import minimise

    likelihood = inputs.likelihood_of(fit, data, simulation, inputs.regions(root, fit))
    return Fitted.of(minimise(likelihood, likelihood.rates, errors=False))


def bootstrap(root: str, task: Task, *_before: Record) -> Record:
    """Split the scatter of all replicas."""
    from needle_parsl.nsbi.statistics import bootstrap

    spec = task.of(specs.Bootstrap)
    with writing(root, task) as out:
        resampled, repeated = (
            [bootstrap.read(inputs.path(root, "replica", name)) for name in names]
            for names in (spec.replicas, spec.repeats)
        )
        counts = bootstrap.Counts(spec.members, spec.whole, spec.own)
        rundir.write_json(out.path, bootstrap.summarise(resampled, repeated, counts))
    return out.record(root)
