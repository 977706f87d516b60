"""On which line of a TOML file each key stands; `tomllib` does not say."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

TOKEN = re.compile(
    r"#[^\n]*"
    r'|(?P<text>"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\')'
    r"|(?P<bare>[^\s\[\]{}=,.\"'#]+)"
    r"|(?P<mark>[\[\]{}=,.\n])",
    re.DOTALL,
)


class Places:
    """Where the keys of a file come from: one of its lines, or an override of the command line."""

    def __init__(self, file: Path | str, settings: Sequence[str] = ()) -> None:
        """Remember the file; it is read only when something is wrong with it.

        Args:
            file: A TOML file.
            settings: Overrides, as in `--set training.members=50`.
        """
        self.file = str(file)
        self.overridden = [setting.partition("=")[0].replace(" ", "") for setting in settings]

    @cached_property
    def lines(self) -> dict[str, int]:
        """The line of each key; none if the file cannot be read again."""
        try:
            return lines(Path(self.file).read_text(encoding="utf-8-sig"))
        except (OSError, ValueError):
            return {}

    def find(self, key: str) -> tuple[str, int | None]:
        """Give the file and the line of a key, or of the innermost table that would hold it.

        Args:
            key: As messages have it: `samples.signal.files[1]`.

        Returns:
            The file, or `--set`; and the line, where there is one.
        """
        if any(key == known or key.startswith((f"{known}.", f"{known}[")) for known in self.overridden):
            return "--set", None
        while key and key not in self.lines:
            key = key[: max(key.rfind("."), key.rfind("["), 0)]
        return self.file, self.lines.get(key)


def lines(text: str) -> dict[str, int]:
    """Find the line of each key, table and element of a list.

    Args:
        text: Valid TOML.

    Returns:
        Lines, counted from 1, by key: `{"samples.signal": 4, "samples.signal.files": 5, "samples.signal.files[0]": 5}`.
    """
    scan = _Scan()
    for match in TOKEN.finditer(f"{text}\n"):
        scan.token(match)
    return scan.found


class _Scan:
    """Follows the tables, lists and keys that are open while the tokens of a file go by."""

    def __init__(self) -> None:
        self.found: dict[str, int] = {}
        self.line = 1
        self.table = ""
        self.parts: list[str] = []
        """Of the key that is being read."""
        self.open: list[tuple[str, int]] = []
        """Keys of the lists and inline tables that are open; a list has the number of its element, a table -1."""
        self.value = ""
        """The key whose value is being read; empty while a key is."""
        self.brackets = 0
        """Of the header that is being read."""
        self.elements: dict[str, int] = {}
        """Number of the newest table of each list of tables."""

    def token(self, match: re.Match[str]) -> None:
        """Go past a token."""
        if match["mark"] == "\n":
            self.end_of_line()
        elif match["mark"]:
            self.mark(match["mark"])
        elif match["text"] or match["bare"]:
            self.word(match.group())
        self.line += match.group().count("\n")

    def end_of_line(self) -> None:
        """End a header or a value, unless a bracket is open."""
        if not self.open:
            if self.brackets:
                self.header()
            self.value, self.parts, self.brackets = "", [], 0

    def word(self, word: str) -> None:
        """Go past a text, number or name."""
        if self.value:
            self.found.setdefault(self.value, self.line)
        else:
            self.parts.append(tomllib.loads(f"x = {word}")["x"] if word[0] in "\"'" else word)

    def mark(self, mark: str) -> None:
        """Go past a bracket, a comma or an equals sign."""
        inside, element = self.open[-1] if self.open else (self.table, -1)
        if mark == "=":
            self.value = self.note(inside)
        elif mark in "[{" and self.value:
            self.found.setdefault(self.value, self.line)
            self.enter(self.value, 0 if mark == "[" else -1)
        elif mark == "[":
            self.brackets += 1
        elif mark in "]}" and self.open:
            self.open.pop()
            self.value = inside
        elif mark == "," and element >= 0:
            self.open[-1] = (inside, element + 1)
            self.value = f"{inside}[{element + 1}]"
        elif mark == ",":
            self.value, self.parts = "", []

    def enter(self, key: str, element: int) -> None:
        """Open a list or an inline table."""
        self.open.append((key, element))
        self.value, self.parts = (f"{key}[0]" if element == 0 else ""), []

    def header(self) -> None:
        """Read `[table]`, or `[[table]]` as the next element of a list."""
        key = self.note("")
        if self.brackets > 1:
            self.elements[key] = self.elements.get(key, -1) + 1
            key = self.newest(key)
            self.found.setdefault(key, self.line)
        self.table = key

    def note(self, inside: str) -> str:
        """Note the line of the key that was read, and of the tables on the way to it, which may appear here first."""
        key = inside
        for part in self.parts:
            key = f"{self.newest(key)}.{part}" if key else part
            self.found.setdefault(key, self.line)
        return key

    def newest(self, key: str) -> str:
        """Name the newest element of a list of tables; any other key is itself."""
        return f"{key}[{self.elements[key]}]" if key in self.elements else key
