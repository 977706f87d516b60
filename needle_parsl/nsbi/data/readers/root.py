"""ROOT files: TTree and RNTuple, through uproot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Self

from needle_parsl.errors import InputError, closest
from needle_parsl.nsbi.data.readers.columns import JAGGED, NUMBER, TEXT, Columns, flat, from_awkward
from needle_parsl.nsbi.data.readers.protocol import guarded
from needle_parsl.nsbi.data.readers.source import Source

PLAIN = {"float": "float32", "double": "float64", "char": "int8", "std::byte": "uint8"}
"""C++ types of RNTuple fields whose names are not those of NumPy."""


class RootFile:
    """A TTree or RNTuple in a ROOT file."""

    def __init__(self, source: Source, tree: str) -> None:
        import uproot

        self.path = source.name
        options = {} if isinstance(source.file, str) else {"handler": uproot.source.object.ObjectSource}
        self.file = guarded(self.path, "no readable ROOT file", lambda: uproot.open(source.file, **options))
        if self.file.file.fEND > source.size:
            raise InputError(f"{self.path}: is truncated; it says {self.file.file.fEND} bytes and has {source.size}")
        self.tree = self._find(tree)
        self.entries = int(self.tree.num_entries)

    def _find(self, tree: str) -> Any:
        trees = list(dict.fromkeys(self.file.keys(cycle=False, filter_classname=["TTree", "*RNTuple*"])))
        if tree and tree not in trees:
            raise InputError(f'{self.path}: has no tree "{tree}"{closest(tree, trees)}')
        if not tree and len(trees) != 1:
            found = (
                f"several trees ({', '.join(trees)}); say which with tree = ..."
                if trees
                else "no tree; name a file with a TTree or an RNTuple"
            )
            raise InputError(f"{self.path}: contains {found}")
        return guarded(self.path, "damaged", lambda: self.file[tree or trees[0]])

    @property
    def is_ntuple(self) -> bool:
        """Whether the events are an RNTuple."""
        return not hasattr(self.tree, "branches")

    @cached_property
    def names(self) -> list[str]:
        """List the branches, or the fields of an RNTuple; the insides of its collections are no columns."""
        return list(self._fields) if self.is_ntuple else list(self.tree.keys(full_paths=False))

    @cached_property
    def _fields(self) -> dict[str, str]:
        """Map columns to the fields of an RNTuple; `Jet_pt` is the member `pt` of a collection of records `Jet`."""
        types = self.tree.typenames()
        collections = [name for name, typename in types.items() if not typename and not name.startswith("_collection")]
        parts = [(name, *name.split(".")) for name in types if name.count(".") == 1]
        inside = {f"{outer}_{inner}": name for name, outer, inner in parts if outer in collections}
        return {**inside, **{n: n for n in types if "." not in n and n not in collections and not n.startswith("_")}}

    def kind(self, name: str) -> str:
        """Name the type of a branch or field."""
        if not self.is_ntuple:
            return _branch(self.tree[name])
        field = self._fields[name]
        kind = _field(self.tree.typenames()[field])
        return f"{JAGGED}{kind}" if "." in field and NUMBER.fullmatch(kind) else kind

    def borders(self, names: Sequence[str]) -> Sequence[int]:
        """List the ends of clusters, or where baskets of all branches end together."""
        if self.is_ntuple:
            return [*(int(c.num_first_entry) for c in self.tree.cluster_summaries), self.entries]
        wanted = set(names)
        found = self.tree.common_entry_offsets(filter_name=lambda name: name in wanted)
        return sorted({0, *map(int, found), self.entries})

    def iterate(self, names: Sequence[str], start: int, stop: int, step: int) -> Iterator[Columns]:
        """Read branches in chunks."""
        if self.entries == 0 or start >= stop:
            return
        plain = all(flat(kind) and kind != TEXT for kind in map(self.kind, names)) and not self.is_ntuple
        fields = [self._fields[name] for name in names] if self.is_ntuple else list(names)
        chunks = self.tree.iterate(
            fields, entry_start=start, entry_stop=stop, step_size=step, library="np" if plain else "ak"
        )
        while (chunk := guarded(self.path, "damaged", lambda: next(chunks, None))) is not None:
            yield {
                name: chunk[name]
                if plain
                else from_awkward(chunk[tuple(field.split("."))] if "." in field else chunk[field])
                for name, field in zip(names, fields, strict=True)
            }

    def __enter__(self) -> Self:
        """Stay open."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.file.close()


def _branch(branch: Any) -> str:
    """Name the type of a TTree's branch in NumPy's words, where it has any."""
    kind = branch.interpretation
    inner = getattr(kind, "content", kind)
    dtype = getattr(inner, "to_dtype", None)
    if dtype is None:
        return TEXT if type(kind).__name__ == "AsStrings" else str(branch.typename)
    if inner is not kind and type(kind).__name__ == "AsJagged" and not dtype.shape:
        return f"{JAGGED}{dtype}"
    return str(dtype) if inner is kind and not dtype.shape else str(branch.typename)


def _field(typename: str) -> str:
    """Name the type of an RNTuple's field in NumPy's words, where it has any."""
    outer, _, inner = typename.partition("<")
    if outer in ("ROOT::VecOps::RVec", "std::vector"):
        kind = _field(inner.removesuffix(">"))
        return f"{JAGGED}{kind}" if NUMBER.fullmatch(kind) else typename
    if outer == "ROOT::RNTupleCardinality":  # a counter of a collection
        return "int64"
    if outer == "std::string":
        return TEXT
    plain = PLAIN.get(typename, typename.removeprefix("std::").removesuffix("_t"))
    return plain if NUMBER.fullmatch(plain) else typename
