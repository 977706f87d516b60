"""Blocks of fitted toys: what the fits of each toy say, and the file that holds them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from needle_parsl.nsbi.data import hdf5
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
from needle_parsl.nsbi.statistics.toys.fitting import ToyFit, fitted
from needle_parsl.nsbi.statistics.toys.pool import Draw

Floats = npt.NDArray[np.float64]
COLUMNS = ToyFit._fields


@dataclass(frozen=True, kw_only=True)
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

    tested: Floats = field(default_factory=lambda: np.empty(0))
    """Further values at which the parameter of interest was held, shape (V,)."""
    others: Floats = field(default_factory=lambda: np.empty((0, 0)))
    """t there, shape (T, V)."""
    code: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """How compiled fits have ended, a place in `fitting.CODES`; shape (T,)."""
    retried: npt.NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, np.bool_))
    """Which toys iminuit has fitted, shape (T,)."""

    @staticmethod
    def of(
        events: Likelihood,
        toys: Iterable[Draw],
        parameter: str,
        truth: Floats,
        pool: tuple[float, float],
        tested: Sequence[float] = (),
        also: Sequence[str] = (),
    ) -> Block:
        """Fit toys, one after the other.

        Args:
            events: Likelihood over the events of all toys.
            toys: Which of them make each toy.
            parameter: The parameter of interest.
            truth: theta, shape (P,).
            pool: Effective and vetoed events of the pool.
            tested: Further values at which the parameter of interest is held.
            also: Parameters that are held at their truth together with it.
        """
        rates, rows = events.rates, list(fitted(events, toys, parameter, truth, tested, also))
        if not rows:
            return Block.empty(rates.parameters, rates.outward(truth), pool, tested)
        columns: dict[str, Any] = dict(zip(COLUMNS, map(np.array, zip(*rows, strict=True)), strict=True))
        return Block(
            parameters=rates.parameters,
            truth=rates.outward(truth),
            effective=pool[0],
            vetoed=pool[1],
            **columns,
            tested=np.array(tested, np.float64),
        )

    @staticmethod
    def empty(
        parameters: tuple[str, ...], truth: Floats, pool: tuple[float, float], tested: Sequence[float] = ()
    ) -> Block:
        """Make a block without toys, where no more were needed."""
        whole = np.empty((0, len(parameters)))
        return Block(
            parameters=parameters,
            truth=truth,
            effective=pool[0],
            vetoed=pool[1],
            events=np.empty(0, np.int64),
            values=whole,
            errors=whole,
            pulls=whole,
            t=np.empty(0),
            nll=np.empty(0),
            converged=np.empty(0, np.bool_),
            tested=np.array(tested),
            others=np.empty((0, len(tested))),
        )

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
        for name in ("truth", "tested", *COLUMNS):
            file.create_dataset(name, data=getattr(block, name), track_times=False)


def read(path: Path) -> Block:
    """Read a block."""
    with hdf5.opened(path, "block of toys") as file:
        columns = {name: file[name][...] for name in ("truth", "tested", *COLUMNS)}
        return Block(
            parameters=tuple(json.loads(file.attrs["parameters"])),
            effective=float(file.attrs["effective_events"]),
            vetoed=float(file.attrs["vetoed_events"]),
            **columns,
        )
