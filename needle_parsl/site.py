"""What the machine offers: one TOML file per site, found by name."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from needle_parsl import reading, shipped
from needle_parsl.errors import InputError, closest
from needle_parsl.reading import within

VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


@dataclass(frozen=True)
class Remote:
    """How the site is reached from elsewhere."""

    endpoint: str = ""
    """The id of its Globus Compute endpoint, for `needle submit`; `$NAME` stands for an environment variable there. Example: `"$NEEDLE_ENDPOINT"`."""


@dataclass(frozen=True)
class Site:
    """A whole site file."""

    description: str
    """What machine this is, in one line. Example: `"Perlmutter at NERSC, GPU nodes"`."""
    scheduler: Literal["local"] = "local"
    """Who gives out the nodes."""
    executor: Literal["threads", "htex"] = "threads"
    """How tasks run: `threads` of the process that runs `needle`, or `htex`, worker processes of their own (Parsl's
    HighThroughputExecutor)."""
    workers_per_node: int = field(default=0, metadata=within(0, 1024))
    """Tasks at a time; 0 is one per core. Unit: tasks."""
    pack: int = field(default=8, metadata=within(1, 100_000))
    """Members that one training task holds. Unit: networks."""
    memory_mib: int = field(default=1024, metadata=within(1))
    """Memory that a task of conversion may use beside its libraries; a larger file is cut into more tasks. Unit: MiB."""
    window: int = field(default=1000, metadata=within(1))
    """Tasks that are submitted at a time. Unit: tasks."""
    scratch: str = "."
    """The folder that holds `runs/`; `$NAME` stands for an environment variable. Example: `"$SCRATCH/needle"`."""
    remote: Remote = Remote()

    def workers(self) -> int:
        """Count the tasks that run at a time."""
        allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        return self.workers_per_node or allowed or 1


def folders() -> list[Path]:
    """List where site files are looked for; the first that has a name wins."""
    extra = [Path(part) for part in os.environ.get("NEEDLE_SITES", "").split(os.pathsep) if part]
    return [Path("site_configs"), Path("~/.config/needle/sites").expanduser(), *extra, shipped.folder("site_configs")]


def known() -> dict[str, Path]:
    """Map the names of all sites to their files."""
    found: dict[str, Path] = {}
    for folder in folders():
        for path in sorted(folder.glob("*.toml")):
            found.setdefault(path.stem, path)
    return found


def load(name: str) -> Site:
    """Read a site by its name, or by the path of its file.

    Raises:
        InputError: There is no such site, its file has mistakes, or it needs a variable that is not set.
    """
    sites = known()
    path = Path(name) if name.endswith(".toml") else sites.get(name)
    if path is None:
        raise InputError(f'there is no site "{name}"{closest(name, sites)}; "needle sites" lists them')
    reader = reading.Reader(reading.Places(path))
    table = reading.load(path)
    # The endpoint is the laptop's affair: at the site its variable need not be set.
    used = {key: value if key == "remote" else _expand(value, reader, key) for key, value in table.items()}
    site = reader.table(Site, used)
    reader.finish()
    return site


def endpoint(name: str) -> str:
    """Give the id of a site's Globus Compute endpoint; the rest of its file is the site's own affair.

    Raises:
        InputError: The site is not known here, or names none, or its variable is not set.
    """
    path = Path(name) if name.endswith(".toml") else known().get(name)
    table = reading.load(path).get("remote") if path else None
    if path is None or not isinstance(table, dict) or not isinstance(table.get("endpoint"), str):
        raise InputError(
            f'the site "{name}" names no endpoint here; say --endpoint UUID, or write [remote] endpoint in its file'
        )
    reader = reading.Reader(reading.Places(path))
    found: str = _expand(table["endpoint"], reader, "remote.endpoint")
    reader.finish()
    return found


def _expanded(table: Mapping[str, Any], reader: reading.Reader, key: str = "") -> dict[str, Any]:
    return {name: _expand(value, reader, f"{key}.{name}" if key else name) for name, value in table.items()}


def _expand(value: Any, reader: reading.Reader, key: str) -> Any:
    if isinstance(value, Mapping):
        return _expanded(value, reader, key)
    if isinstance(value, list):
        return [_expand(item, reader, f"{key}[{i}]") for i, item in enumerate(value)]
    return VARIABLE.sub(lambda m: _variable(m[1] or m[2], reader, key), value) if isinstance(value, str) else value


def _variable(name: str, reader: reading.Reader, key: str) -> str:
    if name not in os.environ:
        reader.complain(key, f"needs the environment variable {name}, which is not set; export {name}=... first")
    return os.environ.get(name, "")
