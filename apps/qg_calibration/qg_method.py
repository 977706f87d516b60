"""The calibration: reweighting factors, matrix inversion, working points and scale factors, as functions of histograms.

Arrays of MC have the axes (..., pT bin, region, flavour, bin of the variable), those of data (..., pT bin, region, bin); axes in front, such as replicas,
go through everything. Region 0 is central, 1 forward; flavour 0 quark, 1 gluon.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

CENTRAL, FORWARD = 0, 1
QUARK, GLUON = 0, 1
FEWEST = 30.0
"""Effective events, (sum w)^2 / sum w^2, below which bins in the tails share one factor."""


class Factors(NamedTuple):
    """Weights of pass 1, for jets in the central region."""

    values: Array
    """Shape (..., P, X)."""
    pooled: npt.NDArray[np.bool_]
    """Bins in the tails that share their factor; same shape."""


def normalised(values: Array) -> Array:
    """Divide by the sum over the last axis."""
    return np.asarray(values / values.sum(axis=-1, keepdims=True))


def thin(values: Array, variances: Array, flavour: int) -> npt.NDArray[np.bool_]:
    """Find bins with few effective events of a flavour in one of the regions; shape (..., P, X)."""
    value, variance = values[..., flavour, :], variances[..., flavour, :]
    events = np.divide(value**2, variance, out=np.zeros_like(value), where=variance > 0)
    return np.asarray((events < FEWEST).any(axis=-2))


def factors(values: Array, flavour: int, pooled: npt.NDArray[np.bool_]) -> Factors:
    """Give r(x) = p_forward(x) / p_central(x) of a flavour; 1 where the denominator is empty.

    Bins that are pooled share a factor, those below the most populated bin one, those above it another.
    """
    shape = normalised(values[..., flavour, :])
    central, forward = shape[..., CENTRAL, :], shape[..., FORWARD, :]
    ratio = _ratio(forward, central)
    above = np.arange(shape.shape[-1]) > central.argmax(axis=-1)[..., None]
    for side in (above, ~above):
        shared = _ratio((forward * (pooled & side)).sum(-1), (central * (pooled & side)).sum(-1))
        ratio = np.where(pooled & side, shared[..., None], ratio)
    return Factors(ratio, pooled)


def _ratio(above: Array, below: Array) -> Array:
    return np.divide(above, below, out=np.ones_like(above), where=below > 0)


def region_weights(ratio: Array) -> Array:
    """Give the weights of both regions, 1 in the forward one; (..., P, X) to (..., P, R, X)."""
    return np.stack([ratio, np.ones_like(ratio)], axis=-2)


def fractions(values: Array) -> Array:
    """Give the quark fraction f of each region from the yields of MC; shape (..., P, R)."""
    yields = values.sum(axis=-1)
    return np.asarray(yields[..., QUARK] / yields.sum(axis=-1))


def coefficients(fraction: Array) -> Array:
    """Invert the matrix of fractions: p_f = sum_R c_fR p_R; shape (..., P, F, R).

    Raises:
        ValueError: The forward region has no more quarks than the central one, so that the regions tell nothing.
    """
    central, forward = fraction[..., CENTRAL], fraction[..., FORWARD]
    difference = forward - central
    if not (difference > 0).all():
        bins = sorted({int(where[-1]) for where in np.argwhere(~(difference > 0))})
        raise ValueError(
            f"the quark fraction of the forward region is not above that of the central one in the pT bins {bins} "
            f"(forward {np.round(forward, 3).tolist()}, central {np.round(central, 3).tolist()}); use wider bins or more events"
        )
    quark = np.stack([-(1 - forward), 1 - central], axis=-1)
    gluon = np.stack([forward, -central], axis=-1)
    return np.asarray(np.stack([quark, gluon], axis=-2) / difference[..., None, None])


def extracted(shapes: Array, matrix: Array) -> Array:
    """Extract the distributions of quarks and gluons from those of the regions, (..., P, R, X) to (..., P, F, X)."""
    return np.asarray(np.einsum("...fr,...rx->...fx", matrix, shapes))


def shape_variances(values: Array, variances: Array) -> Array:
    """Propagate the variances of sums of weights to unit-normalised shapes; one bin against all others."""
    total, rest = values.sum(axis=-1, keepdims=True), variances.sum(axis=-1, keepdims=True)
    p = values / total
    return np.asarray(((1 - 2 * p) * variances + p**2 * rest) / total**2)


def cuts(quark: Array, points: Sequence[float]) -> npt.NDArray[np.int64]:
    """Find for each working point the smallest c with sum_{i < c} p_Q >= WP; shape (W, P)."""
    reached = np.cumsum(quark, axis=-1) >= np.asarray(points)[:, None, None]
    return np.asarray(reached.argmax(axis=-1) + 1)


def below(values: Array, cut: npt.NDArray[np.int64]) -> Array:
    """Sum the bins below each cut: (..., P, K, X) with cuts (W, P) gives (..., P, K, W), K regions or flavours."""
    sums = np.concatenate([np.zeros_like(values[..., :1]), np.cumsum(values, axis=-1)], axis=-1)
    index = np.broadcast_to(cut.T[:, None, :], (*values.shape[:-1], cut.shape[0]))
    return np.asarray(np.take_along_axis(sums, index, axis=-1))


def efficiencies(shapes: Array, cut: npt.NDArray[np.int64]) -> Array:
    """Give the efficiency of quarks below, and of gluons above each cut, of shapes (..., P, F, X); shape (..., W, F, P)."""
    low = below(shapes, cut)
    both = np.stack([low[..., QUARK, :], 1 - low[..., GLUON, :]], axis=-2)
    return np.asarray(np.moveaxis(both, -3, -1).swapaxes(-3, -2))


def efficiency_variances(values: Array, variances: Array, matrix: Array, cut: npt.NDArray[np.int64]) -> Array:
    """Propagate the variances of the regions (..., P, R, X) to the efficiencies, with the matrix taken as exact; shape (..., W, F, P)."""
    total, spread = values.sum(axis=-1)[..., None], variances.sum(axis=-1)[..., None]
    part, low = below(values, cut) / total, below(variances, cut)
    region = ((1 - part) ** 2 * low + part**2 * (spread - low)) / total**2
    both = np.einsum("...pfr,...prw->...pfw", matrix**2, region)
    return np.asarray(np.moveaxis(both, -3, -1).swapaxes(-3, -2))


class Calibration(NamedTuple):
    """Distributions and fractions after both passes."""

    fraction: Array
    """Quark fractions (..., P, R)."""
    mc: Array
    """Extracted distributions of MC (..., P, F, X)."""
    data: Array
    """Likewise of data, by the matrix of MC."""
    truth: Array
    """Distributions by the label of MC, both regions together."""


def calibrated(mc: Array, data: Array, ratio: Array) -> Calibration:
    """Apply pass 2 to histograms, and extract quarks and gluons; a ratio of 1 leaves pass 1 out."""
    weight = region_weights(ratio)
    mc, data = mc * weight[..., None, :], data * weight
    fraction = fractions(mc)
    matrix = coefficients(fraction)
    return Calibration(
        fraction,
        extracted(normalised(mc.sum(axis=-2)), matrix),
        extracted(normalised(data), matrix),
        normalised(mc.sum(axis=-3)),
    )


def scale_factors(result: Calibration, cut: npt.NDArray[np.int64]) -> Array:
    """Divide the efficiencies of data by those of MC, both extracted; shape (..., W, F, P)."""
    return np.asarray(efficiencies(result.data, cut) / efficiencies(result.mc, cut))


def drawn(generator: np.random.Generator, values: Array, variances: Array, replicas: int) -> Array:
    """Draw replicas of sums of weights: Poisson counts times the mean weight of each bin; shape (replicas, ...)."""
    weight = np.divide(variances, values, out=np.ones_like(values), where=values > 0)
    return np.asarray(generator.poisson(np.maximum(values, 0) / weight, (replicas, *values.shape)) * weight)


def as_arrays(histogram: Any) -> tuple[Array, Array]:
    """Give sums of weights and of their squares, with those below and above the range; shape (P, R, F, X)."""
    return histogram.values(flow=True), histogram.variances(flow=True)
