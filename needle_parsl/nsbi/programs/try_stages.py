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
from needle_parsl.nsbi.data import files, function_code, own_code
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
        stages: Each with `key`, `name`, `function`, `merge` (references, or empty), `offered`, `params`, `outputs` (names of arguments) and `merged` (lists that a merge puts together, with the fields of their members).
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
            if str(error) not in {message for _, message in problems}:  # one module of several stages
                problems.append((f"{stage['key']}.function", str(error)))
    states = files.states(paths, known)
    problems += [("stages", str(found)) for found in states.values() if isinstance(found, InputError)]
    named = {reference.rpartition(":")[0] for reference in _references(stages)}
    return {
        "problems": problems,
        "takes": takes,
        "files": {path: asdict(state) for path, state in states.items() if isinstance(state, FileState)},
        "code": digests(set(sys.modules) - before, named, resources),
    }


def _references(stages: Sequence[Mapping[str, Any]]) -> set[str]:
    return {stage[part] for stage in stages for part in ("function", "merge") if stage[part]}


def _functions(references: set[str], physics: tuple[str, str], paths: Mapping[str, str]) -> dict[str, str]:
    """Fingerprint what each function consists of, besides code and data whose parts nobody can tell."""
    names = {reference: refs.module(reference, *physics).__name__ for reference in references}
    modules = function_code.own(set(sys.modules), paths)
    code = function_code.Code(function_code.texts(modules))
    read = {module.__file__ for module in modules if module.__name__ in code.texts}
    others = sorted(digest for path, digest in paths.items() if path not in read)
    return {
        reference: refs.digest("\0".join([*code.of(name, refs.own_name(reference)), *others]))
        for reference, name in names.items()
    }


def _signature(stage: Mapping[str, Any], physics: tuple[str, str], problems: list[tuple[str, str]]) -> list[str] | None:
    """Give the names of the arguments that a function takes; None for any. What does not fit is added to the problems."""
    if stage["merge"]:
        merge = _function(stage["merge"], physics)
        if len([name for name in _required(merge) if name not in stage["outputs"]]) > 1 or not _positional(merge):
            problems.append(
                (
                    f"{stage['key']}.merge",
                    f'"{stage["merge"]}" has to take one argument, the list of outputs, and of others only paths of outputs, by their names',
                )
            )
    if not stage["function"]:
        return None
    function = _function(stage["function"], physics)
    if by_place := [
        one.name
        for one in inspect.signature(function).parameters.values()
        if one.kind is inspect.Parameter.POSITIONAL_ONLY
    ]:
        raise InputError(
            f'"{stage["function"]}" takes "{by_place[0]}" by its place alone; arguments are given by name, so take the "/" away'
        )
    parameters = inspect.signature(function).parameters.values()
    names = [one.name for one in parameters if one.kind in NAMED]
    problems += [(f"{stage['key']}.function", message) for message in _lacking(stage, function)]
    if any(one.kind in MANY for one in parameters):
        return None
    problems += [
        (
            f"{stage['key']}.over.{name}",
            f'"{stage["function"]}" takes nothing of it, so that the merge would count every call several times; leave it out, or take it',
        )
        for name, fields in stage["merged"].items()
        if not {name, *fields} & set(names)
    ]
    problems += [
        (f"{stage['key']}.params.{name}", f'is no argument of "{stage["function"]}"{closest(name, names)}')
        for name in stage["params"]
        if name not in names
    ]
    return names


def _function(reference: str, physics: tuple[str, str]) -> Any:
    """Find a function whose parameters are known."""
    found = refs.resolve(reference, *physics)
    if not callable(found):
        raise InputError(f'"{reference}" is no function')
    called = found.__call__ if not inspect.isroutine(found) and not inspect.isclass(found) else found
    if inspect.isclass(found) or any(
        test(called) for test in (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
    ):
        raise InputError(f'"{reference}" is a class, a generator or async; expected a function that returns its value')
    try:
        inspect.signature(found)
    except (TypeError, ValueError) as error:
        raise InputError(f'"{reference}" has no parameters that Python knows; write a function around it') from error
    return found


def _positional(function: Any) -> bool:
    """Whether a function takes an argument by its place."""
    kinds = (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.VAR_POSITIONAL,
    )
    return any(one.kind in kinds for one in inspect.signature(function).parameters.values())


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
    found = {} if answer["problems"] else _functions(_references(request["stages"]), (source, path), answer["code"])
    answer["functions"] = found
    Path(output).write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
    refs.leave()
