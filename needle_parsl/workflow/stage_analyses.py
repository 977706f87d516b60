"""Analyses that stages of the user's name, whose networks are trained first; and columns that are made of these, or of what other stages make."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from needle_parsl import expressions, plan, rundir
from needle_parsl.analysis import Analysis
from needle_parsl.analysis import read as read_analysis
from needle_parsl.analysis.file import Loaded
from needle_parsl.errors import InputError, Problem, closest
from needle_parsl.plan import specs
from needle_parsl.plan.stage_items import MERGED, WHOLE
from needle_parsl.plan.stages import place
from needle_parsl.site import Site
from needle_parsl.workflow import probe

LAST = "combine"
"""The stage with which such an analysis ends; what is measured of its ratios is kept, too."""
LOG_RATIO = "needle_parsl.nsbi.estimators.columns:log_ratio"


def read(loaded: Loaded) -> dict[str, Loaded]:
    """Read the analyses that stages name, by these.

    Raises:
        InputError: One cannot be read, has a mistake, or is of no use here; one line per mistake.
    """
    found, wrong = {}, []
    for name, own in loaded.analysis.stages.items():
        if not own.analysis:
            continue
        try:
            found[name] = read_analysis(loaded.path.parent / own.analysis, fitted=False)
        except InputError as error:
            wrong += [Problem(str(error), *loaded.places.find(f"stages.{name}.analysis"), f"stages.{name}.analysis")]
            continue
        wrong += found[name].problems or [_problem(loaded, key, said) for key, said in _useless(name, found[name])]
    wrong += [_problem(loaded, key, said) for key, said in _ratios(loaded.analysis, found)] if not wrong else []
    if wrong:
        raise InputError.of(wrong)
    return found


def _problem(loaded: Loaded, key: str, said: str) -> Problem:
    return Problem(said, *loaded.places.find(key), key)


def _useless(name: str, learned: Loaded) -> Iterator[tuple[str, str]]:
    key, path = f"stages.{name}.analysis", learned.path.name
    if learned.analysis.stages:
        yield key, f"{path} has stages of its own; put them into this analysis, or name their files in its samples"
    if not learned.analysis.ratios.targets:
        yield key, f"{path} has no [ratios], so that there is nothing to train"


def _ratios(analysis: Analysis, learned: Mapping[str, Loaded]) -> Iterator[tuple[str, str]]:
    """Check the log ratios that are columns."""
    for name, column in analysis.features.computed.items():
        key, (stage, _, ratio) = f"features.computed.{name}.ratio", column.ratio.partition(".")
        if stage not in learned:
            continue
        own = learned[stage].analysis
        targets = own.ratios.targets
        if ratio and ratio not in targets:
            yield key, f'"{ratio}" is no ratio of "{stage}"{closest(ratio, targets)}'
        elif not ratio and len(targets) != 1:
            yield key, f'"{stage}" has {len(targets)} ratios; write "{stage}.RATIO"'
        yield from ((key, f"{learned[stage].path.name} {said}") for said in _not_of_columns(own))


def _not_of_columns(own: Analysis) -> Iterator[str]:
    """Say why the ratios of an analysis cannot be evaluated from the columns of an event alone."""
    computed = [name for name in own.features.names if name in own.features.computed]
    for there, what in (
        (own.features.particles, "has particles"),
        (own.features.parameters, "has parameters as features"),
        (computed, f"has the computed feature {', '.join(computed)}"),
        ("nan" in own.features.missing, 'keeps NaN as "missing"'),
        (own.evaluated_code(), "has networks of your own"),
    ):
        if there:
            yield f"{what}, from which needle makes no column; evaluate its estimators in a stage that writes the files of the samples"


def checked(loaded: Loaded) -> Loaded:
    """Look into the files of the analyses, as of any other; give the analysis as `expected` does.

    Raises:
        InputError: Something is wrong with one.
    """
    learned = read(loaded)
    for own in learned.values():
        probe.probe(own)
    return expected(loaded, learned)


def expected(loaded: Loaded, learned: Mapping[str, Loaded]) -> Loaded:
    """Say what columns are computed from, before what they are given is there."""
    analyses = {name: own.analysis for name, own in learned.items()}
    return replace(loaded, analysis=with_columns(loaded.analysis, analyses, Path(), {})[0])


def planned(
    learned: Mapping[str, Loaded], remembered: Any, site: Site
) -> tuple[dict[str, tuple[plan.Task, ...]], dict[str, Any]]:
    """Plan the analyses up to their estimators.

    Args:
        learned: From `read`.
        remembered: What earlier looks at their inputs have told, by stage.
        site: The machine.

    Returns:
        Their tasks, and what the looks have told, by stage.
    """
    tasks, looks = {}, {}
    for name, own in learned.items():
        inputs, looked = probe.probe(own, remembered.get(name) if isinstance(remembered, dict) else None)
        whole = plan.build(own.analysis, inputs, site.pack, site.memory_mib)
        kept = {task.key for task in whole.until(LAST).tasks}
        tasks[name] = tuple(t for t in whole.tasks if t.key in kept or isinstance(t.spec, specs.Diagnose))
        looks[name] = asdict(looked)
    return tasks, looks


def of_run(root: Path, analysis: Analysis) -> dict[str, Analysis]:
    """Read the analyses of stages as a run directory has them."""
    stages = {name: folder(root, name) / rundir.ANALYSIS for name, own in analysis.stages.items() if own.analysis}
    return {name: read_analysis(path, fitted=False).analysis for name, path in stages.items()}


def folder(root: Path, name: str) -> Path:
    """Name the folder of an analysis in a run directory."""
    return root / specs.PARTS / name


def with_columns(
    analysis: Analysis, learned: Mapping[str, Analysis], root: Path, digests: Mapping[str, str]
) -> tuple[Analysis, dict[str, specs.ComputedSpec]]:
    """Say how the columns are computed that stages make something for.

    Args:
        analysis: With references to stages.
        learned: The analyses of stages.
        root: The run directory.
        digests: Of what is in it, by the relative path.

    Returns:
        The analysis with a function and its columns for each; and what these functions are given.
    """
    found = {}
    for name, how in analysis.features.computed.items():
        if how.ratio:
            found[name] = _log_ratio(how.ratio, learned, root, digests)
        elif how.after:
            given = tuple(_given(analysis, stage, root, digests) for stage in how.after)
            found[name] = specs.ComputedSpec(function=how.function, columns=how.columns, given=given)
    known = analysis.features.computed
    computed = {name: replace(known[name], function=one.function, columns=one.columns) for name, one in found.items()}
    features = replace(analysis.features, computed={**known, **computed})
    return replace(analysis, features=features), found


def _log_ratio(
    text: str, learned: Mapping[str, Analysis], root: Path, digests: Mapping[str, str]
) -> specs.ComputedSpec:
    stage, _, ratio = text.partition(".")
    features = learned[stage].features
    path = f"{specs.PARTS}/{stage}/{place(LAST, ratio or learned[stage].ratios.targets[0])}"
    derived = tuple(expressions.ordered(features.derived, set(features.names)))
    used = set(features.names).union(*(expressions.parse(text).names() for _, text in derived))
    return specs.ComputedSpec(
        function=LOG_RATIO,
        columns=tuple(sorted(used - {name for name, _ in derived})),
        derived=derived,
        given=(_output("estimator", (), path, root, digests),),
    )


def _given(analysis: Analysis, stage: str, root: Path, digests: Mapping[str, str]) -> specs.Given:
    own = analysis.stages[stage]
    path = f"stages/{stage}/{MERGED if own.merge else WHOLE}"
    return _output(stage, tuple(own.outputs.items()), path, root, digests)


def _output(
    argument: str, outputs: tuple[tuple[str, str], ...], path: str, root: Path, digests: Mapping[str, str]
) -> specs.Given:
    return specs.Given(
        argument=argument, outputs=outputs, place=str(root.resolve() / path), digest=digests.get(path, "")
    )
