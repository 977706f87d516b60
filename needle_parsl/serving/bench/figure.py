"""Figures of what was measured: throughput against concurrency for each layout, against instances, and rows of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from needle_parsl.serving.bench.load import LoadPoint

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLES = {"one": "one model", "ensemble": "Triton's ensemble", "client": "calls of the client"}


def draw(path: Path, points: Sequence[LoadPoint]) -> None:
    """Write a figure, as PNG."""
    from matplotlib.figure import Figure  # noqa: PLC0415  slow to load

    cases = list(dict.fromkeys((p.workload, p.rows) for p in points if p.layout != "one"))
    figure = Figure(figsize=(4 * (len(cases) + 2), 3.6), layout="constrained")
    axes = figure.subplots(1, len(cases) + 2)
    for own, (workload, rows) in zip(axes, cases, strict=False):
        chosen = [p for p in points if (p.workload, p.rows, p.instances, p.batching) == (workload, rows, 1, True)]
        _layouts(own, chosen, f"{workload}, {rows} {'hits' if workload == 'chain' else 'events'} a request")
    _instances(axes[-2], points)
    _batches(axes[-1], points)
    figure.savefig(path, dpi=160)


def _layouts(axes: Axes, points: Sequence[LoadPoint], title: str) -> None:
    for layout, label in TITLES.items():
        chosen = sorted((p.concurrency, p.throughput) for p in points if p.layout == layout)
        if chosen:
            axes.plot(*zip(*chosen, strict=True), "o-", ms=4, label=label)
    axes.set(xlabel="requests in flight", ylabel="requests / s", title=title, ylim=(0, None))
    _whole(axes, points)
    axes.legend()


def _whole(axes: Axes, points: Sequence[LoadPoint]) -> None:
    """Mark the numbers of requests in flight that were measured."""
    axes.set_xscale("log", base=2)
    measured = sorted({p.concurrency for p in points})
    axes.set_xticks(measured, list(map(str, measured)))


def _instances(axes: Axes, points: Sequence[LoadPoint]) -> None:
    known = [p for p in points if p.layout == "one" and p.batching]
    several = {(p.workload, p.rows) for p in known if p.instances > 1}
    most = max((p.concurrency for p in known), default=1)
    for case in sorted(several):
        chosen = sorted(
            (p.instances, p.throughput) for p in known if (p.workload, p.rows) == case and p.concurrency == most
        )
        axes.plot(*zip(*chosen, strict=True), "o-", ms=4, label=f"{case[0]}, {case[1]}")
    axes.set(xlabel="instances", ylabel="requests / s", title=f"one model, {most} in flight", ylim=(0, None))
    axes.set_xticks(sorted({p.instances for p in known}))
    if several:
        axes.legend()


def _batches(axes: Axes, points: Sequence[LoadPoint]) -> None:
    known = [
        p for p in points if (p.workload, p.layout, p.instances) == ("networks", "one", 1) and p.rows_per_execution
    ]
    least = min((p.rows for p in known), default=0)
    for batching, label in ((True, "batches"), (False, "no batches")):
        chosen = sorted(
            (p.concurrency, p.rows_per_execution) for p in known if p.batching == batching and p.rows == least
        )
        if chosen:
            axes.plot(*zip(*chosen, strict=True), "o-", ms=4, label=label)
    axes.set(
        xlabel="requests in flight",
        ylabel="events of an execution",
        title=f"networks, {least} events a request",
        ylim=(0, None),
    )
    _whole(axes, known)
    if known:
        axes.legend()
