"""The scripts of docs/library.md: they run as they stand, and say what the data are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SCRIPTS = Path(__file__).parents[3] / "docs" / "library.md"


@pytest.mark.slow
def test_scripts_of_the_documentation_run(capsys: pytest.CaptureFixture[str]) -> None:
    parts = re.findall(r"```python\n(.*?)```", SCRIPTS.read_text(encoding="utf-8"), flags=re.DOTALL)
    names: dict[str, Any] = {}
    for code in parts:
        exec(compile(code, str(SCRIPTS), "exec"), names)
    # 600 background events where 500 are expected: the shape says that there is no signal, the rate that there is some
    fit, mu = names["fit"], names["mu"]
    assert fit.converged
    assert -0.5 < mu.value < 1.0
    ((low, high),) = names["scan"].intervals["0.68"]
    np.testing.assert_allclose((low, high), mu.minos, atol=0.01)
    (scale,) = names["impacts"].nuisances
    np.testing.assert_allclose(scale.impacts["refit"], scale.impacts["covariance"], rtol=0.1)
    limits = names["limits"]
    assert mu.value < limits.observed < mu.value + 3 * mu.error
    assert limits.expected["-1"] < limits.expected["0"] < limits.expected["1"]
    # 50 toys at each value tell the ends of an interval to a third of its width
    ((left, right),) = names["belt"].intervals["0.68"]
    np.testing.assert_allclose((left, right), (low, high), atol=0.5 * mu.error)
    profile, neyman = names["coverage"].points
    assert (profile.method, neyman.method) == ("profile", "neyman")
    for point in (profile, neyman):
        assert point.toys == 100
        assert abs(point.coverage - 0.68) < 4 * point.error + 0.1  # that of a belt from 50 toys
        assert abs(point.bias) < 4 * point.bias_error
    assert "profile" in capsys.readouterr().out
