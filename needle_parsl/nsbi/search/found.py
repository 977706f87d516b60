"""What a search has found: the record of `search/best.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from needle_parsl.analysis.space import Value
from needle_parsl.json_records import JsonRecord
from needle_parsl.nsbi.search.trials import Trial


@dataclass(frozen=True, kw_only=True)
class Chosen(JsonRecord):
    """Settings that the ensemble is made of."""

    trial: int
    settings: Mapping[str, Value]
    lengths: tuple[int, ...]
    """Epochs at which its training may end."""
    pack: str
    """That has its networks."""
    words: str


@dataclass(frozen=True, kw_only=True)
class Found(JsonRecord):
    """`search/best.json`: the end of a search."""

    chosen: tuple[Chosen, ...]
    """The best first, as many as the ensemble is made of."""
    front: tuple[int, ...]
    """Trials that no other one beats in all metrics."""
    trials: tuple[Trial, ...]
