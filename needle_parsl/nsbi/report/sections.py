"""Sections of the report that stages write: text and tables, as a JSON file each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from needle_parsl.json_records import JsonRecord


@dataclass(frozen=True)
class SectionTable(JsonRecord):
    """Rows under headings."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    """Numbers and texts, one for each column; None where there is none."""
    caption: str = ""


@dataclass(frozen=True)
class Section(JsonRecord):
    """A section, under its title."""

    title: str
    text: str = ""
    tables: tuple[SectionTable, ...] = ()
