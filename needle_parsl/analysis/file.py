"""From `analysis.toml` to an `Analysis`, with every mistake that can be seen without opening another file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from glob import escape, glob, has_magic
from pathlib import Path

from needle_parsl import kinds, reading
from needle_parsl.addresses import is_remote
from needle_parsl.analysis import lists, morphing, recommended, regions, rules, unused
from needle_parsl.analysis.tables import Analysis
from needle_parsl.analysis.tables.stages import MADE, following
from needle_parsl.errors import InputError, Problem
from needle_parsl.reading import Places, TableReader


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """An analysis together with what it was read from."""

    analysis: Analysis
    table: dict[str, object]
    """The TOML with overrides, as it was understood."""
    path: Path
    """The file; paths in it are relative to its folder."""
    source: str
    """The text of `physics.py`; empty without one."""
    places: Places
    """On which line each key is."""
    problems: tuple[Problem, ...]
    """Mistakes; what has one stands as its default."""
    warnings: tuple[Problem, ...]
    """What is allowed, and yet hardly meant."""
    regions: Mapping[str, Analysis] = field(default_factory=dict)
    """Analyses of the further unbinned regions, by name; `analysis` is that of the first."""


def read(path: Path, settings: list[str] | None = None, *, fitted: bool = True) -> Loaded:
    """Read an analysis with its mistakes, so that those of its input files can be told in the same breath.

    Args:
        path: The TOML file, or a folder that holds an `analysis.toml`.
        settings: Overrides, as in `--set training.members=50`.
        fitted: Whether it is to have a model, if it has no stages of its own.

    Raises:
        InputError: It is no TOML file.
    """
    path = path / "analysis.toml" if path.is_dir() else path
    table = reading.load(path)
    reader = TableReader(Places(path, settings or []))
    reading.override(table, settings or [], Analysis, reader)
    analysis = reader.table(Analysis, table)
    for key in _missing(analysis, table, fitted=fitted):
        reader.lack(key, "is missing; expected a table")
    rules.regions.check(analysis, reader.complain)
    names = regions.names(analysis)
    first, *others = _by_region(analysis, table, names, reader) if names else [_checked(analysis, reader)]
    _files_exist(first, path, reader)
    source = _physics(first, path, reader)
    return Loaded(
        analysis=first,
        table=table,
        path=path,
        source=source,
        places=reader.places,
        problems=tuple(dict.fromkeys(reader.problems)),
        warnings=tuple(dict.fromkeys(reader.warnings)),
        regions=dict(zip(names[1:], others, strict=True)),
    )


def _checked(analysis: Analysis, reader: TableReader) -> Analysis:
    """Hold the tables of an analysis against each other, and fill in what depends on other keys."""
    analysis = lists.resolved(analysis, reader.complain)
    analysis = replace(analysis, stages=following(analysis.stages))
    analysis = morphing.expanded(analysis, reader.complain)
    for key, message in morphing.doubts(analysis):
        reader.warn(key, message)
    rules.check(analysis, reader.complain)
    for key, message in unused.found(analysis):
        reader.warn(key, message)
    analysis = recommended.settle(analysis)
    rules.search.check(analysis, reader.complain)  # which asks for what the analysis leaves open
    return analysis


def _by_region(
    analysis: Analysis, table: Mapping[str, object], names: Sequence[str], reader: TableReader
) -> list[Analysis]:
    """Read the analysis of each unbinned region; what is wrong with one alone is noted as such, and what no region uses."""
    found, readers = [], [regions.RegionReader(reader.places, table, name) for name in names]
    for name, own in zip(names, readers, strict=True):
        single = own.table(Analysis, regions.table(table, name))
        single = regions.settled(single, name, analysis.features.selection, first=name == names[0])
        found.append(_checked(single, own))
    for problem in regions.problems(readers):
        reader.note(problem)
    reader.warnings += [one for one in readers[0].warnings if all(one in own.warnings for own in readers)]
    return found


def _missing(analysis: Analysis, table: Mapping[str, object], *, fitted: bool) -> list[str]:
    """List the tables that only an analysis with stages of the user's, or for one, may leave out."""
    lacking = [key for key in ("samples", "model") if key not in table]
    alone = bool(analysis.stages) and lacking == ["samples", "model"]
    unfitted = bool(analysis.stages or not fitted) and lacking == ["model"] and "ratios" in table
    return [] if alone or unfitted else lacking


def load(path: Path, settings: list[str] | None = None) -> Loaded:
    """Read an analysis that has no mistakes; arguments as those of `read`.

    Raises:
        InputError: Anything is wrong; one line per mistake, with file, line and key.
    """
    loaded = read(path, settings)
    if loaded.problems:
        raise InputError.of(loaded.problems)
    return loaded


COLLECTION = "globus://"
"""What names a file of a Globus collection begins with elsewhere."""


def match(path: Path, patterns: tuple[str, ...]) -> list[str]:
    """List the files that patterns name, absolute and without repetition, in canonical order; addresses stay as they are.

    Args:
        path: The analysis; patterns are relative to its folder.
        patterns: Names, in which `*`, `?` and `[...]` match.

    Raises:
        InputError: A pattern matches nothing, or something that is no readable file.
    """
    found: list[str] = []
    for pattern in patterns:
        if pattern.startswith(COLLECTION):
            raise InputError("needle moves no files of Globus collections; copy it first and name it by its path there")
        try:
            local = [] if is_remote(pattern) else _names(path.parent, pattern)
            resolved = [pattern] if is_remote(pattern) else [_readable(Path(name)) for name in local]
        except (OSError, RuntimeError, ValueError) as error:
            raise InputError(f"cannot be opened: {getattr(error, 'strerror', None) or error}") from error
        if not resolved:
            raise InputError("no file matches")
        found += [file for file in resolved if file not in found]
    return found


def _names(folder: Path, pattern: str) -> list[str]:
    """List what a pattern of `*` and `?` names; a file that has just this name, or brackets in it, is that file."""
    path = folder / Path(pattern).expanduser()
    if path.exists() or not has_magic(pattern):
        return [str(path)]
    above = Path(escape(str(folder.resolve())))
    for text in (pattern.replace("[", "[[]"), pattern):
        if found := sorted(glob(str(above / Path(text).expanduser()), recursive=True)):  # noqa: PTH207  Path.glob takes no absolute patterns
            return found
    return []


def _readable(path: Path) -> str:
    """Insist on a file that this user can read."""
    if wrong := kinds.unreadable(path):
        named = path.name and kinds.kind(path)
        raise InputError(f"{path.name} {wrong}" if named else wrong)
    with path.open("rb"):
        return str(path.resolve())


def _files_exist(analysis: Analysis, path: Path, reader: TableReader) -> None:
    for key, patterns in _patterns(analysis):
        for pattern in patterns:
            if pattern.startswith(MADE):
                continue
            try:
                match(path, (pattern,))
            except InputError as error:
                hint = "; environment variables are for site files, name the folder itself" if "$" in pattern else ""
                reader.complain(key, f'"{pattern}": {error}{hint}')


def _patterns(analysis: Analysis) -> list[tuple[str, tuple[str, ...]]]:
    found = [("resources", analysis.resources), ("links", analysis.links)]
    for name, sample in analysis.samples.items():
        found.append((f"samples.{name}.files", sample.files))
        for nuisance, variation in sample.variations.items():
            sides = (("up", variation.up), ("down", variation.down))
            found += [(f"samples.{name}.variations.{nuisance}.{s}.files", v.files) for s, v in sides if v is not None]
        found += [(f"samples.{name}.joint[{k}].files", own.files) for k, own in enumerate(sample.joint)]
    if data := analysis.data():
        found.append(("fit.data", data.files))
    return found


def _physics(analysis: Analysis, path: Path, reader: TableReader) -> str:
    if not analysis.physics:
        return ""
    place = path.parent / analysis.physics
    if kinds.kind(place) and (wrong := kinds.unreadable(place)):
        reader.complain("physics", f'"{analysis.physics}" cannot be read: it {wrong}')
        return ""
    try:
        return place.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        reader.complain("physics", f'"{analysis.physics}" cannot be read: {reason}')
        return ""
