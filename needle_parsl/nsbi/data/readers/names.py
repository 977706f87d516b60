"""How the columns of a file are called: by their short name, by their path, or with `_` for every separator."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from needle_parsl.errors import closest

SEPARATORS = re.compile(r"[./:\\|\[\]]+")
"""What stands between the parts of a name: `Jet.PT`, `Event/Event.MPI`, `AnalysisJetsAuxDyn:pt`, `Jets::fCoordinates`."""


class Names(list[str]):
    """The names that are listed; `in` also knows the others that lead to a column.

    A name leads to a column if no other column has it: what several have is asked for by its path, never guessed.
    """

    def __init__(self, columns: Iterable[Sequence[str]]) -> None:
        """Name columns.

        Args:
            columns: For each its names, from the shortest to the whole path.
        """
        self.columns = [tuple(dict.fromkeys(names)) for names in columns]
        self.exact: dict[str, list[int]] = {}
        self.loose: dict[str, list[int]] = {}
        for number, names in enumerate(self.columns):
            for name in names:
                self.exact.setdefault(name, []).append(number)
            for name in {flattened(name) for name in names}:
                self.loose.setdefault(name, []).append(number)
        listed = (
            next((name for name in names if self.exact[name] == [number]), None)
            for number, names in enumerate(self.columns)
        )
        super().__init__(name for name in listed if name is not None)

    def number(self, name: str) -> int | None:
        """Give the place of a column; None if there is none, or if several have the name."""
        found = self.exact[name] if name in self.exact else self.loose.get(flattened(name), [])
        return found[0] if len(found) == 1 else None

    def __contains__(self, name: object) -> bool:
        """Whether a name leads to a column."""
        return isinstance(name, str) and self.number(name) is not None

    def hint(self, name: str, known: Iterable[str] = ()) -> str:
        """Say what may have been meant by a name that leads nowhere; a half-sentence.

        Args:
            name: What was written.
            known: What could have been written, beside the columns.
        """
        several = self.exact[name] if name in self.exact else self.loose.get(flattened(name), [])
        paths = list(dict.fromkeys(self.columns[number][-1] for number in several))
        if len(paths) > 1:
            return (
                f", but several that end so; write the path: {', '.join(paths[:5])}{', ...' if len(paths) > 5 else ''}"
            )
        if len(several) > 1:
            return f", but {len(several)} of that name and path, which nobody can tell apart"
        return closest(name, list(dict.fromkeys([*self, *known])))


def flattened(name: str) -> str:
    """Write a name with `_` for every separator, as expressions need it."""
    return SEPARATORS.sub("_", name).strip("_")


def hint(names: Sequence[str], name: str, known: Iterable[str] = ()) -> str:
    """Say what may have been meant; see `Names.hint`."""
    return names.hint(name, known) if isinstance(names, Names) else closest(name, list(dict.fromkeys([*names, *known])))
