"""Blocks of fitted toys: what the fits of each toy say, and the file that holds them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import numpy.typing as npt

from needle_parsl.nsbi.statistics.fits.fitting import minimise
from needle_parsl.nsbi.statistics.model import Rates
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood

Floats = npt.NDArray[np.float64]
COLUMNS = ("events", "values", "errors", "pulls", "t", "nll", "converged")


class Fitted(NamedTuple):
    """What the fits of one toy say."""

    events: int
    values: Floats
    """Best values of the parameters, shape (P,)."""
    errors: Floats
    """Standard errors, shape (P,); NaN at a bound."""
    pulls: Floats
    """Best value minus truth over the error, in the coordinate of the fit, shape (P,); NaN at a bound."""
    t: float
    """-2 ln of the profile likelihood ratio at the true value of the parameter of interest."""
    nll: float
    converged: bool


def fit(toy: Likelihood, parameter: str, truth: Floats) -> Fitted:
    """Fit a toy twice: with the parameter of interest at its true value, and freely from there.

    Args:
        toy: Its likelihood.
        parameter: The parameter of interest.
        truth: theta, shape (P,).
    """
    rates = toy.rates
    value = float(rates.outward(truth)[rates.parameters.index(parameter)])
    held = minimise(toy, rates, start=truth, fixed={parameter: value}, errors=False)
    free = minimise(toy, rates, start=held.theta)
    errors = np.array([free.error(name) for name in rates.parameters])
    t = max(2 * (held.nll - free.nll), 0.0)
    pulls = (free.theta - truth) * np.abs(rates.stretch(free.theta)) / errors
    return Fitted(
        sum(t.y.shape[1] for t in toy.of_kind("events")),
        free.values,
        errors,
        pulls,
        t,
        free.nll,
        held.converged and free.converged,
    )


@dataclass(frozen=True)
class Block:
    """Fitted toys of one truth."""

    parameters: tuple[str, ...]
    truth: Floats
    """Values of the parameters, shape (P,)."""
    effective: float
    """Effective events of the pool; infinite where every toy has events of its own."""
    vetoed: float
    """Expected events that could not be drawn, being of negative density."""
    events: npt.NDArray[np.int64]
    """Shape (T,)."""
    values: Floats
    """Shape (T, P)."""
    errors: Floats
    """Shape (T, P); NaN at a bound."""
    pulls: Floats
    """In the coordinate of the fit, shape (T, P); NaN at a bound."""
    t: Floats
    """Shape (T,)."""
    nll: Floats
    """Shape (T,)."""
    converged: npt.NDArray[np.bool_]
    """Shape (T,)."""

    @staticmethod
    def of(toys: Iterable[Likelihood], rates: Rates, parameter: str, truth: Floats, pool: tuple[float, float]) -> Block:
        """Fit toys, one after the other.

        Args:
            toys: Their likelihoods.
            rates: The model.
            parameter: The parameter of interest.
            truth: theta, shape (P,).
            pool: Effective and vetoed events of the pool.
        """
        rows = [fit(toy, parameter, truth) for toy in toys]
        columns: dict[str, Any] = dict(zip(COLUMNS, map(np.array, zip(*rows, strict=True)), strict=True))
        return Block(rates.parameters, rates.outward(truth), *pool, **columns)

    @staticmethod
    def join(blocks: Sequence[Block]) -> Block:
        """Put blocks of one truth behind each other."""
        joined: dict[str, Any] = {name: np.concatenate([getattr(block, name) for block in blocks]) for name in COLUMNS}
        return replace(blocks[0], **joined)

    def column(self, parameter: str) -> tuple[float, Floats, Floats]:
        """Give truth, best values (T,) and standard errors (T,) of a parameter."""
        place = self.parameters.index(parameter)
        return float(self.truth[place]), self.values[:, place], self.errors[:, place]


def write(path: Path, block: Block) -> None:
    """Write a block as HDF5."""
    with h5py.File(path, "w") as file:
        file.attrs["parameters"] = json.dumps(block.parameters)
        file.attrs["effective_events"], file.attrs["vetoed_events"] = block.effective, block.vetoed
        for name in ("truth", *COLUMNS):
            file.create_dataset(name, data=getattr(block, name), track_times=False)


def read(path: Path) -> Block:
    """Read a block."""
    with h5py.File(path, "r") as file:
        pool = float(file.attrs["effective_events"]), float(file.attrs["vetoed_events"])
        columns = {name: file[name][...] for name in COLUMNS}
        return Block(tuple(json.loads(file.attrs["parameters"])), file["truth"][...], *pool, **columns)
