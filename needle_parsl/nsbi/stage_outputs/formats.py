"""Formats of outputs: how a value is written to a file of its own, and read again.

Histograms are written as JSON of the standard of scikit-hep (UHI serialization, https://uhi.readthedocs.io), tables as Parquet, TTree or RNTuple.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from needle_parsl.analysis.tables.stages import FORMATS, suffix
from needle_parsl.errors import InputError
from needle_parsl.files import read_json
from needle_parsl.json_records import JsonRecord, encode
from needle_parsl.nsbi.report.sections import Section

TREE = "events"
"""Name of the TTree or RNTuple that is written."""


@dataclass(frozen=True)
class Format:
    """How values of a kind become files."""

    expects: str
    """What a function returns, for messages."""
    write: Callable[[Path, Any], None]
    """Raises TypeError or ValueError for what it cannot write."""
    read: Callable[[Path], Any]


def write(path: Path, kind: str, value: Any, said: str) -> None:
    """Write an output.

    Args:
        path: The file.
        kind: A format.
        value: What the function returned.
        said: Function and output, for messages.

    Raises:
        InputError: The value is not of this format.
    """
    if kind not in WRITERS:
        raise InputError(
            f'{said}: a file with the ending "{kind}" is written by the function itself; give it a parameter of that name, a path'
        )
    own = WRITERS[kind]
    try:
        own.write(path, value)
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{said}: found {_what(value)}, expected {own.expects} ({reason})") from error


def read(path: Path, kind: str) -> Any:
    """Read an output; of a format that only the user's code knows, the path.

    Raises:
        InputError: It is damaged.
    """
    if kind not in WRITERS:
        return str(path)
    try:
        return WRITERS[kind].read(path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: cannot be read as {kind} ({error}); remove it, and the next run makes it again"
        ) from error


def given(place: str, kinds: Sequence[Sequence[str]]) -> Any:
    """Give what a stage has made: its outputs, as `outputs` reads them; or without any the path itself."""
    return outputs(Path(place), kinds) if kinds else place


def outputs(folder: Path, kinds: Sequence[Sequence[str]]) -> Any:
    """Read what a stage has written: the value of its one output, or a table of several.

    Args:
        folder: Of the task.
        kinds: Names of outputs with their formats.
    """
    found = {name: read(folder / f"{name}{suffix(kind)}", kind) for name, kind in kinds}
    return found if len(found) > 1 else next(iter(found.values()))


def check(path: Path, kind: str, said: str) -> None:
    """Look at a file that the user's code has written.

    Raises:
        InputError: It is missing, empty, or not of its format.
    """
    if path.is_symlink():
        raise InputError(f"{said}: is a link; write the file itself")
    if not path.is_file() or not path.stat().st_size:
        raise InputError(
            f"{said}: {'is empty' if path.is_file() else 'was not written'}; write it to the path that is given"
        )
    if kind in WRITERS:
        try:
            WRITERS[kind].read(path)
        except Exception as error:
            raise InputError(
                f"{said}: is no file of the format {kind} ({' '.join(str(error).split())[:300]})"
            ) from error


def _what(value: Any) -> str:
    return "nothing" if value is None else f"a value of the type {type(value).__name__}"


def _write_json(path: Path, value: Any) -> None:
    if value is None:
        raise TypeError("nothing was returned")
    if wrong := _no_texts(value):
        raise TypeError(f"the key {wrong[0]!r} is no text")
    path.write_text(json.dumps(value, indent=1, allow_nan=False, default=_plain) + "\n", encoding="utf-8")


def _no_texts(value: Any) -> list[Any]:
    """List keys that are no texts: JSON would make texts of them, and two keys may become one."""
    if isinstance(value, Mapping):
        return [key for key in value if not isinstance(key, str)] or [
            k for one in value.values() for k in _no_texts(one)
        ]
    return [key for one in value for key in _no_texts(one)] if isinstance(value, list | tuple) else []


def _plain(value: Any) -> Any:
    """Turn numbers and arrays of NumPy, and records, into what JSON has."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, JsonRecord):
        return encode(value)
    raise TypeError(f"{type(value).__name__} is no number, text, list or table")


def _write_arrays(path: Path, value: Any) -> None:
    arrays = {name: np.asarray(array) for name, array in _columns(value).items()}
    if wrong := [name for name, array in arrays.items() if array.dtype.kind not in "biufcSU"]:
        raise TypeError(f"{wrong[0]} is no array of numbers or texts")
    if wrong := [name for name in arrays if "/" in name or name in (".", "..")]:
        raise ValueError(f'{wrong[0]} is no name of an array; use no "/"')
    if wrong := [name for name, array in value.items() if np.ma.isMaskedArray(array)]:
        raise TypeError(f"{wrong[0]} is masked; fill it, and write the mask as an array of its own")
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            if array.dtype.kind == "U":
                file.create_dataset(name, data=array.astype(object), dtype=h5py.string_dtype())
            else:
                file[name] = array


def _read_arrays(path: Path) -> dict[str, Any]:
    with h5py.File(path) as file:
        return {name: _array(own) for name, own in file.items() if isinstance(own, h5py.Dataset)}


def _array(own: h5py.Dataset) -> Any:
    """Read an array; texts as texts."""
    return np.asarray(own.asstr()[()], "U") if h5py.check_string_dtype(own.dtype) else own[()]


def _columns(value: Any) -> Mapping[str, Any]:
    """Take columns by name, as a table of arrays or an awkward array of records."""
    if isinstance(value, Mapping) and value:
        return value
    if getattr(value, "fields", None):
        return {name: value[name] for name in value.fields}
    raise TypeError("no arrays by name")


def _write_hist(path: Path, value: Any) -> None:
    from uhi.io.json import default  # noqa: PLC0415  hist, an extra

    if not hasattr(value, "_to_uhi_") and not hasattr(value, "axes"):
        raise TypeError("no histogram")
    if "Mean" in value.storage_type.__name__:
        raise TypeError("this format loses the variances of means; write them as arrays")
    path.write_text(json.dumps(value, default=default) + "\n", encoding="utf-8")


def _read_hist(path: Path) -> Any:
    import hist  # noqa: PLC0415  an extra
    from uhi.io.json import object_hook  # noqa: PLC0415  likewise

    return hist.Hist(json.loads(path.read_text(encoding="utf-8"), object_hook=object_hook))


def _write_table(path: Path, value: Any) -> None:
    import awkward  # noqa: PLC0415  slow to load, and only for tables

    awkward.to_parquet(_records(value), path)


def _records(value: Any) -> Any:
    import awkward  # noqa: PLC0415  likewise

    columns = _columns(value)
    if len({len(column) for column in columns.values()}) > 1:  # awkward would repeat what has one row
        raise ValueError(", ".join(f"{name}: {len(column)} rows" for name, column in columns.items()))
    whole = {name: np.ascontiguousarray(one) if isinstance(one, np.ndarray) else one for name, one in columns.items()}
    return awkward.zip(whole, depth_limit=1)


def _read_table(path: Path) -> Any:
    import awkward  # noqa: PLC0415  likewise

    return awkward.from_parquet(path)


def _write_root(path: Path, value: Any) -> None:
    import uproot  # noqa: PLC0415  likewise

    table = _records(value)
    with uproot.recreate(path) as file:
        file.mktree(TREE, {name: table[name].type.content for name in table.fields})
        file[TREE].extend({name: table[name] for name in table.fields})


def _write_rntuple(path: Path, value: Any) -> None:
    import uproot  # noqa: PLC0415  likewise

    with uproot.recreate(path) as file:
        file.mkrntuple(TREE, _records(value))


def _read_root(path: Path) -> Any:
    import uproot  # noqa: PLC0415  likewise

    with uproot.open(path) as file:
        names = [
            name for name, kind in file.classnames(recursive=False).items() if "TTree" in kind or "RNTuple" in kind
        ]
        if not names:
            raise ValueError("no TTree or RNTuple is in it")
        return file[names[0]].arrays()


def _write_section(path: Path, value: Any) -> None:
    if not isinstance(value, Section):
        raise TypeError("needle_parsl.nsbi.report.sections has it")
    _write_json(path, value.to_json())


def _read_section(path: Path) -> Section:
    return Section.from_json(read_json(path))


WRITERS: Mapping[str, Format] = {
    "json": Format("numbers, texts, lists and tables of them", _write_json, read_json),
    "arrays": Format("arrays of numbers by name", _write_arrays, _read_arrays),
    "hist": Format("a histogram of hist or boost-histogram", _write_hist, _read_hist),
    "table": Format("columns of the same length by name", _write_table, _read_table),
    "root": Format("columns of the same length by name", _write_root, _read_root),
    "rntuple": Format("columns of the same length by name", _write_rntuple, _read_root),
    "section": Format("a Section", _write_section, _read_section),
}
"""By name; `FORMATS` has the same."""
assert WRITERS.keys() == FORMATS.keys()
