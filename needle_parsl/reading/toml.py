"""TOML files to tables and back, and what the command line changes in them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w

from needle_parsl import kinds
from needle_parsl.errors import InputError, Problem, near, printable
from needle_parsl.reading.schema import kind_at

if TYPE_CHECKING:
    from needle_parsl.reading.strict import TableReader

LARGEST_FILE = 10_000_000
"""Bytes of a config file; anything larger is some other file."""
PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
HINTS = (
    (r"=\s*(True|False)\b", "TOML writes true and false in small letters"),
    (r"=\s*None\b", "TOML has no None; leave the key out"),
    (r"^\s*[\w.-]+\s*:", 'TOML writes "key = value"'),
    (r"^\s*\[?[\w.-]*\s*=?\s*[A-Za-z_./~$*-][\w./~$* -]*$", "TOML puts texts in quotation marks"),
    (r"=\s*\d[\d_]*,\d", "TOML writes a decimal point, not a comma"),
)
"""What people write where TOML has it differently: patterns of the line."""
REASONS = (
    ("Cannot declare", "all keys of a table stand below one header"),
    ("Cannot overwrite", "the key is there already"),
    ("Illegal character '\\n'", "a quotation mark is missing"),
    ("Unclosed", "a closing bracket is missing here or above"),
)
"""What the words of `tomllib` mean."""


def load(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        InputError: The file is missing, unreadable or no TOML; the message names the line.
    """
    try:
        if (found := kinds.kind(path)) not in ("", kinds.FILE):
            raise InputError(f"{path}: is {found}; expected a file in TOML")
        if path.stat().st_size > LARGEST_FILE:
            raise InputError(f"{path}: has {path.stat().st_size} bytes; expected a TOML file of at most {LARGEST_FILE}")
        text = path.read_text(encoding="utf-8-sig")  # editors of Windows mark the order of bytes
        return tomllib.loads(text)
    except FileNotFoundError as error:
        meant = near(path.name, [other.name for other in path.parent.glob("*.toml")])
        hint = f'; did you mean "{path.with_name(meant)}"?' if meant else ""
        raise InputError(f"{path}: no such file{hint}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text: {getattr(error, 'strerror', None) or error}") from error
    except ValueError as error:  # TOML's own, or a number with thousands of digits
        raise InputError.of([_broken(path, text, str(error))]) from error
    except RecursionError as error:
        raise InputError(f"{path}: is nested too deeply") from error


def _broken(path: Path, text: str, message: str) -> Problem:
    """Say what is wrong with the TOML itself, with the line as it stands there."""
    place = PLACE.search(message)
    number = int(place[1]) if place and place[1] else None
    line = text.split("\n")[number - 1] if number else ""
    hints = [hint for words, hint in REASONS if message.startswith(words)]
    hints += [hint for pattern, hint in HINTS if re.search(pattern, line)]
    reason = PLACE.sub("", message) if number else message
    hint = f"; {hints[0]}" if hints else ""
    shown = f' in "{line.strip()[:60]}"' if line.strip() else ""
    return Problem(printable(f"is not valid TOML: {reason}{shown}{hint}"), str(path), number)


def override(table: dict[str, Any], settings: list[str], kind: type, reader: TableReader) -> None:
    """Put `--set training.members=50` into a table, typed like the file.

    Args:
        table: The whole file; changed in place.
        settings: `key=value` texts; a value that is no TOML, or that belongs to a key of texts, is taken as text.
        kind: The dataclass of the file, which says what a key may hold.
        reader: Told of a setting without `=`, or whose key leads through something that is no table.
    """
    for setting in settings:
        key, equals, text = setting.partition("=")
        shown = f"--set {printable(setting[:80])}"
        *folders, last = parts = [part.strip() for part in key.split(".")]
        if not equals or not all(parts):
            reader.note(Problem('write "key=value", for example training.members=50', shown))
            continue
        place: Any = table
        for folder in folders:
            place = place.setdefault(folder, {}) if isinstance(place, dict) else None
        if not isinstance(place, dict):
            reader.note(Problem(printable(f"{'.'.join(folders)} is no table"), shown))
            continue
        value = _typed(text)
        place[last] = text if kind_at(kind, parts) is str and not isinstance(value, (str, dict, list)) else value


def _typed(text: str) -> Any:
    try:
        found = tomllib.loads(f"x = {text}")
    except (ValueError, RecursionError):
        return text
    return found["x"] if list(found) == ["x"] else text


def dump(table: Mapping[str, Any]) -> str:
    """Write a table as TOML; keys without a value (None) are left out."""
    return tomli_w.dumps(_said(table))


def _said(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _said(item) for name, item in value.items() if item is not None}
    return [_said(item) for item in value] if isinstance(value, (list, tuple)) else value
