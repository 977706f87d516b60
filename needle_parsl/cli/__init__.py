"""The command line: parse, call, print."""

from needle_parsl.cli.commands import main

__all__ = ["main"]
