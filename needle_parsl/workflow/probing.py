"""The look into an analysis' files: asked of a child process, and remembered as long as nothing has changed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from needle_parsl import plan
from needle_parsl.analysis.file import Loaded, match
from needle_parsl.errors import InputError, TaskError
from needle_parsl.nsbi.data.hashing import key

PROGRAM = "needle_parsl.nsbi.data.inspection"


@dataclass(frozen=True)
class Looked:
    """What a look has told; kept in `run.json` under `inputs`."""

    signature: str
    """Of what was asked: paths, sizes and times of the files, and all settings that matter."""
    files: Mapping[str, str]
    """Digest of each input file, by absolute path."""
    exact: bool
    """Whether `physics.py` knows the densities."""


def probe(loaded: Loaded, remembered: Mapping[str, Any] | None = None) -> tuple[plan.Inputs, Looked]:
    """Look into the files of an analysis, unless that was done and nothing has changed.

    Args:
        loaded: The analysis.
        remembered: A `Looked` as a table.

    Raises:
        InputError: Something is wrong with the files; one line per mistake.
    """
    paths = {
        name: [str(Path(p).resolve()) for p in match(loaded.path, source.files)]
        for name, source in plan.sources(loaded.analysis).items()
    }
    request = _request(loaded, paths)
    signature = plan.digest([request, [_state(p) for found in paths.values() for p in found]])
    if remembered and remembered.get("signature") == signature:
        looked = Looked(**remembered)
    else:
        answer = _ask(request)
        if answer["problems"]:
            raise InputError("\n".join(f"{loaded.path}: {problem}" for problem in answer["problems"]))
        looked = Looked(signature, answer["files"], answer["exact"])
    files = {name: tuple(plan.File(p, looked.files[p]) for p in found) for name, found in paths.items()}
    return plan.Inputs(files, _physics(loaded), looked.exact), looked


def _physics(loaded: Loaded) -> plan.Physics:
    path = str((loaded.path.parent / loaded.analysis.physics).resolve()) if loaded.source else ""
    return plan.Physics(loaded.source, path)


def _request(loaded: Loaded, paths: Mapping[str, list[str]]) -> dict[str, Any]:
    """Ask what conversion will be asked: the same specs, with the paths and without digests."""
    analysis, physics = loaded.analysis, _physics(loaded)
    unknown = {name: tuple(plan.File(p, "") for p in found) for name, found in paths.items()}
    tasks = plan.build(analysis, plan.Inputs(unknown, physics, exact=False), pack=1).tasks
    generators = {task.name: task.spec.reference for task in tasks if isinstance(task.spec, plan.Generate)}
    looks = [
        {**plan.content(task.spec), "paths": paths[task.name], "generate": generators.get(task.name, "")}
        for task in tasks
        if isinstance(task.spec, plan.Convert)
    ]
    split = analysis.split
    fractions = {
        "train": split.train,
        "combine": split.combine,
        "test": split.test,
        "salt": key(analysis.seed, "split"),
    }
    return {"looks": looks, "physics": [physics.source, physics.path],
            "fractions": fractions, "least": split.min_events}  # fmt: skip


def _state(path: str) -> list[object]:
    stat = Path(path).stat()
    return [path, stat.st_size, stat.st_mtime_ns]


def _ask(request: Mapping[str, Any]) -> dict[str, Any]:
    child = subprocess.run(
        [sys.executable, "-m", PROGRAM], input=json.dumps(request), capture_output=True, text=True, check=False
    )
    if child.returncode != 0:
        last = (child.stderr.strip().splitlines() or ["no message"])[-1]
        raise TaskError(f"the look into the input files ended with exit code {child.returncode}: {last}")
    answer: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    return answer
