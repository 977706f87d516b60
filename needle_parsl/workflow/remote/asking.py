"""The laptop's side of a remote run: what is sent, what is remembered, and what is fetched."""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from needle_parsl import ownership, reading
from needle_parsl.analysis.tables.stages import LISTS, MADE, words
from needle_parsl.errors import InputError, TaskError, closest
from needle_parsl.files import atomic, read_json, write_json
from needle_parsl.workflow.executors import wire
from needle_parsl.workflow.remote import answering, service

MOST_SENT = 7_000_000
"""Bytes of input that travel with a submission: the service takes 10 MB, and base64 makes four bytes of three."""
PIECE = 4_000_000
"""Bytes that one call fetches."""


def _home() -> Path:
    return Path("~/.needle/submitted").expanduser()


def submit(
    path: Path, site: str, endpoint: str, settings: list[str], again: str | None = None, *, unblind: bool = False
) -> dict[str, Any]:
    """Start a run at a site.

    Args:
        path: The analysis, or its folder.
        site: The name of the site, as the needle there knows it.
        endpoint: The id of its Globus Compute endpoint.
        settings: Overrides, `KEY=VALUE`.
        again: The id of a submission to repeat; one that has arrived is not started a second time.
        unblind: Whether the user asked to look at the data.

    Returns:
        The first status of the run, with its id.

    Raises:
        InputError: Something of it is wrong, at either end.
        TaskError: The site does not answer; the id is kept, and `status` tells later whether the run began.
    """
    path = path / "analysis.toml" if path.is_dir() else path
    table = reading.load(path)
    files = _inline(path, table)
    run = again or f"{table.get('name') or path.parent.name}-{secrets.token_hex(4)}"
    if not answering.ID.fullmatch(run):
        raise InputError(f"{path}: name: is no name for a run; letters, digits, points and dashes are allowed")
    record = {"run": run, "endpoint": endpoint, "site": site, "analysis": str(path.resolve()), "sent": time.time()}
    ownership.private(_home())
    write_json(_home() / f"{run}.json", record)
    question = {"what": "submit", "run": run, "site": site, "settings": settings, "versions": wire.versions()}
    try:
        return service.ask(endpoint, {**question, "analysis": path.name, "files": files, "unblind": unblind})
    except InputError:  # it did not begin
        (_home() / f"{run}.json").unlink()
        raise
    except TaskError as error:
        raise TaskError(f"{error}; the run's id is {run}, and submit --run {run} repeats this safely") from error


def _inline(path: Path, table: dict[str, Any]) -> dict[str, str]:
    """Gather the small files that travel: the analysis, the Python files beside it, and what it names relative to itself."""
    folder = path.parent
    found = _gathered(path, table)
    if outside := [file for file in found if not file.resolve().is_relative_to(folder.resolve())]:
        raise InputError(
            f"{outside[0]}: lies outside of {folder}, and cannot travel; name it by its absolute path at the site"
        )
    sizes = {file: file.stat().st_size for file in sorted(found)}
    if sum(sizes.values()) > MOST_SENT:
        largest = max(sizes, key=lambda file: sizes[file])
        raise InputError(
            f"{largest}: the inputs have {sum(sizes.values()) / 1e6:.1f} MB, and {MOST_SENT / 1e6:g} MB can travel with a "
            "submission; copy large data to the site and name it by its absolute path there"
        )
    return {str(file.relative_to(folder)): base64.b64encode(file.read_bytes()).decode() for file in sizes}


def _gathered(path: Path, table: dict[str, Any]) -> set[Path]:
    """List an analysis with the files that it names, those of the analyses of its stages among them."""
    folder = path.parent
    stages = [own for own in _table(table.get("stages")).values() if isinstance(own, dict)]
    named = [*_named(table), *(name for own in stages for name in _of_stage(own))]
    near = [name for name in named if not Path(name).is_absolute() and "://" not in name]
    found = {path, *folder.glob("*.py"), *(file for name in near for file in folder.glob(name) if file.is_file())}
    for other in (folder / str(own["analysis"]) for own in stages if "analysis" in own):
        found |= _gathered(other, reading.load(other))
    return found


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _named(value: Any, key: str = "") -> Iterator[str]:
    """List the data files that an analysis names, patterns as they are."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _named(inner, name)
    elif isinstance(value, list) and key in ("files", "data", "resources"):
        yield from (name for name in value if isinstance(name, str) and not name.startswith(MADE))


def _of_stage(own: dict[str, Any]) -> Iterator[str]:
    """List the files over which a stage goes, and those that its command names."""
    yield from (said for said in _table(own.get("over")).values() if isinstance(said, str) and said not in LISTS)
    yield from (word for word in words(str(own.get("command", ""))) if not set(word) & set("*?[]"))


def is_known(run: str) -> bool:
    """Whether a run was submitted from here."""
    return bool(answering.ID.fullmatch(run)) and (_home() / f"{run}.json").exists()


def known(run: str) -> dict[str, Any]:
    """Give the local record of a remote run.

    Raises:
        InputError: There is none.
    """
    if not is_known(run):
        runs = [found.stem for found in _home().glob("*.json")]
        raise InputError(f'there is no remote run "{run}"{closest(run, runs)}')
    found: dict[str, Any] = read_json(_home() / f"{run}.json")
    return found


def ask(run: str, what: str, **more: Any) -> dict[str, Any]:
    """Ask the site of a run: `status`, `logs` or `cancel`."""
    return service.ask(known(run)["endpoint"], {"what": what, "run": run, **more})


def fetch(run: str, out: Path) -> list[str]:
    """Bring report, fits and estimators of a run; files that are here already, and whole, are not sent again.

    Args:
        run: Its id.
        out: The folder for them.

    Returns:
        The names of the files that came.

    Raises:
        InputError: There is no such run.
        TaskError: A file changed while it travelled.
    """
    files: dict[str, list[Any]] = ask(run, "list")["files"]
    wanted = {name: size for name, (size, digest) in files.items() if not _here(out / name, digest)}
    for name in wanted:
        if not (out / name).resolve().is_relative_to(out.resolve()):
            raise TaskError(f"{name}: the site names a file outside of the run")
    parts: dict[str, bytearray] = {name: bytearray() for name in wanted}
    for pieces in _calls(wanted):
        found = ask(run, "read", pieces=pieces)["pieces"]
        for (name, _, _), content in zip(pieces, found, strict=True):
            parts[name] += base64.b64decode(content)
            if len(parts[name]) == wanted[name]:
                _keep(out / name, bytes(parts.pop(name)), files[name][1])
    return list(wanted)


def _here(path: Path, digest: str) -> bool:
    return path.is_file() and answering.digest(path) == digest


def _calls(sizes: dict[str, int]) -> Iterator[list[tuple[str, int, int]]]:
    """Cut files into pieces, and gather the pieces into calls."""
    pieces: list[tuple[str, int, int]] = []
    room = PIECE
    for name, size in sizes.items():
        for start in range(0, max(size, 1), PIECE):
            piece = min(PIECE, size - start)
            if piece > room:
                yield pieces
                pieces, room = [], PIECE
            pieces.append((name, start, piece))
            room -= piece
    if pieces:
        yield pieces


def _keep(path: Path, content: bytes, digest: str) -> None:
    """Write a file that came, if it is what the site has."""
    if hashlib.sha256(content).hexdigest() != digest:
        raise TaskError(f"{path}: changed while it was fetched; give the same command again")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary:
        temporary.write_bytes(content)
