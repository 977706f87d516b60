"""What is in a data file, as far as a new analysis wants to know: a program of its own, so that its user loads no reader."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import uproot

from needle_parsl.errors import InputError
from needle_parsl.nsbi.data import readers, values
from needle_parsl.nsbi.data.readers.columns import flat as is_flat
from needle_parsl.nsbi.data.readers.columns import plain

ROWS = 10_000
"""Rows that are looked at."""
MOST_COLUMNS = 100
"""Columns that are looked at; more are listed only."""
DULL = re.compile(
    r"(HLT|L1|Flag|DST|[Rr]uns?|[Ee]vents?|lumi\w*|(run|event|evt|channel|mcChannel)_?([Nn]umber|[Nn]o)|\w*[Ii]d|\w*ID)(_\w*)?$"
)
"""Names of triggers, flags and counters, which are no features."""
WEIGHT = re.compile(r"(event|gen|mc|total)?_?(weights?|wgt)|w", re.IGNORECASE)
LABEL = re.compile(r"label|process|class|target|truth|is_?sig|category", re.IGNORECASE)
EVENT = ("run", "luminosityBlock", "event")
"""Columns that together name an event in the experiments' files."""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What a file holds."""

    path: str
    tree: str
    """The one with the most entries; empty in a file without trees."""
    entries: int
    flat: tuple[str, ...]
    """Columns with one number or text per event."""
    jagged: tuple[str, ...]
    """All others."""
    features: tuple[str, ...]
    """Flat columns that could be features: finite, and not the same in all events."""
    weight: str
    """The column of weights, if there is one that can serve."""
    effective: float
    """Effective events in the file, (sum w)^2 / sum w^2."""
    id: tuple[str, ...]
    """Columns that together name an event."""
    labels: dict[str, dict[str, int]]
    """Columns that tell processes apart: how often each value occurs in the rows that were looked at."""


def survey(path: Path) -> Survey:
    """Look into a data file.

    Raises:
        InputError: It cannot be read, or holds no events.
    """
    tree = _largest_tree(path)
    with readers.open_file(path, tree) as reader:
        kinds = {name: reader.kind(name) for name in reader.names}
        if reader.entries == 0:
            raise InputError(f"{path}: holds no events; name a file that does")
        flat = [name for name, kind in kinds.items() if is_flat(kind)]
        jagged = tuple(name for name in kinds if name not in flat)
        counters = _counters(reader.names, kinds)
        looked = [name for name in flat if not DULL.match(name) and name not in counters][:MOST_COLUMNS]
        named = [name for name in EVENT if name in flat]
        columns = {
            name: plain(column) for name, column in _read(reader, list(dict.fromkeys([*looked, *named]))).items()
        }
        looked = [name for name in looked if name in columns]
        named = named if all(name in columns for name in named) else []
        entries = reader.entries
    weight, effective = _weight(columns, entries)
    looked, named = ([name for name in some if name in columns] for some in (looked, named))
    labels = {name: found for name in looked if (found := _label(name, columns[name]))}
    usable = [name for name in looked if name not in labels and "weight" not in name.lower() and _varies(columns[name])]
    features = tuple(sorted(usable, key=lambda name: columns[name].dtype.kind != "f"))  # counters come last
    ids = tuple(named) if _unique([columns[name] for name in named]) else ()
    return Survey(
        path=str(path),
        tree=tree,
        entries=entries,
        flat=tuple(flat),
        jagged=jagged,
        features=features,
        weight=weight,
        effective=effective,
        id=ids,
        labels=labels,
    )


def _counters(names: Sequence[str], kinds: Mapping[str, str]) -> set[str]:
    """List the whole numbers that count a collection: `Jet` beside `Jet.PT`."""
    beginnings = {name[: place.start()] for name in names for place in re.finditer(r"[./]", name)}
    return {name for name in beginnings if re.fullmatch(r"u?int\d+", kinds.get(name, ""))}


def _read(reader: readers.Reader, names: list[str]) -> readers.Columns:
    """Read columns; where they cannot be read together, those that can be read alone.

    Raises:
        InputError: None can be read.
    """
    if not names:
        return {}
    try:
        return next(reader.iterate(names, 0, ROWS, ROWS))
    except InputError:
        found: readers.Columns = {}
        for name in names:
            with suppress(InputError):
                found |= next(reader.iterate([name], 0, ROWS, ROWS))
        if not found:
            raise
        return found


def _largest_tree(path: Path) -> str:
    if path.suffix != ".root":
        return ""
    with suppress(Exception), uproot.open(path) as file:  # what is wrong with a file is said by its reader
        trees = file.keys(cycle=False, filter_classname=["TTree", "*RNTuple*"])
        return max(trees, key=lambda name: int(file[name].num_entries), default="")
    return ""


def _weight(columns: readers.Columns, entries: int) -> tuple[str, float]:
    for name, column in columns.items():
        if WEIGHT.fullmatch(name) and column.dtype.kind == "f" and np.isfinite(column).all() and column.sum() > 0:
            w = column.astype(np.float64)
            return name, float(w.sum() ** 2 / (w**2).sum()) * entries / len(w)
    return "", float(entries)


def _label(name: str, column: npt.NDArray[np.generic]) -> dict[str, int]:
    """Count the values of a text column, or of one whose name says that it tells processes apart."""
    text = column.dtype.kind in "OUS"
    if not text and not (column.dtype.kind in "biu" and LABEL.search(name)):
        return {}
    found, counts = np.unique(column.astype(str), return_counts=True)
    several = 2 <= len(found) <= 20
    return dict(sorted(zip(found.tolist(), counts.tolist(), strict=True), key=lambda item: -item[1])) if several else {}


def _varies(column: npt.NDArray[np.generic]) -> bool:
    """Whether a column is a feature: numbers, all finite as float32, and not all the same."""
    if column.dtype.kind not in "iuf":
        return False
    try:
        values.exact(column, "it", "here")
        values.resolved(column, "it", "here")
    except InputError:  # float32 does not hold it
        return False
    with np.errstate(over="ignore"):
        x = column.astype(np.float32)
    return bool(np.isfinite(x).all() and np.ptp(x) > 0)


def _unique(columns: list[npt.NDArray[np.generic]]) -> bool:
    return bool(columns) and len({tuple(row) for row in zip(*columns, strict=True)}) == len(columns[0])


def main(output: str, *paths: str) -> None:
    """Write what is in some files, and what is wrong with others, as JSON."""
    found: list[object] = []
    problems: list[str] = []
    for path in paths:
        try:
            found.append(asdict(survey(Path(path))))
        except InputError as error:
            problems.extend(str(error).splitlines())
    Path(output).write_text(json.dumps({"surveys": found, "problems": problems}), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
