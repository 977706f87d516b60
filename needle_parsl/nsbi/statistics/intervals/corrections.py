"""How much Z_j corrects where fits have ended: the largest |ln Z_j| of the data and of toys.

Far from 0 the product of responses is far from a density, and what is fitted rests on Z_j alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
from needle_parsl.nsbi.statistics.results import Correction
from needle_parsl.nsbi.statistics.toys.block import Block

Floats = npt.NDArray[np.float64]


def largest(likelihood: Likelihood, best: Floats, toys: Sequence[Block]) -> Correction | None:
    """Find the largest correction.

    It is sought at the best fit of the data, at the truths of the toys, which profile the data, and in each block at the best fit
    whose nuisance parameters are farthest out. As many simulated events stand behind Z_j as toys need.

    Args:
        likelihood: Of the data.
        best: theta of its best fit, shape (P,).
        toys: One block per truth.

    Returns:
        Without responses |ln Z_j| is 0; None without unbinned events, of which alone there is a Z_j.
    """
    rates = likelihood.rates
    if likelihood.binned:
        return None
    own = likelihood.thinned(best)
    places = [("data", rates.outward(best)), *(("truth", block.truth) for block in toys)]
    places += [("toy", _farthest(block, rates.physics)) for block in toys]
    found = [
        (abs(float(np.log(z.z))), process, whose, dict(zip(rates.parameters, values.tolist(), strict=True)))
        for whose, values in places
        for process, z in own.normalisations(
            rates.at(dict(zip(rates.parameters, values.tolist(), strict=True)))
        ).items()
    ]
    log_z, process, whose, values = max(found, key=lambda one: one[0])
    return Correction(log_z, process, whose, values)


def _farthest(block: Block, physics: int) -> Floats:
    """Give the best values of the toy whose nuisance parameters are farthest out, shape (P,)."""
    away = np.where(block.converged, (block.values[:, physics:] ** 2).sum(axis=1), -1.0)
    found: Floats = block.values[int(np.argmax(away))]
    return found
