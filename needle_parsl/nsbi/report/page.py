"""The page: one self-contained HTML file, with its figures beside it as PNG and PDF."""

from __future__ import annotations

import base64
import io
import json
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

from needle_parsl import __version__, addresses
from needle_parsl.analysis import extras
from needle_parsl.nsbi.report import closure_numbers, judging, summary
from needle_parsl.nsbi.report.gathering import Facts

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write(folder: Path, facts: Facts) -> None:
    """Write `index.html`, `summary.json` and the figures into a new folder."""
    folder.mkdir(parents=True)
    pictures = _figures(folder, facts) if extras.here("plots") else []
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        (files("needle_parsl.nsbi.report") / "page.html").read_text(encoding="utf-8")
    )
    numbers = summary.numbers(facts)
    findings = judging.judge(facts)
    page = template.render(
        f=facts, summary=numbers, findings=findings, pictures=pictures, version=__version__,
        normalised_at=closure_numbers.points(facts),
    )  # fmt: skip
    (folder / "index.html").write_text(addresses.shown(page), encoding="utf-8", errors="backslashreplace")
    (folder / "summary.json").write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")


def _figures(folder: Path, facts: Facts) -> list[dict[str, Any]]:
    """Draw each figure as PNG and PDF; the page carries the PNG inside."""
    from needle_parsl.nsbi.report.figures import FIGURES

    pictures = []
    for name, entry in FIGURES.items():
        if not entry.shown(facts):
            continue
        figure, buffer = _laid_out(entry.draw(facts)), io.BytesIO()
        figure.savefig(buffer, format="png", dpi=160)
        figure.savefig(folder / f"{name}.pdf", metadata={"CreationDate": None})
        (folder / f"{name}.png").write_bytes(buffer.getvalue())
        data = base64.b64encode(buffer.getvalue()).decode()
        pictures.append({"section": entry.section, "caption": entry.caption, "data": data})
    return pictures


def _laid_out(figure: Figure) -> Figure:
    """Place everything once: with a layout of its own, each file would place it anew, and draw one time more to do so."""
    if layout := figure.get_layout_engine():
        layout.execute(figure)
        figure.set_layout_engine(None)
    return figure
