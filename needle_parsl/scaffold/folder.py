"""The folder of a new analysis: what is written into it, and nothing overwritten."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from needle_parsl import kinds, ownership, shipped
from needle_parsl.errors import InputError, Problem, closest
from needle_parsl.files import write_text
from needle_parsl.processes import python
from needle_parsl.scaffold import text
from needle_parsl.scaffold.samples import samples

if TYPE_CHECKING:
    from needle_parsl.nsbi.programs.survey import Survey

ANALYSIS = "analysis.toml"
PROGRAM = "needle_parsl.nsbi.programs.survey"


def from_app(folder: Path, name: str) -> list[Path]:
    """Copy an app, without its expected results and without anything that it produced.

    Args:
        folder: Where the analysis will be.
        name: A shipped app, or the folder of one.

    Returns:
        The files that were written.

    Raises:
        InputError: There is no such app, or a file is already there.
    """
    app = Path(name) if (Path(name) / ANALYSIS).is_file() else shipped.folder("apps") / name
    if not (app / ANALYSIS).is_file():
        raise InputError(
            f'there is no app "{name}"{closest(name, apps())}; it is a name or a folder with an {ANALYSIS}'
        )
    found = [p for p in sorted(app.iterdir()) if p.suffix in (".toml", ".py", ".md") and p.is_file()]
    return _write(folder, {path.name: path.read_text(encoding="utf-8") for path in found})


def apps() -> list[str]:
    """List the apps that come with needle."""
    return sorted(path.parent.name for path in shipped.folder("apps").glob(f"*/{ANALYSIS}"))


def from_data(folder: Path, files: Sequence[Path]) -> list[Path]:
    """Write an analysis of data files: their columns, one sample per name, and what is to be decided as comments.

    Args:
        folder: Where the analysis will be.
        files: ROOT or Parquet files; `signal_1.root` and `signal_2.root` are one sample, and `signal_jes_up.root` is
            a variation of it.

    Returns:
        The files that were written.

    Raises:
        InputError: A file cannot be read or holds no events, or a file is already there.
    """
    _refuse_to_overwrite(folder, [ANALYSIS])
    surveys = survey(files)
    return _write(folder, {ANALYSIS: text.write(folder, samples(surveys), surveys)})


def _refuse_to_overwrite(folder: Path, names: Sequence[str]) -> None:
    if wrong := kinds.no_folder(folder):
        raise InputError(f"{folder}: {wrong}; name another one")
    if there := [name for name in names if (folder / name).exists()]:
        raise InputError(f"{folder}: has {' and '.join(there)} already, which is not overwritten; name another folder")


def _write(folder: Path, texts: Mapping[str, str]) -> list[Path]:
    _refuse_to_overwrite(folder, list(texts))
    for name, content in texts.items():
        write_text(folder / name, content)
    return [folder / name for name in texts]


def survey(files: Sequence[Path]) -> list[Survey]:
    """Look into data files in a child process, so that this one loads no reader.

    Raises:
        InputError: A file cannot be read, or holds no events.
    """
    from needle_parsl.nsbi.programs.survey import Survey  # noqa: PLC0415  with readers of files, which a copied app does without

    if wrong := [Problem(said, str(path)) for path in files if (said := kinds.unreadable(path))]:
        raise InputError.of(wrong)
    with ownership.temporary() as folder:
        output = folder / "surveys.json"
        program = python.module(PROGRAM, str(output), *(str(path.resolve()) for path in files))
        subprocess.run(program, check=True, stdout=subprocess.DEVNULL)
        answer = json.loads(output.read_text(encoding="utf-8"))
    if answer["problems"]:
        raise InputError("\n".join(answer["problems"]))
    return [Survey(**found) for found in answer["surveys"]]
