"""Measure how long `needle submit` takes to a warm endpoint: `bench_submit.py [--quick]`, one JSON line.

`R1.submit_s`: from the start of the command to its exit, median of 5 (`--quick`: 3); `raw` has the processor time beside. Client, broker and endpoint are the real ones, on this
machine; the hosted service is the stand-in of the tests, so that the way to it and back, a few times 0.1 s, is not in the number.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import measuring  # type: ignore[import-not-found]  # scripts find what stands beside them

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "remote")]
LIMIT = 5.0
"""Seconds."""


def submit(site: Any, folder: Path, endpoint: str) -> tuple[float, float]:
    """Submit once, and cancel the run; give the wall time and the processor time of the submission, without the endpoint's."""
    needle = [sys.executable, "-m", "needle_parsl"]
    command = [*needle, "submit", "--site", "local", "--endpoint", endpoint, "--json", "analysis.toml"]
    before, started = measuring.children_s(), time.monotonic()
    ended = subprocess.run(command, cwd=folder, env=site.env(folder), check=True, stdout=subprocess.PIPE)
    taken = time.monotonic() - started, measuring.children_s() - before
    run = json.loads(ended.stdout)["run"]
    subprocess.run([*needle, "cancel", run], cwd=folder, env=site.env(folder), check=True, stdout=subprocess.DEVNULL)
    return taken


def main() -> None:
    """Measure."""
    import generated  # type: ignore[import-not-found]  # of the tests
    from site_here import LocalSite, install  # type: ignore[import-not-found]

    if why := install():
        sys.exit(why)
    with tempfile.TemporaryDirectory() as place:
        folder, site = Path(place, "laptop"), LocalSite(Path(place))
        generated.write(folder)
        try:
            site.start_service()
            site.configure("site")
            endpoint = site.start("site")
            submit(site, folder, endpoint)  # the first one starts what runs the calls
            taken = [submit(site, folder, endpoint) for _ in range(3 if "--quick" in sys.argv else 5)]
        finally:
            for name in reversed(list(site.processes)):
                site.stop(name)
    ratios = {"R1.submit_s": (round(median(wall for wall, _ in taken), 2), LIMIT, "wanted, from start to exit")}
    sys.stdout.write(measuring.line("submit", ("globus-compute-sdk", "parsl"), ratios, taken) + "\n")


if __name__ == "__main__":
    main()
