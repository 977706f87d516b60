"""The task that writes the report: it gathers what the others have found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from needle_parsl import rundir
from needle_parsl import site as sites
from needle_parsl.errors import InputError
from needle_parsl.files import read_json, write_json
from needle_parsl.json_records import JsonRecord
from needle_parsl.nsbi.estimators.results import RatioDiagnostics
from needle_parsl.nsbi.report import gathering, page, stage_networks
from needle_parsl.nsbi.report.gathering import Inference, StagesFacts, Subject
from needle_parsl.nsbi.report.sections import Section
from needle_parsl.nsbi.statistics.results import (
    Belt,
    Breakdown,
    Coverage,
    Distributions,
    FitResult,
    GoodnessOfFit,
    Impacts,
    InjectionTests,
    Limits,
    Mixture,
    NeymanRegion,
    NoBelt,
    ProfilePlane,
    ProfileScan,
    Replicas,
    Residuals,
    Validation,
    read_belt,
    read_region,
)
from needle_parsl.plan import Task, specs
from needle_parsl.precision import PrecisionLaw
from needle_parsl.records import Record, warnings, writing
from needle_parsl.tasks import inputs

R = TypeVar("R", bound=JsonRecord)


def report(root: str, task: Task, *before: Record) -> Record:
    """Write the report: a page, its figures, and the numbers it shows."""
    if isinstance(task.spec, specs.StagesReport):
        return _of_stages(root, task, before)
    spec = task.of(specs.Report)
    with writing(root, task) as out:
        data, own = inputs.expectation(root, spec), spec.splitting
        split = inputs.fractions(own), gathering.Folds(own.folds, own.fold_salt) if own.folds else None
        known = [ratio for ratio in spec.ratios if ratio.name in data.ratios] if spec.physics else []
        facts = gathering.gather(
            _subject(root, spec, before),
            samples=[gathering.sample(name, inputs.path(root, "convert", name), *split) for name in spec.stores],
            observed=inputs.seen(root, spec),
            packs={name: inputs.path(root, "train", name) for name in spec.packs},
            diagnostics={r.name: _diagnostics(root, r.name) for r in spec.ratios},
            inference=_inference(root, spec),
            dataset=data,
            exact={r.name: inputs.exact_log_ratio(root, spec.physics, r, data) for r in known if spec.physics},
            seconds=[(record.stage, record.seconds) for record in before],
            provenance=inputs.provenance(root),
        )
        page.write(out.path, replace(facts, sections=_sections(root, spec.sections), workers=_workers(root)))
    return out.record(root)


def _of_stages(root: str, task: Task, before: tuple[Record, ...]) -> Record:
    """Write the report of the user's stages alone."""
    spec = task.of(specs.StagesReport)
    with writing(root, task) as out:
        subject = Subject(
            name=spec.name, seed=spec.seed, headline="", poi="", blinded=False, warnings=tuple(warnings(before))
        )
        page.write_stages(out.path, StagesFacts(subject, inputs.provenance(root), _sections(root, spec.sections)))
    return out.record(root)


def networks(root: str, task: Task, *_before: Record) -> Record:
    """Write the section on the networks of an analysis that a stage names."""
    spec = task.of(specs.NetworksSection)
    folder = Path(root) / specs.PARTS / spec.stage
    with writing(root, task) as out:
        found = {ratio: _diagnostics(str(folder), ratio) for ratio in spec.ratios}
        write_json(out.path, stage_networks.section(spec.stage, found, spec.thresholds, region=spec.region).to_json())
    return out.record(root)


def _sections(root: str, places: tuple[str, ...]) -> list[Section]:
    return [Section.from_json(read_json(Path(root) / place)) for place in places]


def _diagnostics(root: str, ratio: str) -> RatioDiagnostics:
    return RatioDiagnostics.from_json(read_json(inputs.path(root, "diagnose", ratio)))


def _subject(root: str, spec: specs.Report, before: tuple[Record, ...]) -> Subject:
    """Say what the report is about."""
    said = (*spec.warnings, *warnings(before))
    lost = {name: inputs.lost(root, name) for name in spec.stores}
    features = () if spec.binned else inputs.features(root, spec.stores[0])
    return Subject(
        name=spec.name,
        seed=spec.seed,
        headline=spec.headline,
        poi=spec.poi,
        blinded=spec.blinded,
        warnings=said,
        lost=lost,
        features=features,
        thresholds=spec.thresholds,
        offset=spec.offset,
        pruned=spec.pruned,
        further=spec.further,
    )


def _inference(root: str, spec: specs.Report) -> Inference:
    """Read what the inference has found; None where it was not asked for."""

    def one(kind: type[R], stage: str, name: str, *, there: bool) -> R | None:
        return kind.from_json(read_json(inputs.path(root, stage, name))) if there else None

    def further(kind: type[R], what: str, *, there: bool) -> list[R]:
        names = [f"{what}.{poi}" for poi in spec.further] if there else []
        return [kind.from_json(read_json(inputs.path(root, "interval", name))) for name in names]

    belt = read_belt(read_json(inputs.path(root, "neyman", "neyman"))) if spec.belt else None
    region = read_region(read_json(inputs.path(root, "neyman", "neyman_region"))) if spec.region else None
    none = next((own.reason for own in (belt, region) if isinstance(own, NoBelt)), "")
    return Inference(
        fits={name: FitResult.from_json(read_json(inputs.path(root, "fit", name))) for name in spec.fits},
        scans={name: ProfileScan.from_json(read_json(inputs.path(root, "interval", name))) for name in spec.scans},
        plane=one(ProfilePlane, "interval", "plane", there=spec.plane),
        impacts=one(Impacts, "interval", "impacts", there=spec.impacts),
        limits=one(Limits, "interval", "limits", there=spec.limits),
        distributions=Distributions.from_json(read_json(inputs.path(root, "interval", "distributions"))),
        belt=belt if isinstance(belt, Belt) else None,
        coverage=one(Coverage, "coverage", "coverage", there=bool(spec.toys)),
        toys=[inputs.blocks(root, names) for names in spec.toys],
        bootstrap=one(Replicas, "bootstrap", "bootstrap", there=spec.bootstrap),
        mixture=one(Mixture, "diagnose", "mixture", there=spec.mixture),
        closure=one(InjectionTests, "interval", "closure", there=spec.closure),
        precision=one(PrecisionLaw, "precision", "precision", there=spec.precision),
        breakdowns=[Breakdown.from_json(read_json(inputs.path(root, "breakdown", name))) for name in spec.breakdowns],
        residuals=one(Residuals, "residuals", "residuals", there=spec.residuals),
        no_belt=none,
        region=region if isinstance(region, NeymanRegion) else None,
        further_impacts=further(Impacts, "impacts", there=spec.impacts),
        further_limits=further(Limits, "limits", there=spec.limits),
        goodness=one(GoodnessOfFit, "goodness", "goodness", there=spec.goodness),
        validation=one(Validation, "validation", "validation", there=spec.validation),
    )


def _workers(root: str) -> int:
    """Count the workers that train on a node of the run's site; 1 where that is not known."""
    try:
        site = sites.load(str(Path(root) / rundir.SITE))
    except InputError:
        return 1
    return site.shapes()[site.shape_for("gpu")].workers()
