"""What the report has gathered of a closure that is good."""

from __future__ import annotations

from typing import Any

import numpy as np

ERROR, FINITE = 0.2, 0.04
"""Of mu in the Asimov fit, and what the finite simulation is worth there."""


def injection(name: str, converged: bool = True, **parameters: tuple[float, float | None, float | None]) -> Any:
    """A fit with true value, best value and error of each parameter."""
    own = [{"parameter": p, "true": t, "value": v, "error": e} for p, (t, v, e) in parameters.items()]
    return {"name": name, "converged": converged, "parameters": own}


GOOD: dict[str, Any] = {
    "points": [{"mu": 1.0}],
    "yields": {"signal": 100.0, "background": 900.0},
    "normalisation": {
        "@processes": {
            "ratios": {"signal": {"slope": 1.01, "slope_error": 0.01, "offset": 0.02, "offset_error": 0.01}},
            "cross_entropy": [0.2005, 0.2],
        },
        "@background": {
            "ratios": {
                "background.jes.up": {"slope": 0.9, "slope_error": 0.06, "offset": 0.001, "offset_error": 0.0},
                "background.jes.down": {"slope": 1.02, "slope_error": 0.05, "offset": 0.0, "offset_error": 0.0},
            },
            "cross_entropy": [1.0985, 1.098],
        },
    },
    "variations": [
        injection("jes.up", mu=(1.0, 1.02, 0.2), jes=(1.0, 0.95, 0.5)),
        injection("jes.down", mu=(1.0, 0.98, 0.2), jes=(-1.0, -1.05, 0.5)),
    ],
    "signals": [
        injection("mu=0", mu=(0.0, 0.0, None), jes=(0.0, 0.01, 0.5)),
        injection("mu=2", mu=(2.0, 2.03, 0.25), jes=(0.0, 0.0, 0.5)),
    ],
    "halves": [
        injection("half 1", mu=(1.0, 1.07, 0.2), jes=(0.0, 0.1, 0.5)),
        injection("half 2", mu=(1.0, 0.94, 0.2), jes=(0.0, -0.1, 0.5)),
    ],
    "toys": {
        "toys": 50, "mean": 1.0, "spread": 0.21, "spread_error": 0.021, "error": ERROR, "reason": None,
        "values": np.random.default_rng(1).normal(1.0, 0.21, 50).tolist(),
    },
}  # fmt: skip
