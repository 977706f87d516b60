"""Tasks that hold data against the model after the fit."""

from __future__ import annotations

from collections.abc import Mapping

from needle_parsl import files
from needle_parsl.nsbi.statistics import analyses, blinding
from needle_parsl.nsbi.statistics.analyses import ComparedEvents
from needle_parsl.nsbi.statistics.dataset import Dataset
from needle_parsl.nsbi.statistics.model.builder import Builder
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
from needle_parsl.plan import Task, specs
from needle_parsl.plan.specs.stores import REGION
from needle_parsl.records import Record, writing
from needle_parsl.tasks import inputs
from needle_parsl.tasks.regions import insist_on_disjoint


def goodness(root: str, task: Task, *_before: Record) -> Record:
    """Compare the observed events of unbinned regions with the model, by toys."""
    spec = task.of(specs.GoodnessSpec)
    counts = inputs.regions(root, spec.fit)

    def build(events: Mapping[str, Dataset]) -> Likelihood:
        return inputs.likelihood_of_all(spec.fit, {name: (own, own) for name, own in events.items()}, counts)

    with writing(root, task) as out:
        pairs, folders = inputs.joint(root, spec.fit), inputs.places(root, spec.fit)
        scored = inputs.scored(folders, spec.crossed) or {name: data for name, (data, _) in pairs.items()}
        found = analyses.describe_data(
            inputs.likelihood_of_all(spec.fit, pairs, counts),
            {
                name: ComparedEvents(scored[name], simulation, inputs.features(folders[name], spec.fit.dataset))
                for name, (_, simulation) in pairs.items()
            },
            build,
            spec.poi,
            toys=spec.toys,
            seed=spec.salt,
        )
        files.write_json(out.path, found.to_json())
    return out.record(root)


def validation(root: str, task: Task, *_before: Record) -> Record:
    """Look at regions that are fitted to nothing."""
    spec = task.of(specs.ValidationSpec)
    fit = spec.fit
    with writing(root, task) as out:
        for process in fit.model.processes:
            unbinned = [(n, inputs.store(folder, process).id) for n, folder in inputs.places(root, fit).items()]
            for name, edges in spec.bins:
                insist_on_disjoint(process, [*unbinned, (name, inputs.inside(root, f"{process}{REGION}{name}", edges))])
        found = analyses.validate(
            inputs.likelihood(root, fit),
            Builder.of(fit.model, fit.shapes, fit.crosses),
            [inputs.counts_of(root, name) for name, _ in spec.bins],
            dataset=fit.dataset,
        )
        files.write_json(out.path, (blinding.hide_validation(found) if fit.blinding else found).to_json())
    return out.record(root)
