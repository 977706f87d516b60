"""`endpoint.json`: where a server is, and what lets its user in."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, fields
from pathlib import Path

from needle_parsl import files, ownership
from needle_parsl.errors import InputError, TaskError
from needle_parsl.json_records import JsonRecord

FILE = "endpoint.json"
TOKEN = "needle-token"  # noqa: S105  the name of a header
HTTP_TOKEN, GRPC_TOKEN = TOKEN, f"triton-grpc-protocol-{TOKEN}"
"""Headers that carry the token; Triton gives those of gRPC this prefix."""
MESSAGE = 2**28
"""Bytes of a message, at most."""


FOLDER, MODELS = "serving", "models"
"""In a run directory while the run has a server: the endpoint, and the models that its tasks have made of the estimators."""


GPUS = "gpus"
"""Beside these: on how many GPUs models are; without, on the CPU."""


def gpus(path: Path) -> int:
    """Say on how many GPUs the models of an endpoint are."""
    said = path.with_name(GPUS)
    return int(said.read_text()) if said.is_file() else 0


def of_run(root: Path) -> Path | None:
    """Locate the endpoint of a run, which that of a region or a stage has, too; None if the run has no server."""
    above = (root, *root.resolve().parents[:2])
    return next((path / FOLDER / FILE for path in above if (path / FOLDER / MODELS).is_dir()), None)


class LostError(TaskError):
    """The server does not answer."""


@dataclass(frozen=True, kw_only=True)
class Endpoint(JsonRecord):
    """A server that is ready."""

    server: str
    """`triton 2.51.0`, or `built-in`."""
    grpc: str
    """`unix:/...` or `host:port`."""
    http: str
    metrics: str
    token: str
    """What clients have to say; empty behind sockets that only their owner can open."""
    host: str
    """The machine."""
    pid: int
    repository: str
    started: str
    """In UTC."""


def write(path: Path, endpoint: Endpoint) -> None:
    """Write an endpoint; nobody else may read it."""
    with files.atomic(path) as temporary:
        temporary.touch(mode=0o600)
        temporary.write_text(json.dumps(endpoint.to_json(), indent=2) + "\n", encoding="utf-8")


def read(path: Path) -> Endpoint:
    """Read an endpoint.

    Raises:
        InputError: There is none, or somebody else has written it: who did would see the events.
    """
    if not path.is_file():
        raise InputError(f'{path}: no server has written it, or the server has ended; "needle serve DIR" starts one')
    if path.stat().st_uid != os.geteuid() or path.stat().st_mode & ownership.OTHERS:
        raise InputError(
            f"{path}: belongs to {ownership.owner(path)} or may be written by others; start a server of your own"
        )
    found = files.read_json(path)
    names = [one.name for one in fields(Endpoint)]
    if not isinstance(found, dict) or any(
        not isinstance(found.get(name), int if name == "pid" else str) for name in names
    ):
        raise InputError(f"{path}: is no endpoint of a server; remove it, and start the server again")
    return Endpoint.from_json(found)
