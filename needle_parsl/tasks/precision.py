"""The task that finds how many networks and events are enough."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from needle_parsl import files
from needle_parsl.nsbi.statistics import network_error
from needle_parsl.nsbi.statistics.analyses import precision as measuring
from needle_parsl.nsbi.statistics.analyses.fits import CrossFitted
from needle_parsl.nsbi.statistics.results import FitResult, Replicas
from needle_parsl.plan import Task, specs
from needle_parsl.precision import PrecisionLaw
from needle_parsl.records import Record, writing
from needle_parsl.tasks import inputs


def precision(root: str, task: Task, *_before: Record) -> Record:
    """Measure what networks add to the error of the parameter of interest, by source."""
    spec = task.of(specs.PrecisionSpec)
    with writing(root, task) as out:
        found = measuring.measure(
            _law(root, spec),
            inputs.likelihood(root, spec.fit),
            networks=_networks(root, spec),
            exact=partial(_exact, root, spec),
            fits={name: FitResult.from_json(files.read_json(inputs.path(root, "fit", name))) for name in spec.fits},
            replicas=_replicas(root) if spec.replicas else None,
            how=measuring.Ensemble(weighted=spec.weighted, normalised=spec.normalised, kinds=spec.kinds),
        )
        files.write_json(out.path, found.to_json())
    return out.record(root)


def _law(root: str, spec: specs.PrecisionSpec) -> PrecisionLaw:
    """Say of what the law is."""
    events = sum(len(inputs.part(root, share.density.name, spec.splitting, "train")) for share in spec.samples)
    return PrecisionLaw(
        parameter=spec.poi, sigma=0.0, members=spec.members, events=events, bagging=spec.bagging, growth=spec.growth
    )


def _networks(root: str, spec: specs.PrecisionSpec) -> CrossFitted | None:
    """Read the networks of cross-fitted ratios; None where ratios are made otherwise."""
    found = network_error.read(inputs.path(root, "evaluate", "asimov"))
    if found is None:
        return None
    return CrossFitted(found, inputs.dataset(root, "asimov"), partial(inputs.likelihood_of, spec.fit))


def _exact(root: str, spec: specs.PrecisionSpec) -> Mapping[str, measuring.Floats]:
    """Compute exact log ratios of all simulated events; none where they are not known."""
    if spec.physics is None:
        return {}
    data = inputs.dataset(root, "asimov")
    return {ratio.name: inputs.exact_log_ratio(root, spec.physics, ratio, data) for ratio in spec.ratios}


def _replicas(root: str) -> Replicas:
    return Replicas.from_json(files.read_json(inputs.path(root, "bootstrap", "bootstrap")))
