"""Time a stage over 200 files beside `ProcessPoolExecutor.map` of the same function on the same cores; one line of JSON.

python scripts/bench_stages.py             # two rounds of 200 files, 0.6 s of work each, about 5 minutes on 2 cores
python scripts/bench_stages.py --quick     # one round of 60 files

`S1.throughput`: calls per second of the stage over those of the pool, from the first result to the last, so that what both need to start is left
out; the stage writes its outputs, their digests and the ledger. `S1.again_s`: the second run, in which nothing is to do.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from measuring import alternate, line, ratio  # type: ignore[import-not-found]  # scripts find what stands beside them

ANALYSIS = """
name = "fan"
physics = "physics.py"
[stages.distances]
function = "physics.py:count"
over = { file = "raw/*.npy" }
outputs = { counts = "arrays" }
merge = "sum"
"""
PHYSICS = '''
import numpy as np


def count(file):
    """Histogram the pairwise distances of the numbers of a file, block by block."""
    x = np.load(file)
    counts = sum(np.histogram(np.abs(x - shift), 200, (0.0, 8.0))[0] for shift in x[:ROUNDS])
    return {"counts": counts}
'''
ROUNDS, EVENTS = 5_000, 8_000
"""Arrays small enough for the heap: larger ones would be fetched from the system and given back in every round, by some processes and not by others."""
ARMS = ("pool", "stage")


def made(folder: Path, files: int) -> list[str]:
    """Write the input files, an analysis of them and its code."""
    (folder / "raw").mkdir()
    for number in range(files):
        np.save(folder / "raw" / f"{number:03d}.npy", np.random.default_rng(number).normal(size=EVENTS))
    (folder / "physics.py").write_text(PHYSICS.replace("ROUNDS", str(ROUNDS)))
    (folder / "analysis.toml").write_text(ANALYSIS)
    return sorted(str(path) for path in (folder / "raw").iterdir())


def rate(ends: list[float]) -> float:
    """Give results per second, from the first to the last."""
    return (len(ends) - 1) / (ends[-1] - ends[0])


def pool(folder: Path, paths: list[str]) -> dict[str, Any]:
    """Call the function by a pool of one process per core."""
    sys.path.insert(0, str(folder))
    import physics  # type: ignore[import-not-found]  # just written

    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as workers:
        ends = [time.monotonic() for _ in workers.map(physics.count, paths)]
    return {"rate": rate(ends), "seconds": ends[-1] - ends[0]}


def stage(folder: Path, paths: list[str]) -> dict[str, Any]:
    """Call it as a stage, and run once more when all is done."""
    from needle_parsl import site as sites
    from needle_parsl.analysis import read
    from needle_parsl.workflow import prepared_run, run

    ends: list[float] = []
    where = sites.load("local")

    def begin() -> prepared_run.Prepared:
        return prepared_run.prepare(folder / "run", read(folder), where)

    outcome = run.run(begin(), lambda task, _: ends.append(time.monotonic()) if task.name != "merged" else None)
    assert not outcome.failed
    started = time.monotonic()
    assert not run.run(begin(), lambda *_: None).done
    calls = ends[: len(paths)]
    return {"rate": rate(calls), "seconds": calls[-1] - calls[0], "again_s": time.monotonic() - started}


def main() -> None:
    """Run both arms in turn, or one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arm", choices=ARMS)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--quick", action="store_true")
    chosen = parser.parse_args()
    files, rounds = (60, 1) if chosen.quick else (chosen.files, chosen.rounds)
    if chosen.arm:
        with tempfile.TemporaryDirectory() as folder:
            paths = made(Path(folder), files)
            print(json.dumps({"pool": pool, "stage": stage}[chosen.arm](Path(folder), paths)))
        return
    found = alternate(__file__, ARMS, rounds, "--files", str(files))
    rates = [[one["rate"] for one in found[arm]] for arm in ("stage", "pool")]
    again = max(one["again_s"] for one in found["stage"])
    limits = {
        "S1.throughput": (ratio(*rates), 0.95, "ProcessPoolExecutor.map of the same function"),
        "S1.again_s": (round(again, 2), 5.0, "seconds of a second run, at most"),
    }
    print(line("stages", ("parsl", "numpy"), limits, found))


if __name__ == "__main__":
    main()
