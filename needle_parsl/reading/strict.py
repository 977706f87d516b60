"""A table into a dataclass, strictly: every mistake is noted, and the search goes on."""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Collection, Mapping
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin

from needle_parsl.errors import InputError, Problem, closest, near, printable
from needle_parsl.reading.positions import Places
from needle_parsl.reading.schema import (
    Reference,
    describe,
    hints,
    key_of,
    keys,
    limits,
    placeholder,
    required,
    tables_of,
    written,
)

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")
MISSING = object()
LARGEST = 1e308


class TableReader:
    """Reads one file's tables and collects what is wrong with them."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.broken: list[str] = []
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.root: type | None = None

    def complain(self, key: str, message: str) -> None:
        """Note a mistake at a key; what follows from a missing or wrong value there is not said again."""
        if not any(key == broken or key.startswith((f"{broken}.", f"{broken}[")) for broken in self.broken):
            self.problems.append(self.problem(key, message))

    def lack(self, key: str, message: str) -> None:
        """Note that there is no usable value at a key."""
        self.complain(key, message)
        self.broken.append(key)

    def note(self, problem: Problem) -> None:
        """Note a mistake that has a place of its own."""
        self.problems.append(problem)

    def warn(self, key: str, message: str) -> None:
        """Note what is allowed, and yet hardly meant."""
        self.warnings.append(self.problem(key, message))

    def problem(self, key: str, message: str) -> Problem:
        """Give a message its place."""
        file, line = self.places.find(key)
        return Problem(printable(message), file, line, printable(key))

    def finish(self) -> None:
        """Raise all mistakes at once, if there are any."""
        if self.problems:
            raise InputError.of(self.problems)

    def table(self, kind: type[T], value: Mapping[str, Any], key: str = "") -> T:
        """Read a table into a dataclass; what is wrong in it is noted and stands in as its default."""
        self.root = self.root or kind
        fields = {key_of(field): field for field in written(kind)}
        for name in value:
            if name not in fields:
                self.unknown(key, name, fields, value)
        read = {f.name: self.field(hints(kind)[f.name], f, value, _join(key, name)) for name, f in fields.items()}
        return kind(**{name: item for name, item in read.items() if item is not MISSING})

    def unknown(self, table: str, name: str, fields: Collection[str], given: Mapping[str, Any]) -> None:
        """Complain about a key that does not exist, and say which is meant: one of this table, or of another."""
        meant = near(name, fields, cutoff=0.75)
        homes = [key for key in keys(self.root) if key.name == name] if self.root and not meant else []
        hint = closest(name, fields)
        if (home := self.home(given[name])) and not meant:
            hint = f'; did you mean "{home}.{name}"?'
        elif homes and homes[0].table:
            hint = f'; did you mean "{homes[0].path}"?'
        elif homes:
            hint = f'; "{name}" stands at the top of the file, above the first [table]'
        self.complain(_join(table, name), f"unknown key{hint}")
        if meant and meant not in given:
            self.broken.append(_join(table, meant))  # it is not missing, but misspelt

    def home(self, value: Any) -> str | None:
        """Name the table of tables, such as `samples`, in which a misplaced table with these keys would be right."""
        if self.root is None or not isinstance(value, Mapping) or not value:
            return None
        for key in keys(self.root):
            inner = [kind for kind, named in tables_of(key.kind) if named]
            if inner and set(value) <= {key_of(field) for field in dataclasses.fields(inner[0])}:
                return key.path
        return None

    def field(self, kind: Any, field: dataclasses.Field[Any], table: Mapping[str, Any], key: str) -> Any:
        """Read one key of a table, with its bounds."""
        name = key_of(field)
        if name not in table and required(field):
            self.lack(key, f"is missing; expected {describe(kind)}")
        value = self.value(kind, table[name], key) if name in table else MISSING
        if value is MISSING:
            return placeholder(kind) if required(field) else MISSING
        if "low" in field.metadata:
            self.bounds(value, field.metadata, key)
        return value

    def bounds(self, value: Any, allowed: Mapping[str, Any], key: str) -> None:
        """Check a number, or each number of a list, against its limits."""
        for item in value if isinstance(value, tuple) else (value,):
            if not isinstance(item, (int, float)):
                continue
            low, high = allowed["low"], allowed["high"]
            if item < low or item > high or (allowed["above"] and item == low):
                self.complain(key, f"found {_shown(item)}, expected a number {limits(allowed)}")

    def value(self, kind: Any, value: Any, key: str) -> Any:  # noqa: PLR0911  one line per kind of type
        """Read a value of a declared type; MISSING, with a complaint, if it does not fit."""
        origin, arguments = get_origin(kind), get_args(kind)
        if kind is Any:  # what the user's own code is handed
            return value
        if origin in (Union, types.UnionType):
            return self.either([a for a in arguments if a is not type(None)], value, key)
        if origin is Literal:
            return value if value in arguments else self.refuse(kind, value, key)
        if kind is Reference:
            return value if _fits(kind, value) else self.refuse(kind, value, key)
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
            self.lack(key, f"found {len(value)} value{'s' if len(value) != 1 else ''}, expected {len(kinds)}")
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
        self.lack(
            key, f"found {_shown(value)}, expected {describe(kind)}{_hint(kind, value) or self.apart(key, value)}"
        )
        return MISSING

    def apart(self, key: str, value: Any) -> str:
        """Point to the list of tables that stands beside a key, and whose entries may each have a value of it; a half-sentence."""
        table, _, name = key.rpartition(".")
        if (
            self.root is None
            or not isinstance(value, list)
            or not value
            or any(isinstance(v, list | dict) for v in value)
        ):
            return ""
        for other in keys(self.root):
            inner = _listed(other.kind) if other.table == table else None
            if inner and name in map(key_of, dataclasses.fields(inner)):
                entries = ", ".join(f"{{ {name} = {_shown(item)} }}" for item in value[:2])
                return f"; write {other.name} = [{entries}{', ...' if len(value) > 2 else ''}]"
        return ""


def _fits(kind: Any, value: Any) -> bool:
    """Whether a value has the outer shape of a type, so that its complaints are about that type."""
    origin = get_origin(kind)
    if origin is Literal:
        return value in get_args(kind)
    if kind is Reference:
        return isinstance(value, str) and ":" in value
    if origin is tuple:
        return isinstance(value, list)
    if origin is dict or dataclasses.is_dataclass(kind):
        tables = origin is dict and dataclasses.is_dataclass(get_args(kind)[1])  # unlike one table
        return isinstance(value, Mapping) and (not tables or _holds_tables(value))
    if kind is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and not (isinstance(value, float) and math.isnan(value))
    return type(value) is kind


def _holds_tables(value: Mapping[str, Any]) -> bool:
    return bool(value) and all(isinstance(inner, Mapping) for inner in value.values())


def _listed(kind: Any) -> Any:
    """Give the dataclass whose tables a list may hold; None where no list of tables is allowed."""
    lists = (get_args(k)[0] for k in (kind, *get_args(kind)) if get_origin(k) is tuple)
    return next((inner for inner in lists if dataclasses.is_dataclass(inner)), None)


def _hint(kind: Any, value: Any) -> str:
    """Say how a value of the wrong type is mended, where that can be seen; a half-sentence."""
    if Reference in get_args(kind):
        kind = get_args(kind)[0]
    accepted = [k for k in (get_args(kind) or (kind,)) if k is not type(None)]
    if isinstance(value, str):
        return _hint_for_text(get_origin(kind), accepted, value)
    if bool in accepted and value in (0, 1):
        return f"; write {str(bool(value)).lower()}"
    if int in accepted and isinstance(value, float) and value.is_integer():
        return f"; write {value:.0f}"
    return ""


def _hint_for_text(origin: Any, accepted: list[Any], value: str) -> str:
    meant = value.strip().lower()
    name = near(meant, accepted) if origin is Literal else None
    if name:
        return f'; did you mean "{name}"?'
    if (bool in accepted and meant in ("true", "false")) or ({int, float} & {*accepted} and _is_number(meant)):
        return f"; write {meant}, without quotation marks"
    if origin is tuple and meant.startswith("["):
        return "; the shell takes quotation marks away, so put the whole setting in single quotes"
    return f'; write ["{value[:60]}"]' if origin is tuple and accepted[0] is str else ""


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value[:60]}"'
    if isinstance(value, (list, Mapping)):
        return "a list" if isinstance(value, list) else "a table"
    return str(value) if not isinstance(value, int) or abs(value) < LARGEST else "a number beyond all bounds"
