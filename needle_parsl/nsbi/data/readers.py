"""Input files behind one protocol: columns, entries, and chunks of NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from needle_parsl.errors import InputError, closest

Columns = dict[str, npt.NDArray[np.generic]]
FLAT = {
    "bool",
    "Double32",
    "float",
    "double",
    "char",
    "unsigned char",
    "short",
    "int",
    "long",
    "string",
    "std::string",
    "char*",
    "TString",
}


class Reader(Protocol):
    """An open file; use it in `with`."""

    entries: int
    """Rows in the file."""

    def columns(self) -> Mapping[str, str]:
        """Map the names of the columns to "flat" or to the type that keeps them from being flat."""

    def iterate(self, names: list[str], step: int) -> Iterator[Columns]:
        """Read the named columns, at most `step` rows at a time."""

    def __enter__(self) -> Self:
        """Stay open."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""


class RootFile:
    """A TTree in a ROOT file."""

    def __init__(self, path: Path, tree: str) -> None:
        import uproot

        if path.stat().st_size == 0:
            raise InputError(f"{path}: is empty (0 bytes)")
        self.path = path
        self.file = _guarded(path, "no readable ROOT file", lambda: uproot.open(path))
        if self.file.file.fEND > path.stat().st_size:
            raise InputError(f"{path}: is truncated; it says {self.file.file.fEND} bytes and has {path.stat().st_size}")
        self.tree = self._find(tree)
        self.entries = int(self.tree.num_entries)

    def _find(self, tree: str) -> Any:
        trees = self.file.keys(cycle=False, filter_classname=["TTree", "*RNTuple*"])
        trees = list(dict.fromkeys(trees))
        if tree and tree not in trees:
            raise InputError(f'{self.path}: has no tree "{tree}"{closest(tree, trees)}')
        if not tree and len(trees) != 1:
            found = f"several trees ({', '.join(trees)}); say which with tree = ..." if trees else "no tree"
            raise InputError(f"{self.path}: contains {found}")
        return _guarded(self.path, "damaged", lambda: self.file[tree or trees[0]])

    def columns(self) -> Mapping[str, str]:
        """Map each branch to "flat" or its C++ type."""
        if hasattr(self.tree, "branches"):
            names = self.tree.typenames(full_paths=False)
        else:  # an RNTuple lists the insides of its collections as names with a dot, which are no columns
            names = {name: kind for name, kind in self.tree.typenames().items() if "." not in name}
        return {name: "flat" if _flat(kind) else kind for name, kind in names.items()}

    def iterate(self, names: list[str], step: int) -> Iterator[Columns]:
        """Read branches in chunks."""
        import awkward as ak

        chunks = iter(self.tree.iterate(names, step_size=step, library="ak"))
        while (chunk := _guarded(self.path, "damaged", lambda: next(chunks, None))) is not None:
            yield {name: ak.to_numpy(chunk[name]) for name in names}

    def __enter__(self) -> Self:
        """Stay open."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.file.close()


class ParquetFile:
    """A Parquet file of flat columns; page checksums are verified where the file has them."""

    def __init__(self, path: Path, tree: str) -> None:
        from pyarrow import parquet

        if tree:
            raise InputError(f'{path}: is a Parquet file and has no tree "{tree}"; leave the key tree out')
        if path.stat().st_size == 0:
            raise InputError(f"{path}: is empty (0 bytes)")
        self.path = path
        self.file = _guarded(
            path, "no readable Parquet file", lambda: parquet.ParquetFile(path, page_checksum_verification=True)
        )
        self.entries = int(self.file.metadata.num_rows)

    def columns(self) -> Mapping[str, str]:
        """Map each column to "flat" or its Arrow type."""
        from pyarrow import types

        def flat(kind: Any) -> bool:
            return not types.is_nested(kind) and not types.is_temporal(kind)

        return {field.name: "flat" if flat(field.type) else str(field.type) for field in self.file.schema_arrow}

    def iterate(self, names: list[str], step: int) -> Iterator[Columns]:
        """Read columns in chunks."""
        batches = self.file.iter_batches(batch_size=step, columns=names)
        while (batch := _guarded(self.path, "damaged", lambda: next(batches, None))) is not None:
            yield {name: _array(batch.column(name)) for name in names}

    def __enter__(self) -> Self:
        """Stay open."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.file.close()


READERS: dict[str, Callable[[Path, str], Reader]] = {".root": RootFile, ".parquet": ParquetFile}
"""By the ending of the file's name."""


def open_file(path: Path, tree: str = "") -> Reader:
    """Open an input file.

    Args:
        path: A `.root` or `.parquet` file.
        tree: The TTree; may be empty where there is only one.

    Raises:
        InputError: The file is missing, empty, damaged, of an unknown kind, or lacks the tree.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.suffix not in READERS:
        raise InputError(f'{path}: "{path.suffix}" files are not read; expected {" or ".join(READERS)}')
    return READERS[path.suffix](path, tree)


def require(reader: Reader, where: str, names: list[str], known: Iterable[str] = ()) -> None:
    """Check that a file has the columns that will be read.

    Args:
        reader: The open file.
        where: File and sample, for the message.
        names: The columns.
        known: What may have been meant instead; by default the columns of the file.

    Raises:
        InputError: Columns are missing or not flat; one line for each.
    """
    columns = reader.columns()
    wrong = [
        f'{where}: has no column "{name}"{closest(name, known or columns)}' for name in names if name not in columns
    ]
    wrong += [
        f'{where}: column "{name}" is not flat ({columns[name]}); expected one number or text per event'
        for name in names
        if columns.get(name, "flat") != "flat"
    ]
    if wrong:
        raise InputError("\n".join(wrong))


def _flat(kind: str) -> bool:
    """Whether a C++ type is one value per event."""
    if kind.startswith("ROOT::RNTupleCardinality"):  # a counter of a collection
        return True
    plain = kind.replace("unsigned ", "").replace("std::", "").removesuffix("_t")
    return kind in FLAT or plain in FLAT or plain.lstrip("u").rstrip("0123456789") in FLAT or plain.endswith("Float16")


def _array(column: Any) -> npt.NDArray[np.generic]:
    if hasattr(column, "dictionary_decode"):
        column = column.dictionary_decode()
    array: npt.NDArray[np.generic] = column.to_numpy(zero_copy_only=False)
    return array


def _guarded(path: Path, what: str, read: Callable[[], Any]) -> Any:
    """Turn what a library raises about a bad file into a sentence."""
    try:
        return read()
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{path}: is {what}: {reason[:200]}") from error
