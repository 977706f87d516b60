"""What tasks read: stores, yields, datasets and likelihoods, from a run directory.

Its modules are imported when something of them is asked for: a fit does without torch, and a training without iminuit, each of
which takes a worker a second or two.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from needle_parsl.tasks.inputs.datasets import (
        blocks,
        counted,
        dataset,
        exact_likelihood,
        expectation,
        expected,
        fitted,
        likelihood,
        likelihood_of,
        networks,
        regions,
        scales,
        seen,
        shared,
        simulated,
        simulation,
        varied,
        weighted,
        yields,
    )
    from needle_parsl.tasks.inputs.ratios import (
        both,
        exact_log_ratio,
        head,
        kept_training_events,
        log_density,
        pair,
        roles,
        training_events,
    )
    from needle_parsl.tasks.inputs.stores import (
        count,
        features,
        first,
        fractions,
        lost,
        mixed,
        part,
        parts,
        path,
        pieces,
        provenance,
        recipe,
        schema,
        shares,
        store,
        total,
        yields_of,
    )

__all__ = [
    "blocks",
    "both",
    "count",
    "counted",
    "dataset",
    "exact_likelihood",
    "exact_log_ratio",
    "expectation",
    "expected",
    "features",
    "first",
    "fitted",
    "fractions",
    "head",
    "kept_training_events",
    "likelihood",
    "likelihood_of",
    "log_density",
    "lost",
    "mixed",
    "networks",
    "pair",
    "part",
    "parts",
    "path",
    "pieces",
    "provenance",
    "recipe",
    "regions",
    "roles",
    "scales",
    "schema",
    "seen",
    "shared",
    "shares",
    "simulated",
    "simulation",
    "store",
    "total",
    "training_events",
    "varied",
    "weighted",
    "yields",
    "yields_of",
]
_MODULES = {
    "datasets": (
        "blocks",
        "counted",
        "dataset",
        "exact_likelihood",
        "expectation",
        "expected",
        "fitted",
        "likelihood",
        "likelihood_of",
        "networks",
        "regions",
        "scales",
        "seen",
        "shared",
        "simulated",
        "simulation",
        "varied",
        "weighted",
        "yields",
    ),
    "ratios": (
        "both",
        "exact_log_ratio",
        "head",
        "kept_training_events",
        "log_density",
        "pair",
        "roles",
        "training_events",
    ),
    "stores": (
        "count",
        "features",
        "first",
        "fractions",
        "lost",
        "mixed",
        "part",
        "parts",
        "path",
        "pieces",
        "provenance",
        "recipe",
        "schema",
        "shares",
        "store",
        "total",
        "yields_of",
    ),
}


def __getattr__(name: str) -> Any:
    """Import the module that has a name."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
