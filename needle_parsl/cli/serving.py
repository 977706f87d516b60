"""The commands of models that are served: a server for them, and what is in a repository."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from needle_parsl.cli import json_output, terminal
from needle_parsl.cli.options import Json, Trust
from needle_parsl.errors import InputError
from needle_parsl.processes import interrupts
from needle_parsl.serving import publishing, repository, triton
from needle_parsl.serving.endpoint import FILE
from needle_parsl.serving.repository import Model
from needle_parsl.workflow import serving
from needle_parsl.workflow.serving import Server, ServerChoice

app = typer.Typer(rich_markup_mode=None)

Repository = Annotated[
    Path | None, typer.Argument(metavar="DIR", help="A model repository, from needle export --format triton.")
]
Fetch = Annotated[
    bool,
    typer.Option("--fetch", help="Install a Triton server from PyPI beside the environment; without DIR, no more."),
]
Program = Annotated[str, typer.Option("--tritonserver", metavar="PATH", help="The program of a Triton server.")]
BuiltIn = Annotated[bool, typer.Option("--builtin", help="Use the built-in server, though there is a Triton.")]
Host = Annotated[
    str,
    typer.Option(
        "--host", help="Listen on ports of this address, with a token. By default on sockets of this user alone."
    ),
]
Port = Annotated[
    int, typer.Option("--port", min=0, max=65_533, help="With --host: the first of three ports; 0 for free ones.")
]
EndpointFile = Annotated[Path, typer.Option("--endpoint", help="Where to write how clients find the server.")]
LogFile = Annotated[Path | None, typer.Option("--log", help="The server's log; by default beside the endpoint.")]
Use = Annotated[
    str | None, typer.Option("--use", metavar="NAME=VERSION", help="Serve this version as the latest from now on.")
]


@app.command()
def serve(
    folder: Repository = None,
    *,
    fetch: Fetch = False,
    program: Program = "",
    builtin: BuiltIn = False,
    host: Host = "",
    port: Port = 0,
    endpoint: EndpointFile = Path(FILE),
    log: LogFile = None,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Serve exported estimators, by Triton or a built-in server, until Ctrl-C or SIGTERM."""
    if fetch:
        typer.echo(f"Triton server: {triton.fetch()}", err=True)
        if folder is None:
            return
    if folder is None:
        raise InputError('DIR: name a model repository; "needle export RUN --format triton -o DIR" makes one')
    if port and not host:
        raise InputError(f"--port {port}: is of an address; say --host 127.0.0.1, too")
    choice = ServerChoice(
        repository=folder,
        endpoint=endpoint,
        log=log or endpoint.with_suffix(".log"),
        tritonserver=program,
        builtin=builtin,
        host=host,
        port=port,
        trust=trust,
    )
    serving.refuse_second(endpoint)
    try:
        with interrupts.watched(), serving.started(choice, terminal.said) as server:
            _tell(server, as_json=as_json)
            while not server.wait(serving.LOOK):
                pass
            raise serving.refusal(choice.log, server.name)
    except KeyboardInterrupt:
        terminal.said("the server has ended")


def _tell(server: Server, *, as_json: bool) -> None:
    """Say which server serves what, and where."""
    found = server.endpoint
    assert found is not None
    models = repository.read(server.choice.repository)
    if as_json:
        facts = {key: value for key, value in found.to_json().items() if key != "token"}
        json_output.print_json({**facts, "endpoint": str(server.choice.endpoint), "models": _listed(models)})
        return
    served = ", ".join(f"{name} {'/'.join(map(str, model.served))}" for name, model in models.items())
    typer.echo(f"{server.name} serves {served}\n{server.choice.endpoint}: {found.grpc}, {found.http}")


@app.command()
def models(folder: Annotated[Path, typer.Argument(metavar="DIR")], use: Use = None, as_json: Json = False) -> None:
    """List the models of a repository with their versions, or choose which version is the latest."""
    if use is not None:
        name, _, number = use.partition("=")
        version = publishing.use(folder, name, number)
        terminal.said(f"{name}: version {version.number} is the latest; servers have it from their next start")
    found = repository.read(folder)
    if as_json:
        json_output.print_json({"models": _listed(found)})
        return
    for model in found.values():
        for version in model.versions:
            mark = (
                "latest"
                if version.number == model.served[-1]
                else ""
                if version.number in model.served
                else "not served"
            )
            typer.echo(
                f"{model.name}  {version.number}  {version.digest[:12]}  {version.made}  {version.run or '-'}  {mark}".rstrip()
            )


def _listed(found: dict[str, Model]) -> list[dict[str, Any]]:
    return [
        {
            "name": model.name,
            "version": version.number,
            "served": version.number in model.served,
            "latest": version.number == model.served[-1],
            **{key: getattr(version, key) for key in ("kind", "digest", "made", "run", "needle")},
            **{key: version.facts[key] for key in ("features", "ratios", "parity") if key in version.facts},
        }
        for model in found.values()
        for version in model.versions
    ]
