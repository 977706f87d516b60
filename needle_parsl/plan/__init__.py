"""The plan: an analysis turned into tasks with keys. Pure; knows no machine and opens no file."""

from needle_parsl.plan.builder import Inputs, StageInputs, VariationEffect
from needle_parsl.plan.datasets import OBSERVED
from needle_parsl.plan.graph import build, build_first, build_region
from needle_parsl.plan.keys import content, digest
from needle_parsl.plan.plan import Plan
from needle_parsl.plan.sources import sources
from needle_parsl.plan.specs import (
    Classes,
    ComputedSpec,
    Convert,
    File,
    Generate,
    InitialSpec,
    Physics,
    Piece,
    Task,
    ToysSpec,
    Train,
)

__all__ = [
    "OBSERVED",
    "Classes",
    "ComputedSpec",
    "Convert",
    "File",
    "Generate",
    "InitialSpec",
    "Inputs",
    "Physics",
    "Piece",
    "Plan",
    "StageInputs",
    "Task",
    "ToysSpec",
    "Train",
    "VariationEffect",
    "build",
    "build_first",
    "build_region",
    "content",
    "digest",
    "sources",
]
