"""A program that runs a user's generator function and writes a ROOT file; needle starts it as a process of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from needle_parsl import refs
from needle_parsl.errors import InputError

TREE = "events"
Columns = dict[str, npt.NDArray[np.generic]]


def generate(reference: str, source: str, path: str, events: int, seed: int) -> Columns:
    """Call a user's generator function.

    Args:
        reference: `"physics.py:signal"` or `"module:name"`.
        source: Text of the analysis' physics file.
        path: That file's path.
        events: How many events to ask for.
        seed: 64 bits.

    Returns:
        Columns of shape (N,).

    Raises:
        InputError: The function is missing, raises, or does not return columns of one length.
    """
    return _call(reference, source, path, np.random.default_rng(seed), events)


def pseudo_data(
    reference: str, source: str, path: str, generator: np.random.Generator, parameters: Mapping[str, float]
) -> Columns:
    """Call a user's function that makes one data set.

    Args:
        reference: `"physics.py:pseudo_data"` or `"module:name"`.
        source: Text of the analysis' physics file.
        path: That file's path.
        generator: The only source of randomness.
        parameters: Values of all parameters, physics and nuisance.

    Returns:
        Columns of shape (N,).

    Raises:
        InputError: The function is missing, raises, or does not return columns of one length.
    """
    return _call(reference, source, path, generator, parameters)


def _call(reference: str, source: str, path: str, *arguments: object) -> Columns:
    function = refs.resolve(reference, source, path)
    try:
        with refs.alone(reference):
            columns = function(*arguments)
    except (Exception, SystemExit) as error:
        raise InputError(f"{reference} failed: {type(error).__name__}: {error}") from error
    if not isinstance(columns, Mapping) or not columns:
        raise InputError(f"{reference} returned {type(columns).__name__}; expected a dict of columns")
    arrays = {name: np.asarray(column) for name, column in columns.items()}
    if len({array.shape for array in arrays.values()}) != 1 or next(iter(arrays.values())).ndim != 1:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise InputError(f"{reference} returned columns of different shapes ({shapes}); expected (N,) each")
    return arrays


def write(path: Path, columns: Mapping[str, npt.NDArray[np.generic]]) -> None:
    """Write columns as a TTree under a temporary name, then rename the file."""
    import uproot  # noqa: PLC0415  slow to load, and the look at input files needs `generate` alone

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with uproot.recreate(temporary) as file:
            file.mktree(TREE, {name: column.dtype for name, column in columns.items()})
            file[TREE].extend(dict(columns))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def main(arguments: list[str]) -> None:
    """Run as `python -m needle_parsl.nsbi.data.generation REFERENCE PHYSICS DIGEST ORIGIN EVENTS SEED OUTPUT`.

    `PHYSICS` is the copy of the user's file in the run directory, whose text must have the `DIGEST`, and `ORIGIN` where it came
    from; both may be empty.
    """
    reference, physics, digest, origin, events, seed, output = arguments
    source = Path(physics).read_text(encoding="utf-8") if physics else ""
    if refs.digest(source) != digest:
        sys.exit(
            f"{physics}: is not what this run has written; nothing of it was executed, give the same command again"
        )
    try:
        write(Path(output), generate(reference, source, origin, int(events), int(seed)))
    except InputError as error:
        sys.exit(str(error))
    refs.leave()


if __name__ == "__main__":
    main(sys.argv[1:])
