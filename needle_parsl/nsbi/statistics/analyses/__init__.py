"""What is asked of a likelihood and of toys, each by one function of arrays that returns a record of `results`.

Tasks call these, and so may a notebook (docs/library.md).
"""

from needle_parsl.nsbi.statistics.analyses.breakdown import break_down
from needle_parsl.nsbi.statistics.analyses.fits import (
    CrossFitted,
    MovesOf,
    ObservedEvents,
    SimulatedData,
    WeightMoves,
    describe_distributions,
    describe_regions,
    find_impacts,
    find_limits,
    fit_dataset,
    fit_exactly,
    inflation_of,
    inflations_at,
    scan_dataset,
    scan_strip,
)
from needle_parsl.nsbi.statistics.analyses.goodness import ComparedEvents, describe_data
from needle_parsl.nsbi.statistics.analyses.toys import (
    OwnEvents,
    ToyBatch,
    UnfittedError,
    build_belt,
    build_region,
    fit_toys,
    is_settled,
    make_toys,
    measure_coverage,
    throw_block,
    throw_toys,
    truth_of,
)
from needle_parsl.nsbi.statistics.analyses.validation import validate
from needle_parsl.nsbi.statistics.intervals.planes import join as join_plane

__all__ = [
    "ComparedEvents",
    "CrossFitted",
    "MovesOf",
    "ObservedEvents",
    "OwnEvents",
    "SimulatedData",
    "ToyBatch",
    "UnfittedError",
    "WeightMoves",
    "break_down",
    "build_belt",
    "build_region",
    "describe_data",
    "describe_distributions",
    "describe_regions",
    "find_impacts",
    "find_limits",
    "fit_dataset",
    "fit_exactly",
    "fit_toys",
    "inflation_of",
    "inflations_at",
    "is_settled",
    "join_plane",
    "make_toys",
    "measure_coverage",
    "scan_dataset",
    "scan_strip",
    "throw_block",
    "throw_toys",
    "truth_of",
    "validate",
]
