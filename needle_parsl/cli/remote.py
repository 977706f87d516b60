"""The commands of runs at another site: short calls through Globus Compute, and what the site's own needle answers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from needle_parsl import rundir
from needle_parsl import site as sites
from needle_parsl.cli import json_output, terminal
from needle_parsl.cli.options import AnalysisFile, Json, RemoteRun, Settings, Unblind
from needle_parsl.errors import InputError
from needle_parsl.workflow.executors import wire
from needle_parsl.workflow.remote import answering, asking

app = typer.Typer(rich_markup_mode=None)

Endpoint = Annotated[
    str | None, typer.Option("--endpoint", metavar="UUID", help="The Globus Compute endpoint; else the site file's.")
]
FarSite = Annotated[str, typer.Option("--site", help="The machine, as the needle at the endpoint knows it.")]
Again = Annotated[
    str | None, typer.Option("--run", metavar="RUN_ID", help="Repeat a submission whose answer was lost.")
]
To = Annotated[Path | None, typer.Option("--out", help="The folder for the files; by default runs/RUN_ID.")]


@app.command()
def submit(
    analysis: AnalysisFile,
    site: FarSite,
    endpoint: Endpoint = None,
    settings: Settings = None,
    run: Again = None,
    unblind: Unblind = False,
    as_json: Json = False,
) -> None:
    """Start a run at another site, through Globus Compute."""
    _show(
        asking.submit(analysis, site, endpoint or sites.endpoint(site), settings or [], run, unblind=unblind), as_json
    )


@app.command()
def fetch(run: RemoteRun, out: To = None, as_json: Json = False) -> None:
    """Bring the report, fits and estimators of a remote run."""
    asking.known(run)
    folder = out or Path("runs") / run
    rundir.check(folder)
    came = asking.fetch(run, folder)
    if as_json:
        json_output.print_json({"run": run, "folder": str(folder), "files": came})
    else:
        typer.echo(f'{len(came)} files fetched to {folder}; "needle report {folder}" prints the results')


@app.command(hidden=True)
def answer() -> None:
    """Answer a question on standard input, as JSON: what an endpoint runs."""
    try:
        question = json.load(sys.stdin)
    except ValueError as error:
        raise InputError(f"standard input: is no JSON: {error}") from error
    typer.echo(json.dumps(answering.answer(question)))


@app.command(hidden=True)
def work() -> None:
    """Do tasks that come as lines on standard input: what a worker of an endpoint runs, if a site sends it tasks."""
    wire.serve()


def ask(run: str, what: str, as_json: bool) -> None:
    """Ask for the status of a remote run, or cancel it."""
    _show(asking.ask(run, what), as_json)


def log(run: str) -> str:
    """Give the end of the output of a remote run."""
    return str(asking.ask(run, "logs")["log"])


def _show(facts: dict[str, Any], as_json: bool) -> None:
    """Print where a remote run stands."""
    if as_json:
        json_output.print_json(facts)
        return
    typer.echo(f"{facts['run']}: in {facts['folder']} at the site")
    if "state" in facts:
        terminal.status(facts["state"])
        return
    typer.echo(facts["status"])
    if not facts["alive"] and facts["log"]:
        typer.echo(facts["log"].rstrip(), err=True)
