"""What a site's needle answers: it starts runs as processes of their own, and tells of them from their directories."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from needle_parsl import ownership, rundir
from needle_parsl import site as sites
from needle_parsl.analysis import read
from needle_parsl.errors import InputError, NeedleError
from needle_parsl.workflow import driver, run_state
from needle_parsl.workflow.executors import wire
from needle_parsl.workflow.executors.driver_job import LOG

HOME = "NEEDLE_REMOTE"
"""Environment variable that names the folder of remote runs at a site."""
ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
FETCHED = (
    "run.json",
    "analysis.toml",
    "site.toml",
    "ledger.jsonl",
    "report",
    "fits",
    "intervals",
    "estimators",
    "stages",
)
RUN = "run"
SHOWN = ("name", "status", "tasks", "stages", "state", "verdict")
"""What the laptop is told of `run.json` and the report."""


def answer(question: Mapping[str, Any]) -> dict[str, Any]:
    """Answer one question; what is wrong is an answer, too."""
    try:
        return ANSWERS[question["what"]](question)
    except (NeedleError, OSError) as error:
        return {"error": str(error), "wrong_input": isinstance(error, InputError)}


def _folder(question: Mapping[str, Any]) -> Path:
    run = str(question["run"])
    if not ID.fullmatch(run):
        raise InputError(f'"{run}" is no run id')
    return Path(os.environ.get(HOME, "~/.needle/remote")).expanduser() / run


def _known(question: Mapping[str, Any]) -> Path:
    folder = _folder(question)
    if not (folder / rundir.DRIVER).exists():
        raise InputError(f"{folder}: there is no such run")
    return folder


def _submit(question: Mapping[str, Any]) -> dict[str, Any]:
    """Write the inputs and start the driver, unless that was done before."""
    folder = _folder(question)
    if (folder / rundir.DRIVER).exists():  # the answer was lost on its way, and the laptop asks again
        return _status(question)
    if differ := wire.differing(question["versions"]):
        raise InputError(f"the site has {differ}; install the same versions at both ends")
    ownership.private(folder)
    for name, content in question["files"].items():
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise InputError(f"{name}: would be written outside of the run's folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(content))
    loaded = read(folder / question["analysis"], question["settings"])
    if loaded.problems:
        raise InputError.of(loaded.problems)
    sites.load(question["site"])
    _start(folder, question)
    return _status(question)


def _start(folder: Path, question: Mapping[str, Any]) -> None:
    """Start the driver: a process that nobody waits for."""
    settings = [part for setting in question["settings"] for part in ("--set", setting)]
    opened = ["--unblind"] if question["unblind"] else []
    command = ["run", question["analysis"], "--site", question["site"], "--out", RUN, *settings, *opened]
    driver.start(command, folder, folder / rundir.DRIVER, folder / LOG)


def _alive(folder: Path) -> bool:
    detached = driver.read(folder / rundir.DRIVER)
    return detached is not None and driver.alive(detached)


def _status(question: Mapping[str, Any]) -> dict[str, Any]:
    """Say how far a run is; one that did not begin tells why in its log."""
    folder = _known(question)
    alive = _alive(folder)
    facts: dict[str, Any] = {"run": str(question["run"]), "folder": str(folder / RUN), "alive": alive}
    if (folder / RUN / rundir.RUN).exists():
        state = run_state.read(folder / RUN)
        return facts | {"state": {key: state[key] for key in SHOWN if key in state}}
    return facts | {"status": "starting" if alive else "did not start", "log": driver.tail(folder / LOG)}


def _logs(question: Mapping[str, Any]) -> dict[str, Any]:
    return {"log": driver.tail(_known(question) / LOG)}


def _cancel(question: Mapping[str, Any]) -> dict[str, Any]:
    """End the driver, and with it its workers and jobs."""
    detached = driver.read(_known(question) / rundir.DRIVER)
    if detached is not None:
        driver.end(detached, _known(question))
    return _status(question)


def _list(question: Mapping[str, Any]) -> dict[str, Any]:
    """List the files to fetch, with sizes and digests."""
    root = _known(question) / RUN
    tops = [root / name for name in FETCHED]
    paths = [top for top in tops if top.is_file()] + [p for top in tops for p in sorted(top.rglob("*")) if p.is_file()]
    return {"files": {str(p.relative_to(root)): [p.stat().st_size, digest(p)] for p in paths}}


def _read(question: Mapping[str, Any]) -> dict[str, Any]:
    """Read pieces of files: `[[name, offset, bytes], ...]`."""
    root = _known(question).resolve() / RUN
    found = []
    for name, offset, size in question["pieces"]:
        path = (root / name).resolve()
        if not path.is_relative_to(root):
            raise InputError(f"{name}: is no file of the run")
        with path.open("rb") as file:
            file.seek(offset)
            found.append(base64.b64encode(file.read(size)).decode())
    return {"pieces": found}


def digest(path: Path) -> str:
    """Give the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


ANSWERS = {"submit": _submit, "status": _status, "logs": _logs, "cancel": _cancel, "list": _list, "read": _read}
