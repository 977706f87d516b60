"""Protocol buffers as text, as Triton reads its configurations: written from plain values, with every text quoted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FIELD = re.compile(r"[a-z][a-z0-9_]*")
WORD = re.compile(r"[A-Z][A-Z0-9_]*")
PLAIN = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


@dataclass(frozen=True)
class Word:
    """A value of an enumeration, such as `TYPE_FP32`, which stands without quotes."""

    name: str


def message(fields: Mapping[str, Any], indent: str = "") -> str:
    """Write the fields of a message, one a line.

    Args:
        fields: Texts, whole numbers, truth values, words, messages as mappings, and lists of these for what is repeated.
        indent: What lines begin with.

    Raises:
        ValueError: A name is none of a field or of an enumeration.
    """
    lines = []
    for name, value in fields.items():
        if not FIELD.fullmatch(name):
            raise ValueError(f'"{name}" is no name of a field')
        lines += [_field(name, one, indent) for one in (value if isinstance(value, (list, tuple)) else (value,))]
    return "".join(lines)


def _field(name: str, value: Any, indent: str) -> str:
    if isinstance(value, Mapping):
        return f"{indent}{name} {{\n{message(value, indent + '  ')}{indent}}}\n"
    return f"{indent}{name}: {scalar(value)}\n"


def scalar(value: object) -> str:
    """Write a value that is no message.

    Raises:
        ValueError: It is none that a configuration has.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, Word) and WORD.fullmatch(value.name):
        return value.name
    raise ValueError(f"{value!r} is no value of a configuration")


def quoted(text: str) -> str:
    """Quote a text: what would end or change it is escaped, and what is no ASCII stands as the bytes of its UTF-8."""
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(letter: str) -> str:
    if letter in PLAIN:
        return PLAIN[letter]
    if " " <= letter <= "~":
        return letter
    return "".join(f"\\{byte:03o}" for byte in letter.encode("utf-8", "backslashreplace"))
