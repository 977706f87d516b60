"""From `analysis.toml` to an `Analysis`, with every mistake that can be seen without opening another file."""

from __future__ import annotations

from dataclasses import dataclass
from glob import escape, glob, has_magic
from pathlib import Path

from needle_parsl import reading
from needle_parsl.analysis import meaning
from needle_parsl.analysis.tables import Analysis
from needle_parsl.errors import InputError


@dataclass(frozen=True)
class Loaded:
    """An analysis together with what it was read from."""

    analysis: Analysis
    table: dict[str, object]
    """The TOML with overrides, as it was understood."""
    path: Path
    """The file; paths in it are relative to its folder."""
    source: str
    """The text of `physics.py`; empty without one."""


def load(path: Path, settings: list[str] | None = None) -> Loaded:
    """Read an analysis.

    Args:
        path: The TOML file, or a folder that holds an `analysis.toml`.
        settings: Overrides, as in `--set training.members=50`.

    Raises:
        InputError: Anything is wrong; one line per mistake, with file and key.
    """
    path = path / "analysis.toml" if path.is_dir() else path
    table = reading.load(path)
    reading.override(table, settings or [])
    reader = reading.Reader(str(path))
    analysis = reader.table(Analysis, table)
    meaning.check(analysis, reader.complain)
    _files_exist(analysis, path, reader)
    source = _physics(analysis, path, reader)
    reader.finish()
    return Loaded(analysis, table, path, source)


def match(path: Path, patterns: tuple[str, ...]) -> list[str]:
    """List the files that patterns name, absolute and without repetition, in canonical order.

    Args:
        path: The analysis; patterns are relative to its folder.
        patterns: Names, in which `*`, `?` and `[...]` match.

    Raises:
        InputError: A pattern matches nothing, or something that is no readable file.
    """
    found: list[str] = []
    for pattern in patterns:
        try:
            resolved = [_readable(Path(name)) for name in _names(path.parent, pattern)]
        except (OSError, RuntimeError, ValueError) as error:
            raise InputError(f"cannot be opened: {getattr(error, 'strerror', None) or error}") from error
        if not resolved:
            raise InputError("no file matches")
        found += [file for file in resolved if file not in found]
    return found


def _names(folder: Path, pattern: str) -> list[str]:
    full = str(Path(escape(str(folder.resolve()))) / Path(pattern).expanduser())
    if has_magic(pattern):
        return sorted(glob(full, recursive=True))  # noqa: PTH207  Path.glob takes no absolute patterns
    return [str(folder / Path(pattern).expanduser())]


def _readable(path: Path) -> str:
    """Insist on a file that this user can read."""
    if path.is_dir():
        raise InputError(f"{path.name} is a folder; name the files in it" if path.name else "is a folder")
    if not path.is_file():
        raise InputError(f"{path.name} leads nowhere" if path.is_symlink() else "no such file")
    with path.open("rb"):
        return str(path.resolve())


def _files_exist(analysis: Analysis, path: Path, reader: reading.Reader) -> None:
    for key, patterns in _patterns(analysis):
        for pattern in patterns:
            try:
                match(path, (pattern,))
            except InputError as error:
                reader.complain(key, f'"{pattern}": {error}')


def _patterns(analysis: Analysis) -> list[tuple[str, tuple[str, ...]]]:
    found = []
    for name, sample in analysis.samples.items():
        found.append((f"samples.{name}.files", sample.files))
        for nuisance, variation in sample.variations.items():
            sides = (("up", variation.up), ("down", variation.down))
            found += [(f"samples.{name}.variations.{nuisance}.{s}.files", v.files) for s, v in sides if v is not None]
    if data := analysis.data():
        found.append(("fit.data", data.files))
    return found


def _physics(analysis: Analysis, path: Path, reader: reading.Reader) -> str:
    if not analysis.physics:
        return ""
    try:
        return (path.parent / analysis.physics).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reader.complain("physics", f'"{analysis.physics}" cannot be read: {error}')
        return ""
