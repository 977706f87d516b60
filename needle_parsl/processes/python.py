"""How Python programs are started: without the current folder among the places that modules come from."""

from __future__ import annotations

import sys


def module(name: str, *arguments: str) -> list[str]:
    """Give the command line of a module as a program; a `json.py` that lies about is not taken for Python's."""
    return [sys.executable, "-P", "-m", name, *arguments]
