"""A count with a known background: its likelihood, and the intervals of Feldman and Cousins, without toys."""

from __future__ import annotations

import numpy as np
from scipy.stats import poisson

BACKGROUND, LEVEL = 3.0, 0.9
TABLE = {0: (0.0, 1.08), 1: (0.0, 1.88), 2: (0.0, 3.04), 3: (0.0, 4.42), 4: (0.0, 5.60), 5: (0.0, 6.99),
         6: (0.15, 8.47), 7: (0.89, 9.53), 8: (1.51, 10.99), 9: (1.88, 12.30), 10: (2.63, 13.50)}  # fmt: skip
"""Intervals at 90 %, a background of 3: G. J. Feldman, R. D. Cousins, arXiv:physics/9711021, table IV."""
FC = {count: high for count, (_, high) in TABLE.items()}
"""Upper ends; that of 0 is raised there
above the construction, so that limits do not fall with the background."""


def t(mu: float, n: int) -> float:
    """-2 ln of the likelihood ratio of a count."""
    best = max(0.0, n - BACKGROUND)
    logs = n * np.log((mu + BACKGROUND) / (best + BACKGROUND)) if n else 0.0
    return 2 * (mu - best - logs)


COUNTS = np.arange(80)


def critical(mu: float, level: float) -> float:
    """The exact critical value of t at mu."""
    own = np.array([t(mu, int(n)) for n in COUNTS])
    order = np.argsort(own, kind="stable")
    share = np.cumsum(poisson.pmf(COUNTS, mu + BACKGROUND)[order])
    return float(own[order][np.searchsorted(share, min(level, 0.999) - 1e-12)])


def exact(n: int, level: float, grid: np.ndarray) -> tuple[float, float]:
    """The outermost values of a grid that a count accepts."""
    accepted = [mu for mu in grid if t(mu, n) <= critical(mu, level) + 1e-9]
    return min(accepted), max(accepted)


def exact_p(mu: float, n: int, b: float = BACKGROUND) -> float:
    """The probability at mu of a count that is ranked as n or lower, by enumeration."""
    counts = np.arange(80)
    rank = poisson.logpmf(counts, mu + b) - poisson.logpmf(counts, np.maximum(counts, b))
    return min(float(poisson.pmf(counts, mu + b)[rank <= rank[n] + 1e-9].sum()), 1.0)
