"""The page: one self-contained HTML file, with its figures beside it as PNG and PDF.

What cannot be drawn or written is replaced by the reason, and warned of; the rest of the page is there.
"""

from __future__ import annotations

import base64
import io
import json
import re
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np

from needle_parsl import __version__, addresses
from needle_parsl.analysis import extras
from needle_parsl.nsbi.report import enough, rounding, summary
from needle_parsl.nsbi.report.checks import closure_numbers, residuals, run
from needle_parsl.nsbi.report.checks.states import reason
from needle_parsl.nsbi.report.gathering import Facts, StagesFacts
from needle_parsl.nsbi.report.sections import Section

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from needle_parsl.nsbi.report.figures import FigureEntry

PART = "{# part #}"
"""Stands between the parts of the page: the head, what all parts use, and the parts."""
SECTION = 'id="section-{{ place }}"'
"""What the part of sections has."""
DPI = 160
"""Of the PNG files."""
FORMATS: dict[str, dict[str, Any]] = {"png": {"dpi": DPI}, "pdf": {"metadata": {"CreationDate": None}}}
"""How each file of a figure is written."""


def write(folder: Path, facts: Facts) -> None:
    """Write `index.html`, `summary.json` and the figures into a new folder."""
    folder.mkdir(parents=True)
    pictures = _pictures(folder, facts) if extras.here("plots") else []
    save_figures(folder, facts.sections)
    numbers = plain(summary.summarise(facts).to_json())
    shown: dict[str, Any] = {
        "f": facts,
        "summary": numbers,
        "findings": run.ranked(run.judge(facts)),
        "pictures": pictures,
    }
    shown |= {"shown": rounding.single, "shown_pieces": rounding.pieces, "enough": enough, "residuals": residuals}
    shown["normalised_at"] = partial(closure_numbers.points, facts)  # called by its part, which may fail alone
    text = addresses.shown(_page({**shown, "version": __version__}))
    _save(folder, text, numbers)


def _save(folder: Path, text: str, numbers: Any) -> None:
    (folder / "index.html").write_text(text, encoding="utf-8", errors="backslashreplace")
    (folder / "summary.json").write_text(json.dumps(numbers, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def write_stages(folder: Path, facts: StagesFacts) -> None:
    """Write `index.html`, `summary.json` and the figures of an analysis of the user's stages alone into a new folder."""
    folder.mkdir(parents=True)
    save_figures(folder, facts.sections)
    findings = run.ranked(run.of_sections(facts.sections))
    numbers = plain(summary.of_stages(facts, findings).to_json())
    shown = {"f": facts, "summary": numbers, "findings": findings, "pictures": [], "version": __version__}
    environment, (head, common, *parts) = _template()
    own = (files("needle_parsl.nsbi.report") / "stages.html").read_text(encoding="utf-8")
    kept = [part for part in parts if SECTION in part or '<h2 id="provenance">' in part]
    text = environment.from_string(head).render(shown) + _parts(environment, common, [own, *kept, parts[-1]], shown)
    _save(folder, addresses.shown(text), numbers)


def save_figures(folder: Path, sections: Sequence[Section]) -> None:
    """Write the figures of sections as files, numbered."""
    for number, section in enumerate(sections, 1):
        for place, figure in enumerate(section.figures, 1):
            for kind in ("png", "pdf"):
                (folder / f"section-{number}-{place}.{kind}").write_bytes(base64.b64decode(getattr(figure, kind)))


def plain(value: Any) -> Any:
    """Give numbers as JSON has them: what is not finite is null."""
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _page(shown: Mapping[str, Any]) -> str:
    """Write the page part by part."""
    environment, (head, common, *parts) = _template()
    return environment.from_string(head).render(shown) + _parts(environment, common, parts, shown)


def _parts(environment: jinja2.Environment, common: str, parts: Sequence[str], shown: Mapping[str, Any]) -> str:
    """Write parts of the page; that of sections once for each section, so that one which cannot be written leaves the others."""
    texts = []
    for part in parts:
        each = enumerate(shown["f"].sections, 1) if SECTION in part else [(0, None)]
        texts += [_part(environment, common, part, {**shown, "section": own, "place": place}) for place, own in each]
    return "".join(texts)


def _template() -> tuple[jinja2.Environment, list[str]]:
    """Give the parts of the page."""
    text = (files("needle_parsl.nsbi.report") / "page.html").read_text(encoding="utf-8")
    return jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined), text.split(PART)


def _part(environment: jinja2.Environment, common: str, text: str, shown: Mapping[str, Any]) -> str:
    try:
        return environment.from_string(common + text).render(shown)
    except Exception as error:  # noqa: BLE001  numbers that nobody has foreseen cost their part of the page, not all of it
        said = f"a part of the report cannot be written: {reason(error)}"
        warnings.warn(said, stacklevel=2)
        heading = "".join(re.findall(r'<h2 id="[^"]+">[^<]*</h2>', text))
        figures = "".join(f"{{{{ {call} }}}}" for call in re.findall(r'figures\("\w+"\)', text))
        left = f'{common}{heading}<p class="weak missing">{{{{ said }}}}</p>{figures}\n'
        return environment.from_string(left).render({**shown, "said": said[0].upper() + said[1:]})


def _pictures(folder: Path, facts: Facts) -> list[dict[str, Any]]:
    """Draw the figures as matplotlib does by itself: a `matplotlibrc` of the current folder may be anybody's."""
    import matplotlib as mpl  # noqa: PLC0415  matplotlib, an extra

    with mpl.rc_context():
        mpl.rcdefaults()
        return _figures(folder, facts)


def _figures(folder: Path, facts: Facts) -> list[dict[str, Any]]:
    """Draw each figure as PNG and PDF; the page carries the PNG inside, or the reason why there is none."""
    from needle_parsl.nsbi.report.figures import FIGURES  # noqa: PLC0415  matplotlib, an extra

    found = [_picture(folder, name, entry, facts) for name, entry in FIGURES.items()]
    return [picture for picture in found if picture is not None]


def _picture(folder: Path, name: str, entry: FigureEntry, facts: Facts) -> dict[str, Any] | None:
    """Draw one figure; None where there is nothing of its kind."""
    picture = {"section": entry.section, "name": name, "caption": entry.caption, "data": "", "reason": ""}
    try:
        if not entry.shown(facts):
            return None
        drawn = _drawn(entry.draw(facts))
    except Exception as error:  # noqa: BLE001  numbers that nobody has foreseen cost their figure, not the report
        warnings.warn(f'the figure "{name}" cannot be drawn: {reason(error)}', stacklevel=2)
        return {**picture, "reason": reason(error)}
    for suffix, content in drawn.items():
        (folder / f"{name}.{suffix}").write_bytes(content)
    return {**picture, "data": base64.b64encode(drawn["png"]).decode()}


def _drawn(figure: Figure) -> dict[str, bytes]:
    """Render a figure in all formats."""
    if not any(np.isfinite(axes.dataLim.get_points()).all() for axes in figure.axes):
        raise ValueError("none of its numbers is finite")
    figure, found = _laid_out(figure), {}
    for name, settings in FORMATS.items():
        buffer = io.BytesIO()
        figure.savefig(buffer, format=name, **settings)
        found[name] = buffer.getvalue()
    return found


def _laid_out(figure: Figure) -> Figure:
    """Place everything once: with a layout of its own, each file would place it anew, and draw one time more to do so."""
    if layout := figure.get_layout_engine():
        layout.execute(figure)
        figure.set_layout_engine(None)
    return figure
