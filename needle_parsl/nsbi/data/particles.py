"""From the jagged columns of a file to the particles of its events: chosen, ordered, and cut to a number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from needle_parsl import expressions
from needle_parsl.errors import InputError
from needle_parsl.nsbi.data.jagged import Jagged, ends
from needle_parsl.nsbi.data.readers import Columns


@dataclass(frozen=True)
class ParticleRecipe:
    """What to make of the particles of an event."""

    names: tuple[str, ...]
    """Features of a particle."""
    collection: str
    """What the names of their columns begin with, before an underscore; may be empty."""
    most: int
    """Particles of an event that are kept."""
    sort: str = ""
    """The feature by which they are ordered, largest first; empty leaves the order of the file."""
    selection: str = ""
    """Particles that are kept, as an expression in the features."""

    def column(self, name: str) -> str:
        """Name the column of a feature: `Jet_pt`."""
        return f"{self.collection}_{name}" if self.collection else name

    def columns(self) -> list[str]:
        """List the columns that must be read."""
        used = {*self.names, *([self.sort] if self.sort else [])}
        used |= expressions.parse(self.selection).names() if self.selection else set()
        return sorted(map(self.column, used))


def gather(columns: Columns, recipe: ParticleRecipe, where: str, nan: float | None = None) -> Jagged:
    """Make the particles of a chunk.

    Args:
        columns: Jagged columns by name.
        recipe: What to keep of them.
        where: File and sample, for messages.
        nan: What NaN is stored as; None where it is refused.

    Returns:
        Float32 features of the particles, shape (M, P) in all.

    Raises:
        InputError: The columns have different numbers of particles, or a feature is no finite number.
    """
    names = [*recipe.columns()]
    first: Jagged = columns[names[0]]
    for name in names[1:]:
        if not np.array_equal(columns[name].offsets, first.offsets):
            raise InputError(
                f'{where}: columns "{names[0]}" and "{name}" have different numbers of particles in an event'
            )
    prefix = recipe.column("")
    values = {name.removeprefix(prefix): columns[name].values for name in names}
    rows = _chosen(values, first, recipe, where)
    features = np.stack([np.asarray(values[name][rows], np.float32) for name in recipe.names], axis=1)
    if nan is not None:
        np.copyto(features, nan, where=np.isnan(features))
    if not np.isfinite(features).all():
        bad = recipe.names[int(np.flatnonzero(~np.isfinite(features).all(axis=0))[0])]
        raise InputError(
            f'{where}: column "{recipe.column(bad)}" is NaN or infinite, or beyond float32, in a particle that is kept; '
            "mend the file, or leave such particles out with features.particles.selection"
        )
    kept = np.zeros(len(first.values) + 1, np.int64)
    np.add.at(kept, rows + 1, 1)
    return Jagged(features, np.cumsum(kept)[first.offsets])


def _chosen(
    values: dict[str, npt.NDArray[np.generic]], first: Jagged, recipe: ParticleRecipe, where: str
) -> npt.NDArray[np.intp]:
    """List the places of the particles that are kept, event by event, in their order."""
    event = np.repeat(np.arange(len(first)), first.counts)
    rows = np.arange(len(event))
    if recipe.selection:
        try:
            with np.errstate(all="ignore"):
                keep = np.asarray(expressions.parse(recipe.selection)(values))
        except (TypeError, ValueError, ArithmeticError) as error:
            text = expressions.shorten(recipe.selection)
            raise InputError(f'{where}: the selection of particles "{text}" cannot be computed: {error}') from error
        rows = np.flatnonzero(np.broadcast_to(np.nan_to_num(keep).astype(bool), rows.shape))
    if recipe.sort:
        rows = rows[np.lexsort((-values[recipe.sort][rows].astype(np.float64), event[rows]))]
    starts = ends(np.bincount(event[rows], minlength=len(first)))[:-1]
    return rows[np.arange(len(rows)) - starts[event[rows]] < recipe.most]
