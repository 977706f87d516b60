"""Are varied samples made of the events of the nominal one? Then networks that saw one version must not judge another.

Ids that the files name tell it; without them, the features do: a shift of one energy leaves other features as they are, bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from needle_parsl.nsbi.data import hashing
from needle_parsl.nsbi.data.events import Events

ROWS = 20_000
"""Varied events that are looked for among the nominal ones."""
NOMINAL = 300_000
"""Nominal events among which they are looked for, the first ones."""
COMMON = 0.5
"""Part of the varied events with a value, or an id, that a nominal event has, from which on they are the same events."""
DISTINCT = 0.5
"""Part of the nominal values that differ from each other, from which on a common value says something."""
UNIQUE = 0.999
"""The same of some columns together, from which on they can name an event."""


@dataclass(frozen=True)
class Shared:
    """What the variations of a sample have in common with it."""

    ids: tuple[str, ...]
    """Variations whose ids say so."""
    content: tuple[str, ...]
    """Variations whose features say so, and whose ids do not."""
    columns: tuple[str, ...]
    """Features that all of these leave as they are, and that together tell events apart; empty if there are none."""
    own: tuple[str, ...]
    """Variations with events of their own, as far as can be seen."""


def shared(nominal: Events, varied: Mapping[str, Events]) -> Shared:
    """Compare variations with their nominal sample.

    Args:
        nominal: Its events.
        varied: Events by variation.
    """
    by_id = [name for name, events in varied.items() if _common(events.id, nominal.id) > COMMON]
    same = {name: _unchanged(nominal, varied[name]) for name in varied if name not in by_id}
    content = [name for name, columns in same.items() if columns]
    columns = [c for c in nominal.names if content and all(c in same[name] for name in content)]
    own = [name for name in varied if name not in by_id and name not in content]
    return Shared(tuple(by_id), tuple(content), _telling(nominal, columns), tuple(own))


def _telling(nominal: Events, columns: Sequence[str]) -> tuple[str, ...]:
    """Choose as few features as tell events apart, those with the most values first; none if all together do not.

    A feature with a placeholder has fewer values, and comes late: where a variation loses a jet, what there was of it is no id.
    """
    places = sorted((nominal.names.index(name) for name in columns), key=lambda k: -_distinct(nominal.x[:, [k]]))
    for count in range(1, len(places) + 1):
        if _distinct(nominal.x[:, places[:count]]) > UNIQUE:
            return tuple(nominal.names[k] for k in places[:count])
    return ()


def _distinct(x: npt.NDArray[np.float32]) -> float:
    """Give the part of events that differ from all before them."""
    return len(np.unique(hashing.content(x))) / max(len(x), 1)


def _common(values: npt.NDArray[np.generic], others: npt.NDArray[np.generic]) -> float:
    """Give the part of some values that are among others."""
    return float(np.isin(values[:ROWS], others).mean()) if len(values) else 0.0


def _unchanged(nominal: Events, varied: Events) -> list[str]:
    """List the features whose values in a variation are those of nominal events."""
    return [
        name
        for place, name in enumerate(nominal.names)
        if len(np.unique(nominal.x[:, place])) > DISTINCT * len(nominal)
        and _common(varied.x[:, place], nominal.x[:, place]) > COMMON
    ]


def note(sample: str, found: Shared) -> str:
    """Say what is assumed of the events of a sample and its variations; empty where ids that the files name decide."""
    if found.content and found.columns:
        return (
            f"sample {sample}: {', '.join(found.content)} contain the same events (recognised by {', '.join(found.columns)}) and are divided into "
            "folds and trained together with it; to decide it yourself, name the columns of an event in split.id"
        )
    if found.content:
        return (
            f"sample {sample}: {', '.join(found.content)} contain the same events, but no features are left that identify them; name the columns "
            "of an event in split.id, or variations are evaluated by networks that saw them"
        )
    if found.own and not found.ids:
        return (
            f"sample {sample}: its variations are assumed to be independent events; if they contain the same events, name the columns of an "
            "event in split.id"
        )
    return ""
