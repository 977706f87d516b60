"""Weights that trainings start from: their files, found and fingerprinted, and read. Imports the science only inside functions."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from needle_parsl import kinds, reading, rundir
from needle_parsl.analysis.file import Loaded
from needle_parsl.errors import InputError, printable
from needle_parsl.files import digest, read_json
from needle_parsl.plan import specs

if TYPE_CHECKING:
    from needle_parsl.nsbi.training.initial import Initial


def found(path: Path) -> dict[str, specs.InitialSpec]:
    """Find the files behind a path: one of weights, by the empty name, or the packs of a run by what they have learned.

    Raises:
        InputError: There are none, or they cannot be read.
    """
    try:
        return _found(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def _found(path: Path) -> dict[str, specs.InitialSpec]:
    if path.is_file():
        return {"": _fingerprinted([path])}
    if not path.is_dir():
        wrong = kinds.unreadable(path) if kinds.kind(path) else "no such file, nor the folder of a run"
        raise InputError(f"{path}: {wrong}")
    written = _written(path / rundir.LEDGER)
    packs = sorted((path / "packs").glob("*.h5"), key=lambda file: (written.get(file.name, -1), file.name))
    if not packs:
        raise InputError(f"{path}: is not the folder of a run whose networks have trained; it has no packs/*.h5")
    learned = {file: file.stem.rpartition(".")[0] for file in packs}
    return {
        name: _fingerprinted(file for file in packs if learned[file] == name)
        for name in dict.fromkeys(learned.values())
    }


LINE = 2**20
"""Characters of a ledger that are looked at together; its lines are far shorter."""
PACK = re.compile(r'"output":"packs/([^"/]+)"')


def _written(ledger: Path) -> dict[str, int]:
    """Say when each pack was last written, by the place in the ledger, which a copy of the run has, too."""
    if not ledger.is_file():
        return {}
    with ledger.open(encoding="utf-8", errors="replace") as file:
        lines = iter(partial(file.readline, LINE), "")
        named = ((PACK.search(line), number) for number, line in enumerate(lines))
        return {found[1].encode().decode("unicode_escape", "replace"): number for found, number in named if found}


def path(loaded: Loaded, said: str) -> Path:
    """Give the path that an analysis means, which may be relative to its folder.

    Raises:
        InputError: It can be none.
    """
    try:
        return (loaded.path.parent / Path(said).expanduser()).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{printable(said[:200])}: is no path of a file") from error


def _fingerprinted(files: Iterable[Path]) -> specs.InitialSpec:
    paths = tuple(str(file.resolve()) for file in files)
    return specs.InitialSpec(_digest(paths), paths)


def _digest(paths: Iterable[str]) -> str:
    digests = " ".join(digest(Path(path)) for path in paths)
    return hashlib.blake2b(digests.encode(), digest_size=16).hexdigest()


def read(spec: specs.InitialSpec) -> Initial:
    """Read weights.

    Raises:
        InputError: They are others than when the run was planned, or none.
    """
    from needle_parsl.nsbi.training import initial  # noqa: PLC0415  with torch, which the driver does without

    try:
        changed = _digest(spec.files) != spec.digest
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read: {error.strerror}") from error
    if changed:
        raise InputError(
            f'{spec.files[0]}: has changed since the run was planned; "needle run" starts from what it is now'
        )
    return initial.read(spec.files)


def note(path: Path, loaded: Loaded) -> str:
    """Say that the networks of an earlier run may have seen what is held out here; empty where events are divided alike."""
    if not path.is_dir():
        return ""
    try:
        then, seed = reading.load(path / rundir.ANALYSIS), read_json(path / rundir.RUN).get("seed")
    except (InputError, AttributeError):
        then, seed = {}, None
    same = seed == loaded.analysis.seed and all(_said(then, key) == _said(loaded.table, key) for key in DIVIDING)
    return (
        ""
        if same
        else f"{path}: divides events otherwise (seed, [split]): where they are the same events, its networks have seen some that are held out here"
    )


DIVIDING = ("split", "training.folds")
"""Keys that decide which events train."""


def _said(table: Mapping[str, Any], key: str) -> Any:
    found: Any = table
    for name in key.split("."):
        found = found.get(name, {}) if isinstance(found, Mapping) else {}
    return found
