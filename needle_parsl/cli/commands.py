"""The command `needle`: where each of its commands is, and what holds for all of them."""

from __future__ import annotations

import io
import os
import sys
import traceback
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from needle_parsl import __version__
from needle_parsl.cli import failures
from needle_parsl.processes import threads

SILENT = {"ORT_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}
"""Libraries that would tell their makers of a run do not; workers inherit it."""
COMMANDS = {
    "init": ("start", "Start an analysis, from an app or from data files."),
    "check": ("start", "Validate an analysis and its input files."),
    "plan": ("runs", "Show what a run would do, and what of it is already done."),
    "run": ("runs", "Run an analysis, from events to the report."),
    "status": ("runs", "Show the progress of a run, here or at another site."),
    "report": ("runs", "Print the results of a run and the path of its report."),
    "evaluate": ("estimators", "Evaluate the ratios of a run for the events of new files."),
    "export": ("estimators", "Describe the estimators of a run, or export them."),
    "serve": ("serving", "Serve exported estimators to other processes, by Triton or a built-in server."),
    "models": ("serving", "List what a model repository holds, or choose the version that is served."),
    "bench": ("bench", "Measure what an inference server does on this machine."),
    "submit": ("remote", "Start a run at another site, through Globus Compute."),
    "fetch": ("remote", "Bring the report, fits and estimators of a remote run."),
    "attach": ("drivers", "Follow the output of a detached run until it ends."),
    "logs": ("drivers", "Show the end of the output of a detached or remote run."),
    "cancel": ("drivers", "End a run that goes on by itself, with its workers and jobs."),
    "sites": ("sites", "List the machines that needle knows, or show one."),
    "answer": ("remote", ""),
    "work": ("remote", ""),
}
"""The module of each command and its line in `needle --help`; those of programs have none."""


class Commands(TyperGroup):
    """The commands of `needle`: a module is imported when one of its commands is called, so that each starts at once."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands: Any = dict.fromkeys(COMMANDS)  # their names: typer lists them, and says which is close

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import a command; None if there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        group: Any = typer.main.get_command(import_module(f"needle_parsl.cli.{COMMANDS[cmd_name][0]}").app)
        return group.get_command(ctx, cmd_name)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002  the context is of typer's signature
        """Write the list of commands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items() if line])


app = typer.Typer(
    name="needle",
    cls=Commands,
    help="Neural simulation-based inference at scale: from simulated events to confidence intervals.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help answers in half the time
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"needle {__version__}")
        raise typer.Exit


@app.callback()
def needle(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show version.")] = False,
    debug: Annotated[
        bool, typer.Option(failures.DEBUG, help="Show the traceback of an error; accepted before or after the command.")
    ] = False,
) -> None:
    """Neural simulation-based inference at scale: from simulated events to confidence intervals."""
    del version, debug  # `main` takes --debug out of the arguments


def main() -> None:
    """Run `needle`; exit with 0 done, 1 failed, 2 wrong input, 3 a check failed (--strict), 130 interrupted."""
    threads.one()
    os.environ.update(SILENT)
    _any_terminal()
    _named_folders_alone()
    debug = failures.DEBUG in sys.argv
    try:
        app(args=[argument for argument in sys.argv[1:] if argument != failures.DEBUG])
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # noqa: BLE001  what needle itself does wrong is a sentence, too
        if debug:
            traceback.print_exc()
        sys.exit(failures.tell(error))


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
