"""The tasks that make estimators of trained members, and the files in which they leave the run. Imports the science inside functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from needle_parsl import rundir
from needle_parsl.errors import TaskError
from needle_parsl.plan import Task, specs
from needle_parsl.workflow import inputs
from needle_parsl.workflow.normalising import made
from needle_parsl.workflow.records import Record, writing

if TYPE_CHECKING:
    from needle_parsl.nsbi.estimators.estimator import Estimator

PARITY = 1024
"""Events of each store on which an exported file is compared with needle."""


def combine(root: str, task: Task, *_before: Record) -> Record:
    """Make one estimator of all members of a ratio."""
    from needle_parsl.nsbi.estimators import files, normalising
    from needle_parsl.nsbi.training import packs

    spec = task.of(specs.Combine)
    with writing(root, task) as out:
        found = made(root, spec, packs.join([packs.read(inputs.path(root, "train", name)) for name in spec.packs]))
        if spec.normalise not in ("reference", "none"):
            scales = normalising.read(inputs.path(root, "normalise", spec.normalise)).scales
            found = scales[spec.ratio.name].apply(found)
        files.write(out.path, found)
    return out.record(root)


def covariance(root: str, task: Task, *_before: Record) -> Record:
    """Compute the joint covariance of all wifi ratios, which share simulated events; those with a fallback have none."""
    from needle_parsl.nsbi.estimators import files, joint

    spec = task.of(specs.Covariance)
    with writing(root, task) as out:
        made = {ratio.name: files.read(inputs.path(root, "combine", ratio.name)) for ratio in spec.ratios}
        weighted = {name: estimator for name, estimator in made.items() if estimator.fitted is not None}
        own = replace(spec, ratios=tuple(ratio for ratio in spec.ratios if ratio.name in weighted))
        joint.write(out.path, joint.covariance(weighted, inputs.roles(root, own)))
    return out.record(root)


def compose(root: str, task: Task, *_before: Record) -> Record:
    """Put all estimators into one pseudo-model."""
    from needle_parsl.nsbi.estimators import files, joint
    from needle_parsl.nsbi.statistics import pseudomodel

    spec = task.of(specs.Compose)
    with writing(root, task) as out:
        ratios = {name: files.read(inputs.path(root, "combine", name)) for name in spec.ratios}
        joined = joint.read(inputs.path(root, "covariance", "covariance")) if spec.covariance else None
        facts, interpolations = spec.facts, dict(spec.interpolations)
        model = pseudomodel.PseudoModel(
            facts.name, facts.features, dict(facts.units), spec.processes, ratios, spec.shapes, interpolations, joined
        )
        pseudomodel.write(out.path, model)
    return out.record(root)


def _refuse_particles(ratios: Mapping[str, Estimator]) -> None:
    for name, ratio in ratios.items():
        if any(shape.particles for shape in (ratio.shape, *ratio.shapes)):
            raise TaskError(f"the networks of {name} see particles, for which exported files have no input")


def export(root: str, task: Task, *_before: Record) -> Record:
    """Write an ONNX file beside a note of what it is; a network that cannot be exported leaves the reason in the note."""
    import numpy as np

    from needle_parsl.nsbi.estimators import files
    from needle_parsl.nsbi.estimators.exporting import onnx_file

    spec = task.of(specs.Export)
    target = Path(root) / "estimators" / spec.file
    with writing(root, task) as out:
        ratios = {name: files.read(inputs.path(root, "combine", name)) for name in spec.ratios}
        x = np.concatenate([inputs.first(root, name, PARITY).x for name in spec.stores])
        facts = onnx_file.Facts(spec.facts.name, dict(spec.facts.units))
        note: dict[str, Any] = {"file": str(target.relative_to(root)), "exported": True, "reason": ""}
        try:
            _refuse_particles(ratios)
            with rundir.atomic(target) as temporary:
                note |= {"largest_difference": onnx_file.write(temporary, ratios, x, facts)}
                note |= {"digest": rundir.digest(temporary), "bytes": temporary.stat().st_size}
        except TaskError as error:
            target.unlink(missing_ok=True)  # of an earlier state of the analysis
            note |= {"exported": False, "reason": str(error)}
        rundir.write_json(out.path, note)
    return out.record(root)
