"""Opening an input file by the ending of its name."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from needle_parsl import addresses
from needle_parsl.errors import InputError
from needle_parsl.nsbi.data.readers.columns import flat, jagged, refusal
from needle_parsl.nsbi.data.readers.names import hint
from needle_parsl.nsbi.data.readers.protocol import Reader
from needle_parsl.nsbi.data.readers.source import InputSource, locate

READERS = {
    ".root": "root:RootFile",
    ".parquet": "parquet:ParquetFile",
    ".h5": "hdf5:Hdf5File",
    ".hdf5": "hdf5:Hdf5File",
    ".csv": "text:CsvFile",
}
"""By the ending of the file's name: the class, which takes the file and the name of a tree, which may be empty, in a module here
that imports the library of its format."""


def open_file(path: str | Path, tree: str = "", links: Sequence[str] = ()) -> Reader:
    """Open an input file.

    Args:
        path: A file that ends as `READERS` has it, or the address of one.
        tree: The TTree, RNTuple or HDF5 group; may be empty where there is only one.
        links: Other files from which an HDF5 file may take data, as whole paths.

    Raises:
        InputError: The file is missing, empty, damaged, of an unknown kind, or lacks the tree.
    """
    ending = PurePosixPath(addresses.name(str(path))).suffix
    if ending not in READERS:
        raise InputError(f'{path}: "{ending}" files are not read; expected {" or ".join(READERS)}')
    kind: Callable[[InputSource, str], Reader] = pkgutil.resolve_name(f"{__package__}.{READERS[ending]}")
    return kind(replace(locate(str(path)), links=tuple(links)), tree)


def require(
    reader: Reader,
    where: str,
    names: Sequence[str],
    known: Iterable[str] = (),
    lists: Sequence[str] = (),
    either: Sequence[str] = (),
) -> None:
    """Check that a file has the columns that will be read.

    Args:
        reader: The open file.
        where: File and sample, for the message.
        names: Columns with one value per event.
        known: What may have been meant instead; by default the columns of the file.
        lists: Columns with any number of values per event.
        either: Columns with one value per event, or any number of them.

    Raises:
        InputError: Columns are missing or of the wrong kind; one line for each.
    """
    present = reader.names
    wrong = [
        f'{where}: has no column "{name}"{hint(present, name, known)}'
        for name in (*names, *lists, *either)
        if name not in present
    ]
    wrong += [
        f"{where}: {refusal(name, kind)}" for name in names if name in present and not flat(kind := reader.kind(name))
    ]
    wrong += [
        f'{where}: column "{name}" is not jagged ({kind}); expected any number of values per event'
        for name in lists
        if name in present and not jagged(kind := reader.kind(name))
    ]
    wrong += [
        f'{where}: column "{name}" cannot be read ({kind}); expected numbers, one or any number per event'
        for name in either
        if name in present and not jagged(kind := reader.kind(name)) and not flat(kind)
    ]
    if wrong:
        raise InputError("\n".join(wrong))
