"""Drivers that nobody waits for: started as processes of their own, or as batch jobs, and found again by a note in the run directory."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from needle_parsl import files, ownership, rundir
from needle_parsl.errors import InputError, TaskError
from needle_parsl.processes import python, supervised
from needle_parsl.site import Site
from needle_parsl.workflow import forms, lock
from needle_parsl.workflow.executors import driver_job
from needle_parsl.workflow.executors.driver_job import INSIDE, NAME, SCRIPT

ENDING = 15.0
"""Seconds that a cancelled run has to end by itself."""
TAIL = 20_000
"""Bytes of a log that are shown, at most."""
COMMANDS = {
    "slurm": ("sbatch --parsable", "squeue --noheader --format=%t --job", "scancel"),
    "pbs": ("qsub", "qstat", "qdel"),
}
"""How a driver's own job is submitted, looked at, and ended."""
FORM = {"host": str, "pid?": int, "born?": float, "job?": str, "scheduler?": str}
JOB_ID = re.compile(r"[0-9A-Za-z_.\[\]][0-9A-Za-z_.\[\]-]*")
"""Of a job, as schedulers write it: never an option."""
MOST_PROCESSES = 2**22
"""The largest number of a process."""
LIVING = ("PD", "CF", "R", "CG", "S")


@dataclass(frozen=True)
class Driver:
    """A driver that was started."""

    host: str
    pid: int = 0
    """0 for a job."""
    born: float = 0.0
    """When the process started: numbers are used again."""
    job: str = ""
    scheduler: str = ""


def start(arguments: list[str], cwd: Path, note: Path, log: Path) -> Driver:
    """Start needle as a process that outlives this one.

    Args:
        arguments: What needle is told.
        cwd: Where.
        note: The file that says who it is.
        log: The file for what it says.
    """
    with log.open("ab") as out:
        process = subprocess.Popen(
            python.module("needle_parsl", *arguments),
            cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, env={**os.environ, INSIDE: "login"},
        )  # fmt: skip
    driver = Driver(socket.gethostname(), process.pid, psutil.Process(process.pid).create_time())
    files.write_json(note, asdict(driver))
    process.returncode = 0  # nobody waits for it
    return driver


def submit(arguments: list[str], cwd: Path, root: Path, site: Site) -> Driver:
    """Submit a job in which needle runs, and which goes on in a next one.

    Raises:
        TaskError: The scheduler refuses it.
    """
    if not shutil.which(COMMANDS[site.scheduler][0].split()[0]):
        raise InputError(
            f"{COMMANDS[site.scheduler][0].split()[0]}: not on this machine; run needle where jobs are submitted"
        )
    path = root / rundir.LOGS / SCRIPT
    files.write_text(path, script(arguments, cwd, root, site))
    done = subprocess.run(
        [*COMMANDS[site.scheduler][0].split(), path], capture_output=True, text=True, check=False, timeout=60
    )
    if done.returncode:
        raise TaskError(f"the scheduler refuses the driver's job: {' '.join(done.stderr.split())}")
    driver = Driver(socket.gethostname(), job=done.stdout.strip().split(";")[0], scheduler=site.scheduler)
    files.write_json(root / rundir.DRIVER, asdict(driver))
    return driver


def script(arguments: list[str], cwd: Path, root: Path, site: Site) -> str:
    """Write the script of a driver's job."""
    note = json.dumps(asdict(Driver(socket.gethostname(), job="%s", scheduler=site.scheduler)))
    return driver_job.script(arguments, cwd, root, site, COMMANDS[site.scheduler][0], note)


def read(note: Path) -> Driver | None:
    """Read who drives a run; None if nobody was started detached.

    Raises:
        InputError: What is there is no driver; nothing of it goes to a scheduler or a process.
    """
    if not note.exists():
        return None
    found = files.read_json(note)
    if not isinstance(found, dict) or not _is_driver(found):
        raise InputError(f"{note}: names no driver; remove it if the run is not going on")
    return Driver(**found)


def _is_driver(found: dict[str, Any]) -> bool:
    """Whether a table has the form of a driver: of a process or of a job, and not an option of the scheduler's commands."""
    if not forms.fits(found, FORM) or not found.keys() <= {name.removesuffix("?") for name in FORM}:
        return False
    whole = {**asdict(Driver("")), **found}
    if not 0 <= whole["pid"] <= MOST_PROCESSES or not whole["host"].isprintable():
        return False
    known = JOB_ID.fullmatch(whole["job"]) and whole["scheduler"] in COMMANDS
    return bool(known if whole["job"] else whole["pid"])


def alive(driver: Driver) -> bool:
    """Whether a driver lives.

    Raises:
        InputError: It is a process of another host.
    """
    if driver.job:
        done = subprocess.run(
            [*COMMANDS[driver.scheduler][1].split(), driver.job],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return done.stdout.strip() in LIVING if driver.scheduler == "slurm" else done.returncode == 0
    if driver.host != socket.gethostname():
        raise InputError(f"its driver is process {driver.pid} on {driver.host}; give the same command there")
    return _process(driver) is not None


def _process(driver: Driver) -> psutil.Process | None:
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(driver.pid)
        if abs(process.create_time() - driver.born) < lock.MOVED and not supervised.gone(process):
            return process
    return None


def end(driver: Driver, folder: Path) -> None:
    """End a driver as Ctrl-C would: it ends its workers and jobs. A process that does not end is asked a second time.

    Args:
        driver: Who it is, as a file of the run says.
        folder: The run directory, or one that it lies in.

    Raises:
        InputError: The run is somebody else's, or what the file names is not its driver: nothing is ended.
    """
    ownership.insist(folder, shared=True, instead="only its owner ends it")
    if driver.job:
        if not _jobs_name(driver).startswith(NAME):
            raise InputError(
                f"{folder}: says that its driver is job {driver.job}, which is no driver of needle's; nothing was ended"
            )
        subprocess.run([COMMANDS[driver.scheduler][2], driver.job], capture_output=True, check=False, timeout=60)
        _wait(driver)
        return
    for _ in range(2):
        if process := _process(driver):
            if not _drives(process, folder):
                raise InputError(
                    f"{folder}: says that its driver is process {driver.pid}, which it is not; nothing was ended"
                )
            process.terminate()
            _wait(driver)


def _jobs_name(driver: Driver) -> str:
    """Ask the scheduler for the name of a driver's job; empty if it knows none."""
    asked = {"slurm": ["squeue", "--noheader", "--format=%j", "--job"], "pbs": ["qstat", "-f"]}[driver.scheduler]
    said = subprocess.run([*asked, driver.job], capture_output=True, text=True, check=False, timeout=60).stdout
    found = re.search(r"Job_Name = (.*)", said) if driver.scheduler == "pbs" else re.search(r"(\S.*)", said)
    return found[1].strip() if found else ""


def _drives(process: psutil.Process, folder: Path) -> bool:
    """Whether a process is needle, of this user, with a file of the run open: its lock, or what it says."""
    try:
        command, within = process.cmdline(), folder.resolve()
        needle = "needle_parsl" in command or any(Path(part).name == "needle" for part in command[:3])
        opened = any(Path(file.path).is_relative_to(within) for file in process.open_files())
        return needle and opened and process.uids().real == os.geteuid()
    except psutil.Error:
        return False


def _wait(driver: Driver) -> None:
    ends = time.monotonic() + ENDING
    while alive(driver) and time.monotonic() < ends:
        time.sleep(0.2)


def tail(log: Path) -> str:
    """Give the end of what a driver has said."""
    if not log.is_file():
        return ""
    with log.open("rb") as file:
        file.seek(max(log.stat().st_size - TAIL, 0))
        return file.read(TAIL).decode(errors="replace")
