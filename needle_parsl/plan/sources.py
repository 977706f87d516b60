"""What is converted: samples, varied samples, observed data, and what of them is counted in binned regions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from needle_parsl import addresses
from needle_parsl.analysis import Analysis, Data, Sample, Source
from needle_parsl.densities import Density
from needle_parsl.plan.datasets import OBSERVED
from needle_parsl.plan.specs.stores import REGION, whole


def sources(analysis: Analysis) -> dict[str, Sample | Data]:
    """List everything that is converted, by the name of its store: samples, varied samples, observed data.

    Without unbinned events, of all samples those whose stated yield is that of all of their events.
    """
    used = dict.fromkeys((*analysis.model.processes, *analysis.ratios.targets, *analysis.ratios.reference))
    found: dict[str, Sample | Data] = {name: analysis.samples[name] for name in used}
    for name, nuisance, side, source in analysis.varied():
        found[Density(name, nuisance, side).name] = completed(analysis.samples[name], source)
    for name, joint in analysis.joint():
        found[Density(name, at=joint.point()).name] = completed(analysis.samples[name], joint)
    if data := analysis.data():
        found[OBSERVED] = data
    counted = _counted(analysis, found) | _stated(analysis)
    if analysis.binned:
        found = {name: found[name] for name in analysis.model.processes if analysis.samples[name].yield_ is not None}
    return found | counted


def densities(analysis: Analysis, region: str | None = None) -> tuple[Density, ...]:
    """List the varied samples of a region; left out, of the unbinned one that the analysis is of."""
    alone = [Density(name, nuisance, side) for name, nuisance, side, _ in analysis.varied(region)]
    return (*alone, *(Density(name, at=joint.point()) for name, joint in analysis.joint()))


def _counted(analysis: Analysis, found: Mapping[str, Sample | Data]) -> dict[str, Sample | Data]:
    """List what is counted in binned regions: processes, their variations, and data."""
    counted: dict[str, Sample | Data] = {}
    for region in analysis.model.regions:
        counted |= {f"{name}{REGION}{region}": found[name] for name in analysis.model.processes}
        for name, nuisance, side, source in analysis.varied(region):
            varied = f"{Density(name, nuisance, side).name}{REGION}{region}"
            counted[varied] = completed(analysis.samples[name], source)
        for name, joint in analysis.joint():
            counted[f"{Density(name, at=joint.point()).name}{REGION}{region}"] = completed(
                analysis.samples[name], joint
            )
        if data := analysis.data(region):
            counted[f"{OBSERVED}{REGION}{region}"] = data
    return counted


def _stated(analysis: Analysis) -> dict[str, Sample | Data]:
    """List the samples whose stated yields are of more events than those of the region."""
    if analysis.stated is None:
        return {}
    return {whole(name): sample for name, sample in analysis.samples.items() if sample.yield_ is not None}


def completed(sample: Sample, source: Source) -> Sample:
    """What a variation does not say is nominal."""
    moved = bool(source.files or source.generate)
    has_tree = not source.files or any(not addresses.name(name).endswith((".parquet", ".csv")) for name in source.files)
    return replace(
        sample,
        files=source.files if moved else sample.files,
        generate=source.generate if moved else sample.generate,
        tree=source.tree or (sample.tree if has_tree else ""),
        weight=source.weight if source.weight != "" else sample.weight,
    )
