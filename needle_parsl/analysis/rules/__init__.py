"""Mistakes that only show between tables: names that do not exist, sums that do not fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from needle_parsl.analysis.rules import (
    data,
    fits,
    joint,
    limits,
    model,
    regions,
    search,
    simulated,
    stages,
    toys,
    training,
)
from needle_parsl.analysis.rules.data import OBSERVED

if TYPE_CHECKING:
    from needle_parsl.analysis.rules.common import Complain
    from needle_parsl.analysis.tables import Analysis

__all__ = ["OBSERVED", "check", "regions", "search"]


def check(analysis: Analysis, complain: Complain) -> None:
    """Hold the tables of an analysis against each other.

    Args:
        analysis: What was read.
        complain: Called with key and message for each mistake.
    """
    learned = [] if analysis.stages_alone else [data, training]
    fitted = [] if analysis.stages_alone or analysis.unfitted else [model, joint, simulated, fits, toys]
    for part in (*learned, *fitted, stages, limits):
        part.check(analysis, complain)
    if analysis.stages_alone:
        data.names(analysis, complain)
