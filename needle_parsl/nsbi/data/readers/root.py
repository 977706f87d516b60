"""ROOT files: TTree and RNTuple, through uproot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Self

from needle_parsl.errors import InputError, closest
from needle_parsl.nsbi.data.readers import ntuple
from needle_parsl.nsbi.data.readers.columns import JAGGED, TEXT, Columns, flat, from_awkward
from needle_parsl.nsbi.data.readers.protocol import guarded
from needle_parsl.nsbi.data.readers.source import Source


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
    def _fields(self) -> dict[str, ntuple.Field]:
        return ntuple.columns(self.tree)

    def kind(self, name: str) -> str:
        """Name the type of a branch or field."""
        return self._fields[name].kind if self.is_ntuple else _branch(self.tree[name])

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
        fields = [self._fields[name].key for name in names] if self.is_ntuple else list(names)
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
    try:
        kind = branch.interpretation
    except Exception as error:  # noqa: BLE001  uproot raises KeyError, UnknownInterpretation and others
        return f"{branch.typename or 'unknown'}, which cannot be interpreted ({type(error).__name__})"
    inner = getattr(kind, "content", kind)
    dtype = getattr(inner, "to_dtype", None)
    if dtype is None:
        return TEXT if type(kind).__name__ == "AsStrings" else str(branch.typename)
    if inner is not kind and type(kind).__name__ == "AsJagged" and not dtype.shape:
        return f"{JAGGED}{dtype}"
    return str(dtype) if inner is kind and not dtype.shape else str(branch.typename)
