"""What people see: tables and results, drawn with Rich. Facts come in, nothing is computed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from needle_parsl.errors import legible
from needle_parsl.summary import StagesSummary

if TYPE_CHECKING:
    from needle_parsl.cli.answers import (
        Conversion,
        Cost,
        EngineChoice,
        Failure,
        PlanAnswer,
        RunAnswer,
        StagePlan,
        WholeCost,
    )
    from needle_parsl.errors import Problem
    from needle_parsl.summary import Component, Finding, Summary
    from needle_parsl.workflow.precision import PrecisionAnswer
    from needle_parsl.workflow.prepared_run import Prepared

MOST = 5
"""Checks that are printed with their worst finding, the worst first; the report has all."""
ENOUGH = 0.001
"""Node-hours of a stage that are worth a word."""
SHOWN = 12
"""Differences from an earlier run that are printed."""


class Plain(Console):
    """A terminal that text does not steer: names and units may come from somebody else's files."""

    def render_str(self, text: str, **how: Any) -> Text:
        """Draw a text with its control characters written out."""
        return super().render_str(legible(text), **how)


OUT = Plain(soft_wrap=True, highlight=False, markup=False)
ERR = Plain(soft_wrap=True, highlight=False, markup=False, stderr=True)


def checked(path: Path, files: int, notes: Sequence[str], *, first: bool = False) -> None:
    """Say that an analysis is in order, what was seen beside, and whether events are looked at only when the first stages are done."""
    noted(notes)
    later = "; events are looked at when the first stages are done" if first else ""
    OUT.print(f"{path}: no mistakes found ({files} input files checked{later})")


def noted(notes: Sequence[str]) -> None:
    """Say what was seen and is no mistake."""
    for note in notes:
        OUT.print(f"note: {note}")


def warned(warnings: Sequence[Problem | str]) -> None:
    """Say what is allowed, and yet hardly meant."""
    for warning in warnings:
        ERR.print(f"warning: {warning}")


def said(text: str) -> None:
    """Pass on what a run has to say while it goes on."""
    ERR.print(text)


def started(folder: Path, written: Sequence[Path], problems: Sequence[Problem]) -> None:
    """Say what a new analysis consists of, and what comes next."""
    for path in written:
        OUT.print(f"wrote {path}")
    for problem in problems:
        ERR.print(f"to mend: {problem}")
    OUT.print(f'next: read it, then "needle check {folder}"')


def planned(plan: PlanAnswer) -> None:
    """Show a plan, stage by stage."""
    table = Table("stage", box=None, pad_edge=False)
    for name in ("tasks", "done", "to do"):
        table.add_column(name, justify="right")
    table.add_column("", style="dim")
    tasks, todo = (sum(getattr(own, name) for own in plan.stages.values()) for name in ("tasks", "to_do"))
    for stage, own in plan.stages.items():
        table.add_row(stage, str(own.tasks), str(own.tasks - own.to_do), str(own.to_do), _networks(own))
    table.add_row("total", str(tasks), str(tasks - todo), str(todo), "")
    OUT.print(table)
    if plan.networks:
        OUT.print(_trained(plan.engine))
    if plan.trials:
        OUT.print(
            f"search: {plan.trials} networks in trials; {plan.kept} of the {plan.networks} networks of the ensembles are those of what is chosen, and are not trained again"
        )
    if plan.shared:
        calls = plan.shared + sum(plan.stages[name].tasks for name in plan.own)
        OUT.print(
            f"{calls} calls of your stages in {calls - plan.shared} tasks: {plan.shared} ({plan.shared / calls:.0%}) are made from the same as another"
        )
    _lines(plan.variations)
    if plan.more:
        OUT.print("the rest is planned when these are done")
    left = f"{todo} tasks to do" if todo else "up to date"
    if todo:
        cost(plan.cost)
    OUT.print(f"{plan.analysis} in {plan.run}: {plan.networks} networks; {left}")
    if plan.precision:
        _precision(plan.precision)


def _lines(said: Sequence[str]) -> None:
    for line in said:
        OUT.print(line)


def _precision(found: PrecisionAnswer) -> None:
    """Show what a wanted precision needs."""
    law, wanted = found.law, found.needed
    if law.known:
        OUT.print(
            f"networks make up {found.share:.2g} ± {found.share_error:.1g} of the error of {law.parameter} with {law.members} members and "
            f"{law.events:,} events ({found.run})"
        )
    for term, reason in law.unknown.items():
        OUT.print(f"not known: {term}: {reason}")
    if wanted.members is None or wanted.events is None:
        OUT.print(f"a share of {wanted.wanted:g} cannot be reached: {wanted.reason}")
        return
    most = "" if wanted.share_at_most is None else f", at most {wanted.share_at_most:.2g} with the floor of that run"
    hours = "" if found.node_hours is None else f", {found.node_hours:.2g} node-hours of training"
    OUT.print(
        f"for a share of {wanted.wanted:g}: {wanted.members} members and {wanted.events:,} events ({wanted.events / law.events:.3g} times){hours}; "
        f"predicted {wanted.share:.2g} ± {wanted.share_error:.1g}{most}"
    )


def cost(needed: Cost) -> None:
    """Show what is to do in node-hours, by stage."""
    hours = {stage: value for stage, value in needed.node_hours.items() if value >= ENOUGH}
    if hours or needed.total_node_hours:
        shown = ", ".join(f"{stage} {value:.3g}" for stage, value in hours.items())
        OUT.print(
            f"{needed.total_node_hours:.3g} node-hours{f' ({shown})' if shown else ''}; {needed.bytes / 1e6:,.1f} MB on disk"
        )
    if needed.probed:
        OUT.print("trainings as fast as on a core of this machine, from made-up events; reading them is not in it")
    if needed.not_measured:
        OUT.print(f"not measured: {', '.join(needed.not_measured)}; needle run --pilot 1% measures")


def _whole(needed: WholeCost) -> None:
    """Show what a whole run would need, after its pilot."""
    OUT.print("the whole run would need:")
    cost(needed)
    if found := needed.spread:
        OUT.print(
            f"error from the ensemble: {found.whole:.2g} beside {found.error:.2g} ({found.pilot:.2g} in the pilot)"
        )


def _networks(stage: StagePlan) -> str:
    """Say how the networks are packed."""
    if not stage.networks:
        return ""
    packs = f"{stage.tasks} packs of up to {stage.largest_pack}"
    return f"{stage.networks} networks in {packs}, {stage.networks_to_do} to train"


def _trained(choice: EngineChoice) -> str:
    """Say which engine trains the networks."""
    reason = f", since {choice.reason}" if choice.reason else ""
    factor = choice.speed_up
    faster = f", about {factor:g} times as fast as a loop over lightning.Trainer" if factor else ""
    return f"engine: {choice.engine}{reason}{faster}"


def explained(prepared: Prepared) -> None:
    """Say what is different from the run that the directory holds, and what is wrong with its files."""
    earlier = prepared.earlier
    for output in earlier.damaged:
        ERR.print(f"{prepared.root / output}: is not what was recorded; it is made again")
    if not earlier.changes:
        return
    ERR.print(f"different from the earlier run in {prepared.root}:")
    for change in earlier.changes[:SHOWN]:
        ERR.print(f"  {change}")
    if len(earlier.changes) > SHOWN:
        ERR.print(f"  and {len(earlier.changes) - SHOWN} more")
    again = ", ".join(f"{count} {stage}" for stage, count in earlier.redone.items())
    ERR.print(f"will be recomputed (overwrites): {again or 'nothing'}")


def ended(run: RunAnswer) -> None:
    """Say how a run ended."""
    if run.summary:
        results(run.summary, run.report)
    if run.conversion:
        _converted(run.conversion)
    warned(run.warnings)
    _failures(run.failed)
    tasks = "task" if run.done == 1 else "tasks"
    OUT.print(f"{run.done} {tasks} done, {run.reused} reused, {len(run.failed)} failed; {run.run}")
    if run.whole:
        _whole(run.whole)
    if run.failed:
        ERR.print("after mending the cause, the same command goes on from here")


def _converted(made: Conversion) -> None:
    OUT.print(
        f"{made.events:,} events converted, {made.events_per_s:,.0f} per second and worker; stores of "
        f"{made.store_bytes / 1e6:,.1f} MB from files of {made.input_bytes / 1e6:,.1f} MB "
        f"({made.store_bytes / made.input_bytes:.2f} times)"
    )


def alike(reason: str) -> str:
    """Give what reasons have in common that name different files."""
    return re.sub(r"/[^\s:;,'\"]+", "/", reason)


def _failures(failed: Sequence[Failure]) -> None:
    """Name what failed, once for each reason."""
    counts = Counter((one.stage, alike(one.reason)) for one in failed)
    first = {(one.stage, alike(one.reason)): one for one in reversed(failed)}
    for (stage, kind), count in counts.items():
        one = first[stage, kind]
        others = f" and {count - 1} more" if count > 1 else ""
        place = f" ({one.detail})" if one.detail else ""
        ERR.print(f"failed: {stage} {one.what}{place}{others}: {one.reason}")
        told = [words for words in (one.worker and f"on {one.worker}", one.log and f"see {one.log}") if words]
        if told:
            ERR.print(f"  {', '.join(told)}")


STYLES = {"pass": "green", "no power": "dim", "warning": "yellow", "fail": "bold red"}
LABELS = {"no power": "NO POWER", "warning": "WARN", "fail": "FAIL"}


def results(found: Summary | StagesSummary, page: str) -> None:
    """Print what the checks mean for the result, the result, the worst findings first, and the path of the report."""
    OUT.print(found.verdict, style=STYLES[found.state])
    if isinstance(found, StagesSummary):
        _findings(found.findings)
    else:
        _result(found)
    OUT.print(f"report: {page}")


def _result(found: Summary) -> None:
    kind = "observed" if found.dataset == "observed" else "expected"
    kind += f"; shifted by a hidden offset: {', '.join(found.offset)}" if found.offset else ""
    OUT.print(f"{found.result} ({kind})", style="bold")
    for level, methods in found.quoted_intervals.items():
        for method, shown in methods.items():
            OUT.print(f"{100 * float(level):g} % {method} interval: {shown}")
    for other in (found.further or {}).values():
        level, methods = next(iter(other.quoted_intervals.items()))
        quoted = ", ".join(f"{100 * float(level):g} % {method} interval: {shown}" for method, shown in methods.items())
        OUT.print(f"{other.result} ({kind}); {quoted}", style="bold")
    for level, extents in (found.neyman_region or {}).items():
        ends = ", ".join(f"{name} from {low:.3g} to {high:.3g}" for name, (low, high) in extents.items())
        OUT.print(f"{100 * float(level):g} % Neyman region: {ends}")
    pairs = [
        (a, b, x) for a, row in (found.correlations or {}).items() for b, x in row.items() if a < b and x is not None
    ]
    if pairs:
        OUT.print(f"correlations: {', '.join(f'{a} and {b} {x:+.2f}' for a, b, x in pairs)}")
    for parameter, components in (found.breakdown or {}).items():
        _components(parameter, components)
    _findings(found.findings)
    for state in ("fail", "warning"):
        own = {
            name: one.fail if state == "fail" else one.warning
            for name, one in found.ratios.items()
            if one.state == state
        }
        if own:
            named = "; ".join(f"{name} ({', '.join(checks)})" for name, checks in own.items())
            OUT.print(f"ratios: {len(own)} of {len(found.ratios)} {LABELS[state]}: {named}")


def _components(parameter: str, components: Mapping[str, Component]) -> None:
    """Show the components of an error that add up, those below a hundredth of the largest left out."""
    sizes = {name: own.observable for name, own in components.items() if own.observable is not None}
    shown = [f"{size:.2g} {name}" for name, size in sizes.items() if size > 0.01 * max(sizes.values())]
    if shown:
        OUT.print(f"error of {parameter} by shifts of observables: {', '.join(shown)}")


def _findings(findings: Sequence[Finding]) -> None:
    """Show the worst finding of each check."""
    counts = Counter(finding.check for finding in findings)
    first = {finding.check: finding for finding in reversed(findings)}
    checks = list(dict.fromkeys(finding.check for finding in findings))
    for check in checks[:MOST]:
        state, more = first[check].state, f" ({counts[check] - 1} more of this check)" if counts[check] > 1 else ""
        OUT.print(f"{LABELS[state]} {check}: {first[check].sentence}{more}", style=STYLES[state])
    if len(checks) > MOST:
        OUT.print(f"see the report for {', '.join(checks[MOST:])}")


def exported(facts: Mapping[str, Any]) -> None:
    """Show what the estimators of a run are."""
    OUT.print(f"{facts['analysis']}: ln r of {', '.join(facts['processes'])} from")
    for place, feature in enumerate(facts["features"]):
        unit = f"  [{feature['unit']}]" if feature["unit"] else ""
        OUT.print(f"  {place}  {feature['name']}{unit}")
    table = Table("ratio", box=None, pad_edge=False)
    for name in ("members", "network", "combine", "calibration"):
        table.add_column(name)
    for ratio in facts["ratios"]:
        table.add_row(*(str(ratio[key]) for key in ("name", "members", "network", "combine", "calibration")))
    OUT.print(table)
    for note in facts["files"]:
        OUT.print(
            f"{note['file']}: {note['bytes'] / 1e6:.2f} MB, within {note['largest_difference']:.1g} of needle in ln r"
            if note["exported"]
            else f"{note['file']}: not exported: {note['reason']}"
        )
    OUT.print("made with " + ", ".join(f"{name} {version}" for name, version in facts["versions"].items()))
    for path in facts["written"]:
        OUT.print(f"wrote {path}")


def status(state: Mapping[str, Any]) -> None:
    """Show how far a run is."""
    tasks = state["tasks"]
    verdict = f"; {state['verdict']}" if "verdict" in state else ""
    OUT.print(
        f"{state['name']}: {state['status']}{verdict}; {tasks['done'] + tasks['reused']} of {tasks['total']} tasks done, "
        f"{tasks['failed']} failed",
        style=STYLES.get(state.get("state", ""), ""),
    )
    table = Table("stage", box=None, pad_edge=False)
    for name in ("tasks", "done", "seconds"):
        table.add_column(name, justify="right")
    for stage, counts in state["stages"].items():
        table.add_row(stage, str(counts["tasks"]), str(counts["done"]), f"{counts['seconds']:.1f}")
    OUT.print(table)


def searched(found: Sequence[str]) -> None:
    """Show how far searches are."""
    for line in found:
        OUT.print(line)


def sites(found: Sequence[Mapping[str, str]]) -> None:
    """List the sites."""
    table = Table("site", "what it is", box=None, pad_edge=False)
    table.add_column("file", overflow="fold")
    for entry in found:
        table.add_row(entry["name"], escape(entry["description"]), entry["file"])
    OUT.print(table)
