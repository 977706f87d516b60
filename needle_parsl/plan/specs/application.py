"""What the tasks of `needle evaluate` know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from needle_parsl.plan.specs.stores import Convert, Physics


@dataclass(frozen=True, kw_only=True)
class Application:
    """The estimators of a run, and the new events that they are applied to."""

    onnx: str
    """An exported file with all ratios; empty to evaluate with torch."""
    estimators: Mapping[str, str]
    """The file of each ratio."""
    ratios: tuple[str, ...]
    events: Convert
    """What is read of the files."""
    tree: str
    """The TTree, RNTuple or HDF5 group; empty for the only one."""
    code: Physics
    """The user's Python file, and which networks of it the files may name."""
    limit: float = float("inf")
    """Seconds that code of the user's may take for a piece."""
