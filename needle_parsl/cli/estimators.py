"""The commands of finished estimators: applied to new files, and handed to colleagues."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from needle_parsl import site as sites
from needle_parsl.cli import json_output, terminal
from needle_parsl.cli.options import Json, Overwrite, RunName, SiteName, Trust
from needle_parsl.cli.preparation import find
from needle_parsl.cli.terminal import ERR
from needle_parsl.errors import InputError
from needle_parsl.workflow import evaluate as evaluation
from needle_parsl.workflow import export as exports

app = typer.Typer(rich_markup_mode=None)

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
To = Annotated[
    Path | None, typer.Option("--to", "-o", metavar="DIR", help="Write files for colleagues into this folder.")
]
ModelName = Annotated[
    str, typer.Option("--name", help="With triton: what the model is called; by default as the analysis.")
]
Gpus = Annotated[
    int, typer.Option("--gpus", min=0, max=64, help="With triton: an instance on each of so many GPUs; 0 for the CPU.")
]
Instances = Annotated[
    int, typer.Option("--instances", min=1, max=256, help="With triton: processes per GPU, or on the CPU.")
]
Format = Annotated[
    list[str] | None,
    typer.Option("--format", help="With --to: onnx, pt2, safetensors, h5, triton; may be repeated. Default onnx."),
]


@app.command()
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
    if output.suffix != ".parquet":
        raise InputError(f"--out {output}: is no name of a Parquet file; end it with .parquet")
    request = evaluation.Request(
        root=find(run_name),
        files=(*events, *(more or [])),
        output=output,
        tree=tree,
        ratios=tuple(ratio or ()),
        at=_values(at or []),
        trust=trust,
        force=force,
    )
    machine = sites.load(site)
    for sentence in sites.origin(site, machine):
        terminal.said(sentence)
    with _counted(quiet=as_json) as said:
        facts = evaluation.evaluate(request, machine, said, terminal.said)
    if as_json:
        json_output.print_json(facts)
        return
    left = (
        f", {facts['rows'] - facts['events']:,} did not pass the selection" if facts["rows"] > facts["events"] else ""
    )
    typer.echo(f"{facts['events']:,} events evaluated with {facts['engine']}{left}: {facts['output']}")


def _values(said: list[str]) -> tuple[tuple[str, float], ...]:
    """Read names and values of parameters."""
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
    with Progress(console=ERR, disable=quiet or not ERR.is_terminal) as bars:
        row = bars.add_task("evaluate", total=None)
        yield lambda done, total: bars.update(row, completed=done, total=total)


@app.command()
def export(
    run_name: RunName,
    to: To = None,
    kinds: Format = None,
    *,
    name: ModelName = "",
    gpus: Gpus = 0,
    instances: Instances = 1,
    trust: Trust = False,
    force: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Describe the estimators of a run, or export them for use without needle."""
    if kinds and to is None:
        raise InputError("--format: says what is written, and --to DIR where; give both")
    root = find(run_name)
    facts = exports.described(root)
    model = exports.ModelOptions(name, gpus, instances)
    how = None if model == exports.ModelOptions() else model
    written = (
        exports.write(root, to, kinds or ["onnx"], trust=trust, force=force, model=how, say=terminal.said) if to else []
    )
    facts["written"] = [str(path) for path in written]
    if as_json:
        json_output.print_json(facts)
    else:
        terminal.exported(facts)
