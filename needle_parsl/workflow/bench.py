"""What an inference server does on this machine: workloads, layouts, concurrency, batches, rows and instances, one after another."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from needle_parsl.errors import TaskError
from needle_parsl.serving import triton
from needle_parsl.serving.bench import load, workloads
from needle_parsl.serving.bench.load import LoadPoint
from needle_parsl.serving.client import Client
from needle_parsl.serving.endpoint import Endpoint
from needle_parsl.workflow import serving
from needle_parsl.workflow.serving import ServerChoice

Tell = Callable[[str], None]
TOLERANCE = 1e-5
"""Of log ratios between layouts."""


@dataclass(frozen=True, kw_only=True)
class BenchSettings:
    """What is measured."""

    concurrency: tuple[int, ...]
    """Requests in flight."""
    hits: tuple[int, ...]
    """Of an event of the chain."""
    rows: tuple[int, ...]
    """Events of a request to the networks."""
    instances: tuple[int, ...]
    """Processes of a model, beyond one."""
    seconds: float
    """Of each point."""
    tritonserver: str = ""
    builtin: bool = False


@dataclass(frozen=True)
class BenchResult:
    """All that was measured, by which server."""

    server: str
    points: tuple[LoadPoint, ...]


def run(settings: BenchSettings, tell: Tell) -> BenchResult:
    """Start servers, one after another, and measure them.

    Raises:
        TaskError: A server does not start, a request failed, or layouts give different numbers.
    """
    ours = settings.builtin or triton.find(settings.tritonserver) is None
    layouts = [one for one in workloads.LAYOUTS if one != "ensemble" or not ours]
    points = list[LoadPoint]()
    with _served(settings, layouts, 1, batching=True) as (endpoint, name):
        cases = [("chain", n) for n in settings.hits] + [("networks", settings.rows[0])]
        for case in cases:
            _insist_on_equal(endpoint, case, layouts)
            points += _measured(endpoint, settings, tell, case, layouts, 1, batching=True)
        for rows in settings.rows[1:]:
            points += _measured(endpoint, settings, tell, ("networks", rows), ["one"], 1, batching=True)
    for instances in settings.instances:
        with _served(settings, ["one"], instances, batching=True) as (endpoint, name):
            for case in cases:
                points += _measured(endpoint, settings, tell, case, ["one"], instances, batching=True)
    if not ours:
        with _served(settings, ["one"], 1, batching=False) as (endpoint, name):
            case = ("networks", settings.rows[0])
            points += _measured(endpoint, settings, tell, case, ["one"], 1, batching=False)
    return BenchResult(name, tuple(points))


@contextmanager
def _served(
    settings: BenchSettings, layouts: Sequence[str], instances: int, *, batching: bool
) -> Iterator[tuple[Endpoint, str]]:
    """Serve a repository of these layouts; give where, and the name of the server."""
    with tempfile.TemporaryDirectory(prefix="needle-bench-") as above:
        folder = Path(above)
        workloads.write(folder / "models", layouts, instances=instances, batching=batching)
        choice = ServerChoice(
            repository=folder / "models", endpoint=folder / "endpoint.json", log=folder / "server.log",
            tritonserver=settings.tritonserver, builtin=settings.builtin,
        )  # fmt: skip
        with serving.started(choice) as server:
            assert server.endpoint is not None
            yield server.endpoint, server.endpoint.server


def _insist_on_equal(endpoint: Endpoint, case: tuple[str, int], layouts: Sequence[str]) -> None:
    """Insist on the same numbers in all layouts, without which their times say nothing.

    Raises:
        TaskError: Two differ.
    """
    client, arrays = Client(endpoint), workloads.arrays(*case, seed=1)
    try:
        found = [workloads.BY_NAME[case[0]](layout).call(client, arrays) for layout in layouts]
    finally:
        client.close()
    for layout, one in zip(layouts, found, strict=True):
        if not np.allclose(one, found[0], atol=TOLERANCE):
            raise TaskError(f"{case[0]}: the layouts {layouts[0]} and {layout} give different numbers")


def _measured(
    endpoint: Endpoint,
    settings: BenchSettings,
    tell: Tell,
    case: tuple[str, int],
    layouts: Sequence[str],
    instances: int,
    *,
    batching: bool,
) -> Iterator[LoadPoint]:
    """Measure one workload at each concurrency.

    Raises:
        TaskError: A request failed.
    """
    arrays = workloads.arrays(*case, seed=1)
    for layout in layouts:
        for concurrency in settings.concurrency:
            own = workloads.BY_NAME[case[0]](layout)
            point = load.measure(
                endpoint, own, arrays, concurrency, settings.seconds, instances=instances, batching=batching
            )
            if point.errors:
                raise TaskError(f"{case[0]}, layout {layout}: {point.errors} clients had an error: {point.error}")
            tell(described(point))
            yield point


def described(point: LoadPoint) -> str:
    """Put a point into a line."""
    more = "" if point.instances == 1 else f", {point.instances} instances"
    more += "" if point.batching else ", no batches"
    batch = f", {point.rows_per_execution:.0f} rows an execution" if point.rows_per_execution else ""
    return (
        f"{point.workload} {point.rows} rows, {point.layout}, {point.concurrency} in flight{more}: {point.throughput:.1f}/s, "
        f"p50 {1e3 * point.p50:.1f} ms, p95 {1e3 * point.p95:.1f} ms, CPU of the server {1e3 * point.server_cpu:.2f} ms, "
        f"of the client {1e3 * point.client_cpu:.2f} ms a request{batch}"
    )
