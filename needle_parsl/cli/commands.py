"""The commands of `needle`. Everything heavy is imported inside them, so that `needle --help` answers at once."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import traceback
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from needle_parsl import __version__
from needle_parsl.cli import answers, drivers, estimators, preparation, remote
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
    Strict,
    SubmitScript,
    Unblind,
    Until,
    Verify,
)
from needle_parsl.cli.preparation import find
from needle_parsl.errors import InputError, NeedleError, Problem, legible
from needle_parsl.processes import threads
from needle_parsl.summary import Summary

T = TypeVar("T")
SILENT = {"ORT_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}
"""Libraries that would tell their makers of a run do not; workers inherit it."""
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
drivers.add(app)


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
    from needle_parsl import scaffold
    from needle_parsl.cli import terminal

    files = [*(data or []), *(more or [])]
    if (app_name is None) == (not data):
        raise InputError(f"say either --data FILE... or --from APP; the apps are {', '.join(scaffold.apps())}")
    written = scaffold.from_data(folder, files) if app_name is None else scaffold.from_app(folder, app_name)
    problems = _mistakes(folder)
    facts = {"written": [str(path) for path in written], "problems": [asdict(problem) for problem in problems]}
    answers.print_json(facts) if as_json else terminal.started(folder, written, problems)


def _mistakes(folder: Path) -> tuple[Problem, ...]:
    """Check an analysis."""
    from needle_parsl.analysis import read
    from needle_parsl.workflow import probe as probing

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
    from needle_parsl.workflow import probe as probing
    from needle_parsl.workflow import trust

    try:
        loaded = read(analysis, settings)
        for sentence in trust.foreign(loaded):
            terminal.said(sentence)
        inputs, looked = probing.probe(loaded)
    except InputError as error:
        if as_json:
            answers.print_json({"ok": False, "problems": [asdict(problem) for problem in error.listed()]})
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
        answers.print_json(facts)
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
    verify: Verify = False,
    as_json: Json = False,
) -> None:
    """Show what a run would do, and what of it is already done."""
    from needle_parsl.cli import terminal

    prepared = preparation.prepare(analysis, site, out, settings, until, afresh=probe or verify)
    facts = answers.planned(prepared, probe=probe)
    if as_json:
        answers.print_json(facts)
    else:
        terminal.warned(prepared.loaded.warnings)
        terminal.explained(prepared)
        terminal.planned(facts)


@app.command()
def run(  # noqa: PLR0913, PLR0917  each is an option
    analysis: AnalysisFile,
    site: SiteName = "local",
    out: Out = None,
    settings: Settings = None,
    until: Until = None,
    force: Force = False,
    detach: Detach = False,
    pilot: Pilot = None,
    unblind: Unblind = False,
    verify: Verify = False,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Run an analysis, from events to the report.

    What is already done is not done again.
    """
    from needle_parsl.cli import progress, terminal
    from needle_parsl.processes import interrupts
    from needle_parsl.workflow import lock
    from needle_parsl.workflow import run as running

    whole = preparation.prepare(analysis, site, out, settings, until, afresh=verify, unblind=unblind)
    prepared = preparation.pilot(whole, pilot, analysis, site, settings, until) if pilot else whole
    lock.refuse(prepared.root)
    if not force and (other := running.another(prepared)):
        raise InputError(other)
    terminal.warned(prepared.loaded.warnings)
    terminal.explained(prepared)
    if drivers.wanted(prepared.site, detach):
        _say_of(prepared.root, drivers.detach(prepared.root, prepared.site), as_json)
        return
    for note in prepared.site.notes():
        terminal.said(note)
    try:
        # What users' modules print is no answer.
        with (
            interrupts.watched(),
            progress.shown(prepared, quiet=as_json) as on_end,
            contextlib.redirect_stdout(sys.stderr),
        ):
            outcome = running.run(prepared, on_end, terminal.said)
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):  # the terminal may have gone
            typer.echo("interrupted; the same command goes on from here", err=True)
        interrupts.leave(interrupts.CODE)
    except (NeedleError, OSError) as error:
        interrupts.leave(_say(error))
    facts = answers.ended(prepared, outcome)
    if pilot and not outcome.failed:
        members = preparation.members(prepared), preparation.members(whole)
        facts = replace(facts, whole=answers.whole(prepared, whole, members))
    answers.print_json(facts) if as_json else terminal.ended(facts)
    if outcome.failed:  # not by way of the libraries' own ends: HDF5's crashes if the disk was full
        interrupts.leave(2 if outcome.wrong_input else 1)
    if strict and facts.summary is not None and facts.summary.state == "fail":
        interrupts.leave(answers.FAILING)


def _say_of(root: Path, sentence: str, as_json: bool) -> None:
    """Say what has become of a run that others go on with."""
    answers.print_json({"run": str(root), "said": sentence}) if as_json else typer.echo(sentence)


@app.command()
def status(run_name: RunName, as_json: Json = False) -> None:
    """Say how far a run is, here or at another site."""
    from needle_parsl.cli import terminal
    from needle_parsl.workflow import run as running
    from needle_parsl.workflow.remote import asking

    if asking.is_known(run_name):
        remote.ask(run_name, "status", as_json)
        return
    state = running.state(find(run_name))
    answers.print_json(state) if as_json else terminal.status(state)


@app.command()
def report(run_name: RunName, strict: Strict = False, as_json: Json = False) -> None:
    """Print the results of a run and the path of its report."""
    from needle_parsl.cli import terminal
    from needle_parsl.files import read_json
    from needle_parsl.workflow import run as running
    from needle_parsl.workflow import verdicts

    root = find(run_name)
    if not verdicts.has_report(running.state(root)):
        raise InputError(f'{root}: its last run has not come to a report; "needle run" makes it')
    found = read_json(root / verdicts.SUMMARY)
    page = str(root / "report" / "index.html")
    if not isinstance(found, dict) or "verdict" not in found:
        raise InputError(f'{root}: its report is of an earlier version of needle; "needle run" writes it anew')
    if as_json:
        answers.print_json({**found, "report": page})
    else:
        try:
            summary = Summary.from_json(found)
            terminal.results(summary, page)
            terminal.warned(summary.warnings)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f'{root}: its report is damaged, or no report\'s; "needle run" writes it anew') from error
    if strict and found.get("state") == "fail":
        raise typer.Exit(answers.FAILING)


@sites_app.callback(invoke_without_command=True)
def sites(context: typer.Context, as_json: Json = False) -> None:
    """List the machines that needle knows."""
    if context.invoked_subcommand:
        return
    from needle_parsl import site
    from needle_parsl.cli import terminal

    known = site.known().items()
    found = [{"name": name, "description": site.described(path), "file": str(path)} for name, path in known]
    answers.print_json(found) if as_json else terminal.sites(found)


@sites_app.command("show")
def sites_show(name: ShownSite, submit_script: SubmitScript = False, as_json: Json = False) -> None:
    """Show a site's settings, with defaults and environment variables filled in, or the jobs that it would submit."""
    from needle_parsl import reading, site

    loaded = site.load(name)
    if submit_script:
        from needle_parsl.workflow.executors import preview

        scripts = preview.scripts(loaded, Path(loaded.scratch).expanduser().absolute() / "runs" / "NAME" / "logs")
        answers.print_json(scripts) if as_json else typer.echo(
            "\n".join(f"### {title}\n{text}" for title, text in scripts.items())
        )
        return
    answers.print_json(asdict(loaded)) if as_json else typer.echo(reading.dump(asdict(loaded)), nl=False)


def main() -> None:
    """Run `needle`; exit with 0 done, 1 failed, 2 wrong input, 3 a check failed (--strict), 130 interrupted."""
    threads.one()
    os.environ.update(SILENT)
    _any_terminal()
    _named_folders_alone()
    debug = DEBUG in sys.argv
    try:
        app(args=[argument for argument in sys.argv[1:] if argument != DEBUG])
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # noqa: BLE001  what needle itself does wrong is a sentence, too
        if debug:
            traceback.print_exc()
        sys.exit(_say(error))


def _any_terminal() -> None:
    """Print although the terminal has another encoding than UTF-8, or says that it has no width, as in some containers."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if not os.environ.get("COLUMNS", "80").isdigit() or int(os.environ.get("COLUMNS", "80")) < 1:
        del os.environ["COLUMNS"]


def _named_folders_alone() -> None:
    """Let programs that needle starts find modules in the folders of PYTHONPATH: for Python, an empty entry is the current folder."""
    if path := os.environ.pop("PYTHONPATH", ""):
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, path.split(os.pathsep)))


def _say(error: Exception) -> int:
    """Print what went wrong; give the exit code."""
    typer.echo(legible(_said(error, debug=DEBUG in sys.argv)), err=True)
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
