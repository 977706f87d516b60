"""A small run to disturb, and the means to disturb it: find its processes, kill them, and see what is left."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import generated
import psutil

from needle_parsl.processes import supervised
from needle_parsl.workflow.executors import node_script

PATIENCE = 300.0
"""Seconds after which something that was waited for counts as not coming: generous, since machines of tests are slow."""
TRAINING = """layers        = 2
nodes         = 16
batch_size    = 256
epochs        = 8
patience      = 1000
members       = 4"""
NUISANCE = """
[samples.background.variations.jes]
up   = { generate = "physics.py:background_jes_up" }
down = { generate = "physics.py:background_jes_down" }
[model.nuisances.jes]
"""


@dataclass(frozen=True)
class Run:
    """A run directory, and how to run it."""

    folder: Path
    settings: tuple[str, ...] = ()

    @property
    def root(self) -> Path:
        return self.folder / "runs" / "frail"

    def command(self, site: str, *more: str) -> list[str]:
        settings = [part for setting in self.settings for part in ("--set", setting)]
        return [sys.executable, "-m", "needle_parsl", "run", "analysis.toml", "--site", site, *settings, *more]

    def start(self, site: str, *more: str, **how: Any) -> subprocess.Popen[str]:
        """Start a run in the background, as a user would in a terminal of its own."""
        return subprocess.Popen(
            self.command(site, *more), cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, **how
        )  # fmt: skip

    def finish(self, site: str = "local", *more: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(site, *more), cwd=self.folder, capture_output=True, text=True, check=False, timeout=timeout
        )

    def ledger(self) -> list[dict[str, Any]]:
        path = self.root / "ledger.jsonl"
        found = []
        for line in path.read_text(errors="replace").splitlines() if path.exists() else []:
            try:
                found.append(json.loads(line))
            except ValueError:
                continue  # torn by a kill
        return found

    def repeated(self) -> list[str]:
        """Tasks that were recorded as done, and done again."""
        keys = [entry["key"] for entry in self.ledger() if not entry["reason"]]
        return sorted({key for key in keys if keys.count(key) > 1})

    def fits(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted((self.root / "fits").glob("*.json"))}

    def until(self, process: subprocess.Popen[Any], there: Callable[[Run], object]) -> None:
        """Wait for something while a run goes on; a run that ends first has failed."""
        ended = time.monotonic() + PATIENCE
        while not there(self):
            assert process.poll() is None, f"the run ended with {process.returncode}"
            assert time.monotonic() < ended, "it did not come"
            time.sleep(0.02)

    def oldest_state(self) -> float:
        """Seconds of training that would be lost now: the age of the newest state of each unfinished pack, the largest of them."""
        newest = [
            max((path.stat().st_mtime for path in pack.glob("[!.]*.h5")), default=None)
            for pack in (self.root / "packs" / "states").glob("*")
        ]
        return max((time.time() - at for at in newest if at), default=0.0)


def make(folder: Path, *settings: str, nuisance: bool = True) -> Run:
    """Write the small analysis into a folder; without its nuisance parameter it trains one pack, else three."""
    generated.write(folder, TRAINING, name="frail", events=6_000, more=NUISANCE if nuisance else "")
    return Run(folder, settings)


def family(process: subprocess.Popen[Any]) -> list[psutil.Process]:
    """All processes that a run has started, with itself."""
    try:
        driver = psutil.Process(process.pid)
        return [driver, *driver.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def words(process: psutil.Process) -> str:
    """Give its command line; empty if it has just ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def cast(processes: list[psutil.Process]) -> dict[str, list[psutil.Process]]:
    """Who is who: driver, interchange, manager, workers."""
    said = [(process, words(process)) for process in processes]
    said = [(process, text) for process, text in said if supervised.__name__ not in text]
    managers = [process for process, text in said if node_script.POOL in text]
    return {
        "driver": processes[:1],
        "interchange": [process for process, text in said if "HTEX interchange" in text],
        "manager": managers,
        "worker": [worker for manager in managers for worker in workers(manager)],
        "helper": [child for manager in managers for child in spawned(manager)[:1]],
    }


def busy(process: psutil.Process) -> float:
    """Seconds that a process has computed."""
    try:
        return float(process.cpu_times().user)
    except psutil.NoSuchProcess:
        return 0.0


def workers(manager: psutil.Process) -> list[psutil.Process]:
    """Give the workers of a pool; the first of its processes is multiprocessing's own."""
    return spawned(manager)[1:]


def spawned(manager: psutil.Process) -> list[psutil.Process]:
    """Give what multiprocessing has started for a pool, the oldest first: its own helper, then workers."""
    try:
        children = [child for child in manager.children() if "spawn_main" in words(child)]
        return sorted(children, key=lambda child: child.create_time())
    except psutil.NoSuchProcess:
        return []


def left(processes: list[psutil.Process], seconds: float = 60.0) -> tuple[list[psutil.Process], float]:
    """Wait for processes to end; give those that did not, and how long it took."""
    started = time.monotonic()
    alive = processes
    while alive and time.monotonic() - started < seconds:
        time.sleep(0.05)
        alive = [process for process in alive if not supervised.gone(process)]
    return alive, time.monotonic() - started


def kill(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):  # it was faster
        process.kill()
