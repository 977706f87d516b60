"""What the benchmarks share: the machine, alternated arms in processes of their own, and one line of JSON."""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from statistics import median
from typing import Any

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def machine() -> str:
    """Name the processor and the number of cores that may be used."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123  a file of the kernel
        names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {len(os.sched_getaffinity(0))} cores"


def resident_mb() -> float:
    """Give the resident memory of this process now, in MB."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123  a file of the kernel
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


def peak_mb() -> float:
    """Give the largest resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def children_s() -> float:
    """Give the processor time of the processes that were started here, and have ended, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def arm(script: str, name: str, *arguments: str) -> dict[str, Any]:
    """Run one arm of a benchmark in a process of its own; it prints its numbers as JSON in its last line."""
    command = [sys.executable, script, "--arm", name, *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **ONE_THREAD})
    if ended.returncode:
        sys.exit(f"{name}: {ended.stderr.strip().splitlines()[-1] if ended.stderr.strip() else ended.returncode}")
    numbers: dict[str, Any] = json.loads(ended.stdout.strip().splitlines()[-1])
    return numbers


def alternate(script: str, names: Sequence[str], rounds: int, *arguments: str) -> dict[str, list[dict[str, Any]]]:
    """Run arms in turn, so that what else the machine does hits all of them."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            found[name].append(arm(script, name, *arguments))
    return found


def ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """Give the median of the ratios of paired samples."""
    return round(median(a / b for a, b in zip(above, below, strict=True)), 3)


def line(bench: str, packages: Sequence[str], ratios: Mapping[str, tuple[float, float, str]], raw: Any) -> str:
    """Make the line of JSON.

    Args:
        bench: Name of the benchmark.
        packages: Whose versions matter.
        ratios: By id the value, its target, and what it is measured against.
        raw: The samples.
    """
    return json.dumps(
        {
            "bench": bench,
            "machine": machine(),
            "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
            "load": os.getloadavg()[0],
            "ratios": {name: dict(zip(("value", "target", "limit"), row, strict=True)) for name, row in ratios.items()},
            "raw": raw,
        }
    )
