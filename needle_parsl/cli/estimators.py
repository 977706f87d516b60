"""The commands of finished estimators: applied to new files, and handed to colleagues."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from needle_parsl.cli import answers
from needle_parsl.cli.options import Json, Overwrite, RunName, SiteName, Trust

EventFile = Annotated[
    list[str], typer.Option("--events", metavar="FILE...", help="ROOT, Parquet, HDF5 or CSV files, or their addresses.")
]
More = Annotated[list[str] | None, typer.Argument(metavar="FILE", help="Further files.")]
Output = Annotated[Path, typer.Option("-o", "--out", help="The Parquet file to write.")]
Tree = Annotated[str, typer.Option("--tree", help="The TTree, RNTuple or HDF5 group, where a file has several.")]
RatioName = Annotated[
    list[str] | None, typer.Option("--ratio", help="Only this ratio; may be repeated. By default all.")
]
At = Annotated[
    list[str] | None,
    typer.Option("--at", metavar="NAME=VALUE", help="A parameter that networks have as an input; may be repeated."),
]
To = Annotated[Path | None, typer.Option("--to", metavar="DIR", help="Write files for colleagues into this folder.")]
Format = Annotated[
    list[str] | None,
    typer.Option("--format", help="With --to: onnx, pt2, safetensors, h5; may be repeated. Default onnx."),
]


def evaluate(  # noqa: PLR0913  each is an option
    run_name: RunName,
    *,
    events: EventFile,
    output: Output,
    more: More = None,
    tree: Tree = "",
    ratio: RatioName = None,
    at: At = None,
    site: SiteName = "local",
    trust: Trust = False,
    force: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Evaluate the ratios of a run for the events of new files."""
    from needle_parsl import site as sites
    from needle_parsl.cli import terminal
    from needle_parsl.cli.preparation import find
    from needle_parsl.errors import InputError
    from needle_parsl.workflow import evaluate

    if output.suffix != ".parquet":
        raise InputError(f"--out {output}: is no name of a Parquet file; end it with .parquet")
    request = evaluate.Request(
        find(run_name), (*events, *(more or [])), output, tree, tuple(ratio or ()), _values(at or []), trust, force
    )
    machine = sites.load(site)
    for sentence in sites.origin(site, machine):
        terminal.said(sentence)
    with _counted(quiet=as_json) as said:
        facts = evaluate.evaluate(request, machine, said, terminal.said)
    if as_json:
        answers.print_json(facts)
        return
    left = (
        f", {facts['rows'] - facts['events']:,} did not pass the selection" if facts["rows"] > facts["events"] else ""
    )
    typer.echo(f"{facts['events']:,} events evaluated with {facts['engine']}{left}: {facts['output']}")


def _values(said: list[str]) -> tuple[tuple[str, float], ...]:
    """Read names and values of parameters."""
    from needle_parsl.errors import InputError

    found = {}
    for text in said:
        name, _, value = text.partition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError as error:
            raise InputError(f"--at {text}: expected NAME=VALUE with a number, such as --at mass=125") from error
    return tuple(found.items())


@contextmanager
def _counted(*, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Show how many tasks are done, on a terminal."""
    from rich.progress import Progress

    from needle_parsl.cli.terminal import ERR

    with Progress(console=ERR, disable=quiet or not ERR.is_terminal) as bars:
        row = bars.add_task("evaluate", total=None)
        yield lambda done, total: bars.update(row, completed=done, total=total)


def export(
    run_name: RunName,
    to: To = None,
    kinds: Format = None,
    trust: Trust = False,
    force: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Print what the estimators of a run are, or write them for colleagues without needle."""
    from needle_parsl.cli import terminal
    from needle_parsl.cli.preparation import find
    from needle_parsl.errors import InputError
    from needle_parsl.workflow import export

    if kinds and to is None:
        raise InputError("--format: says what is written, and --to DIR where; give both")
    root = find(run_name)
    facts = export.described(root)
    facts["written"] = (
        [str(path) for path in export.write(root, to, kinds or ["onnx"], trust=trust, force=force, say=terminal.said)]
        if to
        else []
    )
    if as_json:
        answers.print_json(facts)
    else:
        terminal.exported(facts)


def add(app: typer.Typer) -> None:
    """Add the commands to needle's."""
    for command in (evaluate, export):
        app.command()(command)
