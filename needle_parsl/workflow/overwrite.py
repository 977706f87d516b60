"""Files that commands write where the user says: never over an input, nor over what needle has not written, unless told so."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from needle_parsl import files, kinds, rundir
from needle_parsl.addresses import is_remote
from needle_parsl.errors import InputError
from needle_parsl.workflow import forms

WRITTEN = ".needle-written.json"
"""In a folder of exported files or evaluated events: the digests of those that needle has written there, and nobody has changed."""


def inputs(root: Path) -> list[str]:
    """List the input files of a run, as it has looked at them."""
    with suppress(InputError):
        found = files.read_json(root / rundir.RUN)
        if forms.fits(found, {"inputs": {"files": forms.Each(Any)}}):
            return list(found["inputs"]["files"])
    return []


def refuse(output: Path, sources: Iterable[str], root: Path, *, force: bool) -> None:
    """Refuse to write to a file that is an input, belongs to the run, or is somebody's.

    Args:
        output: What is to be written, a Parquet file.
        sources: Input files.
        root: The run directory.
        force: Whether a file that needle has not written may be replaced; an input may not.

    Raises:
        InputError: It is one of these.
    """
    _not_an_input(output, sources)
    if wrong := kinds.no_folder(output.parent):
        raise InputError(f"--out {output}: {output.parent} {wrong}; choose another name")
    if output.resolve().is_relative_to(root.resolve()):
        raise InputError(
            f"--out {output}: lies in the run directory, which only needle run writes to; choose another place"
        )
    if (
        output.exists()
        and not force
        and not (output.is_file() and _written(output.parent).get(output.name) == files.digest(output))
    ):
        raise InputError(f"--out {output}: is there, and needle did not write it; choose another name, or say --force")


def _not_an_input(output: Path, sources: Iterable[str]) -> None:
    for source in sources:
        path = Path(source)
        if not is_remote(source) and output.exists() and path.exists() and output.samefile(path):
            raise InputError(f"{output}: is an input, and would be lost; choose another name")


def into(folder: Path, names: Sequence[str], root: Path, *, force: bool) -> None:
    """Refuse to write files into a folder where others of these names are.

    Args:
        folder: Where to.
        names: What is to be written.
        root: The run directory.
        force: Whether files that needle has not written may be replaced; inputs may not.

    Raises:
        InputError: There are such, or the folder lies in the run directory.
    """
    if wrong := kinds.no_folder(folder):
        raise InputError(f"--to {folder}: {wrong}; choose another folder")
    if folder.resolve().is_relative_to(root.resolve()):
        raise InputError(
            f"--to {folder}: lies in the run directory, which only needle run writes to; choose another folder"
        )
    known = _written(folder)
    for name in names:
        path = folder / name
        _not_an_input(path, inputs(root))
        if path.exists() and not force and (not path.is_file() or known.get(name) != files.digest(path)):
            raise InputError(
                f"--to {folder}: has {name} already, and needle did not write it; choose another folder, or say --force"
            )


def note(folder: Path, paths: Iterable[Path]) -> None:
    """Write down what was written into a folder."""
    files.write_json(folder / WRITTEN, _written(folder) | {path.name: files.digest(path) for path in paths})


def _written(folder: Path) -> dict[str, str]:
    try:
        found = files.read_json(folder / WRITTEN)
    except (InputError, OSError):
        return {}
    return found if forms.fits(found, forms.Each(str)) else {}
