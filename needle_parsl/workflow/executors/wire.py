"""Tasks as lines of text: how they travel to the workers of a Globus Compute endpoint, and how their results come back.

A line is JSON. What is in it that JSON cannot say is written as Parsl writes it for workers of its own, and read only after the line
has shown that both ends have the same versions, and see the same run directory.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from needle_parsl import __version__, rundir
from needle_parsl.errors import InputError, NeedleError
from needle_parsl.workflow import worker

TOKEN = f"{rundir.LOGS}/endpoint.token"
"""Written by each run anew, relative to its directory: workers that read the same see the same directory."""
HELLO = "hello"
"""In the place of a stage: a task that does nothing."""


def versions() -> dict[str, str]:
    """Say what both ends must have in common."""
    return {
        "needle": __version__,
        "Python": ".".join(map(str, sys.version_info[:2])),
        "Parsl": version("parsl"),
    }


def differing(theirs: dict[str, str]) -> str:
    """Say which versions here are not those of the other end; empty if all are."""
    ours = versions()
    return ", ".join(f"{name} {ours[name]} (here {theirs[name]})" for name in ours if ours[name] != theirs[name])


def question(token: str, stage: str, root: str, *arguments: Any) -> str:
    """Write down a task.

    Args:
        token: What the run has written to `TOKEN`.
        stage: The function, `module:function`, or `HELLO`.
        root: The run directory.
        arguments: The task, and the records of those before it.
    """
    head = {"versions": versions(), "token": token, "stage": stage, "root": root}
    return json.dumps({**head, "call": _packed(arguments)})


def result(line: str) -> Any:
    """Read what a task has given.

    Raises:
        NeedleError: It failed.
    """
    said = json.loads(line)
    if "refused" in said:
        raise InputError(f"at the endpoint: {said['refused']}")
    if "failed" in said:
        raise _unpacked(said["failed"])
    return _unpacked(said["result"])


def answer(line: str) -> str:
    """Do a task, at the endpoint; what goes wrong is an answer, too."""
    asked = json.loads(line)
    if differ := differing(asked["versions"]):
        return json.dumps({"refused": f"there is {differ}; install the same versions at both ends"})
    if not _sees(asked["root"], asked["token"]):
        why = f"{asked['root']} is not this run's directory there; choose scratch on a disk that its workers see, too"
        return json.dumps({"refused": why})
    if asked["stage"] == HELLO:
        return json.dumps({"result": _packed(None)})
    try:
        return json.dumps({"result": _packed(worker.call(asked["stage"], asked["root"], *_unpacked(asked["call"])))})
    except NeedleError as error:
        return json.dumps({"failed": _packed(error)})


@cache
def _sees(root: str, token: str) -> bool:
    try:
        return (Path(root) / TOKEN).read_text(encoding="utf-8") == token
    except OSError:
        return False


def serve() -> None:
    """Answer the lines of standard input until it ends; what users' modules print goes to standard error."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    worker.follow_parent()
    for line in sys.stdin:
        out.write(answer(line) + "\n")
        out.flush()


def _packed(value: Any) -> str:
    from parsl.serialize import serialize  # noqa: PLC0415  Parsl, which is imported first by `patches/spared_imports`

    return base64.b64encode(serialize(value)).decode()


def _unpacked(text: str) -> Any:
    from parsl.serialize import deserialize  # noqa: PLC0415  Parsl, which is imported first by `patches/spared_imports`

    return deserialize(base64.b64decode(text))
