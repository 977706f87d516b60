"""The commands that begin an analysis: a folder to start from, and its validation."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from needle_parsl import scaffold
from needle_parsl.analysis import extras, morphing, read
from needle_parsl.cli import json_output, terminal
from needle_parsl.cli.options import AnalysisFile, App, DataFile, Json, Settings
from needle_parsl.errors import InputError, Problem
from needle_parsl.plan import stage_rules
from needle_parsl.workflow import probe, region_analyses, stage_analyses, stage_probe, trust

app = typer.Typer(rich_markup_mode=None)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of the new analysis.")],
    data: DataFile = None,
    more: Annotated[list[Path] | None, typer.Argument(metavar="FILE", help="Further data files.")] = None,
    app_name: App = None,
    as_json: Json = False,
) -> None:
    """Start an analysis, from an app or from data files."""
    files = [*(data or []), *(more or [])]
    if (app_name is None) == (not data):
        raise InputError(f"say either --data FILE... or --from APP; the apps are {', '.join(scaffold.apps())}")
    written = scaffold.from_data(folder, files) if app_name is None else scaffold.from_app(folder, app_name)
    problems = _mistakes(folder)
    facts = {"written": [str(path) for path in written], "problems": [asdict(problem) for problem in problems]}
    json_output.print_json(facts) if as_json else terminal.started(folder, written, problems)


def _mistakes(folder: Path) -> tuple[Problem, ...]:
    """Check an analysis."""
    try:
        loaded = read(folder)
        stage_probe.look(loaded)
        _, looked = probe.probe(stage_analyses.checked(loaded))
        region_analyses.check(loaded, looked)
    except InputError as error:
        return error.listed()
    return ()


@app.command()
def check(analysis: AnalysisFile, settings: Settings = None, as_json: Json = False) -> None:
    """Validate an analysis and its input files."""
    try:
        loaded = read(analysis, settings)
        for sentence in trust.foreign(loaded):
            terminal.said(sentence)
        _, own = stage_probe.look(loaded)
        inputs, looked = probe.probe(stage_analyses.checked(loaded))
        region_analyses.check(loaded, looked)
    except InputError as error:
        if as_json:
            json_output.print_json({"ok": False, "problems": [asdict(problem) for problem in error.listed()]})
            raise typer.Exit(2) from error
        raise
    warnings = [asdict(warning) for warning in loaded.warnings]
    notes = [*looked.notes, *morphing.notes(loaded.analysis), *extras.wished()]
    facts = {
        "ok": True,
        "problems": [],
        "warnings": warnings,
        "notes": notes,
        "files": dict(looked.files),
        "exact": inputs.exact,
    }
    if as_json:
        json_output.print_json(facts)
    else:
        terminal.warned(loaded.warnings)
        files = {**looked.files, **(own.files if own else {})}
        first = bool(stage_rules.first(loaded.analysis))
        terminal.checked(loaded.path, len(files), notes, first=first)
