"""Losses whose minimum is at the log density ratio, by name."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

LARGEST = 20.0
"""Largest exponent."""


def carl(logit: torch.Tensor, label: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Weighted binary cross-entropy; with equal class weights its minimum is at logit = ln p_1 / p_0.

        L = -mean w [ y ln s + (1 - y) ln(1 - s) ],   s = 1 / (1 + exp(-logit))

    Args:
        logit: Shape (N,).
        label: 1 for the numerator, 0 for the denominator; shape (N,).
        weight: Shape (N,); may be negative.

    References:
        K. Cranmer, J. Pavez, G. Louppe, arXiv:1506.02169.
    """
    return (weight * binary_cross_entropy_with_logits(logit, label, reduction="none")).mean()


def mlc(logit: torch.Tensor, label: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Symmetrised maximum-likelihood classifier loss on f = ln r; its minimum is at f = ln p_1 / p_0.

        L = mean w [ y (exp(-f) - f) + (1 - y) (exp(f) + f) ]

    Exponents end at 20, so that a wild start has a finite gradient; the linear terms still point home.

    Args:
        logit: Shape (N,).
        label: 1 for the numerator, 0 for the denominator; shape (N,).
        weight: Shape (N,); may be negative.

    References:
        R. T. D'Agnolo, A. Wulzer, arXiv:1806.02350; symmetrised in arXiv:2506.00113.
    """
    up, down = torch.exp(logit.clamp(max=LARGEST)) + logit, torch.exp((-logit).clamp(max=LARGEST)) - logit
    return (weight * (label * down + (1 - label) * up)).mean()


Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
LOSSES: dict[str, Loss] = {"carl": carl, "mlc": mlc}
"""Each takes logits, labels and weights of shape (N,)."""
