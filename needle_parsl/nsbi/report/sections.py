"""Sections of the report that stages write: text, tables, figures and checks, as a JSON file each."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from needle_parsl.json_records import JsonRecord
from needle_parsl.summary import State

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 160
"""Of PNG files."""


@dataclass(frozen=True)
class SectionTable(JsonRecord):
    """Rows under headings."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    """Numbers and texts, one for each column; None where there is none."""
    caption: str = ""

    def __post_init__(self) -> None:
        """Refuse what no table can show.

        Raises:
            ValueError: A row has more or fewer cells than there are columns, or a cell is neither number nor text.
        """
        for number, row in enumerate(self.rows, 1):
            if len(row) != len(self.columns):
                raise ValueError(f"row {number} of a table has {len(row)} cells for {len(self.columns)} columns")
            for cell in row:
                if not (cell is None or isinstance(cell, str | int | float) or np.ndim(cell) == 0):
                    raise ValueError(
                        f"row {number} of a table has a cell of the type {type(cell).__name__}; expected a number or a text"
                    )


@dataclass(frozen=True)
class SectionFigure(JsonRecord):
    """A figure, as files in base64."""

    png: str
    pdf: str
    caption: str = ""

    def __post_init__(self) -> None:
        """Refuse what is no file in base64.

        Raises:
            ValueError: It is none.
        """
        for kind in (self.png, self.pdf):
            base64.b64decode(kind, validate=True)

    @classmethod
    def of(cls, figure: Figure, caption: str = "") -> SectionFigure:
        """Draw a figure of matplotlib; axes of hist or mplhep are in one, too."""
        return cls(_drawn(figure, "png"), _drawn(figure, "pdf"), caption)


def _drawn(figure: Figure, kind: str) -> str:
    buffer = io.BytesIO()
    settings: dict[str, Any] = {"dpi": DPI} if kind == "png" else {"metadata": {"CreationDate": None}}
    figure.savefig(buffer, format=kind, bbox_inches="tight", **settings)
    return base64.b64encode(buffer.getvalue()).decode()


@dataclass(frozen=True)
class SectionCheck(JsonRecord):
    """A number that is judged."""

    value: float | None
    """None for what is no number, which fails."""
    state: State
    sentence: str

    def __post_init__(self) -> None:
        """Refuse a state that is none.

        Raises:
            ValueError: It is none.
        """
        if self.state not in get_args(State):
            raise ValueError(f"a check has the state {self.state!r}; expected one of {', '.join(get_args(State))}")


def check(value: float, yellow: float, red: float, sentence: str) -> SectionCheck:
    """Judge a number.

    Args:
        value: The number; one that is not finite fails.
        yellow: From here on it is a warning.
        red: From here on it fails; below `yellow` where small numbers are the bad ones.
        sentence: What is to hold, and what to do where it does not; the number and both thresholds are said behind it.

    Raises:
        ValueError: The thresholds are equal.
    """
    if yellow == red:
        raise ValueError(f"a check needs two different thresholds, found {yellow:g} twice")
    number = float(value)
    sign = 1.0 if red > yellow else -1.0
    failed = not math.isfinite(number) or sign * number >= sign * red
    state: State = "fail" if failed else "warning" if sign * number >= sign * yellow else "pass"
    beyond = "from" if red > yellow else "down from"
    found = f"Found {number:.3g}; a warning {beyond} {yellow:g}, a failure {beyond} {red:g}."
    return SectionCheck(number if math.isfinite(number) else None, state, f"{sentence} {found}")


@dataclass(frozen=True)
class Section(JsonRecord):
    """A section, under its title."""

    title: str
    text: str = ""
    tables: tuple[SectionTable, ...] = ()
    figures: tuple[SectionFigure, ...] = ()
    checks: tuple[SectionCheck, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a section without a title, and parts of another kind.

        Raises:
            ValueError: It has none.
            TypeError: A part is of another kind.
        """
        if not self.title:
            raise ValueError("a section needs a title")
        for name, kind in (("tables", SectionTable), ("figures", SectionFigure), ("checks", SectionCheck)):
            for one in getattr(self, name):
                if not isinstance(one, kind):
                    raise TypeError(f"{name} of a section hold {kind.__name__}, found {type(one).__name__}")
