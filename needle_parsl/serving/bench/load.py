"""The load on a server: some clients that ask again as soon as they are answered, and what that costs on both sides."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil

from needle_parsl.errors import NeedleError
from needle_parsl.json_records import JsonRecord
from needle_parsl.serving.bench.workloads import Workload
from needle_parsl.serving.client import Client
from needle_parsl.serving.endpoint import Endpoint

WARM = 0.3
"""Seconds before anything is counted."""


@dataclass(frozen=True, kw_only=True)
class LoadPoint(JsonRecord):
    """What was measured at one setting."""

    workload: str
    layout: str
    concurrency: int
    """Clients that wait for an answer at a time."""
    rows: int
    """Of a request: hits, or events."""
    instances: int
    """Processes of each model."""
    batching: bool
    requests: int
    throughput: float
    """Unit: requests/s; a request is all calls that one needs."""
    p50: float
    """Half of the requests were answered within. Unit: s."""
    p95: float
    server_cpu: float
    """Unit: s per request."""
    client_cpu: float
    """Unit: s per request."""
    rows_per_execution: float | None
    """Of the first model that is called; None where the server has counted nothing."""
    errors: int
    error: str = ""
    """What the first of them was told."""


@dataclass
class _Times:
    """When requests began and ended."""

    spans: list[tuple[float, float]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def measure(
    endpoint: Endpoint,
    workload: Workload,
    arrays: Mapping[str, npt.NDArray[Any]],
    concurrency: int,
    seconds: float,
    *,
    instances: int,
    batching: bool,
) -> LoadPoint:
    """Ask for some seconds.

    Args:
        endpoint: The server; of this machine, since its CPU time is read.
        workload: In one layout.
        arrays: What each request has.
        concurrency: Clients at a time.
        seconds: That are counted, after a short time that is not.
        instances: Processes of each model, for the record.
        batching: Whether requests are put together, for the record.
    """
    times, ends = _Times(), threading.Event()
    threads = [
        threading.Thread(target=_ask, args=(endpoint, workload, arrays, times, ends)) for _ in range(concurrency)
    ]
    for thread in threads:
        thread.start()
    time.sleep(WARM)
    watcher, model = Client(endpoint), workload.parts[0].model
    before, counted = (_server_cpu(endpoint.pid), time.process_time()), watcher.statistics(model)
    start = time.perf_counter()
    time.sleep(seconds)
    stop = time.perf_counter()
    after, counts = (_server_cpu(endpoint.pid), time.process_time()), watcher.statistics(model)
    ends.set()
    for thread in threads:
        thread.join()
    watcher.close()
    spans = np.array([span for span in times.spans if start <= span[1] <= stop]).reshape(-1, 2)
    taken = spans[:, 1] - spans[:, 0]
    number = max(len(taken), 1)
    executions = counts["executions"] - counted["executions"]
    p50, p95 = np.quantile(taken, [0.5, 0.95]) if len(taken) else (np.inf, np.inf)
    (rows,) = {len(array) for array in arrays.values()}
    each = (counts["inferences"] - counted["inferences"]) / executions if executions else None
    return LoadPoint(
        workload=workload.name, layout=workload.layout, concurrency=concurrency, rows=rows, instances=instances, batching=batching,
        requests=len(taken), throughput=len(taken) / (stop - start), p50=float(p50), p95=float(p95),
        server_cpu=(after[0] - before[0]) / number, client_cpu=(after[1] - before[1]) / number,
        rows_per_execution=each, errors=len(times.errors), error=next(iter(times.errors), ""),
    )  # fmt: skip


def _ask(
    endpoint: Endpoint, workload: Workload, arrays: Mapping[str, npt.NDArray[Any]], times: _Times, ends: threading.Event
) -> None:
    """Ask again and again; an error ends this client."""
    client = Client(endpoint)
    try:
        while not ends.is_set():
            began = time.perf_counter()
            workload.call(client, arrays)
            times.spans.append((began, time.perf_counter()))
    except NeedleError as error:
        times.errors.append(str(error))
    finally:
        client.close()


def _server_cpu(pid: int) -> float:
    """Add the CPU seconds of a server and all that it has started."""
    above = psutil.Process(pid)
    total = 0.0
    for process in (above, *above.children(recursive=True)):
        try:
            used = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += used.user + used.system
    return total
