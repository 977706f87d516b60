"""Whether a descent that ended at a bound has found the minimum there, in any unit of the parameter."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from needle_parsl.nsbi.statistics.fits import fitting


def settled(slope: float, bend: float, unit: float, inside: float = 0.0) -> bool:
    """A parameter at its lower bound, and one within its bounds; -ln L per unit of the first."""
    problem: Any = SimpleNamespace(
        second=True,
        gradient=lambda _: np.array([slope / unit, inside]),
        hessian=lambda _: np.diag([bend / unit**2, 1.0]),
    )
    minuit: Any = SimpleNamespace(values=[0.0, 0.0], limits=[(0.0, 20.0 * unit), (-5.0, 5.0)])
    found: Any = SimpleNamespace(problem=problem, minuit=minuit)
    return fitting._settled(found, np.array([True, False]))


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_a_slope_into_the_bounds_counts_in_any_unit(unit: float) -> None:
    assert settled(3.0, 1.0, unit)
    assert settled(1e-5, -1.0, unit)
    assert settled(-1e-3, 1.0, unit)
    assert not settled(-0.1, 1.0, unit)
    assert not settled(-0.1, -1.0, unit)
    assert not settled(3.0, 1.0, unit, inside=0.1)
