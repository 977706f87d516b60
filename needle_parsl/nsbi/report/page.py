"""The page: one self-contained HTML file, with its figures beside it as PNG and PDF."""

from __future__ import annotations

import base64
import io
import json
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jinja2

from needle_parsl import __version__
from needle_parsl.nsbi.report.gathering import FEW, Facts


def write(folder: Path, facts: Facts) -> None:
    """Write `index.html`, `summary.json` and the figures into a new folder."""
    folder.mkdir(parents=True)
    pictures = _figures(folder, facts) if find_spec("matplotlib") else []
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        (files("needle_parsl.nsbi.report") / "page.html").read_text(encoding="utf-8")
    )
    page = template.render(f=facts, pictures=pictures, warnings=warnings(facts), version=__version__)
    (folder / "index.html").write_text(page, encoding="utf-8")
    (folder / "summary.json").write_text(json.dumps(facts.summary, indent=2) + "\n", encoding="utf-8")


def warnings(facts: Facts) -> list[str]:
    """Say what is weak: few events, failed networks, fits that did not converge, ratios that are not normalised."""
    found = []
    for sample in facts.samples:
        part, effective = min(sample.effective.items(), key=lambda item: item[1])
        if effective < FEW:
            found.append(
                f"Only {effective:.0f} effective events of {sample.name} stand behind the part '{part}' "
                f"({sample.events} events in all); every number that rests on them is as uncertain as they are few."
            )
        if sample.negative:
            found.append(f"{sample.negative} of {sample.events} events of {sample.name} have negative weights.")
    found += [f"Not trained: {line}." for line in facts.failed]
    found += [f"The fit '{name}' did not converge." for name, fit in facts.fits.items() if not fit["converged"]]
    for name, fit in facts.fits.items():
        found += [f"In the fit '{name}', {parameter} is at its bound." for parameter in fit["at_bound"]]
        if fit["floored_events"]:
            found.append(f"In the fit '{name}', {fit['floored_events']} events have no positive density.")
    for name, scan in facts.scans.items():
        found += [f"The {level} interval of '{name}' leaves the scanned range." for level in scan["open"]]
    for name, numbers in facts.diagnostics.items():
        value, error = numbers["normalisation"]["value"], numbers["normalisation"]["error"]
        if abs(value - 1) > max(3 * error, 0.01):
            found.append(
                f"The ratio {name} is not normalised: its mean over the reference is {value:.4f} ± {error:.4f}."
            )
    return found


def _figures(folder: Path, facts: Facts) -> list[dict[str, Any]]:
    """Draw each figure as PNG and PDF; the page carries the PNG inside."""
    from needle_parsl.nsbi.report.figures import FIGURES

    pictures = []
    for name, (caption, draw) in FIGURES.items():
        if (name == "training" and not facts.histories) or (name == "ratios" and not facts.dataset.ratios):
            continue
        figure, buffer = draw(facts), io.BytesIO()
        figure.savefig(buffer, format="png", dpi=160)
        figure.savefig(folder / f"{name}.pdf", metadata={"CreationDate": None})
        (folder / f"{name}.png").write_bytes(buffer.getvalue())
        pictures.append({"name": name, "caption": caption, "data": base64.b64encode(buffer.getvalue()).decode()})
    return pictures
