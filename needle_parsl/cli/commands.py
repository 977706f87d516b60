"""The commands of `needle`. Everything heavy is imported inside them, so that `needle --help` answers at once."""

from __future__ import annotations

import contextlib
import json
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from needle_parsl import __version__
from needle_parsl.cli import driving, estimators, remote
from needle_parsl.cli.finding import find
from needle_parsl.cli.options import (
    AnalysisFile,
    App,
    DataFile,
    Detach,
    Force,
    Json,
    Out,
    Pilot,
    Probe,
    RunName,
    Settings,
    ShownSite,
    SiteName,
    SubmitScript,
    Unblind,
    Until,
)
from needle_parsl.errors import InputError, NeedleError, Problem
from needle_parsl.workflow.processes import threads

if TYPE_CHECKING:
    from needle_parsl.workflow.records import Record
    from needle_parsl.workflow.running import Outcome, Prepared

T = TypeVar("T")
DEBUG = "--debug"
app = typer.Typer(
    name="needle",
    help="Neural simulation-based inference at scale: from simulated events to confidence intervals.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help answers in half the time
)
sites_app = typer.Typer(help="List the machines that needle knows, or show one.", rich_markup_mode=None)
app.add_typer(sites_app, name="sites")
estimators.add(app)
remote.add(app)
driving.add(app)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"needle {__version__}")
        raise typer.Exit


@app.callback()
def needle(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
    debug: Annotated[bool, typer.Option(DEBUG, help="Show the traceback of an error; works in any place.")] = False,
) -> None:
    """Neural simulation-based inference at scale: from simulated events to confidence intervals."""
    del version, debug  # `main` takes --debug out of the arguments


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of the new analysis.")],
    data: DataFile = None,
    more: Annotated[list[Path] | None, typer.Argument(metavar="FILE", help="Further data files.")] = None,
    app_name: App = None,
    as_json: Json = False,
) -> None:
    """Start an analysis, from an app or from data files."""
    from needle_parsl import starting
    from needle_parsl.cli import terminal

    files = [*(data or []), *(more or [])]
    if (app_name is None) == (not data):
        raise InputError(f"say either --data FILE... or --from APP; the apps are {', '.join(starting.apps())}")
    written = starting.from_data(folder, files) if app_name is None else starting.from_app(folder, app_name)
    problems = _mistakes(folder)
    facts = {"written": [str(path) for path in written], "problems": [asdict(problem) for problem in problems]}
    _print_json(facts) if as_json else terminal.started(folder, written, problems)


def _mistakes(folder: Path) -> tuple[Problem, ...]:
    """Check an analysis."""
    from needle_parsl.analysis import read
    from needle_parsl.workflow import probing

    try:
        probing.probe(read(folder))
    except InputError as error:
        return error.listed()
    return ()


@app.command()
def check(analysis: AnalysisFile, settings: Settings = None, as_json: Json = False) -> None:
    """Look for every mistake in an analysis and its files."""
    from needle_parsl.analysis import extras, read
    from needle_parsl.cli import terminal
    from needle_parsl.workflow import probing

    try:
        loaded = read(analysis, settings)
        inputs, looked = probing.probe(loaded)
    except InputError as error:
        if as_json:
            _print_json({"ok": False, "problems": [asdict(problem) for problem in error.listed()]})
            raise typer.Exit(2) from error
        raise
    warnings = [asdict(warning) for warning in loaded.warnings]
    facts = {
        "ok": True,
        "problems": [],
        "warnings": warnings,
        "notes": [*looked.notes, *extras.wished()],
        "files": dict(looked.files),
        "exact": inputs.exact,
    }
    if as_json:
        _print_json(facts)
    else:
        terminal.warned(loaded.warnings)
        terminal.checked(loaded.path, len(looked.files), [*looked.notes, *extras.wished()])


@app.command("plan")
def plan_command(
    analysis: AnalysisFile,
    site: SiteName = "local",
    out: Out = None,
    settings: Settings = None,
    until: Until = None,
    probe: Probe = False,
    as_json: Json = False,
) -> None:
    """Show what a run would do, and what of it is already done."""
    from needle_parsl.cli import terminal

    prepared = _prepare(analysis, site, out, settings, until, afresh=probe)
    facts = _plan(prepared)
    if as_json:
        _print_json(facts)
    else:
        terminal.warned(prepared.loaded.warnings)
        terminal.explained(prepared)
        terminal.planned(facts)


@app.command()
def run(
    analysis: AnalysisFile,
    site: SiteName = "local",
    out: Out = None,
    settings: Settings = None,
    until: Until = None,
    force: Force = False,
    detach: Detach = False,
    pilot: Pilot = None,
    unblind: Unblind = False,
    as_json: Json = False,
) -> None:
    """Run an analysis, from events to the report.

    What is already done is not done again.
    """
    from needle_parsl.cli import terminal
    from needle_parsl.workflow import costing, lock, running
    from needle_parsl.workflow.processes import interrupts

    whole = _prepare(analysis, site, out, settings, until, unblind=unblind)
    prepared = _pilot(whole, pilot, analysis, site, settings, until) if pilot else whole
    lock.refuse(prepared.root)
    if not force and (other := running.another(prepared)):
        raise InputError(other)
    terminal.warned(prepared.loaded.warnings)
    terminal.explained(prepared)
    if driving.wanted(prepared.site, detach):
        _say_of(prepared.root, driving.detach(prepared.root, prepared.site), as_json)
        return
    for note in prepared.site.notes():
        terminal.said(note)
    try:
        # What users' modules print is no answer.
        with (
            interrupts.watched(),
            terminal.progress(prepared, quiet=as_json) as on_end,
            contextlib.redirect_stdout(sys.stderr),
        ):
            outcome = running.run(prepared, on_end, terminal.said)
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):  # the terminal may have gone
            typer.echo("interrupted; the same command goes on from here", err=True)
        interrupts.leave(interrupts.CODE)
    except (NeedleError, OSError) as error:
        interrupts.leave(_say(error))
    facts = _outcome(prepared, outcome)
    if pilot and not outcome.failed:
        facts["whole"] = _cost(whole) | {"spread": costing.spread(prepared.root, _members(prepared), _members(whole))}
    _print_json(facts) if as_json else terminal.ended(facts)
    if outcome.failed:  # not by way of the libraries' own ends: HDF5's crashes if the disk was full
        interrupts.leave(2 if outcome.wrong_input else 1)


def _pilot(
    whole: Prepared, part: str, analysis: Path, site: str, settings: list[str] | None, until: str | None
) -> Prepared:
    """Prepare a slice of a run, in a directory beside that of the whole."""
    from needle_parsl.workflow import costing

    fewer = costing.reduced(whole.loaded.analysis, costing.share(part))
    root = whole.root.with_name(whole.root.name + costing.PILOT)
    return _prepare(analysis, site, root, [*(settings or []), *fewer], until)


def _members(prepared: Prepared) -> int:
    return prepared.loaded.analysis.training.members


def _say_of(root: Path, sentence: str, as_json: bool) -> None:
    """Say what has become of a run that others go on with."""
    _print_json({"run": str(root), "said": sentence}) if as_json else typer.echo(sentence)


@app.command()
def status(run_name: RunName, as_json: Json = False) -> None:
    """Say how far a run is, here or at another site."""
    from needle_parsl.cli import terminal
    from needle_parsl.workflow import running
    from needle_parsl.workflow.remote import asking

    if asking.is_known(run_name):
        remote.ask(run_name, "status", as_json)
        return
    state = running.state(find(run_name))
    _print_json(state) if as_json else terminal.status(state)


@app.command()
def report(run_name: RunName, as_json: Json = False) -> None:
    """Print the results of a run and the path of its report."""
    from needle_parsl import rundir
    from needle_parsl.cli import terminal
    from needle_parsl.workflow import running

    root = find(run_name)
    if running.state(root)["stages"].get("report", {}).get("done") != 1:
        raise InputError(f'{root}: its last run has not come to a report; "needle run" makes it')
    facts = {**rundir.read_json(root / "report" / "summary.json"), "report": str(root / "report" / "index.html")}
    if as_json:
        _print_json(facts)
    else:
        terminal.results(facts)
        terminal.warned(facts.get("warnings", []))  # a report of an earlier needle has none


@sites_app.callback(invoke_without_command=True)
def sites(context: typer.Context, as_json: Json = False) -> None:
    """List the machines that needle knows."""
    if context.invoked_subcommand:
        return
    from needle_parsl import site
    from needle_parsl.cli import terminal

    known = site.known().items()
    found = [{"name": name, "description": site.described(path), "file": str(path)} for name, path in known]
    _print_json(found) if as_json else terminal.sites(found)


@sites_app.command("show")
def sites_show(name: ShownSite, submit_script: SubmitScript = False, as_json: Json = False) -> None:
    """Show a site's settings, with defaults and environment variables filled in, or the jobs that it would submit."""
    from needle_parsl import reading, site

    loaded = site.load(name)
    if submit_script:
        from needle_parsl.workflow.executors import preview

        scripts = preview.scripts(loaded, Path(loaded.scratch).expanduser().absolute() / "runs" / "NAME" / "logs")
        _print_json(scripts) if as_json else typer.echo(
            "\n".join(f"### {title}\n{text}" for title, text in scripts.items())
        )
        return
    _print_json(asdict(loaded)) if as_json else typer.echo(reading.dump(asdict(loaded)), nl=False)


def _prepare(
    analysis: Path,
    site_name: str,
    out: Path | None,
    settings: list[str] | None,
    until: str | None,
    *,
    afresh: bool = False,
    unblind: bool = False,
) -> Prepared:
    """Read analysis and site, with the mistakes of both, and look at the files."""
    from needle_parsl import rundir
    from needle_parsl import site as sites
    from needle_parsl.analysis import read
    from needle_parsl.workflow import probing, running

    problems: list[Problem] = []
    opened = [*(settings or []), *(["fit.blind=false"] if unblind else [])]
    loaded = _or_note(problems, lambda: read(analysis, opened))
    site = _or_note(problems, lambda: sites.load(site_name))
    if loaded is None or site is None or loaded.problems:
        raise InputError.of([*(probing.mistakes(loaded) if loaded else []), *problems])
    root = out or Path(site.scratch).expanduser() / "runs" / loaded.analysis.name
    rundir.check(root)
    return running.prepare(root, loaded, site, until, afresh=afresh, unblind=unblind)


def _or_note(problems: list[Problem], read: Callable[[], T]) -> T | None:
    try:
        return read()
    except InputError as error:
        problems.extend(error.listed())
        return None


def _plan(prepared: Prepared) -> dict[str, Any]:
    """Gather what `needle plan` prints: tasks by stage, and the networks in the packs."""
    from needle_parsl import plan

    todo = {task.key for task in prepared.todo()}
    stages: dict[str, dict[str, int]] = {}
    for stage, count in prepared.plan.stages().items():
        tasks = [task for task in prepared.plan.tasks if task.stage == stage]
        stages[stage] = {"tasks": count, "to_do": sum(task.key in todo for task in tasks)}
        if stage == "train":
            sizes = [(len(task.of(plan.Train).members), task.key in todo) for task in tasks]
            stages[stage] |= {
                "networks": sum(n for n, _ in sizes),
                "networks_to_do": sum(n for n, left in sizes if left),
                "largest_pack": max((n for n, _ in sizes), default=0),
            }
    return {
        "analysis": str(prepared.loaded.path),
        "run": str(prepared.root),
        "networks": prepared.plan.networks,
        "engine": _engine(prepared),
        "stages": stages,
        "warnings": [asdict(warning) for warning in prepared.loaded.warnings],
        "changes": [asdict(change) for change in prepared.earlier.changes],
        "redone": prepared.earlier.redone,
        "damaged": prepared.earlier.damaged,
        "cost": _cost(prepared),
    }


def _cost(prepared: Prepared) -> dict[str, Any]:
    """Estimate the node-hours and the disk that a run still needs; stages of which nothing was measured are named."""
    from needle_parsl.workflow import costing, flow

    found = costing.stages(prepared.todo(), prepared.root, prepared.site, flow.need)
    hours = {stage: cost.node_hours() for stage, cost in found.items()}
    known = [value for value in hours.values() if value is not None]
    return {
        "node_hours": {stage: value for stage, value in hours.items() if value is not None},
        "total_node_hours": sum(known),
        "bytes": sum(cost.units * cost.bytes for cost in found.values()),
        "not_measured": [stage for stage, value in hours.items() if value is None],
    }


def _engine(prepared: Prepared) -> dict[str, Any]:
    """Say what trains the networks, why it is no faster engine, and how much faster than one by one it is."""
    from needle_parsl.nsbi import compiling
    from needle_parsl.plan import packing

    training = prepared.loaded.analysis.training
    own = "native" if training.network == "mlp" and compiling.AVAILABLE else "rows"
    engine = prepared.looked.engine or own
    return {"engine": engine, "reason": prepared.looked.reason, "speed_up": packing.speed_up(engine, training.nodes)}


def _outcome(prepared: Prepared, outcome: Outcome) -> dict[str, Any]:
    """Gather what `needle run` prints at its end."""
    from needle_parsl import rundir
    from needle_parsl.workflow import records, running

    facts: dict[str, Any] = {
        "run": str(prepared.root),
        "done": len(outcome.done),
        "reused": len(prepared.done),
        "warnings": records.warnings([*prepared.done.values(), *outcome.done]),
        "failed": [_failure(prepared.root, r) for r in outcome.failed],
    }
    if made := running.converted(prepared, outcome):
        facts["conversion"] = made
    folder = prepared.root / "report"
    reported = any(task.stage == "report" for task in prepared.plan.tasks)
    if reported and not outcome.failed and (folder / "summary.json").exists():
        facts["results"] = {**rundir.read_json(folder / "summary.json"), "report": str(folder / "index.html")}
    return facts


def _failure(root: Path, record: Record) -> dict[str, str]:
    log = str(root / record.log) if record.log else ""
    facts = {"stage": record.stage, "what": record.what, "reason": record.reason}
    return {**facts, "detail": record.detail, "worker": record.worker, "log": log}


def _print_json(facts: object) -> None:
    typer.echo(json.dumps(facts, indent=2))


def main() -> None:
    """Run `needle`; exit with 0 done, 1 failed, 2 wrong input, 130 interrupted."""
    threads.one()
    debug = DEBUG in sys.argv
    try:
        app(args=[argument for argument in sys.argv[1:] if argument != DEBUG])
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # noqa: BLE001  what needle itself does wrong is a sentence, too
        if debug:
            traceback.print_exc()
        sys.exit(_say(error))


def _say(error: Exception) -> int:
    """Print what went wrong; give the exit code."""
    typer.echo(_said(error, debug=DEBUG in sys.argv), err=True)
    return 2 if isinstance(error, InputError) else 1


def _said(error: Exception, *, debug: bool) -> str:
    """Give what users read of an error."""
    if isinstance(error, NeedleError):
        return str(error)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}"
    more = "" if debug else f"; the same command with {DEBUG} shows where"
    return f"needle itself failed, please report it: {type(error).__name__}: {error}{more}"
