"""What is different from the run that a directory holds: key by key, and what would be done again."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from needle_parsl import addresses, rundir
from needle_parsl.plan import Task
from needle_parsl.plan.stages import STAGES
from needle_parsl.records import Record

NOTHING = "not given"
SHOWN = 60
"""Characters of a value that are shown."""


@dataclass(frozen=True)
class Change:
    """One key."""

    file: str
    """`analysis.toml`, `site.toml`, `physics.py`, or `input`."""
    key: str
    """With its tables; empty for a whole file."""
    before: str
    after: str

    def __str__(self) -> str:
        name = f"{self.file}: {self.key}" if self.key else self.file
        return f"{name}: {self.before} -> {self.after}"


def tables(root: Path, new: Mapping[str, Mapping[str, Any]]) -> list[Change]:
    """Compare the TOML files that a run directory keeps with those of now.

    Args:
        root: The run directory; a kept file that is missing or damaged has nothing to tell.
        new: The tables of now, by the name of the file.
    """
    found = []
    for file, table in new.items():
        kept = _kept(root / file)
        if kept is not None:
            before, after = _flat(addresses.cleaned(kept)), _flat(addresses.cleaned(dict(table)))
            keys = [key for key in dict.fromkeys([*before, *after]) if before.get(key) != after.get(key)]
            found += [Change(file, key, _short(before.get(key)), _short(after.get(key))) for key in keys]
    return found


def source(root: Path, text: str) -> list[Change]:
    """Compare the kept copy of `physics.py`."""
    try:
        kept = (root / rundir.PHYSICS).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return []
    if kept == text:
        return []
    old, new = Counter(kept.splitlines()), Counter(text.splitlines())
    count = max((old - new).total(), (new - old).total())
    return [Change(rundir.PHYSICS, "", "as it was", "1 line differs" if count == 1 else f"{count} lines differ")]


def files(before: Mapping[str, str], after: Mapping[str, str]) -> list[Change]:
    """Compare digests of input files, by path; a file that has only moved is the same."""
    gone, new = set(before.values()) - set(after.values()), set(after.values()) - set(before.values())
    paths = [path for path in dict.fromkeys([*before, *after]) if before.get(path) in gone or after.get(path) in new]
    return [Change("input", path, *_content(was=path in before, is_=path in after)) for path in paths]


def _content(*, was: bool, is_: bool) -> tuple[str, str]:
    return (
        ("content as it was", "another content") if was and is_ else (NOTHING, "given") if is_ else ("given", NOTHING)
    )


def redone(todo: Iterable[Task], records: Iterable[Record]) -> dict[str, int]:
    """Count, by stage, the tasks to do whose output the directory already holds, made from something else."""
    there = {(record.stage, record.what) for record in records if not record.reason}
    counts = Counter(task.stage.name for task in todo if (task.stage.name, task.name) in there)
    return {stage: counts[stage] for stage in dict.fromkeys([*STAGES, *counts]) if stage in counts}


def _kept(path: Path) -> Mapping[str, Any] | None:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in table.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and value:
            found |= _flat(value, f"{key}.")
        else:
            found[key] = list(value) if isinstance(value, tuple) else value
    return found


def _short(value: Any) -> str:
    text = NOTHING if value is None else f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}... ({len(text)} characters)"
