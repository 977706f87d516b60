"""Strict TOML to frozen dataclasses: every mistake is found in one pass and said with file, key and closest name."""

from __future__ import annotations

import dataclasses
import math
import tomllib
import types
from collections.abc import Mapping
from functools import reduce
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from needle_parsl.errors import InputError, closest

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")
MISSING = object()
LARGEST = 1e308
NAMES = {str: "text", bool: "true or false", int: "a whole number", float: "a number", dict: "a table", tuple: "a list"}


def load(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        InputError: The file is missing, unreadable or no TOML; the message names line and column.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text: {getattr(error, 'strerror', None) or error}") from error
    except ValueError as error:  # TOML's own, or a number with thousands of digits
        raise InputError(f"{path}: is not valid TOML: {error}") from error
    except RecursionError as error:
        raise InputError(f"{path}: is nested too deeply") from error


def override(table: dict[str, Any], settings: list[str]) -> None:
    """Put `--set training.members=50` into a table, typed like the file.

    Args:
        table: The whole file; changed in place.
        settings: `key=value` texts; a value that is no TOML is taken as text.

    Raises:
        InputError: There is no `=`, or the key leads through something that is no table.
    """
    for setting in settings:
        key, equals, text = setting.partition("=")
        *folders, last = (part.strip() for part in key.split("."))
        if not equals or not last or not all(folders):
            raise InputError(f'--set {setting}: write "key=value", for example training.members=50')
        place = table
        for folder in folders:
            place = place.setdefault(folder, {})
            if not isinstance(place, dict):
                raise InputError(f'--set {setting}: "{folder}" is no table')
        place[last] = _typed(text)


def _typed(text: str) -> Any:
    try:
        found = tomllib.loads(f"x = {text}")
    except (ValueError, RecursionError):
        return text
    return found["x"] if list(found) == ["x"] else text


def key_of(field: dataclasses.Field[Any]) -> str:
    """Name a field as the file does; `yield_` is `yield`, a word that Python keeps for itself."""
    return field.name.rstrip("_")


def within(low: float = -math.inf, high: float = math.inf, *, above: bool = False) -> dict[str, Any]:
    """Bound a number or the numbers of a list: field metadata.

    Args:
        low: Smallest allowed value.
        high: Largest allowed value.
        above: The smallest value itself is not allowed.
    """
    return {"low": low, "high": high, "above": above}


class Reader:
    """Reads one file's tables and collects what is wrong with them."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.broken: list[str] = []
        self.problems: list[str] = []

    def complain(self, key: str, message: str) -> None:
        """Note a mistake at a key; what follows from a missing or wrong value there is not said again."""
        if any(key == broken or key.startswith(f"{broken}.") for broken in self.broken):
            return
        self.problems.append(f"{self.file}: {key}: {message}")

    def lack(self, key: str, message: str) -> None:
        """Note that there is no usable value at a key."""
        self.complain(key, message)
        self.broken.append(key)

    def finish(self) -> None:
        """Raise all mistakes at once, if there are any."""
        if self.problems:
            raise InputError("\n".join(self.problems))

    def table(self, kind: type[T], value: Mapping[str, Any], key: str = "") -> T:
        """Read a table into a dataclass; what is wrong in it is noted and stands in as its default."""
        fields = {key_of(field): field for field in dataclasses.fields(kind)}
        hints = get_type_hints(kind)
        for name in value:
            if name not in fields:
                self.complain(_join(key, name), f"unknown key{closest(name, fields)}")
        read = {f.name: self.field(hints[f.name], f, value, _join(key, name)) for name, f in fields.items()}
        return kind(**{name: item for name, item in read.items() if item is not MISSING})

    def field(self, kind: Any, field: dataclasses.Field[Any], table: Mapping[str, Any], key: str) -> Any:
        """Read one key of a table, with its bounds."""
        name = key_of(field)
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if name not in table:
            if required:
                self.lack(key, f"is missing; expected {describe(kind)}")
            return placeholder(kind) if required else MISSING
        value = self.value(kind, table[name], key)
        if value is MISSING:
            return placeholder(kind) if required else MISSING
        if "low" in field.metadata:
            self.bounds(value, field.metadata, key)
        return value

    def bounds(self, value: Any, limits: Mapping[str, Any], key: str) -> None:
        """Check a number, or each number of a list, against its limits."""
        for item in value if isinstance(value, tuple) else (value,):
            if not isinstance(item, (int, float)):
                continue
            low, high = limits["low"], limits["high"]
            if item < low or item > high or (limits["above"] and item == low):
                self.complain(key, f"found {item}, expected a number {_range(low, high, above=limits['above'])}")

    def value(self, kind: Any, value: Any, key: str) -> Any:  # noqa: PLR0911  one line per kind of type
        """Read a value of a declared type; MISSING, with a complaint, if it does not fit."""
        origin, arguments = get_origin(kind), get_args(kind)
        if origin in (Union, types.UnionType):
            return self.either([a for a in arguments if a is not type(None)], value, key)
        if origin is Literal:
            return value if value in arguments else self.refuse(kind, value, key)
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            return self.nested(kind, value, key)
        if origin is tuple:
            return self.sequence(kind, arguments, value, key)
        if origin is dict:
            return self.mapping(arguments[1], value, key)
        if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value) if abs(value) <= LARGEST else self.refuse(kind, value, key)
        fits = type(value) is kind and not (kind is int and abs(value) >= 2**63)
        return value if fits else self.refuse(kind, value, key)

    def either(self, kinds: list[Any], value: Any, key: str) -> Any:
        """Read a value that may have several types, by the first whose shape fits."""
        for kind in kinds:
            if _fits(kind, value):
                return self.value(kind, value, key)
        if any(dataclasses.is_dataclass(kind) for kind in kinds) and isinstance(value, Mapping):
            return self.value(next(k for k in kinds if dataclasses.is_dataclass(k)), value, key)
        return self.refuse(reduce(or_, kinds), value, key)

    def nested(self, kind: type[Any], value: Any, key: str) -> Any:
        """Read a sub-table."""
        if not isinstance(value, Mapping):
            return self.refuse(kind, value, key)
        return self.table(kind, value, key)

    def sequence(self, kind: Any, arguments: tuple[Any, ...], value: Any, key: str) -> Any:
        """Read a list of one type, or a list of fixed length."""
        if not isinstance(value, list):
            return self.refuse(kind, value, key)
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        if len(kinds) != len(value):
            self.lack(key, f"found {len(value)} values, expected {len(kinds)}")
            return MISSING
        read = [self.value(k, v, f"{key}[{i}]") for i, (k, v) in enumerate(zip(kinds, value, strict=True))]
        return MISSING if any(item is MISSING for item in read) else tuple(read)

    def mapping(self, kind: Any, value: Any, key: str) -> Any:
        """Read a table whose keys the user chooses."""
        if not isinstance(value, Mapping):
            return self.refuse(dict, value, key)
        read = {name: self.value(kind, item, _join(key, name)) for name, item in value.items()}
        return {name: placeholder(kind) if item is MISSING else item for name, item in read.items()}

    def refuse(self, kind: Any, value: Any, key: str) -> Any:
        """Complain about a value of the wrong type."""
        hint = closest(value, get_args(kind)) if get_origin(kind) is Literal and isinstance(value, str) else ""
        meant = hint if hint.startswith(";") else ""
        self.lack(key, f"found {_shown(value)}, expected {describe(kind)}{meant}")
        return MISSING


def placeholder(kind: Any) -> Any:
    """Make an empty value of a type, so that the search for mistakes can go on after one."""
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return Reader("").table(kind, {})
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType, Literal):
        return placeholder(arguments[0]) if origin is not Literal else arguments[0]
    if origin is tuple and arguments[-1] is not Ellipsis:
        return tuple(placeholder(a) for a in arguments)
    return (origin or kind)()


def describe(kind: Any) -> str:
    """Say a type in the words of a config file."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(describe(a) for a in arguments if a is not type(None))
    if origin is Literal:
        return " or ".join(f'"{a}"' if isinstance(a, str) else str(a) for a in arguments)
    if origin is tuple:
        return (
            f"a list of {_plural(arguments[0])}" if arguments[-1] is Ellipsis else f"a list of {len(arguments)} values"
        )
    return NAMES.get(origin or kind, "a table")


def _plural(kind: Any) -> str:
    return {"text": "texts", "a whole number": "whole numbers", "a number": "numbers", "a table": "tables"}.get(
        describe(kind), describe(kind)
    )


def _fits(kind: Any, value: Any) -> bool:
    """Whether a value has the outer shape of a type, so that its complaints are about that type."""
    origin = get_origin(kind)
    if origin is Literal:
        return value in get_args(kind)
    if origin is tuple:
        return isinstance(value, list)
    if origin is dict or dataclasses.is_dataclass(kind):
        return isinstance(value, Mapping)
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return type(value) is kind


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _range(low: float, high: float, *, above: bool) -> str:
    if high == math.inf:
        return f"above {low:g}" if above else f"of at least {low:g}"
    return f"above {low:g} and at most {high:g}" if above else f"from {low:g} to {high:g}"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value[:60]}"'
    if isinstance(value, (list, Mapping)):
        return "a list" if isinstance(value, list) else "a table"
    return str(value) if not isinstance(value, int) or abs(value) < LARGEST else "a number beyond all bounds"


def dump(table: Mapping[str, Any]) -> str:
    """Write a table as TOML; keys without a value (None) are left out."""
    import tomli_w

    return tomli_w.dumps(_said(table))


def _said(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _said(item) for name, item in value.items() if item is not None}
    return [_said(item) for item in value] if isinstance(value, (list, tuple)) else value
