"""Tasks as JSON, and back, for programs that are handed a file of them.

    {"records": [["Model", {"parameters": {"table": [["mu", {"record": 0}]]}, ...}], ...], "tasks": [12, 17]}

A record is a class and its fields, and names records before it by their number, so that what tasks share is written once. A tuple is a
list, a list is `{"list": [...]}`, and a mapping is `{"table": [[name, value], ...]}`. Reading makes records of the kinds that a task may hold,
and nothing else: no name in the text is looked up anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, get_args, get_type_hints

from needle_parsl.plan.specs import Task


def text(tasks: Iterable[Task]) -> str:
    """Write tasks down.

    Raises:
        TypeError: One holds what no task may.
    """
    told: list[Any] = []
    numbers: dict[int, int] = {}
    own = [_plain(task, told, numbers)["record"] for task in tasks]
    return json.dumps({"records": told, "tasks": own}, separators=(",", ":"))


def tasks(content: str) -> list[Task]:
    """Read tasks.

    Raises:
        ValueError: It is no text of tasks.
    """
    try:
        found = json.loads(content)
        made: list[Any] = []
        for kind, values in found["records"]:
            made.append(kinds()[kind](**{name: _whole(value, made) for name, value in values.items()}))
        return [made[number] for number in found["tasks"]]
    except (KeyError, TypeError, IndexError, RecursionError) as error:
        raise ValueError(f"no tasks: {error}") from error


def _plain(value: Any, told: list[Any], numbers: dict[int, int]) -> Any:
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, tuple):
        return [_plain(one, told, numbers) for one in value]
    if isinstance(value, list):
        return {"list": [_plain(one, told, numbers) for one in value]}
    if isinstance(value, Mapping):
        return {"table": [[name, _plain(one, told, numbers)] for name, one in value.items()]}
    return {"record": _record(value, told, numbers)}


def _record(value: Any, told: list[Any], numbers: dict[int, int]) -> int:
    """Write a record down, if it is not yet there; give its number."""
    kind = type(value)
    if kinds().get(kind.__name__) is not kind:
        raise TypeError(f"a task cannot hold a {kind.__name__}")
    if id(value) not in numbers:
        values = {field.name: _plain(getattr(value, field.name), told, numbers) for field in fields(kind)}
        numbers[id(value)] = len(told)
        told.append([kind.__name__, values])
    return numbers[id(value)]


def _whole(value: Any, made: list[Any]) -> Any:
    if isinstance(value, list):
        return tuple(_whole(one, made) for one in value)
    if not isinstance(value, dict):
        return value
    ((how, inner),) = value.items()
    if how == "record":
        return made[inner]
    return [_whole(one, made) for one in inner] if how == "list" else {name: _whole(one, made) for name, one in inner}


@cache
def kinds() -> dict[str, type[Any]]:
    """List the records that a task may hold, by name: those in the types of its fields, and of theirs."""
    found: dict[str, type[Any]] = {}
    _look(Task, found)
    return found


def _look(hint: Any, found: dict[str, type[Any]]) -> None:
    if isinstance(hint, type) and is_dataclass(hint):
        if hint.__name__ in found:
            assert found[hint.__name__] is hint
            return
        found[hint.__name__] = hint
        for inner in get_type_hints(hint).values():
            _look(inner, found)
    for inner in get_args(hint):
        _look(inner, found)
