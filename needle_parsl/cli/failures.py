"""What users read when a command fails, and the exit code."""

from __future__ import annotations

import sys

import typer

from needle_parsl.errors import InputError, NeedleError, legible

DEBUG = "--debug"


def tell(error: Exception) -> int:
    """Print what went wrong; give the exit code."""
    typer.echo(legible(_sentence(error, debug=DEBUG in sys.argv)), err=True)
    return 2 if isinstance(error, InputError) else 1


def _sentence(error: Exception, *, debug: bool) -> str:
    """Give what users read of an error."""
    if isinstance(error, NeedleError):
        return str(error)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}"
    more = "" if debug else f"; the same command with {DEBUG} shows where"
    return f"needle itself failed, please report it: {type(error).__name__}: {error}{more}"
