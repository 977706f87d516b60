"""What the user wrote: one `analysis.toml`, read strictly into frozen tables."""

from needle_parsl.analysis.file import load
from needle_parsl.analysis.tables import (
    Analysis,
    Data,
    Ensemble,
    Features,
    Fit,
    Intervals,
    Model,
    Nuisance,
    Parameter,
    Ratios,
    Sample,
    Scan,
    Source,
    Split,
    Training,
    Variation,
)

__all__ = [
    "Analysis",
    "Data",
    "Ensemble",
    "Features",
    "Fit",
    "Intervals",
    "Model",
    "Nuisance",
    "Parameter",
    "Ratios",
    "Sample",
    "Scan",
    "Source",
    "Split",
    "Training",
    "Variation",
    "load",
]
