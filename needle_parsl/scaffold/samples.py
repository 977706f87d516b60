"""Samples of data files: what their names and columns tell of processes and variations."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from needle_parsl.analysis.rules import OBSERVED

if TYPE_CHECKING:
    from needle_parsl.nsbi.programs.survey import Survey

VARIED = re.compile(r"(?P<sample>.+?)[_.-](?P<nuisance>\w+?)[_.-](?P<side>up|down)", re.IGNORECASE)
SIGNAL = re.compile(r"sig|higgs|^h(?=[a-z])|new|bsm", re.IGNORECASE)
BACKGROUND = re.compile(r"back|bkg|^b$", re.IGNORECASE)


@dataclass
class SampleDraft:
    """A sample that is to be written."""

    surveys: list[Survey]
    selection: str = ""
    effective: float = 0.0
    variations: dict[str, dict[str, Survey]] = field(default_factory=dict)


def samples(surveys: Sequence[Survey]) -> dict[str, SampleDraft]:
    """Make samples of files by their names; of a single file, by the column that tells its processes apart."""
    stems = {item.path: name_of(re.sub(r"[_.-]?\d+$", "", Path(item.path).stem)) for item in surveys}
    found: dict[str, SampleDraft] = {}
    for item in surveys:
        varied = VARIED.fullmatch(stems[item.path])
        if varied and varied["sample"] in stems.values():
            sample = found.setdefault(varied["sample"], SampleDraft([]))
            sample.variations.setdefault(varied["nuisance"], {})[varied["side"].lower()] = item
        else:
            found.setdefault(stems[item.path], SampleDraft([])).surveys.append(item)
    for sample in found.values():
        sample.effective = sum(item.effective for item in sample.surveys)
    return found if len(found) > 1 else _by_label(found)


def _by_label(found: dict[str, SampleDraft]) -> dict[str, SampleDraft]:
    (sample,) = found.values()
    labels = [item.labels for item in sample.surveys]
    # A column with more values says more: "htautau" rather than 1.
    usable = [name for name in labels[0] if name.isidentifier() and not any("'" in value for value in labels[0][name])]
    column = max(usable, key=lambda name: len(labels[0][name]), default="")
    if not column or any(column not in other for other in labels):
        return found
    counts = labels[0][column]
    total = sum(counts.values())
    return {
        name_of(value): SampleDraft(sample.surveys, f"{column} == {_literal(value)}", sample.effective * count / total)
        for value, count in list(counts.items())[:2]
    }


def _literal(value: str) -> str:
    return value if re.fullmatch(r"-?\d+", value) else f"'{value}'"


def name_of(text: str) -> str:
    """Make a name of a run or sample of any text."""
    name = re.sub(r"[^A-Za-z0-9_+-]+", "_", text).strip("_")[:80] or "sample"
    return f"{name}_sample" if name == OBSERVED else name


def roles(made: Mapping[str, SampleDraft]) -> tuple[str, str]:
    """Guess which sample is the signal, and which is the reference."""
    names = sorted(made, key=lambda name: -made[name].effective)
    reference = next((name for name in names if BACKGROUND.search(name)), names[0])
    others = [name for name in made if name != reference]
    signal = next((name for name in others if SIGNAL.search(name)), others[0] if others else reference)
    if len(made) > 1 and SIGNAL.search(reference) and not SIGNAL.search(signal):
        signal, reference = reference, signal
    return signal, reference
