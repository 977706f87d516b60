"""The page: one self-contained HTML file, with its figures beside it as PNG and PDF."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator, Mapping
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from needle_parsl import __version__
from needle_parsl.nsbi.report.gathering import FEW, Facts, Sample

HALF = 0.5
"""The simulation's error is worth a warning above this fraction of the statistical one."""


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
    return [
        *(line for sample in facts.samples for line in _weak_sample(sample)),
        *(f"Not trained: {line}." for line in facts.failed),
        *(line for name, fit in facts.fits.items() for line in _weak_fit(name, fit)),
        *(f"The {level} interval of '{n}' leaves the scanned range." for n, s in facts.scans.items() for level in s["open"]),
        *(line for name, numbers in facts.diagnostics.items() for line in _weak_ratio(name, numbers["normalisation"])),
    ]  # fmt: skip


def _weak_sample(sample: Sample) -> Iterator[str]:
    part, effective = min(sample.effective.items(), key=lambda item: item[1])
    if effective < FEW:
        yield (
            f"Only {effective:.0f} effective events of {sample.name} stand behind the part '{part}' "
            f"({sample.events} events in all); every number that rests on them is as uncertain as they are few."
        )
    if sample.negative:
        yield f"{sample.negative} of {sample.events} events of {sample.name} have negative weights."


def _weak_fit(name: str, fit: Mapping[str, Any]) -> Iterator[str]:
    if not fit["converged"]:
        yield f"The fit '{name}' did not converge."
    for parameter in fit["at_bound"]:
        yield f"In the fit '{name}', {parameter} is at its bound."
    if fit["floored_events"]:
        yield f"In the fit '{name}', {fit['floored_events']} events have no positive density."
    for parameter, numbers in fit["parameters"].items():
        if (numbers["simulation_error"] or 0) > HALF * (numbers["error"] or np.inf):
            yield (
                f"In the fit '{name}', the finite number of simulated events alone is worth "
                f"±{numbers['simulation_error']:.3g} on {parameter}, against a statistical error of "
                f"{numbers['error']:.3g}; intervals do not contain it."
            )


def _weak_ratio(name: str, normalisation: Mapping[str, float]) -> Iterator[str]:
    value, error = normalisation["value"], normalisation["error"]
    if abs(value - 1) > max(3 * error, 0.01):
        yield f"The ratio {name} is not normalised: its mean over the reference is {value:.4f} ± {error:.4f}."


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
