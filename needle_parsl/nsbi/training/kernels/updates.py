"""The steps of optimisers on flat parameters, with the formulae of `torch.optim`."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from needle_parsl.nsbi.compilation import inlined
from needle_parsl.nsbi.training.kernels.layout import Floats

ADAM, NADAM, SGD = range(3)


class UpdateRule(NamedTuple):
    """An optimiser's settings, as torch names them."""

    kind: int
    beta1: float = 0.9
    """The momentum of SGD."""
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    decoupled: bool = False
    """Whether the weights decay beside the gradient."""
    momentum_decay: float = 4e-3
    """Of NAdam."""
    dampening: float = 0.0
    nesterov: bool = False
    """Of SGD."""


class Moments(NamedTuple):
    """What an optimiser remembers."""

    first: Floats
    """Mean of the gradients, shape (P,)."""
    second: Floats
    """Mean of their squares, shape (P,)."""
    counts: np.ndarray[tuple[int], np.dtype[np.float64]]
    """Steps done, and the product of NAdam's momenta."""


@inlined
def update(rule: UpdateRule, parameters: Floats, gradient: Floats, moments: Moments, rate: float) -> None:
    """Do one step, in place.

    Args:
        rule: The optimiser.
        parameters: Shape (P,).
        gradient: Of the loss, shape (P,); weight decay that is not decoupled is added to it.
        moments: What the optimiser remembers.
        rate: The learning rate.
    """
    moments.counts[0] += 1.0
    if rule.weight_decay != 0.0:
        _decay(rule, parameters, gradient, rate)
    if rule.kind == SGD:
        _sgd(rule, parameters, gradient, moments, rate)
    elif rule.kind == NADAM:
        _nadam(rule, parameters, gradient, moments, rate)
    else:
        _adam(rule, parameters, gradient, moments, rate)


@inlined
def _decay(rule: UpdateRule, parameters: Floats, gradient: Floats, rate: float) -> None:
    decay = np.float32(rule.weight_decay)
    if rule.decoupled:
        keep = np.float32(1.0 - rate * rule.weight_decay)
        for n in range(len(parameters)):
            parameters[n] *= keep
    else:
        for n in range(len(parameters)):
            gradient[n] += decay * parameters[n]


@inlined
def _adam(rule: UpdateRule, parameters: Floats, gradient: Floats, moments: Moments, rate: float) -> None:
    """Compute p -= rate / (1 - b1^t) m / (sqrt(v / (1 - b2^t)) + eps)."""
    steps = moments.counts[0]
    size = np.float32(rate / (1.0 - rule.beta1**steps))
    scale = np.float32(1.0 / math.sqrt(1.0 - rule.beta2**steps))
    _moments(rule, gradient, moments)
    eps = np.float32(rule.eps)
    for n in range(len(parameters)):
        parameters[n] -= size * moments.first[n] / (np.sqrt(moments.second[n]) * scale + eps)


@inlined
def _nadam(rule: UpdateRule, parameters: Floats, gradient: Floats, moments: Moments, rate: float) -> None:
    """Adam with Nesterov's momentum, which warms up.

    References:
        T. Dozat, Incorporating Nesterov momentum into Adam, ICLR workshop 2016.
    """
    steps = moments.counts[0]
    now = rule.beta1 * (1.0 - 0.5 * 0.96 ** (steps * rule.momentum_decay))
    coming = rule.beta1 * (1.0 - 0.5 * 0.96 ** ((steps + 1.0) * rule.momentum_decay))
    moments.counts[1] = np.float32(moments.counts[1] * now)  # torch keeps a float32
    done = moments.counts[1]
    by_gradient = np.float32(rate * (1.0 - now) / (1.0 - done))
    by_mean = np.float32(rate * coming / (1.0 - done * coming))
    scale = np.float32(1.0 / math.sqrt(1.0 - rule.beta2**steps))
    _moments(rule, gradient, moments)
    eps = np.float32(rule.eps)
    for n in range(len(parameters)):
        step = by_gradient * gradient[n] + by_mean * moments.first[n]
        parameters[n] -= step / (np.sqrt(moments.second[n]) * scale + eps)


@inlined
def _moments(rule: UpdateRule, gradient: Floats, moments: Moments) -> None:
    """Move the means towards the gradient and its square."""
    move, keep, add = np.float32(1.0 - rule.beta1), np.float32(rule.beta2), np.float32(1.0 - rule.beta2)
    for n in range(len(gradient)):
        moments.first[n] += move * (gradient[n] - moments.first[n])
        moments.second[n] = keep * moments.second[n] + add * gradient[n] * gradient[n]


@inlined
def _sgd(rule: UpdateRule, parameters: Floats, gradient: Floats, moments: Moments, rate: float) -> None:
    """Compute p -= rate m, with m = b m + (1 - dampening) g; the first step's m is g."""
    size, keep = np.float32(rate), np.float32(rule.beta1)
    take = np.float32(1.0) if moments.counts[0] == 1.0 else np.float32(1.0 - rule.dampening)
    for n in range(len(parameters)):
        mean = keep * moments.first[n] + take * gradient[n]
        moments.first[n] = mean
        parameters[n] -= size * (gradient[n] + keep * mean if rule.nesterov else mean)
