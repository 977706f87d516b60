"""The plan: an analysis turned into tasks with keys. Pure; knows no machine and opens no file."""

from needle_parsl.plan.builder import Inputs, StageInputs, VariationEffect
from needle_parsl.plan.datasets import OBSERVED
from needle_parsl.plan.graph import Plan, build, build_first, sources
from needle_parsl.plan.keys import content, digest
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
    "content",
    "digest",
    "sources",
]
