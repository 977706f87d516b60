"""Applying estimators to new files, piece by piece in bounded memory: named columns in, a Parquet file out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import parquet

from needle_parsl import salts
from needle_parsl.errors import InputError, legible
from needle_parsl.nsbi.data import conversion, hashing
from needle_parsl.nsbi.data import files as headers
from needle_parsl.nsbi.data.placeholders import unknown_categories
from needle_parsl.nsbi.data.readers import source
from needle_parsl.nsbi.data.recipes import FileRange, InputFile, Recipe
from needle_parsl.nsbi.estimators.estimator import CHUNK
from needle_parsl.nsbi.estimators.opening import RatioSource
from needle_parsl.nsbi.estimators.protocol import Ratio, RatioEvaluator


def look(paths: Sequence[str], tree: str, recipe: Recipe) -> dict[str, list[int]]:
    """Open all files; give the rows at which each may be cut, from 0 to their number.

    Args:
        paths: Files, and addresses in which `*` matches.
        tree: The TTree, RNTuple or HDF5 group; may be empty where there is only one.
        recipe: What will be read.

    Raises:
        InputError: Files are bad or lack columns, which are named; one line for each.
    """
    paths = [path for name in paths for path in (source.expand(name) if source.is_remote(name) else [name])]
    found = headers.headers([InputFile(path=path, tree=tree, label=path) for path in paths], recipe)
    wrong = [str(header) for header in found if isinstance(header, InputError)]
    if wrong:
        raise InputError("\n".join(wrong))
    return {p: h.borders for p, h in zip(paths, found, strict=True) if not isinstance(h, InputError)}


def apply(ratios: RatioSource, piece: FileRange, recipe: Recipe, output: str) -> int:
    """Evaluate the selected events of a piece and write them; give their number.

    Args:
        ratios: Where they come from.
        piece: Rows of a file.
        recipe: Without columns that name events: they are named by file and row.
        output: A Parquet file.

    Raises:
        InputError: The file is bad, or the estimators take other features.
    """
    evaluator = ratios.open()
    if evaluator.features != recipe.features:
        raise InputError(
            f"the estimators take {', '.join(evaluator.features)}, and the analysis gives {', '.join(recipe.features)}; "
            "run it again"
        )
    events = conversion.convert(piece, recipe)
    _know(evaluator, events.x, piece.file.path)
    with parquet.ParquetWriter(output, _schema(ratios.ratios)) as writer:
        rows = _rows(piece, events.id)
        for start in range(0, len(events), CHUNK):
            some = slice(start, start + CHUNK)
            writer.write_table(
                _table(legible(piece.file.path), rows[some], evaluator.evaluate(events.x[some], ratios.ratios))
            )
    return len(events)


def _know(evaluator: RatioEvaluator, x: npt.NDArray[np.float32], path: str) -> None:
    """Refuse categories that no training event had.

    Raises:
        InputError: There are some.
    """
    for name, transform in evaluator.transforms.items():
        for feature, values in transform.unknown(x[:, : transform.inputs]).items():
            raise InputError(f"{path}: {unknown_categories(feature, values, f'training event of {name}')}")


def _rows(piece: FileRange, ids: hashing.Hashes) -> npt.NDArray[np.int64]:
    """Find the rows of events whose ids are hashes of them; most are all rows of the piece."""
    stop = piece.stop if piece.stop is not None else piece.start + len(ids)
    every = np.arange(piece.start, stop, dtype=np.uint64)
    if len(every) != len(ids):
        every = every[np.isin(hashing.mix(every, salts.key("file", piece.file.label)), ids)]
    return every.astype(np.int64)


def _schema(ratios: Sequence[str]) -> pa.Schema:
    kinds = [(f"{ratio}.{kind}", pa.float64()) for ratio in ratios for kind in ("log_ratio", "log_ratio_error")]
    return pa.schema([("file", pa.dictionary(pa.int32(), pa.string())), ("row", pa.int64()), *kinds])


def _table(path: str, rows: npt.NDArray[np.int64], found: Mapping[str, Ratio]) -> pa.Table:
    columns = [column for ratio in found.values() for column in ratio]
    name = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(rows), np.int32)), pa.array([path]))
    return pa.Table.from_arrays([name, pa.array(rows), *map(pa.array, columns)], schema=_schema(tuple(found)))


def join(parts: Sequence[str], output: str, ratios: Sequence[str], facts: Mapping[str, str]) -> None:
    """Put parts behind each other, a group of rows at a time.

    Args:
        parts: Parquet files, in order.
        output: The whole.
        ratios: Names of the ratios.
        facts: What the file says of itself.
    """
    schema = _schema(ratios).with_metadata({"needle": json.dumps(dict(facts))})
    with parquet.ParquetWriter(output, schema) as writer:
        for part in parts:
            with parquet.ParquetFile(part) as file:
                for group in range(file.num_row_groups):
                    writer.write_table(file.read_row_group(group).cast(schema))
