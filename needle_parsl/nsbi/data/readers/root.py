"""ROOT files: TTree and RNTuple, through uproot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple, Self

import uproot

from needle_parsl.errors import InputError, closest
from needle_parsl.nsbi.data.readers import ntuple
from needle_parsl.nsbi.data.readers.awkward_columns import from_awkward
from needle_parsl.nsbi.data.readers.columns import JAGGED, TEXT, Columns, flat
from needle_parsl.nsbi.data.readers.names import Names
from needle_parsl.nsbi.data.readers.protocol import guarded
from needle_parsl.nsbi.data.readers.source import InputSource

BESIDE = "+"
"""Between the names of trees whose rows belong together, as with friends: `tree = "events + weights"`."""


class Branch(NamedTuple):
    """A branch of a TTree."""

    branch: Any
    path: str
    """With the branches that it is in, and its tree where there are several."""


class RootFile:
    """A TTree or RNTuple in a ROOT file, or TTrees side by side."""

    def __init__(self, source: InputSource, tree: str) -> None:
        self.path = source.name
        options = {} if isinstance(source.file, str) else {"handler": uproot.source.object.ObjectSource}
        self.file = guarded(self.path, "no readable ROOT file", lambda: uproot.open(source.file, **options))
        if self.file.file.fEND > source.size:
            raise InputError(f"{self.path}: is truncated; it says {self.file.file.fEND} bytes and has {source.size}")
        self.trees = self._find(tree)
        self.tree = next(iter(self.trees.values()))
        self.entries = int(self.tree.num_entries)
        for name, other in self.trees.items():
            if len(self.trees) > 1 and not hasattr(other, "branches"):
                raise InputError(f"{self.path}: {name} is an RNTuple, and only TTrees are put side by side")
            if int(other.num_entries) != self.entries:
                raise InputError(
                    f"{self.path}: trees side by side have {self.entries} and {other.num_entries} rows ({name})"
                )

    def _find(self, tree: str) -> dict[str, Any]:
        there = list(dict.fromkeys(self.file.keys(cycle=False, filter_classname=["TTree", "*RNTuple*"])))
        wanted = [tree] if tree in there else [part.strip() for part in tree.split(BESIDE)]
        for name in wanted if tree else ():
            if name not in there:
                raise InputError(f'{self.path}: has no tree "{name}"{closest(name, there)}')
        if not tree and len(there) != 1:
            found = (
                f"several trees ({', '.join(there)}); say which with tree = ..."
                if there
                else "no tree; name a file with a TTree or an RNTuple"
            )
            raise InputError(f"{self.path}: contains {found}")
        return {n: guarded(self.path, "damaged", lambda n=n: self.file[n]) for n in (wanted if tree else there)}  # type: ignore[misc]  # mypy knows no defaults of lambdas

    @property
    def is_ntuple(self) -> bool:
        """Whether the events are an RNTuple."""
        return not hasattr(self.tree, "branches")

    @cached_property
    def names(self) -> Names:
        """List the branches, or the fields of an RNTuple with what is in its records and collections."""
        if self.is_ntuple:
            return Names(field.names() for field in self._fields)
        return Names((b.branch.name.rstrip("."), b.branch.name, b.path) for b in self._branches)

    @cached_property
    def _fields(self) -> list[ntuple.Field]:
        return ntuple.columns(self.tree)

    @cached_property
    def _branches(self) -> list[Branch]:
        several = len(self.trees) > 1
        return [b for name, tree in self.trees.items() for b in _walked(tree.branches, f"{name}/" if several else "")]

    def kind(self, name: str) -> str:
        """Name the type of a branch or field."""
        number = self.names.number(name)
        assert number is not None
        return self._fields[number].kind if self.is_ntuple else _kind(self._branches[number].branch)

    def borders(self, names: Sequence[str]) -> Sequence[int]:
        """List the ends of clusters, or where baskets of all branches end together."""
        if self.is_ntuple:
            return [*(int(c.num_first_entry) for c in self.tree.cluster_summaries), self.entries]
        found = {0, self.entries}
        common: set[int] | None = None
        for branch in self._wanted(names):
            ends = set(map(int, branch.entry_offsets))
            common = ends if common is None else common & ends
        return sorted(found | (common or set()))

    def _wanted(self, names: Sequence[str]) -> list[Any]:
        numbers = [self.names.number(name) for name in names]
        return [self._branches[number].branch for number in numbers if number is not None]

    def iterate(self, names: Sequence[str], start: int, stop: int, step: int) -> Iterator[Columns]:
        """Read branches in chunks."""
        stop = min(stop, self.entries)
        if start >= stop:
            return
        read = self._of_ntuple if self.is_ntuple else self._of_trees
        chunks = guarded(self.path, "damaged", lambda: read(names, start, stop, step))
        while (chunk := guarded(self.path, self._blame(names), lambda: next(chunks, None))) is not None:
            yield chunk

    def _blame(self, names: Sequence[str]) -> str:
        """Say what is wrong with a file that cannot be read: one column alone may be beyond uproot."""
        return f'damaged, or uproot cannot interpret "{names[0]}"' if len(names) == 1 else "damaged"

    def _of_ntuple(self, names: Sequence[str], start: int, stop: int, step: int) -> Iterator[Columns]:
        fields = [self._fields[number] for name in names if (number := self.names.number(name)) is not None]
        keys = list(dict.fromkeys(field.key for field in fields))
        for chunk in self.tree.iterate(keys, entry_start=start, entry_stop=stop, step_size=step, library="ak"):
            yield {name: from_awkward(_inside(chunk, f.parts)) for name, f in zip(names, fields, strict=True)}

    def _of_trees(self, names: Sequence[str], start: int, stop: int, step: int) -> Iterator[Columns]:
        """Read all branches together, or one by one where a name is that of several: uproot would take the first of them."""
        branches = self._wanted(names)
        library = "np" if all(flat(kind) and kind != TEXT for kind in map(_kind, branches)) else "ak"
        wanted = {id(branch) for branch in branches}
        together = len(self.trees) == 1 and all(len(self.names.exact[branch.name]) == 1 for branch in branches)
        if together:
            options = {"entry_start": start, "entry_stop": stop, "step_size": step, "library": library}
            for chunk in self.tree.iterate(filter_branch=lambda branch: id(branch) in wanted, **options):
                yield {n: _plain(chunk[b.name], library) for n, b in zip(names, branches, strict=True)}
            return
        for first in range(start, stop, step):
            bounds = {"entry_start": first, "entry_stop": min(first + step, stop), "library": library}
            yield {n: _plain(b.array(**bounds), library) for n, b in zip(names, branches, strict=True)}

    def __enter__(self) -> Self:
        """Stay open."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.file.close()


def _walked(branches: Any, above: str) -> Iterator[Branch]:
    """List branches with those in them."""
    for branch in branches:
        path = f"{above}{branch.name}"
        yield Branch(branch, path)
        yield from _walked(branch.branches, f"{path}/")


def _plain(array: Any, library: str) -> Any:
    return array if library == "np" else from_awkward(array)


def _inside(chunk: Any, parts: Sequence[str]) -> Any:
    for part in parts:
        chunk = chunk[part]
    return chunk


def _kind(branch: Any) -> str:
    """Name the type of a TTree's branch in NumPy's words, where it has any; uproot knows no word for some, and says so by raising."""
    try:
        return _branch(branch)
    except Exception:  # noqa: BLE001  whatever uproot meets in a class that it does not know
        inside = f"{len(branch.branches)} branches" if branch.branches else "a class that uproot does not know"
        return f"{inside}: {getattr(branch, 'classname', '') or 'no class'}"


def _branch(branch: Any) -> str:
    kind = branch.interpretation
    inner = getattr(kind, "content", kind)
    dtype = getattr(inner, "to_dtype", None)
    if dtype is None:
        return TEXT if type(kind).__name__ == "AsStrings" else str(branch.typename)
    if dtype.fields or dtype.kind not in "biuf":
        return str(branch.typename)
    if inner is not kind and type(kind).__name__ == "AsJagged" and not dtype.shape:
        return f"{JAGGED}{dtype.newbyteorder('=')}"
    return str(dtype.newbyteorder("=")) if inner is kind and not dtype.shape else str(branch.typename)
