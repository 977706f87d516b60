"""Whether files have the columns that an analysis needs; opens the files, and reads no event."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from needle_parsl.errors import InputError
from needle_parsl.nsbi.data import readers
from needle_parsl.nsbi.data.readers import source as addresses
from needle_parsl.nsbi.data.readers.columns import flat, refusal
from needle_parsl.nsbi.data.readers.names import hint as meant


@dataclass(frozen=True, kw_only=True)
class SampleFiles:
    """The files of one sample, and what is needed of them."""

    store: str
    """Name of the sample or varied sample."""
    key: str
    """Its table in the analysis."""
    files: Sequence[str]
    tree: str
    tree_key: str
    """The key that names the tree."""
    names: Mapping[str, str]
    """The key of the analysis that needs a column, by column."""
    derived: Sequence[str]
    """Names of the derived and computed columns."""
    lists: Mapping[str, str]
    """The same for columns that may be jagged."""
    skip: bool
    """Files that cannot be opened are left out."""
    links: Sequence[str] = ()
    """Other files from which HDF5 files may take data."""

    def paths(self) -> list[str]:
        """List the files, with the patterns of addresses expanded."""
        return [p for name in self.files for p in (addresses.expand(name) if addresses.is_remote(name) else [name])]


def problems(sources: Sequence[SampleFiles]) -> list[tuple[str, str]]:
    """Look for columns that are missing or not flat, and for files that cannot be opened.

    Returns:
        The key that has to be mended and a message; a column that many files lack is said once.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for source in sources:
        try:
            paths = source.paths()
        except InputError as error:
            found.setdefault((source.key, str(error)), [f"sample {source.store}", ""])
            continue
        for path in paths:
            for key, what, hint in _of_file(source, path):
                found.setdefault((key, what), [f"sample {source.store}: {path}", hint]).append(path)
    return [(key, _said(what, *entry)) for (key, what), entry in found.items()]


def _said(what: str, where: str, hint: str, *paths: str) -> str:
    more = f" (and {len(paths) - 1} more file{'s' if len(paths) > 2 else ''})" if len(paths) > 1 else ""
    return f"{where}{more}: {what}{hint}"


def _of_file(source: SampleFiles, path: str) -> Iterator[tuple[str, str, str]]:
    """Give key, what is wrong, and a hint, for each mistake that shows in a file."""
    try:
        with readers.open_file(path, source.tree, source.links) as reader:
            columns = reader.names
            kinds = {name: reader.kind(name) for name in source.names if name in columns}
    except InputError as error:
        if source.skip:
            return
        what = str(error).removeprefix(f"{path}: ")
        yield source.tree_key if source.tree and f'"{source.tree}"' in what else source.key, what, ""
        return
    for name, key in {**source.names, **source.lists}.items():
        if name not in columns:
            yield key, f'has no column "{name}"', meant(columns, name, source.derived)
        elif name in kinds and not flat(kinds[name]):
            yield key, refusal(name, kinds[name]), ""
    for name in source.derived:
        if name in set(columns):
            yield f"features.derived.{name}", f'has a column "{name}", too; give the derived one another name', ""
