"""Responses of rows: plain arrays of what every row of a table does when a nuisance parameter moves.

g_ji(alpha) = prod_k g_jik(alpha_k) * exp( sum_{k<l} c_jikl alpha_k alpha_l )

Behind the K nuisance parameters alpha may stand parameters of the simulation, whose responses are splines (`splines`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from needle_parsl.nsbi.statistics.model.interpolation import CODES, INTERPOLATIONS, Curve
from needle_parsl.nsbi.statistics.model.splines import SplineResponse

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]
Rows = npt.NDArray[np.intp] | slice
CHUNK = 2048
"""Rows that are evaluated at a time: their responses stay in the cache."""
SMOOTH = 1e-9
"""Slopes on both sides of 0 that differ by less make no kink."""


class Local(NamedTuple):
    """The response of one process over some rows, at some alpha."""

    product: Floats
    """g_j, shape (N,)."""
    nuisance: Ints
    """Which nuisance parameters move it, shape (R,)."""
    first: Floats
    """d ln g_j / d alpha_k, shape (R, N)."""
    second: Floats
    """d2 ln g_j / d alpha_k^2, shape (R, N)."""
    mixed: tuple[tuple[int, int, Floats], ...]
    """d2 ln g_j / d alpha_k d alpha_l for pairs of places (k, l) in `nuisance`, shape (N,)."""


class ResponseMoments(NamedTuple):
    """Weighted sums over rows of the derivatives of g_j, divided by g_j."""

    total: float
    """sum_i s_i."""
    first: Floats
    """sum_i s_i l_ki, shape (K,)."""
    second: Floats
    """sum_i s_i (l_ki l_mi + d2 ln g / d alpha_k d alpha_m), shape (K, K)."""

    @staticmethod
    def zero(nuisances: int) -> ResponseMoments:
        """Begin a sum."""
        return ResponseMoments(0.0, np.zeros(nuisances), np.zeros((nuisances, nuisances)))

    def plus(self, other: ResponseMoments) -> ResponseMoments:
        """Add those of other rows."""
        return ResponseMoments(self.total + other.total, self.first + other.first, self.second + other.second)


class ResponseEntry(NamedTuple):
    """The response of one process to one nuisance."""

    process: int
    nuisance: int
    interpolation: str
    log_up: Floats
    """Shape (N,)."""
    log_down: Floats
    """Shape (N,)."""


@dataclass(frozen=True, kw_only=True)
class Responses:
    """L responses over N rows; those of one process stand together."""

    process: Ints
    """Ascending, shape (L,)."""
    nuisance: Ints
    """Shape (L,)."""
    code: Ints
    """Interpolation, as its place in `CODES`; shape (L,)."""
    log_up: Floats
    """Logarithm of the response at plus one sigma, shape (L, N); may be float32."""
    log_down: Floats
    """At minus one sigma, shape (L, N)."""
    pairs: Ints
    """Process and two nuisances of each cross term, shape (Q, 3)."""
    cross: Floats
    """c of each cross term, shape (Q, N)."""
    splines: tuple[SplineResponse, ...] = ()
    """To parameters of the simulation."""

    @staticmethod
    def of(
        entries: Sequence[ResponseEntry],
        rows: int,
        crossed: Sequence[tuple[int, int, int]] = (),
        cross: Floats | None = None,
        splines: Sequence[SplineResponse] = (),
    ) -> Responses:
        """Put responses together.

        Args:
            entries: Of processes to nuisances, in any order.
            rows: N.
            crossed: Process and two nuisances of each cross term.
            cross: c of each, shape (Q, N).
            splines: Responses to parameters of the simulation.
        """
        order = sorted(entries, key=lambda entry: (entry.process, entry.nuisance))
        return Responses(
            process=np.array([entry.process for entry in order], dtype=np.intp),
            nuisance=np.array([entry.nuisance for entry in order], dtype=np.intp),
            code=np.array([CODES.index(entry.interpolation) for entry in order], dtype=np.intp),
            log_up=np.array([entry.log_up for entry in order]).reshape(len(order), rows),
            log_down=np.array([entry.log_down for entry in order]).reshape(len(order), rows),
            pairs=np.array(crossed, dtype=np.intp).reshape(-1, 3),
            cross=np.empty((0, rows)) if cross is None else cross,
            splines=tuple(splines),
        )

    def take(self, rows: Rows) -> Responses:
        """Keep the responses of some rows."""
        parts = self.log_up[:, rows], self.log_down[:, rows], self.cross[:, rows]
        splines = tuple(spline.take(rows) for spline in self.splines)
        return replace(self, log_up=parts[0], log_down=parts[1], cross=parts[2], splines=splines)

    def alone(self, process: int) -> Responses:
        """Keep the responses of one process."""
        own, crossed = self.process == process, self.pairs[:, 0] == process
        return Responses(
            process=self.process[own], nuisance=self.nuisance[own], code=self.code[own], log_up=self.log_up[own], log_down=self.log_down[own],
            pairs=self.pairs[crossed], cross=self.cross[crossed], splines=tuple(s for s in self.splines if s.process == process),
        )  # fmt: skip

    def of_nuisance(self, place: int) -> Responses:
        """Keep the responses to one nuisance parameter, without cross terms; -1 keeps none."""
        own = self.nuisance == place
        return Responses(
            process=self.process[own], nuisance=self.nuisance[own], code=self.code[own], log_up=self.log_up[own], log_down=self.log_down[own],
            pairs=self.pairs[:0], cross=self.cross[:0], splines=tuple(s for s in self.splines if s.place == place),
        )  # fmt: skip

    def products(self, alpha: Floats, processes: int) -> Floats:
        """Give the responses of all processes, shape (J, N).

        Args:
            alpha: Nuisance parameters, shape (K,).
            processes: J.
        """
        found = np.ones((processes, self.log_up.shape[1]))
        for start, process in product(range(0, found.shape[1], CHUNK), self.moved):
            rows = slice(start, start + CHUNK)
            found[process, rows] = self.at(process, alpha, rows).product
        return found

    def at(self, process: int, alpha: Floats, rows: slice = slice(None)) -> Local:
        """Evaluate the response of one process over a range of rows.

        Args:
            process: Which one.
            alpha: Nuisance parameters, shape (K,).
            rows: Which rows.
        """
        own = self.spans.get(process)
        if own is None:
            none = np.empty((0, self.log_up[:, rows].shape[1]))
            return self._splined(
                process, alpha, rows, Local(np.broadcast_to(1.0, none.shape[1]), self.nuisance[:0], none, none, ())
            )
        value, first, second = self.curves(alpha, own, rows)
        local = Local(value.prod(axis=0), self.nuisance[own], first, second, ())
        return self._splined(process, alpha, rows, self._crossed(process, alpha, rows, local))

    @cached_property
    def moved(self) -> list[int]:
        """List the processes that respond to anything."""
        return sorted({*self.spans, *(spline.process for spline in self.splines)})

    @cached_property
    def places(self) -> Ints:
        """Name the coordinates to which some process responds: nuisance parameters, then parameters of the simulation."""
        return np.unique([*self.nuisance, *(spline.place for spline in self.splines)]).astype(np.intp)

    @cached_property
    def spans(self) -> dict[int, slice]:
        """Where the responses of each process stand."""
        return {int(j): slice(*np.searchsorted(self.process, (j, j + 1))) for j in np.unique(self.process)}

    @cached_property
    def kinds(self) -> set[int]:
        """Which interpolations occur."""
        return set(self.code.tolist())

    @cached_property
    def kinked(self) -> Ints:
        """Name the nuisance parameters at whose 0 some response has a kink: pieces of different slope meet there."""
        found = []
        for place, code in enumerate(self.code):
            up, down = self.log_up[place], self.log_down[place]
            if CODES[code] == "code1" and np.abs(up + down).max(initial=0.0) > SMOOTH:
                found.append(self.nuisance[place])
            if CODES[code] == "linear" and np.abs(np.exp(up) + np.exp(down) - 2).max(initial=0.0) > SMOOTH:
                found.append(self.nuisance[place])
        return np.array(found, dtype=np.intp)

    def curves(self, alpha: Floats, own: slice = slice(None), rows: slice = slice(None)) -> Curve:
        """Evaluate some responses over a range of rows, each with its nuisance alone."""
        moved = alpha[self.nuisance[own]][:, None]
        up, down = (side[own, rows].astype(np.float64, copy=False) for side in (self.log_up, self.log_down))
        if len(self.kinds) == 1:
            return INTERPOLATIONS[CODES[next(iter(self.kinds))]](moved, up, down)
        found = Curve(*(np.empty_like(up) for _ in range(3)))
        for kind in self.kinds:
            which = self.code[own] == kind
            parts = INTERPOLATIONS[CODES[kind]](moved[which], up[which], down[which])
            for whole, part in zip(found, parts, strict=True):
                whole[which] = part
        return found

    def _splined(self, process: int, alpha: Floats, rows: slice, local: Local) -> Local:
        for spline in (one for one in self.splines if one.process == process):
            log, first, second = spline.at(float(alpha[spline.place]), rows)
            local = local._replace(
                product=local.product * np.exp(log),
                nuisance=np.append(local.nuisance, spline.place),
                first=np.concatenate([local.first, first[None]]),
                second=np.concatenate([local.second, second[None]]),
            )
        return local

    def _crossed(self, process: int, alpha: Floats, rows: slice, local: Local) -> Local:
        if not len(self.pairs):
            return local
        mixed, exponent = [], 0.0
        for place in np.flatnonzero(self.pairs[:, 0] == process):
            k, m = (int(np.flatnonzero(local.nuisance == n)[0]) for n in self.pairs[place, 1:])
            a, b = alpha[local.nuisance[[k, m]]]
            c = self.cross[place, rows]
            exponent = exponent + a * b * c
            local.first[k] += b * c
            local.first[m] += a * c
            mixed.append((k, m, c))
        return local._replace(product=local.product * np.exp(exponent), mixed=tuple(mixed)) if mixed else local


def moments(local: Local, weight: Floats, nuisances: int, *, second: bool) -> ResponseMoments:
    """Add up the derivatives of a response.

    Args:
        local: Over N rows.
        weight: s_i, shape (N,).
        nuisances: K.
        second: Whether the second derivatives are wanted, too; else they are zeros.
    """
    k, first, bends = local.nuisance, np.zeros(nuisances), np.zeros((nuisances, nuisances))
    first[k] = local.first @ weight
    if second:
        bends[np.ix_(k, k)] = (local.first * weight) @ local.first.T + np.diag(local.second @ weight)
        for a, b, c in local.mixed:
            bends[[k[a], k[b]], [k[b], k[a]]] += c @ weight
    return ResponseMoments(float(weight.sum()), first, bends)
