"""A run before it starts: what is done, what is to do, and what is different from the earlier one in its directory."""

from __future__ import annotations

import getpass
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from needle_parsl import addresses, plan, rundir
from needle_parsl.analysis.file import Loaded
from needle_parsl.plan import Plan, Task, stage_rules
from needle_parsl.plan.stages import STAGES
from needle_parsl.records import Record, holds
from needle_parsl.site import Site
from needle_parsl.workflow import changes, ledger, probe, region_analyses, run_state, stage_analyses, stage_probe

MOST = 12
"""Differences from an earlier run that are listed."""


@dataclass(frozen=True)
class Earlier:
    """What the run directory holds of an earlier run."""

    analysis: str
    """The file that was run; empty if there is nothing."""
    changes: tuple[changes.Change, ...]
    """What is different now."""
    redone: dict[str, int]
    """Tasks to do, by stage, whose output is there, made from something else."""
    damaged: tuple[str, ...]
    """Outputs that are not what the ledger says."""
    ledger: tuple[int, int]
    """Size and time of the ledger when it was read."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A run that could start now."""

    root: Path
    loaded: Loaded
    site: Site
    plan: Plan
    done: dict[str, Record]
    """Records whose outputs are still what they were, by key."""
    looked: probe.Looked
    earlier: Earlier
    stages: stage_probe.StagesLooked | None = None
    """What a look at the user's stages has told."""
    learned: Mapping[str, Loaded] = field(default_factory=dict)
    """Analyses that stages name, by these."""
    analyses: Mapping[str, Any] = field(default_factory=dict)
    """What looks at their inputs have told, as `probe.Looked` in plain values."""
    regions: Mapping[str, Any] = field(default_factory=dict)
    """What looks at the inputs of further unbinned regions have told, likewise."""
    more: bool = False
    """Whether there is more to plan when these tasks are done: they make files of samples, or columns."""
    unblinded: tuple[dict[str, str], ...]
    """Who has looked at the data, when, and how they asked for it; the latest last."""

    def todo(self) -> list[Task]:
        """List the tasks that are not done."""
        return [task for task in self.plan.tasks if task.key not in self.done]


def prepare(
    root: Path,
    loaded: Loaded,
    site: Site,
    until: str | None = None,
    *,
    afresh: bool = False,
    unblind: bool = False,
) -> Prepared:
    """Look at the input, plan, and find what is already done. Writes nothing.

    Args:
        root: The run directory.
        loaded: The analysis.
        site: The machine.
        until: The last stage.
        afresh: Whether files and modules are looked at although nothing seems to have changed.
        unblind: Whether the user asked to look at the data with `--unblind`.

    Raises:
        InputError: Something about the input is wrong, or the run directory is of a newer needle.
    """
    before = run_state.earlier(root)
    remembered: Mapping[str, Any] = {} if afresh else before
    learned = stage_analyses.read(loaded)
    own, seen = stage_probe.look(loaded, remembered.get("stage_inputs"))
    parts, looks = stage_analyses.planned(learned, remembered.get("stage_analyses"), site)
    thresholds = {name: one.analysis.diagnostics for name, one in learned.items()}
    own = replace(own, analyses=parts, thresholds=thresholds) if own else None
    first, regions = _first(root, loaded, own), dict[str, Any]()
    if first and not first.done:
        probe.probe(stage_analyses.expected(loaded, learned))
        planned, looked = first.plan, probe.NOTHING
    else:
        whole, columns = _whole(root, loaded, first, learned)
        inputs, looked = probe.probe(whole, remembered.get("inputs"), columns)
        before_of = remembered.get("region_inputs")
        tasks, regions = region_analyses.planned(whole, looked, before_of, columns, site)
        inputs = replace(inputs, stages=own, regions=tasks)
        planned = plan.build(whole.analysis, inputs, site.pack, site.memory_mib)
    rundir.insist_on_places(root, _outputs(planned))
    stamp, lines = ledger.stamp(root), ledger.lines(root)
    records = {record.key: record for record in lines}
    known = [records[task.key] for task in planned.tasks if task.key in records]
    held = {record.key: record for record in known if holds(root, record)}
    more = bool(first and not first.done) and until not in stage_rules.first(loaded.analysis)
    planned = planned.needed(held.keys())
    planned = planned if until is None or (more and until in STAGES | loaded.analysis.stages) else planned.until(until)
    done = {task.key: held[task.key] for task in planned.tasks if task.key in held}
    newest = {record.output: record.key for record in lines if record.output}
    damaged = tuple(
        r.output
        for r in known
        if r.output and not r.reason and not r.lacks and r.key not in held and newest[r.output] == r.key
    )
    todo = [task for task in planned.tasks if task.key not in done and task.key not in records]
    found = _changes(root, loaded, learned, site, before, looked)
    earlier = Earlier(before.get("analysis", ""), found, changes.redone(todo, lines), damaged, stamp)
    opened = _unblinded(loaded, before, asked=unblind)
    return Prepared(
        root=root, loaded=loaded, site=site, plan=planned, done=done, looked=looked, earlier=earlier, stages=seen, analyses=looks, regions=regions, learned=learned, more=more, unblinded=opened
    )  # fmt: skip


@dataclass(frozen=True)
class First:
    """The stages with which a run begins, since the rest depends on how many events they leave."""

    plan: Plan
    done: bool
    files: dict[str, list[str]]
    """What they make for samples, as `plan.build_first` has it."""


def _first(root: Path, loaded: Loaded, own: plan.StageInputs | None) -> First | None:
    """Plan the stages that make files of samples, or columns; None without such."""
    if own is None or not stage_rules.first(loaded.analysis):
        return None
    physics = plan.Physics("", "")
    planned, made = plan.build_first(loaded.analysis, plan.Inputs(files={}, physics=physics, exact=False, stages=own))
    records = ledger.read(root)
    done = all(task.key in records and holds(root, records[task.key]) for task in planned.tasks)
    return First(planned, done, made)


def _whole(
    root: Path, loaded: Loaded, first: First | None, learned: Mapping[str, Loaded]
) -> tuple[Loaded, dict[str, plan.ComputedSpec]]:
    """Put what the first stages have made in their place; and say how columns are computed from that."""
    if first is None:
        return loaded, {}
    digests = {record.output: record.digest for record in ledger.lines(root) if record.output}
    whole = stage_probe.with_made(loaded, root, first.files)
    analyses = {name: own.analysis for name, own in learned.items()}
    analysis, columns = stage_analyses.with_columns(whole.analysis, analyses, root, digests)
    return replace(whole, analysis=analysis), columns


def _outputs(planned: Plan) -> Iterator[str]:
    """List where files of the tasks go, and of packs that are not done."""
    for task in planned.tasks:
        yield task.place
        if task.stage.name == "train":
            yield f"{task.folder}{rundir.STATES}/{task.own().name}/-"


def _unblinded(loaded: Loaded, before: Mapping[str, Any], *, asked: bool) -> tuple[dict[str, str], ...]:
    """Add to the record of who has looked at the data, if this run does."""
    found = tuple(before.get("unblinded", ()))
    how = "--unblind" if asked else "fit.blind = false"
    hidden = loaded.analysis.data() is None or loaded.analysis.offset
    if hidden or (found and not asked):
        return found
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return (*found, {"who": getpass.getuser(), "when": now, "how": how})


def _changes(
    root: Path,
    loaded: Loaded,
    learned: Mapping[str, Loaded],
    site: Site,
    before: Mapping[str, Any],
    looked: probe.Looked,
) -> tuple[changes.Change, ...]:
    if not before:
        return ()
    tables = {rundir.ANALYSIS: loaded.table, rundir.SITE: asdict(site)}
    for name, own in learned.items():
        tables[str(stage_analyses.folder(Path(), name) / rundir.ANALYSIS)] = own.table
    then: Any = before.get("inputs")
    known = isinstance(then, dict) and looked is not probe.NOTHING
    files = changes.files(_inputs(then, loaded), _inputs(asdict(looked), loaded)) if known else []
    return tuple(changes.tables(root, tables) + changes.source(root, loaded.source) + files)


def _inputs(looked: Mapping[str, Any], loaded: Loaded) -> dict[str, str]:
    """Give digests of data and of the user's modules; `physics.py` is compared as text."""
    files = {
        path: file.get("digest", "") for path, file in looked.get("files", {}).items() if isinstance(file, Mapping)
    }
    found = {**files, **looked.get("code", {})}
    return {
        addresses.shown(path): digest for path, digest in found.items() if Path(path).name != loaded.analysis.physics
    }


def another(prepared: Prepared) -> str:
    """Say that a run directory belongs to another analysis; empty if it does not."""
    earlier = prepared.earlier
    if not earlier.analysis or not earlier.changes or earlier.analysis == str(prepared.loaded.path.resolve()):
        return ""
    lines = [f"{prepared.root}: holds the run of another analysis, {earlier.analysis}; the differences are"]
    lines += [f"  {change}" for change in earlier.changes[:MOST]]
    lines += [f"  and {len(earlier.changes) - MOST} more"] if len(earlier.changes) > MOST else []
    again = ", ".join(f"{count} {stage}" for stage, count in earlier.redone.items())
    lines += [f"would be recomputed (overwrites): {again}"] if again else []
    return "\n".join([*lines, "choose another --out, or --force to go on here; nothing is deleted first"])
