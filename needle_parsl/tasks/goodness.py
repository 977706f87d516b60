"""Tasks that hold data against the model after the fit."""

from __future__ import annotations

from collections.abc import Mapping

from needle_parsl import files
from needle_parsl.nsbi.statistics import analyses
from needle_parsl.nsbi.statistics.analyses import ComparedEvents
from needle_parsl.nsbi.statistics.dataset import Dataset
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
from needle_parsl.plan import Task, specs
from needle_parsl.records import Record, writing
from needle_parsl.tasks import inputs


def goodness(root: str, task: Task, *_before: Record) -> Record:
    """Compare the observed events of unbinned regions with the model, by toys."""
    spec = task.of(specs.GoodnessSpec)
    counts = inputs.regions(root, spec.fit)

    def build(events: Mapping[str, Dataset]) -> Likelihood:
        return inputs.likelihood_of_all(spec.fit, {name: (own, own) for name, own in events.items()}, counts)

    with writing(root, task) as out:
        pairs, folders = inputs.joint(root, spec.fit), inputs.places(root, spec.fit)
        found = analyses.describe_data(
            inputs.likelihood_of_all(spec.fit, pairs, counts),
            {n: ComparedEvents(*pair, inputs.features(folders[n], spec.fit.dataset)) for n, pair in pairs.items()},
            build,
            spec.poi,
            toys=spec.toys,
            seed=spec.salt,
        )
        files.write_json(out.path, found.to_json())
    return out.record(root)
