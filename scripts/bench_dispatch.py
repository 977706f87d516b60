"""Measure how fast tasks get to worker processes of this machine: `bench_dispatch.py [--quick]`, one JSON line.

`P1.first_result_s`: from the start of Parsl, its import included, to the first result. `P2.ms_per_task`: wall time of many tasks that do
nothing but write an empty record, through needle's own flow: submission, worker, output with its digest, ledger. `P2.parsl_ms_per_task`: no-op
functions instead, by needle's executor; beside it Parsl alone, its HighThroughputExecutor as it comes. `P3.efficiency`: tasks that sleep 0.24 s
on 48 workers, 200 a second, which is the rate of 256 workers with tasks of 1.3 s: the ideal time over the wall time.
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

MANY, SLEEP = 48, 0.24
"""Workers, and the seconds that each of their tasks sleeps."""
SITE = Site(description="benchmark", executor="htex", workers_per_node=2)


def nothing() -> None:
    """Do nothing."""


def rest(seconds: float) -> None:
    """Leave the processor to others."""
    import time

    time.sleep(seconds)


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


def flow(tasks: int) -> float:
    """Give the milliseconds per task through needle's own flow, its ledger included; the start of the workers does not count."""
    from needle_parsl import rundir
    from needle_parsl.plan import Task, specs
    from needle_parsl.plan.stages import STAGES
    from needle_parsl.workflow import flow, ledger

    spec = specs.CoverageSpec(poi="mu", blocks=(), levels=(0.68,), belt=False)
    todo = [
        Task(stage=STAGES["coverage"], name=f"{i:06d}", key=f"{i:032x}", spec=spec, after=()) for i in range(tasks + 2)
    ]
    ended: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        rundir.create(root)
        (root / rundir.LOGS).mkdir()

        def finished(task: Task, record: Any, error: BaseException | None) -> None:  # noqa: ARG001  the flow's
            ledger.append(root, record)
            ended.append(time.perf_counter())

        flow.run(root, todo, {}, SITE, finished)
        assert len(ledger.read(root)) == tasks + 2
    return 1e3 * (ended[-1] - ended[1]) / tasks  # the first ones wait for the workers


def asleep(tasks: int) -> float:
    """Give the part of the ideal rate that is reached with many workers that sleep."""
    from needle_parsl.workflow import executors

    site = Site(description="benchmark", executor="htex", workers_per_node=MANY)
    with tempfile.TemporaryDirectory() as folder, executors.started(site, Path(folder)) as machine:
        from parsl import python_app

        app: Callable[[float], Future[None]] = python_app(rest, data_flow_kernel=machine.kernel)
        wait([app(SLEEP) for _ in range(4 * MANY)])  # all workers are there
        began = time.perf_counter()
        wait([app(SLEEP) for _ in range(tasks)])
        return tasks * SLEEP / MANY / (time.perf_counter() - began)


def main() -> None:
    """Print one line."""
    arms: dict[str, Callable[[int], Any]] = {
        "--alone": lambda tasks: measure(alone, tasks),
        "--ours": lambda tasks: measure(ours, tasks),
        "--flow": flow,
        "--asleep": asleep,
    }
    if sys.argv[1:] and sys.argv[1] in arms:
        print(json.dumps(arms[sys.argv[1]](int(sys.argv[-1]))))
        return
    rounds, tasks = (1, 1000) if "--quick" in sys.argv else (5, 10_000)
    raw: dict[str, list[Any]] = {"ours": [], "parsl_alone": [], "flow": []}
    for _ in range(rounds):  # each in a process of its own, alternating
        for name, flag in (("ours", "--ours"), ("parsl_alone", "--alone"), ("flow", "--flow")):
            raw[name].append(_child(flag, tasks))
    efficiency = _child("--asleep", tasks)
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
                    "P2.ms_per_task": {"value": round(median(raw["flow"]), 2), "target": 2.0, "limit": 1.0},
                    "P2.parsl_ms_per_task": {"value": round(each, 2), "target": 2.0, "limit": 1.0},
                    "P3.efficiency": {"value": round(efficiency, 3), "target": 0.95, "limit": 0.97},
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
