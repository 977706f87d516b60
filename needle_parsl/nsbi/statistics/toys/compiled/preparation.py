"""From a likelihood to plain arrays: what all toys of a pool have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from needle_parsl.expressions import Expression
from needle_parsl.nsbi.statistics.model.interpolation import CODES
from needle_parsl.nsbi.statistics.model.process_errors import ProcessErrors
from needle_parsl.nsbi.statistics.model.rows import FLOOR
from needle_parsl.nsbi.statistics.model.staterror import Staterror
from needle_parsl.nsbi.statistics.toys.compiled.arrays import (  # fmt: skip
    BLOCK,
    EXPONENTIAL,
    JOINED,
    PITCH,
    QUADRATIC,
    ROWS,
    SMOOTH,
    STRAIGHT,
    CompiledModel,
    Normalising,
    Rows,
    aligned,
)
from needle_parsl.nsbi.statistics.toys.compiled.compression import few, trusted
from needle_parsl.nsbi.statistics.toys.compiled.filling import DOWN, UP, DrawnEvents, fill
from needle_parsl.nsbi.statistics.toys.compiled.scalars import OPERATIONS

if TYPE_CHECKING:
    from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
    from needle_parsl.nsbi.statistics.model.normalisation import Simulation
    from needle_parsl.nsbi.statistics.model.rates import Rates
    from needle_parsl.nsbi.statistics.model.responses import Responses
    from needle_parsl.nsbi.statistics.model.rows import Table

Floats = npt.NDArray[np.float64]
KINDS = {
    "poly6_exp": SMOOTH, "code4": SMOOTH, "code1": EXPONENTIAL, "code4p": JOINED, "linear": STRAIGHT,
    "exp_quadratic": QUADRATIC,
}  # fmt: skip
VECTOR = 16
"""Rows of a block are looked at in multiples of this."""


@dataclass(frozen=True, kw_only=True)
class PreparedPool:
    """A pool of events, ready for compiled fits."""

    model: CompiledModel
    rows: Rows
    """All tables but the events, which stand last and are a toy's."""
    reference: Floats
    """lambda of these rows at the reference point, shape (blocks, BLOCK); 1 where there is no row."""
    bins: tuple[slice, ...]
    """Blocks of each table of bins."""
    events: DrawnEvents
    normalising: Normalising


def unsupported(likelihood: Likelihood) -> str:
    """Say what of a likelihood compiled fits do not know; empty if they know all."""
    if any(len(table.responses.pairs) for table in likelihood.tables):
        return "cross terms of nuisance parameters"
    if likelihood.rates.simulated:
        return "parameters of the simulation"
    if any(isinstance(table.staterror, ProcessErrors) for table in likelihood.tables):
        return "factors of single processes in bins (shapesys)"
    steps = [tree for row in _trees(likelihood.rates) for tree in row]
    known = all(operation in OPERATIONS for tree in steps for operation in _operations(tree))
    return "" if known else "a function in a multiplier"


def prepare(likelihood: Likelihood) -> PreparedPool:
    """Turn a likelihood over a pool of events into arrays."""
    events = likelihood.of_kind("events")
    fixed = [table for table in likelihood.tables if table.kind != "events"]
    start = likelihood.rates.start
    f, alpha = likelihood.rates.factors(start)[0], start[likelihood.rates.physics :]
    tables = [*fixed, *events]
    references = [_reference(table.densities(f, alpha)) for table in tables]
    rows = _rows(fixed, references, events)
    reference = np.ones(rows.count.shape)
    for table, own, begin in zip(fixed, references, rows.begin, strict=False):
        reference.reshape(-1)[begin * BLOCK : begin * BLOCK + table.y.shape[1]] = own
    bins = tuple(
        slice(int(a), int(b))
        for table, a, b in zip(fixed, rows.begin, rows.begin[1:], strict=False)
        if table.kind == "bins"
    )
    return PreparedPool(
        model=_model(likelihood, tables),
        rows=rows,
        reference=reference,
        bins=bins,
        events=_events(events, references[len(fixed) :]),
        normalising=_normalising(likelihood),
    )


def _normalising(likelihood: Likelihood) -> Normalising:
    simulations = [table.simulation for table in likelihood.of_kind("events")]
    every = _sample(simulations, len(likelihood.rates.processes))
    if not every.begin[-1]:
        return Normalising(every, every, trusted(every, every, likelihood))
    chosen = _sample(few(simulations, every, likelihood), len(likelihood.rates.processes))
    return Normalising(chosen, every, trusted(chosen, every, likelihood))


def _reference(density: Floats) -> Floats:
    """Divide by the density at the reference point, where that is sound."""
    return np.where(density > 1e6 * FLOOR, density, 1.0)


def _rows(fixed: Sequence[Table], references: Sequence[Floats], events: Sequence[Table]) -> Rows:
    """Lay out the tables; the events get no blocks yet."""
    tables, processes = [*fixed, *events], len(events[0].y)
    blocks = [-(-table.y.shape[1] // BLOCK) for table in fixed]
    begin = np.cumsum([0, *blocks, *(0 for _ in events)])
    curves = max(1, *(len(table.responses.process) for table in tables))
    rows = empty(len(tables), processes, curves, int(begin[-1]))
    rows.begin[:] = begin
    for r, (table, reference) in enumerate(zip(tables, references, strict=True)):
        _describe(rows, r, table.responses, processes)
        if table.kind == "events":
            continue
        n = table.y.shape[1]
        rows.size[r] = min(BLOCK, -(-n // VECTOR) * VECTOR)
        place = slice(int(begin[r]), int(begin[r + 1]))
        _spread(rows.y[place], (table.y / reference).T)
        _spread(rows.rate[place], table.rate * reference)
        _spread(rows.floor[place], FLOOR / reference)
        _spread(rows.count[place], table.count)
        if isinstance(table.staterror, Staterror):
            rows.loose[r] = True
            _spread(rows.spread[place], table.staterror.spread**2)
            _spread(rows.seen[place], table.staterror.seen)
        _respond(rows, place, table.responses)
    rows.root[:] = np.sqrt(rows.count)
    return rows


def empty(tables: int, processes: int, curves: int, blocks: int) -> Rows:
    """Make space for tables."""
    return Rows(
        np.zeros((tables, processes + 1), np.int64), np.zeros((tables, curves), np.int64),
        np.zeros((tables, curves), np.int64), np.zeros(tables + 1, np.int64), np.full(tables, BLOCK),
        aligned(blocks, curves, ROWS * PITCH), aligned(blocks, processes, BLOCK), np.zeros((blocks, BLOCK)),
        np.zeros((blocks, BLOCK)), np.zeros((blocks, BLOCK)), np.ones((blocks, BLOCK)), np.zeros(tables, np.bool_),
        np.zeros((blocks, BLOCK)), np.ones((blocks, BLOCK)),
    )  # fmt: skip


def enlarged(rows: Rows, blocks: int) -> Rows:
    """Add blocks at the end."""
    kept = len(rows.count)
    more = empty(len(rows.size), rows.y.shape[1], rows.nuisance.shape[1], kept + blocks)
    for name in ("curves", "y", "count", "root", "rate", "floor", "spread", "seen"):
        getattr(more, name)[:kept] = getattr(rows, name)
    return more._replace(
        first=rows.first,
        nuisance=rows.nuisance,
        kind=rows.kind,
        begin=rows.begin.copy(),
        size=rows.size,
        loose=rows.loose,
    )


def _describe(rows: Rows, r: int, responses: Responses, processes: int) -> None:
    n = len(responses.process)
    rows.first[r] = np.searchsorted(responses.process, np.arange(processes + 1))
    rows.nuisance[r, :n] = responses.nuisance
    rows.kind[r, :n] = [KINDS[CODES[code]] for code in responses.code]


def _spread(into: Any, values: Floats) -> None:
    """Put values, shape (N, ...), into blocks, shape (blocks, ..., BLOCK)."""
    for block, own in enumerate(into):
        part = values[block * BLOCK : (block + 1) * BLOCK]
        own[..., : len(part)] = part.T


def _respond(rows: Rows, place: slice, responses: Responses) -> None:
    """Fill the responses of rows that are the same in all toys."""
    bits = np.zeros(BLOCK, np.int64)
    _spread(rows.curves[place, : len(responses.process), UP : UP + BLOCK], responses.log_up.T)
    _spread(rows.curves[place, : len(responses.process), DOWN : DOWN + BLOCK], responses.log_down.T)
    for block in rows.curves[place]:
        for row in block[: len(responses.process)]:
            fill(row, bits)


def _events(tables: Sequence[Table], references: Sequence[Floats]) -> DrawnEvents:
    """Lay out the events of all regions."""
    ends = np.cumsum([table.y.shape[1] for table in tables])
    curves = max(len(table.responses.process) for table in tables)
    sides = np.zeros((ends[-1], 2 * curves))
    for table, stop in zip(tables, ends, strict=True):
        own = np.stack([table.responses.log_up, table.responses.log_down]).transpose(2, 1, 0)  # (N, C, 2)
        sides[stop - len(own) : stop, : 2 * own.shape[1]] = own.reshape(len(own), 2 * own.shape[1])
    y = np.concatenate([_scaled(table, reference) for table, reference in zip(tables, references, strict=True)], axis=1)
    return DrawnEvents(ends, np.ascontiguousarray(y.T, np.float64), sides, np.concatenate(references), FLOOR)


def _scaled(table: Table, reference: Floats) -> Floats:
    """Divide the densities of events by lambda at the reference point; Z_j of a process without responses is a number, and is put in here."""
    z = np.ones(len(table.y))
    for simulation in table.simulation:
        if not len(simulation.responses.process):
            z[simulation.process] = simulation(np.empty(0)).value
    found: Floats = table.y / z[:, None] / reference
    return found


def _model(likelihood: Likelihood, tables: Sequence[Table]) -> CompiledModel:
    rates, constraints = likelihood.rates, likelihood.constraints
    code, constant, ends = _programs(rates)
    j, k = len(rates.processes), likelihood.nuisances
    gains, kinds = np.zeros((len(tables), j, k, ROWS)), np.full((len(tables), j, k), -1)
    for r, table in enumerate(tables):
        own = table.gains
        for place, (process, nuisance) in enumerate(zip(own.process, own.nuisance, strict=True)):
            logs = own.log_up[place, 0], own.log_down[place, 0]
            gains[r, process, nuisance] = *np.exp(logs), *logs
            kinds[r, process, nuisance] = KINDS[CODES[own.code[place]]]
    low, high = np.array(rates.limits()).T
    return CompiledModel(
        rates.physics, np.ascontiguousarray(low), np.ascontiguousarray(high), code, constant, ends, gains, kinds,
        constraints.kind.astype(np.int64), constraints.scale,
    )  # fmt: skip


def _trees(rates: Rates) -> Iterator[list[Expression]]:
    for multiplier, slopes, bends in zip(rates.multipliers, rates.slopes, rates.bends, strict=True):
        yield [multiplier, *slopes, *(bend for row in bends for bend in row)]


def _operations(tree: Expression) -> Iterator[str]:
    yield tree.operator
    for operand in tree.operands:
        if isinstance(operand, Expression):
            yield from _operations(operand)


def _programs(rates: Rates) -> tuple[Any, Floats, Any]:
    """Write the multipliers and their derivatives in reverse Polish order."""
    steps: list[tuple[int, int]] = []
    numbers: list[float] = []
    ends = [0]

    def write(tree: Expression) -> None:
        for operand in tree.operands:
            if isinstance(operand, Expression):
                write(operand)
        name = rates.parameters.index(tree.operands[0]) if tree.operator == "name" else 0
        steps.append((OPERATIONS.index(tree.operator), name))
        numbers.append(float(tree.operands[0]) if tree.operator == "number" else 0.0)

    for row in _trees(rates):
        for tree in row:
            write(tree)
            ends.append(len(steps))
    return np.array(steps, np.int64), np.array(numbers), np.array(ends, np.int64)


def _sample(simulations: Sequence[Sequence[Simulation]], processes: int) -> Rows:
    """Lay out the events behind Z_j, a table for each region and process; none where nothing changes its shape (`_scaled` knows it)."""
    own = [s if len(s.responses.process) else None for region in simulations for s in region] or [None] * processes
    blocks = [-(-len(s.weight) // BLOCK) if s else 0 for s in own]
    curves = max(1, *(len(s.responses.process) if s else 0 for s in own))
    rows = empty(len(own), 1, curves, sum(blocks))
    rows.begin[:] = np.cumsum([0, *blocks])
    for j, s in enumerate(own):
        if s:
            _describe(rows, j, replace(s.responses, process=np.zeros_like(s.responses.process)), 1)
            place = slice(int(rows.begin[j]), int(rows.begin[j + 1]))
            _spread(rows.y[place], s.weight[:, None])
            _respond(rows, place, s.responses)
    return rows
