"""Where site files are, and how one is read: variables first, then its keys, then what they mean together."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from needle_parsl import reading, shipped
from needle_parsl.errors import InputError, closest
from needle_parsl.site import rules
from needle_parsl.site.tables import NEEDS, NodeShape, Site

VARIABLE = re.compile(r"\$(?:\{(\w+)(:-[^}]*)?\}|(\w+))")
"""`$NAME`, `${NAME}`, or `${NAME:-what stands there if it is not set}`."""
SHELL = ("setup", "node_setup", "node_end")
"""Keys whose variables are the shell's, on the node."""


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
    path = _located(name)
    if path is None:
        raise InputError(f'there is no site "{name}"{closest(name, known())}; "needle sites" lists them')
    reader = reading.TableReader(reading.Places(path))
    table = reading.load(path)
    kept = ("remote",) if _is_laptops(table) else ()
    used = {key: value if key in kept else _expand(value, reader, key) for key, value in table.items()}
    site = reader.table(Site, used)
    reader.finish()
    shapes: dict[str, Any] = {need: _shape(reader, used, need) for need in NEEDS if need in used}
    site = replace(site, **shapes)
    rules.check(reader, site, used)
    reader.finish()
    return replace(site, factory=str(path.parent / site.factory)) if site.factory else site


def _located(name: str) -> Path | None:
    return Path(name) if name.endswith(".toml") else known().get(name)


def origin(name: str, site: Site) -> list[str]:
    """Say which file a site comes from, if that is not what its name suggests, and which code of the user's it runs.

    Raises:
        InputError: A file of the current folder that somebody else owns has taken the name of a shipped site.
    """
    path = _located(name)
    if path is None:
        return []
    said = []
    if name == path.stem and path.parent == folders()[0] and (folders()[-1] / path.name).exists():
        if path.stat().st_uid != os.geteuid():
            raise InputError(
                f"{path}: belongs to somebody else and takes the name of a site of needle's; say --site {path} if you mean it"
            )
        said.append(f'site "{path.stem}" is that of ./{path}, not the one that comes with needle')
    return [*said, *([f"{path}: factory = {site.factory} is executed"] if site.factory else [])]


def _is_laptops(table: Mapping[str, Any]) -> bool:
    """Whether the endpoint is the laptop's affair: at the site its variable need not be set."""
    return table.get("executor") != "globus-compute"


def _shape(reader: reading.TableReader, table: Mapping[str, Any], need: str) -> NodeShape:
    """Read the table of a shape; what is not said there is said at the top."""
    top = {reading.key_of(field) for field in fields(NodeShape)} & table.keys()
    return reader.table(NodeShape, {**{key: table[key] for key in top}, **table[need]}, need)


def described(path: Path) -> str:
    """Say what a site is, and what has to be set before it can be used."""
    try:
        table = reading.load(path)
        missing = needed(path)
        said = str(table.get("description")) if missing else load(str(path)).description
    except InputError as error:
        return f"cannot be used: {error}"
    return f"{said} (first: {'; '.join(f'export {name}=...' for name in missing)})" if missing else said


def needed(path: Path) -> list[str]:
    """List the variables that a site file needs and that are not set."""
    passed = ("#", *SHELL, "endpoint") if _is_laptops(reading.load(path)) else ("#", *SHELL)
    texts = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith(passed)]
    found = [m[1] or m[3] for line in texts for m in VARIABLE.finditer(line) if m[2] is None]
    return [name for name in dict.fromkeys(found) if not os.environ.get(name)]


def endpoint(name: str) -> str:
    """Give the id of a site's Globus Compute endpoint; the rest of its file is the site's own affair.

    Raises:
        InputError: The site is not known here, or names none, or its variable is not set.
    """
    path = _located(name)
    table = reading.load(path).get("remote") if path else None
    if path is None or not isinstance(table, dict) or not isinstance(table.get("endpoint"), str):
        raise InputError(
            f'the site "{name}" names no endpoint here; say --endpoint UUID, or write [remote] endpoint in its file'
        )
    reader = reading.TableReader(reading.Places(path))
    found: str = _expand(table["endpoint"], reader, "remote.endpoint")
    reader.finish()
    return found


def _expanded(table: Mapping[str, Any], reader: reading.TableReader, key: str = "") -> dict[str, Any]:
    return {name: _expand(value, reader, f"{key}.{name}" if key else name) for name, value in table.items()}


def _expand(value: Any, reader: reading.TableReader, key: str) -> Any:
    if key.rpartition(".")[2] in SHELL:
        return value
    if isinstance(value, Mapping):
        return _expanded(value, reader, key)
    if isinstance(value, list):
        return [_expand(item, reader, f"{key}[{i}]") for i, item in enumerate(value)]
    return VARIABLE.sub(lambda m: _variable(m, reader, key), value) if isinstance(value, str) else value


def _variable(found: re.Match[str], reader: reading.TableReader, key: str) -> str:
    name, default = found[1] or found[3], found[2]
    if not os.environ.get(name) and default is None:
        reader.complain(key, f"needs the environment variable {name}, which is not set; export {name}=... first")
    return os.environ.get(name) or (default or "").removeprefix(":-")
