"""The task that writes the report: it gathers what the others have found."""

from __future__ import annotations

from typing import Any

from needle_parsl.files import read_json
from needle_parsl.nsbi.report import gathering, page
from needle_parsl.nsbi.report.gathering import Inference, Subject
from needle_parsl.plan import Task, specs
from needle_parsl.records import Record, warnings, writing
from needle_parsl.tasks import inputs


def report(root: str, task: Task, *before: Record) -> Record:
    """Write the report: a page, its figures, and the numbers it shows."""
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
            diagnostics=_numbers(root, "diagnose", tuple(ratio.name for ratio in spec.ratios)),
            inference=_inference(root, spec),
            dataset=data,
            exact={r.name: inputs.exact_log_ratio(root, spec.physics, r, data) for r in known if spec.physics},
            seconds=[(record.stage, record.seconds) for record in before],
            provenance=inputs.provenance(root),
        )
        page.write(out.path, facts)
    return out.record(root)


def _numbers(root: str, stage: str, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: read_json(inputs.path(root, stage, name)) for name in names}


def _subject(root: str, spec: specs.Report, before: tuple[Record, ...]) -> Subject:
    """Say what the report is about."""
    said = (*spec.warnings, *warnings(before))
    lost = {name: inputs.lost(root, name) for name in spec.stores}
    features = () if spec.binned else inputs.features(root, spec.stores[0])
    return Subject(spec.name, spec.seed, spec.headline, spec.poi, spec.blinded, said, lost, features, spec.thresholds)


def _inference(root: str, spec: specs.Report) -> Inference:
    """Read what the inference has found; None where it was not asked for."""

    def one(stage: str, name: str, *, there: bool) -> Any:
        return read_json(inputs.path(root, stage, name)) if there else None

    belt = one("neyman", "neyman", there=spec.belt) or {}
    return Inference(
        _numbers(root, "fit", spec.fits),
        _numbers(root, "interval", spec.scans),
        one("interval", "plane", there=spec.plane),
        one("interval", "impacts", there=spec.impacts),
        one("interval", "limits", there=spec.limits),
        one("interval", "distributions", there=True),
        None if "reason" in belt else belt or None,
        one("coverage", "coverage", there=bool(spec.toys)),
        [inputs.blocks(root, names) for names in spec.toys],
        one("bootstrap", "bootstrap", there=spec.bootstrap),
        one("diagnose", "mixture", there=spec.mixture),
        one("interval", "closure", there=spec.closure),
        belt.get("reason", ""),
    )
