"""Stages of the user's own: functions and commands, lists, outputs and merges. What they come after is checked by `plan.stage_rules`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from needle_parsl.analysis.rules.common import NO_NAME, is_name, refers
from needle_parsl.analysis.tables.limits import seconds
from needle_parsl.analysis.tables.stages import FIELD, FORMATS, LISTS
from needle_parsl.errors import closest

if TYPE_CHECKING:
    from needle_parsl.analysis.rules.common import Complain
    from needle_parsl.analysis.tables import Analysis
    from needle_parsl.analysis.tables.stages import OwnStage

SUMS = ("sum", "concatenate")
"""Merges of needle's own."""
SUMMED, JOINED = ("json", "arrays", "hist"), ("arrays", "table")
"""Formats that each of them takes."""


def check(analysis: Analysis, complain: Complain) -> None:
    """Check each stage by itself."""
    if analysis.unfitted and analysis.ensemble.normalise == "yields":
        complain("ensemble.normalise", '"yields" needs a [model]; say "reference"')
    for name, stage in analysis.stages.items():
        key = f"stages.{name}"
        if not is_name(name):
            complain(key, f'"{name}" {NO_NAME}')
        _work(analysis, stage, key, complain)
        _lists(analysis, stage, key, complain)
        _outputs(stage, key, complain)
        _plain(stage.params, f"{key}.params", complain)
        _plain(stage.over, f"{key}.over", complain)
        _merge(analysis, stage, key, complain)
        if not seconds(stage.limit) > 0:
            complain(f"{key}.limit", f'found "{stage.limit}", expected a time such as "2h" (s, min, h, d)')


def _work(analysis: Analysis, stage: OwnStage, key: str, complain: Complain) -> None:
    works = [name for name in ("function", "command", "analysis") if getattr(stage, name)]
    if len(works) != 1:
        complain(
            key,
            f"has {' and '.join(works)}; leave all but one out" if works else "has no function, command or analysis",
        )
    for name in ("over", "after", "merge", "params") if stage.analysis else ():
        if getattr(stage, name):
            complain(f"{key}.{name}", "has no meaning beside analysis, which stands for itself; leave it out")
    if stage.needs == "mpi" and not stage.command:
        complain(f"{key}.needs", 'is "mpi", and only a command is an MPI program; name one')
    refers(analysis, stage.function, f"{key}.function", complain)
    if stage.command:
        _command(stage, f"{key}.command", complain)


def _command(stage: OwnStage, key: str, complain: Complain) -> None:
    """Check that each placeholder stands for something, and each output is written."""
    if left := [brace for brace in "{}" if brace in FIELD.sub("", stage.command)]:
        complain(key, f'"{left[0]}" stands alone; write "{left[0] * 2}" for a brace, and {{name}} for a placeholder')
    known = {**dict.fromkeys(stage.over), **stage.outputs, **stage.params, **dict.fromkeys(stage.after)}
    fields = {name for values in stage.over.values() for value in values if isinstance(value, dict) for name in value}
    for name in stage.named():
        if name.partition(".")[0] not in {*known, *fields}:
            complain(key, f"{{{name}}} stands for nothing{closest(name, {*known, *fields})}")
    for name in _in_quotes(stage.command):
        complain(key, f"{{{name}}} stands within quotes, and is quoted already; take the quotes away")
    for name, members in _lacking(stage):
        complain(key, f"{{{name}}} stands for nothing for {members}; give each member of the list this field")
    for name in stage.outputs:
        if name not in stage.named():
            complain(
                key,
                f"does not say where {{{name}}} goes, its output; write the placeholder where the program takes the file's name",
            )


def _plain(value: object, key: str, complain: Complain) -> None:
    """Complain of dates and times, which JSON does not have."""
    if isinstance(value, dict):
        for name, one in value.items():
            _plain(one, f"{key}.{name}", complain)
    elif isinstance(value, list | tuple):
        for place, one in enumerate(value):
            _plain(one, f"{key}[{place}]", complain)
    elif not isinstance(value, str | int | float):
        complain(key, f"found {type(value).__name__} {value}, expected a text or a number; put it in quotes")
    elif isinstance(value, str) and "\0" in value:
        complain(key, "holds a null character, which no command line can")


def _in_quotes(command: str) -> Iterator[str]:
    """List placeholders within quotes of the shell, which would undo those of needle."""
    quote, place = "", 0
    while place < len(command):
        found = FIELD.match(command, place)
        if found and found[1] and quote:
            yield found[1]
        sign = command[place]
        if quote and sign == quote:
            quote = ""
        elif not quote and sign in "'\"":
            quote = sign
        place = found.end() if found else place + (2 if sign == "\\" and quote != "'" else 1)


def _lists(analysis: Analysis, stage: OwnStage, key: str, complain: Complain) -> None:
    for name, values in stage.over.items():
        where = f"{key}.over.{name}"
        if not name.isidentifier():
            complain(where, f'"{name}" is no name of an argument; use letters, digits and _')
        elif values == () or (values in LISTS and not _members(analysis, str(values))):
            complain(where, "is an empty list, so that nothing would run; name its members, or leave it out")
        elif isinstance(values, str) and values not in LISTS and not any(mark in values for mark in "*?[./"):
            complain(where, f'"{values}" is no list of the analysis, and no pattern of files{closest(values, LISTS)}')
        else:
            _distinct(values, where, complain)
    for name, given in _twice(stage):
        complain(f"{key}.{given}", f'"{name}" is the name of another argument, too; choose another name')


def _members(analysis: Analysis, values: str) -> bool:
    known = {
        "samples": bool(analysis.samples),
        "files": bool(analysis.samples),
        "variations": True,
        "ratios": bool(analysis.ratios.targets),
    }
    return known.get(values, bool(analysis.ratios.targets))


def _distinct(values: object, where: str, complain: Complain) -> None:
    """Check that the members of a list have names, each its own."""
    names = []
    for place, value in enumerate(values if isinstance(values, tuple) else ()):
        if isinstance(value, dict) and not isinstance(value.get("name"), str):
            complain(f"{where}[{place}]", 'has no name; a table in a list needs name = "..."')
            continue
        names.append(str(value["name"] if isinstance(value, dict) else value))
    for name in sorted({n for n in names if names.count(n) > 1}):
        complain(where, f'"{name}" stands there more than once')


def _lacking(stage: OwnStage) -> Iterator[tuple[str, str]]:
    """List placeholders of fields that some members lack, with these."""
    others = {*stage.over, *stage.outputs, *stage.params, *stage.after}
    for name in dict.fromkeys(stage.named()):
        tables = [values for values in stage.over.values() if any(isinstance(v, dict) and name in v for v in values)]
        for values in tables if name not in others else ():
            lacking = [
                str(v["name"]) if isinstance(v, dict) else str(v)
                for v in values
                if not isinstance(v, dict) or name not in v
            ]
            if lacking:
                yield name, ", ".join(lacking[:3])


def _twice(stage: OwnStage) -> Iterator[tuple[str, str]]:
    """List names that stand for two things, with the table in which the second is."""
    seen: set[str] = set()
    fields = {
        key for values in stage.over.values() for v in values if isinstance(v, dict) for key in v if key != "name"
    }
    for given, names in (
        ("over", fields),
        ("over", stage.over),
        ("after", stage.after),
        ("params", stage.params),
        ("outputs", stage.outputs),
    ):
        yield from ((name, given) for name in names if name in seen)
        seen.update(names)


def _outputs(stage: OwnStage, key: str, complain: Complain) -> None:
    if not stage.outputs:
        complain(f"{key}.outputs", 'is empty; name an output with its format, such as { result = "json" }')
    for name, kind in stage.outputs.items():
        where = f"{key}.outputs.{name}"
        if not name.isidentifier():
            complain(where, f'"{name}" is no name of an argument; use letters, digits and _')
        if kind not in FORMATS and not (kind.startswith(".") and is_name(kind[1:].replace(".", ""))):
            complain(
                where,
                f'"{kind}" is no format, and an ending of a file of your own begins with "."{closest(kind, FORMATS)}',
            )


def _merge(analysis: Analysis, stage: OwnStage, key: str, complain: Complain) -> None:
    if stage.merge_over and not stage.merge:
        complain(f"{key}.merge_over", "has no merge beside it; say how in merge, or leave it out")
    for place, name in enumerate(stage.merge_over):
        if name not in stage.over:
            complain(f"{key}.merge_over[{place}]", f'"{name}" is no list in over{closest(name, stage.over)}')
    if stage.merge and not stage.over:
        complain(f"{key}.merge", "has nothing to merge: without over there is one output; leave it out")
    if ":" in stage.merge:
        refers(analysis, stage.merge, f"{key}.merge", complain)
    for message in _unmerged(stage) if stage.merge else ():
        complain(f"{key}.merge", message)


def _unmerged(stage: OwnStage) -> Iterator[str]:
    """Say which outputs a merge cannot make."""
    how = stage.merge
    allowed = {"sum": SUMMED, "concatenate": JOINED}.get(how, ())
    if ":" not in how and not allowed:
        yield f'"{how}" is neither a function nor a merge of needle\'s{closest(how, SUMS)}'
    for name, kind in stage.outputs.items():
        if ":" in how and kind in ("root", "rntuple"):
            yield f'cannot make "{name}": ROOT files hold the time of writing, so that no two are the same; say "table"'
        elif allowed and kind not in allowed:
            yield f'"{how}" takes {", ".join(allowed)}, and "{name}" is {kind}; name a function that merges'
