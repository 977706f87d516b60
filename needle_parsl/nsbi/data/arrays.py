"""One array of all files: a dask-awkward array that reads only what is asked of it, chunk by chunk."""

from __future__ import annotations

from collections.abc import Sequence
from glob import glob
from pathlib import Path
from typing import Any

from needle_parsl.errors import InputError
from needle_parsl.nsbi.data import readers
from needle_parsl.nsbi.data.readers import source
from needle_parsl.nsbi.data.readers.columns import flat, jagged
from needle_parsl.ranges import ranges


def events(files: str | Sequence[str], tree: str = "", rows: int = 500_000) -> Any:
    """Give all files as one dask-awkward array.

    Args:
        files: Paths, addresses or patterns of ROOT, Parquet, HDF5 and CSV files with the same columns.
        tree: The TTree, RNTuple or HDF5 group; may be left out where a file has only one.
        rows: Rows of a chunk, at most.

    Returns:
        A record array with a field for each column of numbers, flat or jagged; nothing is read before `compute`, and then
        only the columns that are used.

    Raises:
        InputError: A file cannot be read, or the extra `dask` is not installed.
    """
    try:
        import dask_awkward  # noqa: PLC0415  an extra

        from needle_parsl.nsbi.data.chunks import Reading  # noqa: PLC0415  imports dask-awkward
    except ImportError as error:
        raise InputError('dask-awkward is not installed; pip install "needle-parsl[dask]"') from error
    paths = [path for name in ([files] if isinstance(files, str) else files) for path in _expanded(name)]
    with readers.open_file(paths[0], tree) as reader:
        kinds = {name: kind for name in reader.names if (kind := reader.kind(name)) and _is_number(kind)}
    pieces: list[tuple[str, int, int]] = []
    for path in paths:
        with readers.open_file(path, tree) as reader:
            readers.require(
                reader, path, [n for n in kinds if flat(kinds[n])], (), [n for n in kinds if jagged(kinds[n])]
            )
            pieces += [(path, start, stop) for start, stop in ranges(reader.borders(list(kinds)), rows)]
    return dask_awkward.from_map(Reading(kinds, tree), pieces, label="needle-events")


def _expanded(name: str) -> list[str]:
    if not source.is_remote(name) and Path(name).exists():
        return [name]
    found = source.expand(name) if source.is_remote(name) else sorted(glob(name, recursive=True)) or [name]  # noqa: PTH207  Path.glob takes no absolute patterns
    return list(found)


def _is_number(kind: str) -> bool:
    return kind != "text" and (flat(kind) or jagged(kind))
