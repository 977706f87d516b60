"""The agreement of compiled fits with iminuit at full size."""

from __future__ import annotations

import pytest
from problems.compiled_fits import CLOSE, agree, pool
from problems.interference import Problem


@pytest.mark.campaign
@pytest.mark.parametrize(("mode", "mu"), [("interference", 1.0), ("interference", 0.3), ("linear", 1.0)])
def test_a_thousand_compiled_fits_agree_with_iminuit(mode: str, mu: float) -> None:
    worst = agree(*pool(Problem(mode), mu), range(1000))
    print(mode, mu, worst)
    assert worst["failed"] <= 5
    assert worst["nll"] < 1e-6
    assert worst["mu"] < CLOSE
