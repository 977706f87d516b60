"""Applying estimators to new files, piece by piece in bounded memory: named columns in, a Parquet file out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

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
from needle_parsl.nsbi.estimators import files
from needle_parsl.nsbi.estimators.estimator import CHUNK, chunks
from needle_parsl.nsbi.transforms.transform import Transform

Floats = npt.NDArray[np.float64]
ONNX = ".onnx"


class Evaluator(Protocol):
    """Gives all ratios of events."""

    features: tuple[str, ...]
    transforms: Mapping[str, Transform]
    """What features go through, by ratio."""

    def evaluate(self, x: npt.NDArray[np.float32]) -> dict[str, dict[str, Floats]]:
        """Give by ratio `log_ratio`, and `log_ratio_error` where there is one: features (N, F) to shape (N,)."""


class Torch:
    """Estimators as needle wrote them, member after member in torch."""

    def __init__(self, paths: Mapping[str, Path]) -> None:
        self.estimators = {name: files.read(path) for name, path in paths.items()}
        self.features = max((e.features for e in self.estimators.values()), key=len)
        self.transforms: Mapping[str, Transform] = {
            name: estimator.transform for name, estimator in self.estimators.items()
        }
        """Those of all: a ratio that does not depend on the parameters, which come last, looks at the first ones alone."""

    def evaluate(self, x: npt.NDArray[np.float32]) -> dict[str, dict[str, Floats]]:
        """Give all ratios; the members are evaluated once for both."""
        found = {}
        for name, estimator in self.estimators.items():
            pairs = [estimator.log_ratio_and_error(chunk) for chunk in chunks(x)]
            columns = (np.concatenate([np.empty(0), *column]) for column in zip(*pairs, strict=True))
            found[name] = dict(zip(("log_ratio", "log_ratio_error"), columns, strict=True))
        return found


@dataclass(frozen=True)
class RatioSource:
    """Where the ratios come from."""

    onnx: str
    """An exported file with all of them; empty to evaluate with torch."""
    estimators: Mapping[str, str]
    """The file of each ratio."""
    ratios: tuple[str, ...]
    """Which are wanted, in this order."""

    def open(self) -> Evaluator:
        """Load the networks, unless this process has just evaluated them."""
        files = (self.onnx,) if self.onnx else tuple(self.estimators[name] for name in self.ratios)
        states = tuple((stat.st_mtime_ns, stat.st_size) for stat in (Path(name).stat() for name in files))
        return _loaded(self.onnx, () if self.onnx else tuple(zip(self.ratios, files, strict=True)), states)


@lru_cache(maxsize=1)
def _loaded(onnx: str, estimators: tuple[tuple[str, str], ...], _states: tuple[tuple[int, int], ...]) -> Evaluator:
    """Load networks; files in another state are others."""
    if onnx:
        from needle_parsl.nsbi.estimators.exporting.runtime import Session  # noqa: PLC0415  with onnxruntime, an extra

        return Session(Path(onnx))
    return Torch({name: Path(path) for name, path in estimators})


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
                _table(legible(piece.file.path), rows[some], evaluator.evaluate(events.x[some]), ratios.ratios)
            )
    return len(events)


def _know(evaluator: Evaluator, x: npt.NDArray[np.float32], path: str) -> None:
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


def _table(
    path: str, rows: npt.NDArray[np.int64], found: Mapping[str, Mapping[str, Floats]], ratios: Sequence[str]
) -> pa.Table:
    nothing = np.full(len(rows), np.nan)
    columns = [found[r].get(kind, nothing) for r in ratios for kind in ("log_ratio", "log_ratio_error")]
    name = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(rows), np.int32)), pa.array([path]))
    return pa.Table.from_arrays([name, pa.array(rows), *map(pa.array, columns)], schema=_schema(ratios))


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
