"""The text of a new `analysis.toml`: what is known, and what is to be decided as comments."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from needle_parsl.errors import InputError
from needle_parsl.scaffold.samples import SampleDraft, name_of, roles

if TYPE_CHECKING:
    from needle_parsl.nsbi.programs.survey import Survey

FEATURES = 8
"""Features of a new analysis, at most; the others are listed beside them."""
LISTED = 40
"""Columns that are listed, at most."""
LEAST = 1000
"""Default of `split.min_events`."""


def write(folder: Path, made: Mapping[str, SampleDraft], surveys: Sequence[Survey]) -> str:
    """Write an analysis.

    Args:
        folder: Where it will be; files below it are named relative to it.
        made: The samples, by name.
        surveys: What is in the files.

    Raises:
        InputError: There is no column that all files have and that could be a feature.
    """
    signal, reference = roles(made)
    common = [name for name in surveys[0].features if all(name in item.features for item in surveys)]
    if not common:
        some = ", ".join(surveys[0].jagged[:5]) or "none at all"
        raise InputError(
            f"{surveys[0].path}: no column has one varying number per event in every file; there are {some}"
        )
    lines = [
        f'# Written by "needle init" from {len(surveys)} file{"s" if len(surveys) > 1 else ""}; "needle check" looks for mistakes.',
        "# Every key with its default: docs/reference.md. Lines that start with # are suggestions.",
        f"name = {_quoted(name_of(folder.resolve().name))}",
        "seed = 1",
        "",
        *_features(common, surveys),
        *(line for name, sample in made.items() for line in _sample(folder, name, sample)),
        *_split(made, surveys),
        "[ratios]",
        "# Which densities are learned, relative to which sample; the reference itself needs no training.",
        f"reference = [{_quoted(reference)}]",
        f"targets = {_listed(list(made))}",
        "",
        "[training]",
        "members = 10    # networks per ratio and fold",
        "",
        *_model(made, signal),
    ]
    return "\n".join(lines) + "\n"


def _features(common: Sequence[str], surveys: Sequence[Survey]) -> list[str]:
    columns = surveys[0].flat
    more = [name for name in (*common[FEATURES:], *columns) if name not in common[:FEATURES]]
    more = list(dict.fromkeys(more))
    lines = ["[features]", "# Columns that the networks see; the first that vary were taken, choose those that matter."]
    lines += [f"names = {_listed(list(common[:FEATURES]))}"]
    lines += _comment(f"{len(more)} more columns with one value per event", more)
    lines += _comment(f"{len(surveys[0].jagged)} columns with several values per event", surveys[0].jagged)
    first = common[0]
    return [
        *lines,
        f"# selection = {_quoted(f'{first} > 0')}    # events that are kept",
        f"# derived = {{ my_column = {_quoted(f'log(1 + abs({first}))')} }}    # columns of your own, for names and selection",
        "",
    ]  # fmt: skip


def _comment(what: str, names: Sequence[str]) -> list[str]:
    if not names:
        return []
    shown = f"{', '.join(names[:LISTED])}{', ...' if len(names) > LISTED else ''}"
    lines = re.findall(r".{1,110}(?:\s|$)", re.sub(r"[\x00-\x1f\x7f]", "?", f"{what}: {shown}"))
    return [f"# {line.rstrip()}" for line in lines]


def _sample(folder: Path, name: str, sample: SampleDraft) -> list[str]:
    item = sample.surveys[0]
    files = _listed([_path(folder, other.path) for other in sample.surveys])
    lines = [f"[samples.{name}]    # about {sample.effective:.0f} effective events", f"files = {files}"]
    if item.tree:
        lines.append(f"tree = {_quoted(item.tree)}")
    if sample.selection:
        lines.append(f"selection = {_quoted(sample.selection)}")
    weight = item.weight if all(other.weight == item.weight for other in sample.surveys) else ""
    lines.append(f"weight = {_quoted(weight)}" if weight else "# weight = 1.0    # a column, an expression or a number")
    lines.append("# yield = 100.0    # expected events after the selection; by default the sum of the weights")
    for nuisance, sides in sample.variations.items():
        lines.append(f"[samples.{name}.variations.{nuisance}]")
        lines += [f"{side} = {{ files = {_listed([_path(folder, sides[side].path)])} }}" for side in sorted(sides)]
        lines += ['one_sided = "mirror"    # the other side was not found'] if len(sides) == 1 else []
    return [*lines, ""]


def _split(made: Mapping[str, SampleDraft], surveys: Sequence[Survey]) -> list[str]:
    """Choose parts that are large enough; few events are said to be few."""
    fewest = min(sample.effective for sample in made.values())
    small = 0.15 * fewest < 1.3 * LEAST
    lines = ["[split]", "# Fractions of the events, by a hash of their id: each purpose has its own."]
    if small:
        least = max(1, int(0.25 * fewest / 3))
        lines += ["train = 0.5", "combine = 0.25", "test = 0.25"]
        lines += [f"min_events = {least}    # instead of {LEAST}: the files hold few events, the result will say so"]
    if surveys[0].id and all(item.id == surveys[0].id for item in surveys) and len(surveys) == 1:
        lines.append(f"id = {_listed(surveys[0].id)}    # together they name an event")
    return [*lines, ""]


def _model(made: Mapping[str, SampleDraft], signal: str) -> list[str]:
    nuisances = sorted({nuisance for sample in made.values() for nuisance in sample.variations})
    lines = ["[model]", "# The parameter of interest, and by what each process' expected events are multiplied."]
    lines += ["parameters.mu = { nominal = 1.0, bounds = [0.0, 5.0] }"]
    lines += [f'processes.{name} = "{"mu" if name == signal else "1"}"' for name in made]
    lines += [f"nuisances.{name} = {{ }}" for name in nuisances]
    lines += [f"# nuisances.lumi = {{ rate = {{ {signal} = [1.02, 0.98] }} }}    # 2 % more or fewer events"]
    if len(made) == 1:
        lines += ["# There is one sample only, so that no ratio is learned: add the files of another process above."]
    return [*lines, "", "# [fit]", '# data = ["data/*.root"]    # observed events; blind until blind = false']


def _path(folder: Path, path: str) -> str:
    """Name a file relative to the analysis if it lies below it."""
    home = folder.resolve()
    return os.path.relpath(path, home) if Path(path).is_relative_to(home) else path


def _quoted(text: Any) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _listed(texts: Sequence[str]) -> str:
    return f"[{', '.join(_quoted(text) for text in texts)}]"
