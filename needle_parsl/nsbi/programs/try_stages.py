"""A look at the user's stages before anything runs: whether their functions take what they would get, and the files they go over. A program of its own."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from needle_parsl import refs
from needle_parsl.errors import InputError, closest
from needle_parsl.nsbi.data import files, own_code
from needle_parsl.nsbi.data.files import FileState
from needle_parsl.nsbi.programs.inspect_inputs import digests

MANY = (inspect.Parameter.VAR_KEYWORD,)
NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def look(
    stages: Sequence[Mapping[str, Any]],
    physics: tuple[str, str],
    paths: Sequence[str],
    known: Mapping[str, Any],
    resources: Sequence[str],
) -> dict[str, Any]:
    """Look at stages.

    Args:
        stages: Each with `key`, `name`, `function`, `merge` (references, or empty), `offered` and `params` (names of arguments).
        physics: Text and path of the user's Python file.
        paths: Files over which stages go, and that commands name.
        known: What an earlier look has found of files.
        resources: Files that the analysis names as read by its code.

    Returns:
        `problems`: keys and messages; `takes`: names of the arguments that a stage takes, None for any; `files`: by path; `code`: digests of the
        user's modules and resources.
    """
    before = set(sys.modules)
    problems: list[tuple[str, str]] = []
    takes: dict[str, list[str] | None] = {}
    for stage in stages:
        try:
            takes[stage["name"]] = _signature(stage, physics, problems)
        except InputError as error:
            problems.append((f"{stage['key']}.function", str(error)))
    states = files.states(paths, known)
    problems += [("stages", str(found)) for found in states.values() if isinstance(found, InputError)]
    named = {stage[part].rpartition(":")[0] for stage in stages for part in ("function", "merge")}
    return {
        "problems": problems,
        "takes": takes,
        "files": {path: asdict(state) for path, state in states.items() if isinstance(state, FileState)},
        "code": digests(set(sys.modules) - before, named, resources),
    }


def _signature(stage: Mapping[str, Any], physics: tuple[str, str], problems: list[tuple[str, str]]) -> list[str] | None:
    """Give the names of the arguments that a function takes; None for any. What does not fit is added to the problems."""
    if stage["merge"]:
        merge = _function(stage["merge"], physics)
        if len(_required(merge)) != 1:
            problems.append(
                (
                    f"{stage['key']}.merge",
                    f'"{stage["merge"]}" takes {len(_required(merge))} arguments; it gets one, the list of outputs',
                )
            )
    if not stage["function"]:
        return None
    function = _function(stage["function"], physics)
    parameters = inspect.signature(function).parameters.values()
    names = [one.name for one in parameters if one.kind in NAMED]
    problems += [(f"{stage['key']}.function", message) for message in _lacking(stage, function)]
    if any(one.kind in MANY for one in parameters):
        return None
    problems += [
        (f"{stage['key']}.params.{name}", f'is no argument of "{stage["function"]}"{closest(name, names)}')
        for name in stage["params"]
        if name not in names
    ]
    return names


def _function(reference: str, physics: tuple[str, str]) -> Any:
    found = refs.resolve(reference, *physics)
    if not callable(found):
        raise InputError(f'"{reference}" is no function')
    return found


def _required(function: Any) -> list[str]:
    return [
        one.name
        for one in inspect.signature(function).parameters.values()
        if one.default is inspect.Parameter.empty and one.kind in (*NAMED, inspect.Parameter.POSITIONAL_ONLY)
    ]


def _lacking(stage: Mapping[str, Any], function: Any) -> Iterator[str]:
    """Name arguments that a function needs and would not get."""
    for name in _required(function):
        if name not in stage["offered"]:
            yield f'"{stage["function"]}" needs "{name}", which nothing gives{closest(name, stage["offered"])}'


def main(output: str) -> None:
    """Read a request as JSON from standard input, and write the answer to a file."""
    request = json.load(sys.stdin)
    refs.note_calls(output)
    source, path = request["physics"]
    with own_code.watching() as opened:
        answer = look(request["stages"], (source, path), request["paths"], request["known"], request["resources"])
    answer["code"] |= {path: own_code.digest(path) for path in sorted(opened - answer["files"].keys())}
    Path(output).write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
    refs.leave()
