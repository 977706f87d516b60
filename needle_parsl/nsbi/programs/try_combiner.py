"""A look at the user's function that combines members, before anything runs: is it one? A program of its own.

It runs in a child process, so that the process that submits imports nothing of the user's.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from needle_parsl import refs
from needle_parsl.errors import InputError
from needle_parsl.nsbi.data import own_code
from needle_parsl.nsbi.estimators import ensembles
from needle_parsl.nsbi.programs import inspect_inputs


def look(reference: str, physics: tuple[str, str]) -> dict[str, Any]:
    """Try a function on members that are made up.

    Args:
        reference: Its name.
        physics: Text and path of the user's Python file.

    Returns:
        `problems`, one line each; `code`: digests of the user's modules.
    """
    before, problems = set(sys.modules), []
    with own_code.watching() as opened:
        try:
            ensembles.tried(refs.located(reference, *physics))
        except InputError as error:
            problems = str(error).splitlines()
    named = {reference.rpartition(":")[0]}
    return {"problems": problems, "code": inspect_inputs.digests(set(sys.modules) - before, named, opened)}


def main(output: str) -> None:
    """Read a request as JSON from standard input, and write the answer to a file."""
    request: Mapping[str, Any] = json.load(sys.stdin)
    source, path = request["physics"]
    refs.note_calls(output)
    with refs.alone(request["combine"]):
        answer = look(request["combine"], (source, path))
    Path(output).write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
    refs.leave()
