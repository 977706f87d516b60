"""`needle bench serve`: what an inference server does on this machine."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from needle_parsl import files
from needle_parsl.analysis import extras
from needle_parsl.cli import json_output, terminal
from needle_parsl.cli.options import Json
from needle_parsl.errors import InputError
from needle_parsl.json_records import encode
from needle_parsl.processes import interrupts

app = typer.Typer(rich_markup_mode=None)
bench = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, help="Measure what an inference server does on this machine."
)
app.add_typer(bench, name="bench")

Output = Annotated[
    Path, typer.Option("-o", "--out", metavar="DIR", help="Where serving.json and serving.png are written.")
]
Seconds = Annotated[float, typer.Option("--seconds", min=0.1, max=600, help="That each point takes.")]
Concurrency = Annotated[str, typer.Option("--concurrency", help="Requests in flight, separated by commas.")]
Hits = Annotated[str, typer.Option("--hits", help="Hits of an event of the chain of six steps.")]
Rows = Annotated[
    str, typer.Option("--rows", help="Events of a request to the 16 networks; layouts are compared at the first.")
]
Instances = Annotated[str, typer.Option("--instances", help="Processes of a model, beyond one.")]
Program = Annotated[str, typer.Option("--tritonserver", metavar="PATH", help="The program of a Triton server.")]
BuiltIn = Annotated[bool, typer.Option("--builtin", help="Use the built-in server, though there is a Triton.")]
MOST = 65_536
"""Rows of a request, and more than anything else here can be."""


@bench.callback()
def _bench() -> None:
    """Measure what an inference server does on this machine."""


@bench.command()
def serve(
    *,
    out: Output = Path("bench"),
    seconds: Seconds = 2.0,
    concurrency: Concurrency = "1,4,16",
    hits: Hits = "80,600",
    rows: Rows = "32,1024,10000",
    instances: Instances = "2",
    program: Program = "",
    builtin: BuiltIn = False,
    as_json: Json = False,
) -> None:
    """Compare one model, Triton's ensemble and calls of the client, for a chain of six steps and for 16 networks."""
    wanted = {
        option: _numbers(option, text)
        for option, text in (
            ("--concurrency", concurrency), ("--hits", hits), ("--rows", rows), ("--instances", instances),
        )
        if text or option != "--instances"
    }  # fmt: skip
    if not extras.here("serve"):
        raise InputError(f"a server {extras.remedy('serve')}")
    _insist_on_folder(out)
    from needle_parsl.serving.bench import figure  # noqa: PLC0415  with grpc, an extra
    from needle_parsl.workflow import bench as measuring  # noqa: PLC0415  likewise

    settings = measuring.BenchSettings(
        concurrency=wanted["--concurrency"],
        hits=wanted["--hits"],
        rows=wanted["--rows"],
        instances=wanted.get("--instances", ()),
        seconds=seconds,
        tritonserver=program,
        builtin=builtin,
    )
    with interrupts.watched():
        found = measuring.run(settings, terminal.said)
    facts = {"server": found.server, "seconds": seconds, "points": [encode(point) for point in found.points]}
    files.write_json(out / "serving.json", facts)
    figure.draw(out / "serving.png", found.points)
    if as_json:
        json_output.print_json(facts)
        return
    typer.echo(f"{found.server}: {out / 'serving.json'}, {out / 'serving.png'}")


def _insist_on_folder(out: Path) -> None:
    """Make the folder of the results before minutes are measured.

    Raises:
        InputError: Nothing can be written there.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise InputError(f"--out {out}: cannot be written to ({error.strerror}); choose another folder") from error


def _numbers(option: str, text: str) -> tuple[int, ...]:
    """Read numbers between commas.

    Raises:
        InputError: They are none.
    """
    words = [word.strip() for word in text.split(",")]
    if any(not word.isdecimal() or not 1 <= int(word) <= MOST for word in words):
        raise InputError(f'{option} {text}: are to be whole numbers from 1 to {MOST}, such as "1,4,16"')
    return tuple(map(int, words))
