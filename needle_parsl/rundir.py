"""The run directory: the only owner of paths, and of how a file comes into being."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from needle_parsl import kinds, ownership
from needle_parsl.errors import InputError
from needle_parsl.files import full, no_space
from needle_parsl.plan import stages

RUN, ANALYSIS, SITE, LEDGER, PHYSICS, LOGS, LOCK, STATES, TRIAL_STATES, EMBEDDINGS, JOBS, DRIVER = (
    "run.json",
    "analysis.toml",
    "site.toml",
    "ledger.jsonl",
    "physics.py",
    "logs",
    "lock",
    "packs/states",
    "search/states",
    "events/embeddings",
    "jobs.json",
    "driver.json",
)

APPENDED = (LEDGER, LOCK)
"""Files that are written to in place; others are replaced as a whole, and a link with their name goes."""
TEMPORARY = re.compile(r"\..+\.([0-9a-f]{8}|[0-9]+)\.tmp")
"""Names that are needle's own for files that are not yet whole."""
MARKS = {RUN: ('"status"', '"tasks"', '"stages"'), LEDGER: ('"key"', '"stage"'), DRIVER: ('"host"', '"scheduler"')}
"""What tells files of needle's from those of other programs with these names."""
LOOKED = 2**20
"""Characters of such a file that are looked at."""
FOLDERS = frozenset(
    str(folder)
    for path in (
        *(stage.place for stage in stages.ALL),
        f"{LOGS}/-",
        f"{STATES}/-",
        f"{TRIAL_STATES}/-",
        f"{EMBEDDINGS}/-",
        "report/-",
    )
    for folder in Path(path).parents
    if "{" not in str(folder)
)
"""Folders that a run has whatever is planned."""


def discard_parts(root: Path, sample: str) -> None:
    """Remove what the store of a sample was merged from."""
    shutil.rmtree(root / "events" / "parts" / sample, ignore_errors=True)
    with contextlib.suppress(OSError):  # other samples still have parts
        (root / "events" / "parts").rmdir()


def check(root: Path, *, shared: bool = False) -> None:
    """Refuse a run directory that is a file, holds something that is no run, or is not the user's alone.

    Args:
        root: The run directory.
        shared: Whether others may write to it.

    Raises:
        InputError: It is one of these.
    """
    if wrong := kinds.no_folder(root):
        raise InputError(f"{root}: {wrong}; choose another --out")
    known = any(_marked(root / name, words) for name, words in MARKS.items())
    foreign = root.is_dir() and any(not path.name.startswith(".") for path in root.iterdir())
    if foreign and not known:
        raise InputError(f"{root}: holds files that are no needle run; choose another --out")
    if root.is_dir():
        ownership.insist(root, shared=shared, instead="choose another --out")
        _insist_on_folders(root, FOLDERS)
        _insist_on_own(root)


def _marked(path: Path, words: Sequence[str]) -> bool:
    """Whether a file is needle's: others write a run.json, too, into folders that hold the user's work."""
    if not path.is_file():
        return False
    with path.open(encoding="utf-8", errors="replace") as file:
        text = file.read(LOOKED)
    return all(word in text for word in words)


def _insist_on_own(root: Path) -> None:
    """Refuse a run directory in which a folder, the ledger, or a log is a link that leads out: what needle writes there would end up elsewhere.

    Raises:
        InputError: One is; an archive that was unpacked may hold such links, whoever unpacked it.
    """
    for folder, folders, files in os.walk(root):
        kept = files if Path(folder).is_relative_to(root / LOGS) else [name for name in files if name in APPENDED]
        for path in (Path(folder, name) for name in (*folders, *kept)):
            if path.is_symlink() and not path.resolve().is_relative_to(root.resolve()):
                raise InputError(
                    f"{path}: is a link, and needle would write where it leads; remove it, or choose another --out"
                )
        _insist_on_files(root, (Path(folder, name) for name in files))


def _insist_on_files(root: Path, paths: Iterable[Path]) -> None:
    """Refuse pipes, sockets and devices, whatever their name: to open one may be to wait for ever. What is hidden is the user's, and never opened.

    Raises:
        InputError: There is one.
    """
    for path in paths:
        hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
        if not hidden and (found := kinds.kind(path)) in kinds.SPECIAL:
            raise InputError(f"{path}: is {found}, and no file; remove it, or choose another --out")


def insist_on_places(root: Path, outputs: Iterable[str]) -> None:
    """Refuse a run directory in which something else stands where an output needs a folder.

    Args:
        root: The run directory.
        outputs: Where outputs go, relative to it.

    Raises:
        InputError: There is such a thing.
    """
    _insist_on_folders(root, {str(folder) for output in outputs for folder in Path(output).parents})


def _insist_on_folders(root: Path, folders: Iterable[str]) -> None:
    for path in (root / folder for folder in sorted(folders)):
        if wrong := kinds.no_folder(path):
            raise InputError(f"{path}: {wrong}; remove it, or choose another --out")


def create(root: Path, *, shared: bool = False) -> None:
    """Make a run directory, private to its user.

    Args:
        root: The run directory.
        shared: Whether it follows the umask instead.

    Raises:
        InputError: It cannot be made, or is not the user's alone.
    """
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        root.mkdir(exist_ok=True, mode=0o777 if shared else 0o700)
        ownership.insist(root, shared=shared, instead="choose another --out")
        if not (root / RUN).exists() and not shared:
            root.chmod(0o700)
    except OSError as error:
        raise no_space(root) if full(error) else InputError(f"{root}: cannot be made: {error.strerror}") from error


def sweep(root: Path) -> None:
    """Remove the temporary files of processes that were killed. Only for whoever holds the lock of the run."""
    for path in root.rglob(".*.tmp"):
        if not TEMPORARY.fullmatch(path.name) or any(
            part.startswith(".") for part in path.relative_to(root).parts[:-1]
        ):
            continue  # the user's, such as what lies in .git
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
