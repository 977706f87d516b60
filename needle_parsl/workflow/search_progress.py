"""How far the searches of a run are, as their newest steps say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from needle_parsl.errors import InputError
from needle_parsl.files import read_json
from needle_parsl.workflow import forms

FOLDER, END = "search", "best.json"
FORM: dict[str, Any] = {"step": int, "steps": int, "best": str, "trials": [{"state": str}]}


def lines(root: Path) -> list[str]:
    """Describe each search of a run directory in a line: its step, its trials, and the best of them so far."""
    newest = {path.parent: path for path in sorted((root / FOLDER).rglob("step.*.json"))}
    return [line for folder, path in newest.items() if (line := _line(path, folder.relative_to(root / FOLDER)))]


def _line(path: Path, name: Path) -> str:
    """Describe a search by the file of a step; nothing where it is none."""
    try:
        found = read_json(path)
    except InputError:
        return ""
    if not forms.fits(found, FORM):
        return ""
    end = path.parent / END
    trials = _ended(end) or found["trials"]
    where = "done" if end.exists() else f"step {found['step'] + 1} of {found['steps']}"
    failed = sum(trial["state"] == "failed" for trial in trials)
    also = f", {failed} failed" if failed else ""
    best = f"; best so far: {found['best']}" if found["best"] and not end.exists() else ""
    return f"search{'' if name == Path() else f' of {name}'}: {where}, {len(trials)} trials{also}{best}"


def _ended(path: Path) -> list[dict[str, str]]:
    """Read the trials of a search that has ended; none while it has not."""
    try:
        found = read_json(path)
    except InputError:
        return []
    trials: list[dict[str, str]] = found["trials"] if forms.fits(found, {"trials": FORM["trials"]}) else []
    return trials
