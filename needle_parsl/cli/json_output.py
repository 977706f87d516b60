"""Answers as JSON, for all commands; it loads nothing of a run, since commands of other sites do without."""

from __future__ import annotations

import json

import typer

from needle_parsl import addresses
from needle_parsl.json_records import encode


def print_json(facts: object) -> None:
    """Print an answer as JSON, as `--json` wants it."""
    typer.echo(json.dumps(addresses.cleaned(encode(facts)), indent=2))
