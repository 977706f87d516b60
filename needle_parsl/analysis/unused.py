"""What an analysis says without any effect on its result: allowed, and yet hardly meant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from needle_parsl import expressions
from needle_parsl.analysis import catalogue
from needle_parsl.errors import InputError

if TYPE_CHECKING:
    from needle_parsl.analysis.tables import Analysis


TABLES = ("training", "ensemble", "split")
"""Tables of learning."""


def found(analysis: Analysis, *, settled: bool = False) -> Iterator[tuple[str, str]]:
    """Find samples, variations, data and derived columns that nothing uses; give the key and a message for each.

    Args:
        analysis: What the user wrote.
        settled: Whether what was left out is filled in, so that tables no longer tell what was said.
    """
    model, used = analysis.model, {*analysis.model.processes, *analysis.ratios.targets, *analysis.ratios.reference}
    for name in analysis.samples:
        if name not in used:
            yield f"samples.{name}", "is not used: neither a process of the model nor in [ratios]"
        elif name not in model.processes:
            yield from _unvaried(analysis, name)
    if analysis.binned:
        yield from _unlearned(analysis, () if settled else TABLES)
    if analysis.fit.data is not None:
        yield from _blinded(analysis)
    yield from _no_simulation(analysis)
    if analysis.features.parameters and not analysis.simulated:
        yield (
            "features.parameters",
            "end the run with the diagnostics; fits and toys, which need one value of them, are left out",
        )
    if analysis.ratios.joint and not catalogue.loss(analysis.training.loss).joint:
        yield "ratios.joint", f'is not used with training.loss = "{analysis.training.loss}"'
    named = {*analysis.features.names, *analysis.split.id}.union(*map(_columns, _expressions(analysis)))
    for name in analysis.features.derived:
        if name not in named:
            yield f"features.derived.{name}", "is not used; name it in features.names, a selection or a weight"


def _unvaried(analysis: Analysis, name: str) -> Iterator[tuple[str, str]]:
    """Find variations of a sample that is no process."""
    own = analysis.samples[name]
    for key, given in (("variations", own.variations), ("joint", own.joint)):
        if given:
            yield f"samples.{name}.{key}", f'is not used, since "{name}" is no process of the model'


def _blinded(analysis: Analysis) -> Iterator[tuple[str, str]]:
    """Find what is left out as long as the analysis is blind: data, or what holds values that would show a hidden offset."""
    if analysis.fit.blind is True:
        yield "fit.data", "is left alone, since fit.blind is true; set fit.blind = false to look at the data"
    if not analysis.offset:
        return
    why = 'as long as fit.blind = "offset"; it would show the offset'
    if analysis.fit.scan:
        yield "fit.scan", f"is not used for data {why}; their scan goes around the best value"
    if analysis.fit.plane:
        yield "fit.plane", f"is left out {why}"
    if analysis.fit.limit is not None:
        yield (
            "fit.limit",
            f"gives expected limits and significance alone, of Asimov data, {why}, as would the distance from no signal",
        )
    if analysis.grid() or analysis.grid_of_two():
        yield "intervals.grid", f"is left out {why}; its toys are thrown when you unblind"


def _no_simulation(analysis: Analysis) -> Iterator[tuple[str, str]]:
    """Find what is said of the statistics of simulated events, and of variations, where there is nothing that it changes."""
    fit, model = analysis.fit, analysis.model
    if fit.staterror_threshold and not fit.staterror and not any(r.shapesys for r in model.regions.values()):
        yield "fit.staterror_threshold", "is not used: fit.staterror is false, and no region has shapesys"
    varied = {nuisance for _, nuisance, _, _ in analysis.every_variation()}
    for name in (name for name in model.nuisances if name not in varied):
        for key in (key for key in ("symmetrise", "smooth") if getattr(model.nuisances[name], key)):
            yield (
                f"model.nuisances.{name}.{key}",
                f"is not used: no process has variations.{name}, and a stated rate stays",
            )
    if analysis.binned and fit.simulation_error == "add":
        yield "fit.simulation_error", "is not used: in bins the finite simulation is in fit.staterror"
    if analysis.binned and analysis.pruning.prune:
        yield "pruning.prune", "is not used: without [ratios] no variation is trained"


def _unlearned(analysis: Analysis, tables: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Find what is said of learning where nothing is learned."""
    said = {"features.names": analysis.features.names, "features.particles": analysis.features.particles}
    said |= {name: getattr(analysis, name) != type(getattr(analysis, name))() for name in tables}
    yield from ((key, "is not used: without [ratios] nothing is learned") for key, given in said.items() if given)


def _expressions(analysis: Analysis) -> list[str | float]:
    """List all selections, weights and derived columns."""
    samples = analysis.samples.values()
    sides = [side for s in samples for v in s.variations.values() for side in (v.up, v.down) if side is not None]
    sides += [one for s in samples for one in s.joint]
    own = [text for s in samples for text in (s.selection, s.weight)]
    regions = [text for r in analysis.model.regions.values() for text in (r.selection, r.binning.column)]
    return [
        analysis.features.selection,
        *regions,
        *analysis.features.derived.values(),
        *own,
        *analysis.ratios.joint.values(),
        *(side.weight for side in sides),
    ]


def _columns(text: str | float) -> frozenset[str]:
    try:
        return expressions.parse(text).names() if isinstance(text, str) and text else frozenset()
    except InputError:
        return frozenset()
