"""Losses whose minimum is at the log density ratio, or at log densities up to what they share; `analysis/catalogue.py` lists them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from needle_parsl import refs
from needle_parsl.analysis import catalogue
from needle_parsl.errors import InputError
from needle_parsl.nsbi.training import user_errors

LARGEST = 20.0
"""Largest exponent."""
EVENTS = 64
"""That a loss of the user's is tried on."""


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


def alice(logit: torch.Tensor, label: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy with the joint score instead of a label: the minimum of `carl`, from labels without noise.

        L = -mean w [ s(x, z) ln s + (1 - s(x, z)) ln(1 - s) ],   s(x, z) = p_1(x, z) / (p_1(x, z) + p_0(x, z))

    Over numerator and denominator in equal parts the mean of s(x, z) at x is p_1(x) / (p_1(x) + p_0(x)).

    Args:
        logit: Shape (N,).
        label: The joint score, from 0 to 1; shape (N,).
        weight: Shape (N,); may be negative.

    References:
        M. Stoye, J. Brehmer, G. Louppe, J. Pavez, K. Cranmer, arXiv:1808.00973.
    """
    return carl(logit, label, weight)


def regression(logit: torch.Tensor, label: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Squared error of the ratio to the joint ratio, over events of the denominator.

        L = mean w [ exp(f) - r(x, z) ]^2,   E_0[r(x, z) | x] = p_1(x) / p_0(x)

    It is linear in r(x, z): polynomials of Taylor coefficients of an event, taken at points of the parameters, have the same
    polynomials of the coefficients at x as their minima. Exponents end at 20; beyond, a linear term points home.

    Args:
        logit: f = ln r, shape (N,).
        label: The joint ratio, which may be negative in single events; shape (N,).
        weight: Shape (N,); may be negative.

    References:
        J. Brehmer, G. Louppe, J. Pavez, K. Cranmer, arXiv:1805.12244; for Taylor coefficients arXiv:1805.00020.
    """
    ratio = torch.exp(logit.clamp(max=LARGEST)) + (logit - LARGEST).clamp(min=0)
    return (weight * (ratio - label) ** 2).mean()


def multiclass(logits: torch.Tensor, label: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Weighted softmax cross-entropy; with equal class weights its minimum is at l_j = ln p_j + a function of x.

        L = -mean w ln s_y,   s_j = exp(l_j) / sum_i exp(l_i),   ln p_j / p_i = l_j - l_i

    Args:
        logits: One for each class, shape (N, C).
        label: Number of the class, shape (N,).
        weight: Shape (N,); may be negative.

    References:
        K. Cranmer, J. Pavez, G. Louppe, arXiv:1506.02169, for its decomposition into pairs.
    """
    return (weight * cross_entropy(logits, label.long(), reduction="none")).mean()


Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""Takes logits, labels and weights of shape (N,), or logits of shape (N, C) of a loss of all classes, and gives one number."""


def find(name: str) -> Loss:
    """Find a loss by its name: one of needle's, or one that the user's analysis names.

    Raises:
        InputError: There is no such function.
    """
    known = catalogue.LOSSES.get(name)
    found: Loss = known.load() if known else refs.named_by_file(name)
    if not callable(found):
        raise InputError(f"{refs.own_name(name)} is no function; expected one of logits, labels and weights")
    return found


def tried(name: str) -> None:
    """Try a loss on logits that are made up.

    Raises:
        InputError: It gives no number that can be minimised.
    """
    loss, generator = find(name), torch.Generator().manual_seed(1)
    logit = torch.randn(EVENTS, generator=generator).requires_grad_()
    label, weight = (torch.arange(EVENTS) % 2).float(), torch.rand(EVENTS, generator=generator) + 0.5
    with user_errors.blamed(refs.own_name(name), hint="it is given logits, labels and weights, each of shape (N,)"):
        found: Any = loss(logit, label, weight)
    if not isinstance(found, torch.Tensor) or found.ndim:
        given = f"shape {tuple(found.shape)}" if isinstance(found, torch.Tensor) else type(found).__name__
        raise InputError(
            f"{refs.own_name(name)} gives {given} for {EVENTS} events; expected one number, such as a mean over them"
        )
    if not torch.isfinite(found):
        raise InputError(
            f"{refs.own_name(name)} gives {found.item()} for logits between -4 and 4; expected a finite number"
        )
    (gradient,) = torch.autograd.grad(found, logit, allow_unused=True) if found.requires_grad else (None,)
    if gradient is None or not gradient.any():
        raise InputError(
            f"{refs.own_name(name)} gives a number that does not change with the logits; compute it from them by torch alone"
        )
    if not torch.isfinite(gradient).all():
        raise InputError(f"{refs.own_name(name)} has a gradient that is not finite for logits between -4 and 4")
