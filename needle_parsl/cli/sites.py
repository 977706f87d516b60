"""The commands of sites: the machines that needle knows."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import typer

from needle_parsl import reading, site
from needle_parsl.cli import json_output, terminal
from needle_parsl.cli.options import Json, ShownSite, SubmitScript
from needle_parsl.workflow.executors import preview

app = typer.Typer(rich_markup_mode=None)
sites_app = typer.Typer(help="List the machines that needle knows, or show one.", rich_markup_mode=None)
app.add_typer(sites_app, name="sites")


@sites_app.callback(invoke_without_command=True)
def sites(context: typer.Context, as_json: Json = False) -> None:
    """List the machines that needle knows."""
    if context.invoked_subcommand:
        return

    known = site.known().items()
    found = [{"name": name, "description": site.described(path), "file": str(path)} for name, path in known]
    json_output.print_json(found) if as_json else terminal.sites(found)


@sites_app.command("show")
def sites_show(name: ShownSite, submit_script: SubmitScript = False, as_json: Json = False) -> None:
    """Show a site's settings, with defaults and environment variables filled in, or the jobs that it would submit."""
    loaded = site.load(name)
    if submit_script:
        scripts = preview.scripts(loaded, Path(loaded.scratch).expanduser().absolute() / "runs" / "NAME" / "logs")
        json_output.print_json(scripts) if as_json else typer.echo(
            "\n".join(f"### {title}\n{text}" for title, text in scripts.items())
        )
        return
    json_output.print_json(asdict(loaded)) if as_json else typer.echo(reading.dump(asdict(loaded)), nl=False)
