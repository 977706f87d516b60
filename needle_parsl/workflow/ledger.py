"""The ledger: one line per finished task, appended. What is done, `prepared_run.prepare` decides, by these lines and `records.holds`."""

from __future__ import annotations

import json
import math
import threading
from dataclasses import asdict, fields
from pathlib import Path

from needle_parsl import addresses, rundir
from needle_parsl.errors import InputError
from needle_parsl.records import Record, _inside

LARGEST = 2**31
"""Bytes of a ledger: those of a million tasks are fewer."""
_APPENDING = threading.Lock()


def append(root: Path, record: Record) -> None:
    """Add a line; the newest line of a key counts."""
    line = json.dumps(addresses.cleaned(asdict(record)), separators=(",", ":"))
    with _APPENDING, (root / rundir.LEDGER).open("a", encoding="utf-8") as file:
        # A line that a killed process tore off must not swallow this one.
        file.write(line + "\n" if _ends_with_newline(root) else "\n" + line + "\n")


def _ends_with_newline(root: Path) -> bool:
    with (root / rundir.LEDGER).open("rb") as file:
        size = file.seek(0, 2)
        if size == 0:
            return True
        file.seek(-1, 2)
        return file.read(1) == b"\n"


def read(root: Path) -> dict[str, Record]:
    """Read the newest record of each key."""
    return {record.key: record for record in lines(root)}


def lines(root: Path) -> list[Record]:
    """Read all records, oldest first; lines that are no records are passed over."""
    path = root / rundir.LEDGER
    if not path.is_file():
        return []
    if path.stat().st_size > LARGEST:
        raise InputError(f"{path}: has {path.stat().st_size} bytes, more than any ledger; choose another --out")
    texts = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return [record for text in texts if (record := _parse(text))]


def _parse(line: str) -> Record | None:
    try:
        entry = json.loads(line)
        record = Record(**entry)
    except (ValueError, TypeError, RecursionError):
        return None
    right = all(
        type(getattr(record, f.name)) in ((int, float) if f.name == "seconds" else (str,)) for f in fields(Record)
    )
    return (
        record if right and math.isfinite(record.seconds) and _inside(record.output) and _inside(record.log) else None
    )


def stamp(root: Path) -> tuple[int, int]:
    """Give size and time of the ledger, in bytes and ns: whether somebody has written to it since."""
    path = root / rundir.LEDGER
    return (path.stat().st_size, path.stat().st_mtime_ns) if path.exists() else (0, 0)
