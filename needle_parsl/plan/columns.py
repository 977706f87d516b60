"""Which columns each sample's files must have, and the keys of the analysis that say so; works on a faulty analysis, too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from needle_parsl import expressions
from needle_parsl.analysis import Analysis, Data, Sample
from needle_parsl.densities import Density
from needle_parsl.errors import InputError
from needle_parsl.plan.datasets import OBSERVED
from needle_parsl.plan.events import joint
from needle_parsl.plan.sources import completed
from needle_parsl.plan.specs.stores import REGION


@dataclass(frozen=True, kw_only=True)
class WantedColumns:
    """What is read from the files of a sample, a varied sample or observed data."""

    store: str
    """Its name: `background.jes.up`."""
    key: str
    """Its table: `samples.background.variations.jes.up`."""
    files: tuple[str, ...]
    """Patterns."""
    tree: str
    tree_key: str
    """The key that names the tree."""
    names: Mapping[str, str]
    """The key that needs a column, by column."""
    derived: tuple[str, ...]
    """Names of the derived and computed columns that are used."""
    lists: Mapping[str, str]
    """The same for columns that may be jagged."""
    skip: bool
    """Bad files are left out."""


def wanted(analysis: Analysis) -> Iterator[WantedColumns]:
    """List what is read from files; what cannot be told, because of a mistake, is left out."""
    used = dict.fromkeys((*analysis.model.processes, *analysis.ratios.targets, *analysis.ratios.reference))
    for name in [name for name in used if name in analysis.samples]:
        sample, (key, weight) = analysis.samples[name], analysis.keys_of(name)
        yield _wanted(analysis, name, key, sample, (f"{key}.tree", weight))
        for nuisance, variation in sample.variations.items():
            for side, source in (("up", variation.up), ("down", variation.down)):
                if source is not None and nuisance in analysis.model.nuisances and name in analysis.model.processes:
                    at = f"{key}.variations.{nuisance}.{side}"
                    own = (f"{at if source.tree else key}.tree", f"{at}.weight" if source.weight != "" else weight)
                    store = Density(name, nuisance, side).name
                    yield _wanted(analysis, store, at, completed(sample, source), own)
        for number, moved in enumerate(sample.joint if name in analysis.model.processes else ()):
            at = f"{key}.joint[{number}]"
            own = (f"{at if moved.tree else key}.tree", f"{at}.weight" if moved.weight != "" else weight)
            yield _wanted(analysis, Density(name, at=moved.point()).name, at, completed(sample, moved), own)
    if data := analysis.data():
        yield _wanted(analysis, OBSERVED, "fit.data", data, ("fit.data.tree", "fit.data.weight"))


def _wanted(analysis: Analysis, store: str, key: str, source: Sample | Data, own: tuple[str, str]) -> WantedColumns:
    """Gather what a source needs; `own` are the keys that name its tree and its weight."""
    features = analysis.features
    found = {name: f"features.names[{i}]" for i, name in enumerate(features.names)}
    if analysis.parametrised(store.partition(".")[0]):
        found |= {name: f"features.parameters[{i}]" for i, name in enumerate(features.parameters)}
    found |= {name: f"split.id[{i}]" for i, name in enumerate(analysis.split.id) if name not in found}
    texts = {"features.selection": features.selection}
    texts |= {own[1]: source.weight if isinstance(source.weight, str) else ""}
    if isinstance(source, Sample):
        texts |= {f"{analysis.keys_of(store.partition('.')[0])[0]}.selection": source.selection}
        texts |= {f"ratios.joint.{known.ratio}": known.text for known in joint(analysis, store)}
    if store.partition(".")[0] in (*analysis.model.processes, OBSERVED):
        for name, region in analysis.model.regions.items():
            at = f"model.regions.{name}"
            texts |= {f"{at}.selection": region.selection, f"{at}.binning.column": region.binning.column}
    for at, text in texts.items():
        found |= {name: at for name in _names(text) if name not in found}
    try:
        derived = dict(expressions.ordered(features.derived, found))
    except InputError:
        derived = features.derived
    for name, text in derived.items():
        found |= {inner: f"features.derived.{name}" for inner in _names(text) if inner not in found}
    computed = [name for name in features.computed if name in found]
    needed = {name: at for name, at in found.items() if name not in features.derived and name not in computed}
    lists = {
        column: f"features.computed.{name}.{'ratio' if features.computed[name].ratio else 'columns'}"
        for name in computed
        for column in features.computed[name].columns
    }
    if particles := features.particles:
        prefix = f"{particles.collection}_" if particles.collection else ""
        lists |= {f"{prefix}{name}": "features.particles.names" for name in particles.names}
    skip = source.on_bad_file == "skip"
    return WantedColumns(
        store=store,
        key=key,
        files=source.files,
        tree=source.tree,
        tree_key=own[0],
        names=needed,
        derived=(*derived, *computed),
        lists=lists,
        skip=skip,
    )


def _names(text: str) -> list[str]:
    try:
        return sorted(expressions.parse(text).names()) if text else []
    except InputError:
        return []


def key_of(analysis: Analysis, store: str) -> str:
    """Give the table of a sample, a varied sample, observed data or a binned region by its name; "physics" is its own."""
    sample, _, region = store.partition(REGION)
    if region:
        return f"model.regions.{region}" if sample in ("", *analysis.samples) else key_of(analysis, sample)
    return next((item.key for item in wanted(analysis) if item.store == store), store)
