"""How good a ratio is on the validation events, epoch by epoch: the diagnostics of estimators, for one member in training.

References:
    METHOD of closure and calibration as in `closure`; K. Cranmer, J. Pavez, G. Louppe, arXiv:1506.02169.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import expit

from needle_parsl.analysis import catalogue
from needle_parsl.nsbi.training.closure import calibration, closure

Floats = npt.NDArray[np.float64]


class Judged(NamedTuple):
    """Validation events with what a member says of them."""

    x: Floats
    """Transformed features, shape (N, F)."""
    label: npt.NDArray[np.bool_]
    weight: Floats
    """With equal sums in both classes, shape (N,)."""
    log_ratio: Floats
    """Shape (N,)."""

    @staticmethod
    def of(columns: Sequence[Sequence[torch.Tensor]]) -> Judged:
        """Put batches of features, labels, weights and logits together."""
        x, label, weight, logit = (torch.cat(list(c)).cpu().numpy() for c in zip(*columns, strict=True))
        return Judged(x.astype(np.float64), label > 0.5, weight.astype(np.float64), logit.astype(np.float64))

    def reweighted(self) -> Floats:
        """Weight the denominator's events with r; its normalisation is taken out."""
        weight: Floats = self.weight[~self.label] * np.exp(np.clip(self.log_ratio[~self.label], -50, 50))
        shares: Floats = weight / weight.sum()
        return shares


def closure_chi2(events: Judged) -> float:
    """Average chi2 / ndf over the features: the denominator, reweighted with r, against the numerator."""
    above, below = events.x[events.label], events.x[~events.label]
    columns = {str(k): (above[:, k], below[:, k]) for k in range(events.x.shape[1])}
    found = closure(columns, events.weight[events.label], events.reweighted())
    return float(np.mean([c.chi2 / c.ndf for c in found.values() if c.ndf] or [np.nan]))


def wasserstein(events: Judged) -> float:
    """Average Wasserstein-1 distance over the features, in their standard deviations. NaN with negative weights."""
    from scipy.stats import wasserstein_distance  # noqa: PLC0415  a second of every worker's start

    above, below, weight = events.x[events.label], events.x[~events.label], events.reweighted()
    target = events.weight[events.label]
    if min(weight.min(), target.min()) < 0:
        return float("nan")
    each = [wasserstein_distance(a, b, target, weight) for a, b in zip(above.T, below.T, strict=True)]
    return float(np.mean(each))


def ece(events: Judged) -> float:
    """Give the expected calibration error of the score."""
    return float(calibration(expit(events.log_ratio), events.label, events.weight).ece)


def mce(events: Judged) -> float:
    """Give the largest calibration error of the score in a bin."""
    return float(calibration(expit(events.log_ratio), events.label, events.weight).mce)


def measure(names: Sequence[str], columns: Sequence[Sequence[torch.Tensor]]) -> dict[str, float]:
    """Compute metrics by name; NaN where the ratio is no finite number.

    Args:
        names: In `catalogue.METRICS`.
        columns: Batches of features, labels, weights and logits.
    """
    events = Judged.of(columns)
    if not np.isfinite(events.log_ratio).all():
        return dict.fromkeys(names, float("nan"))
    return {name: float(catalogue.METRICS[name].load()(events)) for name in names}
