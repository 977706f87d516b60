"""The tasks of `[bootstrap]`: a replica of all ratios and fits, and what their scatter says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from needle_parsl import files
from needle_parsl.errors import TaskError
from needle_parsl.nsbi.estimators.estimator import Estimator
from needle_parsl.nsbi.statistics import bootstrap as resampling
from needle_parsl.nsbi.statistics import dataset
from needle_parsl.nsbi.statistics.bootstrap import Replica
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
from needle_parsl.nsbi.training import packs
from needle_parsl.plan import Task, specs
from needle_parsl.records import Record, writing
from needle_parsl.tasks import inputs, normalisation


def replica(root: str, task: Task, *_before: Record) -> Record:
    """Combine the members of one replica, and fit the data with its ratios; too few members are its reason, and no failure."""
    spec = task.of(specs.ReplicaFit)
    with writing(root, task) as out:
        try:
            made = remade(root, spec.again)
        except TaskError as error:
            resampling.write(out.path, resampling.Replica(str(error), {}, {}))
        else:
            resampling.write(out.path, _fits(root, spec, made))
    return out.record(root)


def remade(root: str, again: specs.Resampling) -> dict[str, Estimator]:
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
        normalised = normalisation.normalised(root, spec, raw, nominal, again.resampled)
        nominal = nominal or normalised
        found |= {name: normalised.scales[name].apply(estimator) for name, estimator in raw.items()}
    return found


def _estimator(root: str, again: specs.Resampling, combine: specs.Combine) -> Estimator:
    """Make the estimator of one ratio; the events that combine it are resampled, too."""
    pack = packs.join([packs.read(inputs.path(root, "train", name)) for name in combine.packs])
    first, last = again.members
    own = replace(pack, members=tuple(m for m in pack.members if first <= m.member < last))
    return normalisation.made(root, combine, own, again.resampled)


def _fits(root: str, spec: specs.ReplicaFit, ratios: Mapping[str, Estimator]) -> Replica:
    """Fit the data with the ratios of a replica."""
    simulation = inputs.simulated(root, spec.again.simulation, ratios)

    def likelihood(fit: specs.FitSpec) -> Likelihood:
        data = (
            inputs.weighted(fit, simulation)
            if fit.dataset == spec.again.simulation.dataset
            else dataset.observed(inputs.store(root, fit.dataset), ratios)
        )
        return inputs.likelihood_of(fit, data, simulation, inputs.regions(root, fit))

    return resampling.fit_replica(((fit.dataset, likelihood(fit)) for fit in spec.fits), simulation)


def bootstrap(root: str, task: Task, *_before: Record) -> Record:
    """Split the scatter of all replicas."""
    spec = task.of(specs.BootstrapSpec)
    with writing(root, task) as out:
        resampled, repeated = (
            [resampling.read(inputs.path(root, "replica", name)) for name in names]
            for names in (spec.replicas, spec.repeats)
        )
        counts = resampling.NetworkCounts(spec.members, spec.whole, spec.own)
        files.write_json(out.path, resampling.summarise(resampled, repeated, counts).to_json())
    return out.record(root)
