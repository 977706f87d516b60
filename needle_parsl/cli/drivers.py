"""The commands for runs that go on by themselves: here, in a job, or at another site."""

from __future__ import annotations

import os
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import typer

from needle_parsl import ownership, rundir
from needle_parsl.cli import json_output, remote, terminal
from needle_parsl.cli.options import Json, RunName
from needle_parsl.cli.preparation import find
from needle_parsl.errors import InputError, TaskError, legible
from needle_parsl.site import Site
from needle_parsl.workflow import driver as drivers
from needle_parsl.workflow import lock, run_state
from needle_parsl.workflow.driver import Driver
from needle_parsl.workflow.executors.driver_job import INSIDE, LOG
from needle_parsl.workflow.remote import asking

app = typer.Typer(rich_markup_mode=None)
LOOK = 0.5
"""Seconds between two looks at a log."""


def wanted(site: Site, detach: bool) -> bool:
    """Whether a run goes on by itself; a driver that does so already is not started again."""
    return INSIDE not in os.environ and (detach or site.driver == "job")


def detach(root: Path, site: Site) -> str:
    """Start the same command as a driver that outlives the terminal; give a sentence about it.

    Args:
        root: The run directory.
        site: The machine; it may ask for a job.

    Raises:
        NeedleError: It cannot be started, or there is one already.
    """
    with nullcontext() if site.shared else ownership.under(ownership.PRIVATE):
        return _detached(root, site)


def _detached(root: Path, site: Site) -> str:
    rundir.create(root, shared=site.shared)
    (root / rundir.LOGS).mkdir(exist_ok=True)
    driver = drivers.read(root / rundir.DRIVER)
    if driver and drivers.alive(driver):
        raise InputError(
            f'{root}: has a driver already; "needle attach {root}" shows what it says, "needle cancel {root}" ends it'
        )
    arguments = [argument for argument in sys.argv[1:] if argument != "--detach"]
    if site.driver == "job":
        driver = drivers.submit(arguments, Path.cwd(), root, site)
        who = f"job {driver.job}"
    else:
        driver = drivers.start(arguments, Path.cwd(), root / rundir.DRIVER, root / rundir.LOGS / LOG)
        who = f"process {driver.pid} on {driver.host}"
    return f"{root}: started as {who}; follow with needle attach, status, logs, cancel {root}"


@app.command()
def attach(run: RunName) -> None:
    """Follow the output of a detached run until it ends; Ctrl-C leaves it alone."""
    root = find(run)
    driver = drivers.read(root / rundir.DRIVER)
    if driver is None:
        raise InputError(f"{root}: was not started with --detach")
    log = root / rundir.LOGS / LOG
    shown = 0
    while True:
        alive = drivers.alive(driver)
        text = log.read_text(errors="replace") if log.is_file() else ""
        typer.echo(legible(text[shown:]), nl=False)
        shown = len(text)
        if not alive and driver == (driver := drivers.read(root / rundir.DRIVER) or driver):
            break  # nor has its job left word of a next one
        time.sleep(LOOK)
    state = run_state.read(root)["status"] if (root / rundir.RUN).exists() else "not begun"
    if state != "done":
        raise TaskError(f"{root}: {state}; the same command goes on from here")


@app.command()
def logs(run: RunName) -> None:
    """Show the end of the output of a detached or remote run."""
    if asking.is_known(run):
        typer.echo(legible(remote.log(run)), nl=False)
        return
    root = find(run)
    typer.echo(legible(drivers.tail(root / rundir.LOGS / LOG)), nl=False)


@app.command()
def cancel(run: RunName, as_json: Json = False) -> None:
    """End a run that goes on by itself, with its workers and jobs."""
    if asking.is_known(run):
        remote.ask(run, "cancel", as_json)
        return
    root = find(run)
    driver = drivers.read(root / rundir.DRIVER)
    if driver is None and (holder := lock.holder(root)):
        driver = Driver(holder.host, holder.pid, holder.born)
    if driver is None or not drivers.alive(driver):
        raise InputError(f"{root}: is not running")
    drivers.end(driver, root)
    if drivers.alive(driver):
        raise TaskError(f"{root}: its driver does not end; give the same command again")
    state = run_state.read(root) if (root / rundir.RUN).exists() else None
    if state is None:
        typer.echo(f"{root}: ended before it began")
        return
    json_output.print_json(state) if as_json else terminal.status(state)
