"""How far the searches of a run are, as their newest steps say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from needle_parsl.errors import InputError
from needle_parsl.files import read_json
from needle_parsl.workflow import forms, ledger

FOLDER, END = "search", "best.json"
FORM = {"step": int, "steps": int, "best": str, "trials": [{"state": str}]}
ENDED = {"chosen": [{"trial": int, "words": str}], "trials": [{"state": str}]}


def lines(root: Path, state: Mapping[str, Any]) -> list[str]:
    """Describe each search of a run directory in a line: its step, its trials, and the best of them so far.

    Args:
        root: The run directory.
        state: Its `run.json`, which counts what is done of this search: an earlier one, with other settings, may have left its own files.
    """
    counts = state.get("stages", {}).get(FOLDER, {})
    if counts.get("tasks", 0) and not counts.get("done", 0):
        return []
    newest: dict[Path, Path] = {}
    for record in ledger.lines(root):  # files of an earlier search may still be there
        if record.stage == FOLDER and not record.reason:
            newest[(root / record.output).parent] = root / record.output
    return [line for folder, path in newest.items() if (line := _line(path, folder.relative_to(root / FOLDER)))]


def _line(path: Path, name: Path) -> str:
    """Describe a search by the file of its newest step, or of its end; nothing where it is none."""
    try:
        found = read_json(path)
    except InputError:
        return ""
    ended = path.name == END
    if not forms.fits(found, ENDED if ended else FORM):
        return ""
    failed = sum(trial["state"] == "failed" for trial in found["trials"])
    also = f", {failed} failed" if failed else ""
    where = "done" if ended else f"step {found['step'] + 1} of {found['steps']}"
    taken = "; ".join(f"trial {one['trial']} ({one['words']})" for one in found["chosen"]) if ended else found["best"]
    best = f"; {'chosen' if ended else 'best so far'}: {taken}" if taken else ""
    return f"search{'' if name == Path() else f' of {name}'}: {where}, {len(found['trials'])} trials{also}{best}"
