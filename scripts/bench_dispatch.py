"""Measure how fast tasks get to worker processes of this machine: `bench_dispatch.py [--quick]`, one JSON line.

`P1.first_result_s`: from the start of Parsl, its import included, to the first result. `P2.ms_per_task`: wall time of many no-op tasks,
submitted at once, over their number; beside it the same with Parsl alone, its HighThroughputExecutor as it comes.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from needle_parsl.site import Site

SITE = Site("benchmark", executor="htex", workers_per_node=2)


def nothing() -> None:
    """Do nothing."""


@contextmanager
def ours(folder: Path) -> Any:
    """Start Parsl as a run does."""
    from needle_parsl.workflow import executors

    with executors.started(SITE, folder) as machine:
        yield machine.kernel


def alone(folder: Path) -> AbstractContextManager[Any]:
    """Start Parsl as it comes, with as many workers and its first look at once."""
    import parsl

    os.environ["PATH"] = (
        f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # Parsl starts its programs by name
    )
    htex = parsl.HighThroughputExecutor(
        label="tasks", max_workers_per_node=2, cores_per_worker=1e-6, address="127.0.0.1"
    )
    config = parsl.Config(executors=[htex], run_dir=str(folder), initialize_logging=False, strategy_period=0.1)
    return nullcontext(parsl.load(config))


def measure(start: Callable[[Path], AbstractContextManager[Any]], tasks: int) -> tuple[float, float]:
    """Give the seconds to the first result, and the milliseconds per task."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        with start(Path(folder)) as kernel:
            from parsl import python_app

            app: Callable[[], Future[None]] = python_app(nothing, data_flow_kernel=kernel)
            app().result()
            first = time.perf_counter() - began
            began = time.perf_counter()
            wait([app() for _ in range(tasks)])
            each = 1e3 * (time.perf_counter() - began) / tasks
            if start is alone:
                kernel.cleanup()
    return first, each


def main() -> None:
    """Print one line."""
    if "--alone" in sys.argv or "--ours" in sys.argv:
        print(json.dumps(measure(alone if "--alone" in sys.argv else ours, int(sys.argv[-1]))))
        return
    rounds, tasks = (1, 1000) if "--quick" in sys.argv else (5, 10_000)
    raw: dict[str, list[Any]] = {"ours": [], "parsl_alone": []}
    for _ in range(rounds):  # each in a process of its own, alternating
        for name, flag in (("ours", "--ours"), ("parsl_alone", "--alone")):
            raw[name].append(_child(flag, tasks))
    first, each = (median(pair[i] for pair in raw["ours"]) for i in (0, 1))
    print(
        json.dumps(
            {
                "bench": "dispatch",
                "machine": f"{platform.machine()}, {os.cpu_count()} cores",
                "versions": {name: version(name) for name in ("parsl", "pyzmq")}
                | {"python": platform.python_version()},
                "load": os.getloadavg()[0],
                "tasks": tasks,
                "ratios": {
                    "P1.first_result_s": {"value": round(first, 2), "target": 3.5, "limit": 1.9},
                    "P2.ms_per_task": {"value": round(each, 2), "target": 2.0, "limit": 1.0},
                },
                "raw": raw,
            }
        )
    )


def _child(flag: str, tasks: int) -> Any:
    import subprocess

    done = subprocess.run([sys.executable, __file__, flag, str(tasks)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
