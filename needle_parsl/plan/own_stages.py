"""The user's stages: their calls, one for each combination of lists, and their merges. Calls that are made from the same are one task."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from needle_parsl.analysis import Analysis, OwnStage
from needle_parsl.analysis.tables.limits import seconds
from needle_parsl.analysis.tables.stages import made_by, suffix
from needle_parsl.errors import InputError
from needle_parsl.plan import stage_items, stage_rules
from needle_parsl.plan.builder import Calls, Graph, Item, StageInputs
from needle_parsl.plan.specs import Before, File, NetworksSection, OwnCall, OwnMerge, Task
from needle_parsl.plan.specs.own_stages import Outputs
from needle_parsl.plan.stages import STAGES, Stage

WORK = "needle_parsl.tasks.own_stages"


def stage_of(name: str, own: OwnStage) -> Stage:
    """Give a stage of the user's as one of a plan."""
    command = f"{WORK}:command_line" if own.command else ""
    return Stage(
        name=name,
        version=1,
        place=f"stages/{name}/{{}}",
        work=f"{WORK}:work",
        needs=own.needs,
        command=command,
        own=True,
    )


def before_samples(graph: Graph, analysis: Analysis) -> None:
    """Plan the stages that come after none of needle's."""
    _add(graph, analysis, lambda earlier: not earlier)


def before_stage(graph: Graph, analysis: Analysis, stage: str) -> None:
    """Plan the stages for which a stage of needle's waits, with those before them."""
    needed: set[str] = set()
    for name, own in analysis.stages.items():
        if stage in own.before:
            needed |= {name, *stage_rules.ancestors(analysis.stages, name)}
    _add(graph, analysis, lambda _: True, needed)


def before_report(graph: Graph, analysis: Analysis) -> None:
    """Plan the stages that come after some of needle's, and not after the report."""
    _add(graph, analysis, lambda earlier: "report" not in earlier)


def after_report(graph: Graph, analysis: Analysis) -> None:
    """Plan what is left."""
    _add(graph, analysis, lambda _: True)


def _add(
    graph: Graph, analysis: Analysis, chosen: Callable[[set[str]], bool], among: Collection[str] | None = None
) -> None:
    for name in stage_rules.ordered(analysis.stages) if graph.inputs.stages else ():
        earlier = stage_rules.ancestors(analysis.stages, name) & set(STAGES)
        if name not in graph.own and (among is None or name in among) and chosen(earlier):
            add(graph, analysis, name)


def add(graph: Graph, analysis: Analysis, name: str) -> Calls:
    """Plan a stage whose predecessors are planned."""
    own, inputs = analysis.stages[name], graph.inputs.stages
    assert inputs is not None
    calls = graph.own[name] = Calls(own)
    if own.analysis:
        calls.items = _estimators(graph, name, inputs)
        return calls
    for label, item in stage_items.named(stage_items.items(analysis, own, inputs.files)):
        task = _call(graph, name, own, label, item, inputs)
        calls.items.append((label, item, task))
    if own.merge:
        calls.merged = list(_merges(graph, name, calls, inputs))
    return calls


def _estimators(graph: Graph, name: str, inputs: StageInputs) -> list[tuple[str, Item, Task]]:
    """Plan the analysis of a stage; what comes out of it are its estimators, by the names of their ratios."""
    planned = graph.add_analysis(name, inputs.analyses[name])
    measured = [task for task in planned if task.stage.name == "diagnose"]
    ratios = tuple(task.own().name for task in measured)
    spec = NetworksSection(stage=name, ratios=ratios, thresholds=inputs.thresholds[name])
    graph.add("networks", name, spec, *measured)
    return [(task.own().name, {}, task) for task in planned if task.stage.name == "combine"]


def _call(graph: Graph, name: str, own: OwnStage, label: str, item: Item, inputs: StageInputs) -> Task:
    takes = own.named() if own.command else inputs.takes[name]
    taken = {text.partition(".")[0] for text in takes} if takes is not None else None
    given = {key: value for key, value in _arguments(own, item) if taken is None or key in taken}
    before, earlier = _before(graph, own, item, taken)
    spec = OwnCall(
        work=own.function or own.command,
        physics=inputs.physics if own.function else None,
        code=inputs.functions.get(own.function, ""),
        given=tuple(given.items()),
        files=tuple(PurePosixPath(one.path).name for one in given.values() if isinstance(one, File)),
        before=tuple(before),
        outputs=_outputs(own),
        resources=inputs.resources.get(name, ()),
        folder=inputs.folder if own.command else "",
    )
    return graph.add_own(stage_of(name, own), label, spec, earlier, seconds(own.limit))


def _outputs(own: OwnStage) -> Outputs:
    return tuple(own.outputs.items())


def _arguments(own: OwnStage, item: Item) -> Iterator[tuple[str, Any]]:
    """List the arguments that are no outputs; of a table each field, too."""
    yield from own.params.items()
    for member in item.values():
        if isinstance(member, Mapping):
            yield from ((key, value) for key, value in member.items() if key != "name")
    yield from item.items()


def _before(graph: Graph, own: OwnStage, item: Item, taken: set[str] | None) -> tuple[list[Before], list[Task]]:
    """Say what a call gets of earlier stages, and for which tasks it waits."""
    found, waits = [], []
    for name in own.after:
        earlier = graph.own.get(name)
        tasks, argument = _aligned(earlier, item) if earlier else _needle(graph, name)
        if earlier and not tasks:
            raise InputError(f"stages.{graph.named(own)}.after: {_disagreement(name, earlier, item)}")
        waits += tasks
        if taken is None or name in taken:
            outputs = _outputs(earlier.stage) if earlier and not earlier.stage.analysis else ()
            found.append(
                Before(argument=name, outputs=outputs, items=argument, places=tuple(task.place for task in tasks))
            )
    return found, list({task.key: task for task in waits}.values())


def _disagreement(name: str, earlier: Calls, item: Item) -> str:
    """Say of which members of lists of the same name an earlier stage has no output."""
    common = [one for one in earlier.lists() if one in item]
    wanted = ", ".join(f"{one} = {stage_items.identity(item[one])}" for one in common)
    known = "; ".join(
        f"{one}: {', '.join(dict.fromkeys(stage_items.identity(own[one]) for _, own, _ in earlier.outcome()))}"[:200]
        for one in common
    )
    return f'the stage "{name}" has no output for {wanted}; it goes over {known}'


def _needle(graph: Graph, stage: str) -> tuple[list[Task], tuple[str, ...]]:
    tasks = [task for task in graph.tasks if task.stage.name == stage]
    return tasks, tuple(task.name for task in tasks)


def _aligned(earlier: Calls, item: Item) -> tuple[list[Task], tuple[str, ...]]:
    """Give the calls of an earlier stage whose members agree with those of a call, in lists of the same name; and names, where there may be several."""
    if earlier.stage.analysis:
        return [task for _, _, task in earlier.items], tuple(ratio for ratio, _, _ in earlier.items)
    common = tuple(name for name in earlier.lists() if name in item)
    rest = [name for name in earlier.lists() if name not in item]
    if common not in earlier.groups:
        groups = earlier.groups[common] = {}
        for _, own, task in earlier.outcome():
            groups.setdefault(tuple(stage_items.identity(own[name]) for name in common), []).append((own, task))
    found = earlier.groups[common].get(tuple(stage_items.identity(item[name]) for name in common), [])
    if not rest:
        return [task for _, task in found], ()
    names = ["-".join(stage_items.label(own[name]) for name in rest) for own, _ in found]
    return [task for _, task in found], stage_items.distinct(names)


def _merges(graph: Graph, name: str, calls: Calls, inputs: StageInputs) -> Iterator[tuple[str, Item, Task]]:
    """Plan a merge for all members of the lists that stay apart; one of all calls if none does."""
    apart = calls.stage.apart()
    groups: dict[tuple[str, ...], tuple[Item, list[Task]]] = {}
    for _, item, task in calls.items:
        kept: Item = {one: item[one] for one in apart}
        groups.setdefault(tuple(map(stage_items.identity, kept.values())), (kept, []))[1].append(task)
    named = stage_items.named(
        (kept for kept, _ in groups.values()), stage_items.MERGED, [label for label, _, _ in calls.items]
    )
    for (label, kept), (_, tasks) in zip(named, groups.values(), strict=True):
        yield label, kept, _merge(graph, name, calls.stage, label, tasks, inputs)


def _merge(graph: Graph, name: str, own: OwnStage, label: str, tasks: Sequence[Task], inputs: StageInputs) -> Task:
    spec = OwnMerge(
        how=own.merge,
        physics=inputs.physics if ":" in own.merge else None,
        code=inputs.functions.get(own.merge, ""),
        outputs=_outputs(own),
        places=tuple(task.place for task in tasks),
    )
    # Each call once for each item: what several share is merged as often.
    stage = stage_of(name, own)
    merging = Stage(name=name, version=1, place=stage.place, work=stage.work, needs="cpu", own=True)
    return graph.add_own(merging, label, spec, tasks, seconds(own.limit))


def sections(graph: Graph) -> list[tuple[str, Task]]:
    """List the sections of the report that stages write: paths relative to the run directory, and tasks."""
    found = [(task.place, task) for task in graph.tasks if task.stage.section]
    for calls in graph.own.values():
        names = [f"{name}{suffix(kind)}" for name, kind in calls.stage.outputs.items() if kind == "section"]
        found += [(f"{task.place}/{name}", task) for task in calls.tasks() for name in names]
    return found


def made_files(graph: Graph) -> dict[str, list[str]]:
    """List the files that stages make for samples, relative to the run directory, by the key at which the stage stands, with its place there."""
    found = {}
    for key, text, sample, variation in stage_rules.made_for(graph.analysis):
        try:
            found[f"{key} {text}"] = _made(graph, text, {"sample": sample, "variation": variation})
        except InputError as error:
            raise InputError(f"{key}: {error}") from error
    return found


def _made(graph: Graph, text: str, item: Item) -> list[str]:
    name, output = made_by(text)
    calls = graph.own[name]
    kinds = calls.stage.outputs
    output = output or next(one for one, kind in kinds.items() if stage_rules.holds_events(kind))
    tasks, _ = _aligned(calls, item)
    if not tasks:
        raise InputError(_disagreement(name, calls, item))
    return list(dict.fromkeys(f"{task.place}/{output}{suffix(kinds[output])}" for task in tasks))
