"""Whose code is executed: that of the analysis which the user runs, and of other people's runs only if the user says so.

What `needle run` has executed for this user is remembered in a private folder of theirs, so that `needle evaluate` and `needle export`
know it again in the run directory, wherever that has gone. What a run directory says of itself is no proof of anything.
"""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from needle_parsl import files, kinds, ownership, plan, refs, rundir
from needle_parsl.analysis import Analysis
from needle_parsl.analysis.file import Loaded
from needle_parsl.errors import InputError

FOLDER, RECORD = "code", "trusted.jsonl"


def folder() -> Path:
    """Name the folder of what is remembered."""
    return Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser() / "needle"


def references(analysis: Analysis, *, networks: bool = True) -> tuple[str, ...]:
    """List the code of the user's that estimators are evaluated with: networks, what combines them, and functions that make columns."""
    return (
        *(analysis.evaluated_code() if networks else ()),
        *(column.function for column in analysis.features.computed.values() if column.function),
    )


def foreign(loaded: Loaded) -> list[str]:
    """Say which code is about to be executed in a folder that is not the user's own."""
    folder, path = loaded.path.resolve().parent, loaded.path.parent / (loaded.analysis.physics or "")
    stages = [text for own in loaded.analysis.stages.values() for text in (own.function, own.merge) if ":" in text]
    named = dict.fromkeys([*loaded.analysis.training.own_code(), *references(loaded.analysis), *stages])
    code = [str(path)] if loaded.source else [name for name in named if not name.endswith(".py")]
    code += [f"the command of [stages.{name}]" for name, own in loaded.analysis.stages.items() if own.command]
    theirs = [place for place in (folder, loaded.path, path) if place.exists() and not ownership.mine(place)]
    return (
        [f"executing {', '.join(code)} in a folder of {ownership.owner(theirs[0])}'s: {folder}"]
        if code and theirs
        else []
    )


def remember(loaded: Loaded) -> None:
    """Note, for this user alone, that the code of an analysis is run; where that cannot be noted, it will be asked for."""
    named = references(loaded.analysis)
    if not named:
        return
    path = loaded.path.parent / (loaded.analysis.physics or loaded.path.name)
    try:
        place = folder() / FOLDER / _name(loaded.source, named)
        if not place.exists():
            ownership.private(place.parent)
            files.write_text(place, str(path.resolve()))
    except (OSError, InputError):
        return


def _name(source: str, named: Sequence[str]) -> str:
    return refs.digest(json.dumps([source, *sorted(named)]))


def _known(source: str, named: Sequence[str]) -> str:
    """Give the path of code that this user has run; empty if they have not."""
    place = folder() / FOLDER / _name(source, named)
    try:
        own = ownership.mine(place) and not ownership.fault(place.parent)
        return place.read_text(encoding="utf-8") if own else ""
    except OSError:
        return ""


def code(root: Path, loaded: Loaded, *, networks: bool, trust: bool, say: Callable[[str], None]) -> plan.Physics:
    """Give the code that evaluating the estimators of a run takes; none where none is needed.

    Args:
        root: The run directory.
        loaded: Its analysis.
        networks: Whether its networks are evaluated by torch, and so made by their classes.
        trust: Whether the user has said `--trust`.
        say: Tells the user what is executed because of that.

    Raises:
        InputError: It takes code that this user has not run, and has not said to trust.
    """
    kept, every = root / rundir.PHYSICS, references(loaded.analysis)
    if not references(loaded.analysis, networks=networks):
        return plan.Physics("", "")
    if kinds.kind(kept) and (wrong := kinds.unreadable(kept)):
        raise InputError(f"{kept}: {wrong}")
    source = kept.read_text(encoding="utf-8") if kept.exists() else ""
    named = loaded.analysis.evaluated_code() if networks else ()
    where = kept if kept.exists() else root / rundir.ANALYSIS
    said = f"{where} (owner {ownership.owner(where)}): {', '.join(every)}"
    if path := _known(source, every):
        return plan.Physics(source, path, names=named)
    if not trust:
        raise InputError(
            f"this would execute code that you have not run with needle here, {said}; nothing of it was executed; "
            "read it, and say --trust if you trust its author"
        )
    say(f"--trust: executing {said}")
    _record(where, every)
    return plan.Physics(source, str((root / (loaded.analysis.physics or rundir.PHYSICS)).resolve()), names=named)


def _record(where: Path, named: Sequence[str]) -> None:
    """Write down, for the user, what was trusted."""
    entry = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "who": getpass.getuser(),
        "path": str(where.resolve()),
        "owner": ownership.owner(where),
        "code": list(named),
        "digest": refs.digest(where.read_text(encoding="utf-8", errors="replace")),
    }
    place = folder() / RECORD
    ownership.private(place.parent)
    with open(place, "a", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(json.dumps(entry) + "\n")
