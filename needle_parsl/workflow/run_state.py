"""`run.json`: what a run says of itself while it goes on, read afterwards by whoever looks at it."""

from __future__ import annotations

import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from needle_parsl import __version__, rundir
from needle_parsl.errors import InputError
from needle_parsl.files import read_json
from needle_parsl.workflow import forms, lock, verdicts

PACKAGES = ("parsl", "torch", "numpy", "scipy", "iminuit", "uproot", "awkward", "h5py", "pyarrow")
FORM = {
    "name": str,
    "status": str,
    "tasks": {"total": int, "done": int, "failed": int, "reused": int},
    "stages": forms.Each({"tasks": int, "done": int, "seconds": float}),
    "analysis?": str,
    "unblinded?": [{"who": str, "when": str, "how": str}],
    "needle?": str,
    "versions?": forms.Each(str),
    "units?": forms.Each(float),
}
"""Of `run.json`; what it says of the input files is looked at where it is used."""
SCHEMA = 1
"""Of the files of a run directory; a newer needle may raise it."""


def read(root: Path) -> dict[str, Any]:
    """Read `run.json`, with what the report says of its result; a run that says it is running while nobody holds its lock was killed.

    Raises:
        InputError: It is missing, damaged, or no run's, or of a newer needle.
    """
    found = whole(root)
    if found is None:
        raise InputError(
            f"{root / rundir.RUN}: is damaged or no run's; the next run goes on from its ledger and writes it anew"
        )
    holder = lock.holder(root)
    if found["status"] == "running":
        found["status"] = f"running ({holder})" if holder else "killed"
    return {key: value for key, value in found.items() if key not in verdicts.FORM} | verdicts.of(root, found)


def whole(root: Path) -> dict[str, Any] | None:
    """Read `run.json`; None if it is no run's.

    Raises:
        InputError: It is of a newer needle.
    """
    try:
        found: Any = read_json(root / rundir.RUN)
    except InputError:
        return None
    if not isinstance(found, dict):
        return None
    if isinstance(schema := found.get("schema", SCHEMA), int) and schema > SCHEMA:
        raise InputError(
            f"{root / rundir.RUN}: was written by needle {found.get('needle')}, which is newer than this one, {__version__}; "
            "update needle, or choose another --out"
        )
    return found if forms.fits(found, FORM) else None


def earlier(root: Path) -> dict[str, Any]:
    """Read what an earlier run has left; a `run.json` that is damaged has nothing to tell, the ledger has."""
    if not (root / rundir.RUN).exists():
        return {}
    found = whole(root)
    return found if found is not None else {}


@cache
def versions() -> dict[str, str]:
    """List the versions that results may depend on, without importing anything."""
    found = {"python": sys.version.split()[0]}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
