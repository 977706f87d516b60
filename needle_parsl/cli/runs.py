"""The commands of runs here: their plan, progress and results."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import replace
from pathlib import Path

import typer

from needle_parsl import summary as summaries
from needle_parsl.analysis import morphing
from needle_parsl.cli import answers, drivers, failures, json_output, preparation, progress, remote, terminal
from needle_parsl.cli.options import (
    AnalysisFile,
    Detach,
    Force,
    Json,
    Out,
    Pilot,
    Precision,
    Probe,
    RunName,
    Settings,
    SiteName,
    Strict,
    Unblind,
    Until,
    Verify,
)
from needle_parsl.cli.preparation import find
from needle_parsl.errors import InputError, NeedleError
from needle_parsl.files import read_json
from needle_parsl.processes import interrupts
from needle_parsl.workflow import lock, prepared_run, run_state, search_progress, verdicts
from needle_parsl.workflow import precision as enough
from needle_parsl.workflow import run as runs
from needle_parsl.workflow.journal import Outcome
from needle_parsl.workflow.prepared_run import Prepared
from needle_parsl.workflow.remote import asking

app = typer.Typer(rich_markup_mode=None)


@app.command("plan")
def plan_command(
    analysis: AnalysisFile,
    site: SiteName = "local",
    out: Out = None,
    settings: Settings = None,
    until: Until = None,
    precision: Precision = None,
    probe: Probe = False,
    verify: Verify = False,
    as_json: Json = False,
) -> None:
    """Show what a run would do, and what of it is already done."""
    if precision is not None:
        enough.asked(precision)
    prepared = preparation.prepare(analysis, site, out, settings, until, afresh=probe or verify)
    facts = answers.planned(prepared, probe=probe)
    if precision is not None:
        facts = replace(facts, precision=enough.answer(prepared, precision))
    if as_json:
        json_output.print_json(facts)
    else:
        terminal.warned(prepared.loaded.warnings)
        terminal.explained(prepared)
        terminal.noted(morphing.notes(prepared.loaded.analysis))
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
    whole = preparation.prepare(analysis, site, out, settings, until, afresh=verify, unblind=unblind)
    prepared = preparation.pilot(whole, pilot, analysis, site, settings, until) if pilot else whole
    lock.refuse(prepared.root)
    if not force and (other := prepared_run.another(prepared)):
        raise InputError(other)
    terminal.warned(prepared.loaded.warnings)
    terminal.explained(prepared)
    if drivers.wanted(prepared.site, detach):
        _say_of(prepared.root, drivers.detach(prepared.root, prepared.site), as_json)
        return
    for note in prepared.site.notes():
        terminal.said(note)
    outcome = _done(prepared, quiet=as_json)
    if prepared.more and not outcome.failed:
        terminal.said("these stages are done; the rest is planned with what they have made")
        prepared = (
            preparation.pilot(whole, pilot, analysis, site, settings, until)
            if pilot
            else preparation.prepare(analysis, site, prepared.root, settings, until, unblind=unblind)
        )
        terminal.warned(prepared.loaded.warnings)
        outcome = _done(prepared, quiet=as_json).after(outcome)
    facts = answers.ended(prepared, outcome)
    if pilot and not outcome.failed:
        members = preparation.members(prepared), preparation.members(whole)
        facts = replace(facts, whole=answers.whole(prepared, whole, members))
    json_output.print_json(facts) if as_json else terminal.ended(facts)
    if outcome.failed:  # not by way of the libraries' own ends: HDF5's crashes if the disk was full
        interrupts.leave(2 if outcome.wrong_input else 1)
    if strict and facts.summary is not None and facts.summary.state == "fail":
        interrupts.leave(answers.FAILING)


def _done(prepared: Prepared, *, quiet: bool) -> Outcome:
    """Run what is to do; an interrupt, and what keeps the run from going on, end the process."""
    try:
        # What users' modules print is no answer.
        with (
            interrupts.watched(),
            progress.shown(prepared, quiet=quiet) as on_end,
            contextlib.redirect_stdout(sys.stderr),
        ):
            return runs.run(prepared, on_end, terminal.said)
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):  # the terminal may have gone
            typer.echo("interrupted; the same command goes on from here", err=True)
        interrupts.leave(interrupts.CODE)
    except (NeedleError, OSError) as error:
        interrupts.leave(failures.tell(error))


def _say_of(root: Path, sentence: str, as_json: bool) -> None:
    """Say what has become of a run that others go on with."""
    json_output.print_json({"run": str(root), "said": sentence}) if as_json else typer.echo(sentence)


@app.command()
def status(run_name: RunName, as_json: Json = False) -> None:
    """Show the progress of a run, here or at another site."""
    if asking.is_known(run_name):
        remote.ask(run_name, "status", as_json)
        return
    root = find(run_name)
    state = run_state.read(root)
    searches = search_progress.lines(root, state)
    if as_json:
        json_output.print_json({**state, **({"search": searches} if searches else {})})
        return
    terminal.status(state)
    terminal.searched(searches)


@app.command()
def report(run_name: RunName, strict: Strict = False, as_json: Json = False) -> None:
    """Print the results of a run and the path of its report."""
    root = find(run_name)
    if not verdicts.has_report(run_state.read(root)):
        raise InputError(f'{root}: its last run has not come to a report; "needle run" makes it')
    found = read_json(root / verdicts.SUMMARY)
    page = str(root / "report" / "index.html")
    if not isinstance(found, dict) or "verdict" not in found:
        raise InputError(f'{root}: its report is of an earlier version of needle; "needle run" writes it anew')
    if as_json:
        json_output.print_json({**found, "report": page})
    else:
        try:
            summary = summaries.read(found)
            terminal.results(summary, page)
            terminal.warned(summary.warnings)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f'{root}: its report is damaged, or no report\'s; "needle run" writes it anew') from error
    if strict and found.get("state") == "fail":
        raise typer.Exit(answers.FAILING)
