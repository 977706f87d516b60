"""How far the searches of a run are, as their newest steps say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from needle_parsl.errors import InputError
from needle_parsl.files import read_json
from needle_parsl.workflow import forms

FOLDER, END = "search", "best.json"
FORM: dict[str, Any] = {"step": int, "steps": int, "best": str, "trials": [{"state": str}]}


def lines(root: Path, state: Mapping[str, Any]) -> list[str]:
    """Describe each search of a run directory in a line: its step, its trials, and the best of them so far.

    Args:
        root: The run directory; an earlier search, with other settings, may have left its own files.
        state: Its `run.json`, which counts what is done of this one.
    """
    counts = state.get("stages", {}).get(FOLDER, {})
    done, tasks = counts.get("done", 0), counts.get("tasks", 0)
    if tasks and not done:
        return []
    folders: dict[Path, list[Path]] = {}
    for path in sorted((root / FOLDER).rglob("step.*.json")):
        folders.setdefault(path.parent, []).append(path)
    ended = done >= tasks
    newest = {folder: paths[-1] if ended else max(paths, key=_written) for folder, paths in folders.items()}
    return [line for folder, path in newest.items() if (line := _line(path, folder.relative_to(root / FOLDER), ended))]


def _written(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:  # it is being made again
        return 0


def _line(path: Path, name: Path, ended: bool) -> str:  # noqa: FBT001
    """Describe a search by the file of a step; nothing where it is none.

    Args:
        path: The file.
        name: Of the search; empty if there is one for all ratios.
        ended: Whether all searches of the run have ended; else an end is this one's if it was written after the step.
    """
    try:
        found = read_json(path)
    except InputError:
        return ""
    if not forms.fits(found, FORM):
        return ""
    end = path.parent / END
    over = end.exists() and (ended or _written(end) >= _written(path))
    trials = (_ended(end) if over else []) or found["trials"]
    where = "done" if over else f"step {found['step'] + 1} of {found['steps']}"
    failed = sum(trial["state"] == "failed" for trial in trials)
    also = f", {failed} failed" if failed else ""
    best = f"; best so far: {found['best']}" if found["best"] and not over else ""
    return f"search{'' if name == Path() else f' of {name}'}: {where}, {len(trials)} trials{also}{best}"


def _ended(path: Path) -> list[dict[str, str]]:
    """Read the trials of a search that has ended; none while it has not."""
    try:
        found = read_json(path)
    except InputError:
        return []
    trials: list[dict[str, str]] = found["trials"] if forms.fits(found, {"trials": FORM["trials"]}) else []
    return trials
