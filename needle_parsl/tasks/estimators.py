"""The tasks that make estimators of trained members, and the files in which they leave the run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from needle_parsl.errors import TaskError
from needle_parsl.files import atomic, digest, write_json
from needle_parsl.nsbi.estimators import diagnostics, files, joint, yield_scales
from needle_parsl.nsbi.estimators.exporting import onnx_file
from needle_parsl.nsbi.estimators.results import RatioDiagnostics
from needle_parsl.nsbi.statistics import dataset, outside, pseudomodel
from needle_parsl.nsbi.statistics import network_error as one_by_one
from needle_parsl.nsbi.statistics.fits import ensemble_shifts
from needle_parsl.nsbi.statistics.model import Rates, mixture
from needle_parsl.nsbi.statistics.results import Mixture
from needle_parsl.nsbi.training import packs
from needle_parsl.plan import Task, specs
from needle_parsl.records import Record, writing
from needle_parsl.tasks import inputs
from needle_parsl.tasks.normalisation import made

PARITY = 1024
"""Events of each store on which an exported file is compared with needle."""


def combine(root: str, task: Task, *_before: Record) -> Record:
    """Make one estimator of all members of a ratio."""
    spec = task.of(specs.Combine)
    with writing(root, task) as out:
        found = made(root, spec, packs.join([packs.read(inputs.path(root, "train", name)) for name in spec.packs]))
        if spec.normalise not in ("reference", "none"):
            scales = yield_scales.read(inputs.path(root, "normalise", spec.normalise)).scales
            found = scales[spec.ratio.name].apply(found)
        files.write(out.path, found)
    return out.record(root)


def covariance(root: str, task: Task, *_before: Record) -> Record:
    """Compute the joint covariance of all wifi ratios, which share simulated events; those with a fallback have none."""
    spec = task.of(specs.CovarianceSpec)
    with writing(root, task) as out:
        made = {ratio.name: files.read(inputs.path(root, "combine", ratio.name)) for ratio in spec.ratios}
        weighted = {name: estimator for name, estimator in made.items() if estimator.fitted is not None}
        own = replace(spec, ratios=tuple(ratio for ratio in spec.ratios if ratio.name in weighted))
        joint.write(out.path, joint.covariance(weighted, inputs.roles(root, own)))
    return out.record(root)


def compose(root: str, task: Task, *_before: Record) -> Record:
    """Put all estimators into one pseudo-model."""
    spec = task.of(specs.Compose)
    with writing(root, task) as out:
        ratios = {name: files.read(inputs.path(root, "combine", name)) for name in spec.ratios}
        joined = joint.read(inputs.path(root, "covariance", "covariance")) if spec.covariance else None
        facts, interpolations = spec.facts, dict(spec.interpolations)
        model = pseudomodel.PseudoModel(
            name=facts.name,
            features=facts.features,
            units=dict(facts.units),
            processes=spec.processes,
            ratios=ratios,
            shapes=spec.shapes,
            interpolations=interpolations,
            covariance=joined,
            crosses=spec.crosses,
        )
        pseudomodel.write(out.path, model)
    return out.record(root)


def export(root: str, task: Task, *_before: Record) -> Record:
    """Write an ONNX file beside a note of what it is; a network that cannot be exported leaves the reason in the note."""
    spec = task.of(specs.Export)
    target = Path(root) / "estimators" / spec.file
    with writing(root, task) as out:
        ratios = {name: files.read(inputs.path(root, "combine", name)) for name in spec.ratios}
        x = np.concatenate([inputs.first(root, name, PARITY).x for name in spec.stores])
        facts = onnx_file.FileFacts(spec.facts.name, dict(spec.facts.units))
        note: dict[str, Any] = {"file": str(target.relative_to(root)), "exported": True, "reason": ""}
        try:
            onnx_file.refuse_particles(ratios)
            with atomic(target) as temporary:
                note |= {"largest_difference": onnx_file.write(temporary, ratios, x, facts)}
                note |= {"digest": digest(temporary), "bytes": temporary.stat().st_size}
        except TaskError as error:
            target.unlink(missing_ok=True)  # of an earlier state of the analysis
            note |= {"exported": False, "reason": str(error)}
        write_json(out.path, note)
    return out.record(root)


def diagnose(root: str, task: Task, *_before: Record) -> Record:
    """Measure an estimator, or the mixture of all processes, on test events."""
    with writing(root, task) as out:
        spec = task.spec
        mixed = isinstance(spec, specs.MixtureSpec)
        found = _mixture(root, task.of(specs.MixtureSpec)) if mixed else _ratio(root, task.of(specs.Diagnose))
        write_json(out.path, found.to_json())
    return out.record(root)


def _ratio(root: str, spec: specs.Diagnose) -> RatioDiagnostics:
    """Measure one estimator."""
    physics = spec.physics
    made = files.read(inputs.path(root, "combine", spec.ratio.name))
    above, below = inputs.both(root, spec, "test")
    trained = inputs.both(root, spec, "train", most=diagnostics.MOST)
    exact = (
        (inputs.exact_log_ratio(root, physics, spec.ratio, above), inputs.exact_log_ratio(root, physics, spec.ratio, below))
        if physics
        else None
    )  # fmt: skip
    pack = packs.join([packs.read(inputs.path(root, "train", name)) for name in spec.packs])
    return replace(diagnostics.diagnose(made, (above, below), trained, exact), training=diagnostics.training(pack))


def _mixture(root: str, spec: specs.MixtureSpec) -> Mixture:
    """Look at the mixture of all processes along the parameter of interest."""
    reference = inputs.mixed(root, spec.reference, spec.splitting, "test")
    x, estimators = reference.inputs, inputs.opened(root, spec.ratios)
    ratios = {name: estimator.log_ratio(x) for name, estimator in estimators.items()}
    expected = {density.name: value for density, value in inputs.shares(root, spec.samples)}
    where = spec.poi, mixture.values(spec.model.parameters[spec.poi])
    return mixture.normalisations(Rates.build(spec.model), expected, ratios, reference.weight, where)


def evaluate(root: str, task: Task, *_before: Record) -> Record:
    """Compute the log ratios of all events of a dataset."""
    spec = task.of(specs.Evaluate)
    with writing(root, task) as out:
        ratios = inputs.opened(root, spec.ratios)
        if spec.samples:
            made, networks = inputs.simulated(root, spec, ratios), inputs.networks(root, spec, ratios)
        else:
            made, networks = dataset.observed(inputs.store(root, spec.dataset), ratios, inputs.knots(spec)), None
        names = inputs.features(root, spec.samples[0].density.name if spec.samples else spec.dataset)
        outside.insist(made.ratios, made.x, names, spec.dataset)
        dataset.write(out.path, made)
        if networks is not None:
            one_by_one.write(out.path, networks)
        if spec.covariance:
            ensemble_shifts.write(out.path, made.x, ratios, joint.read(inputs.path(root, "covariance", "covariance")))
    return out.record(root)
