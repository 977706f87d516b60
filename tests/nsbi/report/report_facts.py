"""Facts of a report as far as a check or a figure needs them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any


class PartialFacts(SimpleNamespace):
    """Like `Facts`, with less in it."""

    @property
    def fit(self) -> Any:
        return self.inference.fits[self.subject.headline]

    @property
    def scan(self) -> Any:
        return self.inference.scans["scan"]
