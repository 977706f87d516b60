"""The run directory: the only owner of paths, and of how a file comes into being."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import xxhash

from needle_parsl import addresses, kinds, owning
from needle_parsl.errors import InputError, TaskError, said

RUN, ANALYSIS, SITE, LEDGER, PHYSICS, LOGS, LOCK, STATES, EMBEDDINGS, JOBS, DRIVER = (
    "run.json",
    "analysis.toml",
    "site.toml",
    "ledger.jsonl",
    "physics.py",
    "logs",
    "lock",
    "packs/states",
    "events/embeddings",
    "jobs.json",
    "driver.json",
)

APPENDED = (LEDGER, LOCK)
"""Files that are written to in place; others are replaced as a whole, and a link with their name goes."""
LARGEST_JSON = 2**27
"""Characters of a JSON file; no run writes such a large one."""
TEMPORARY = re.compile(r"\..+\.([0-9a-f]{8}|[0-9]+)\.tmp")
"""Names that are needle's own for files that are not yet whole."""
MARKS = {RUN: ('"status"', '"tasks"', '"stages"'), LEDGER: ('"key"', '"stage"'), DRIVER: ('"host"', '"scheduler"')}
"""What tells files of needle's from those of other programs with these names."""
LOOKED = 2**20
"""Characters of such a file that are looked at."""
FULL = (errno.ENOSPC, errno.EDQUOT)
PLACES = {
    "generate": "generated/{}.root",
    "read": "events/parts/{}.h5",
    "merge": "events/parts/{}.range.h5",
    "convert": "events/{}.h5",
    "train": "packs/{}.h5",
    "normalise": "estimators/{}.normalisation.h5",
    "combine": "estimators/{}/estimator.h5",
    "covariance": "estimators/{}.h5",
    "compose": "estimators/{}.h5",
    "export": "estimators/{}.json",
    "diagnose": "estimators/{}/diagnostics.json",
    "evaluate": "ratios/{}.h5",
    "count": "regions/{}.json",
    "fit": "fits/{}.json",
    "interval": "fits/{}.json",
    "replica": "bootstrap/{}.h5",
    "bootstrap": "fits/{}.json",
    "toys": "toys/{}.h5",
    "neyman": "intervals/{}.json",
    "coverage": "intervals/{}.json",
    "report": "{}",
}
"""Where the outputs of each stage go, by their name."""
FOLDERS = frozenset(
    str(folder)
    for path in (*PLACES.values(), f"{LOGS}/-", f"{STATES}/-", f"{EMBEDDINGS}/-", "report/-")
    for folder in Path(path).parents
    if "{" not in str(folder)
)
"""Folders that a run has whatever is planned."""


def place(stage: str, name: str) -> str:
    """Place an output, relative to the run directory: `place("convert", "background.jes.up")`."""
    return PLACES[stage].format(name)


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
        owning.insist(root, shared=shared, instead="choose another --out")
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
        owning.insist(root, shared=shared, instead="choose another --out")
        if not (root / RUN).exists() and not shared:
            root.chmod(0o700)
    except OSError as error:
        raise no_space(root) if full(error) else InputError(f"{root}: cannot be made: {error.strerror}") from error


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a temporary name next to `path`, and rename it to `path` if all went well; works for folders, too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        if temporary.is_dir() and path.exists():
            shutil.rmtree(path)
        temporary.replace(path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        temporary.unlink(missing_ok=True)


def sweep(root: Path) -> None:
    """Remove the temporary files of processes that were killed. Only for whoever holds the lock of the run."""
    for path in root.rglob(".*.tmp"):
        if not TEMPORARY.fullmatch(path.name) or any(
            part.startswith(".") for part in path.relative_to(root).parts[:-1]
        ):
            continue  # the user's, such as what lies in .git
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file under a temporary name, then rename it."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file under a temporary name, then rename it; without passwords of addresses."""
    try:
        text = json.dumps(addresses.cleaned(value), indent=2, allow_nan=False)
    except ValueError as error:
        raise TaskError(f"{path.name}: {_not_finite(value) or error}; no file was written") from error
    write_text(path, text + "\n")


def _not_finite(value: Any, place: str = "") -> str:
    """Say where a table has a number that is none; empty if it has no such."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else ()
    if isinstance(value, float) and not math.isfinite(value):
        return f"{place} is {value}"
    return next(filter(None, (_not_finite(one, f"{place}.{name}" if place else str(name)) for name, one in inner)), "")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: It is missing or damaged.
    """
    try:
        if not path.is_file():
            raise FileNotFoundError("no file is there")
        with path.open(encoding="utf-8") as file:
            return json.loads(file.read(LARGEST_JSON))  # what is longer is no JSON any more
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read ({error}); remove it, and the next run makes it again") from error


def full(error: BaseException) -> bool:
    """Whether a full disk is behind an error; HDF5 says so only in its text."""
    return getattr(error, "errno", None) in FULL or any(f"errno = {number}" in said(error) for number in FULL)


def no_space(root: Path) -> TaskError:
    """Say that the disk is full."""
    return TaskError(f"{root}: no space left on its disk; make some, and the same command goes on from here")


def digest(path: Path) -> str:
    """Fingerprint a file, or all files of a folder with their names: 128 bits of XXH3, as hex."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, xxhash.xxh3_128).hexdigest()
    total = xxhash.xxh3_128()
    for file_path in sorted(p for p in path.rglob("*") if p.is_file()):
        total.update(f"{file_path.relative_to(path)} {digest(file_path)}\n".encode())
    return total.hexdigest()
