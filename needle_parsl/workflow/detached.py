"""Drivers that nobody waits for: started as processes of their own, or as batch jobs, and found again by a note in the run directory."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from needle_parsl import rundir
from needle_parsl.errors import InputError, TaskError
from needle_parsl.site import Site
from needle_parsl.workflow.processes import python, tethered

LOG, SCRIPT = "driver.log", "driver.sh"
INSIDE = "NEEDLE_DRIVER"
"""Set for a driver that is detached already."""
ENDING = 15.0
"""Seconds that a cancelled run has to end by itself."""
TAIL = 20_000
"""Characters of a log that are shown."""
COMMANDS = {
    "slurm": ("sbatch --parsable", "squeue --noheader --format=%t --job", "scancel"),
    "pbs": ("qsub", "qstat", "qdel"),
}
"""How a driver's own job is submitted, looked at, and ended."""
LIVING = ("PD", "CF", "R", "CG", "S")
JOB = """\
#!/bin/bash
{options}
# The driver of a run. Before its walltime ends it stops the run, and goes on in a next job.
cd {folder} || exit 1
export {inside}=job
timeout --signal=TERM --kill-after=60 {seconds} {command}
code=$?
if [ $code = 124 ]; then
  next=$({submit} {script}) && printf {note} "${{next%%;*}}" > {driver}.next && mv {driver}.next {driver} && exit 0
fi
exit $code
"""


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
    rundir.write_json(note, asdict(driver))
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
    rundir.write_text(path, script(arguments, cwd, root, site))
    done = subprocess.run(
        [*COMMANDS[site.scheduler][0].split(), path], capture_output=True, text=True, check=False, timeout=60
    )
    if done.returncode:
        raise TaskError(f"the scheduler refuses the driver's job: {' '.join(done.stderr.split())}")
    driver = Driver(socket.gethostname(), job=done.stdout.strip().split(";")[0], scheduler=site.scheduler)
    rundir.write_json(root / rundir.DRIVER, asdict(driver))
    return driver


def script(arguments: list[str], cwd: Path, root: Path, site: Site) -> str:
    """Write the script of a driver's job: one node of the kind that small tasks have."""
    shape = site.shapes()[site.serving("cpu")]
    log, name = root.resolve() / rundir.LOGS / LOG, f"needle-driver-{root.name}"
    asked = [f"--job-name={name}", f"--output={log}", "--open-mode=append", "--nodes=1", f"--time={shape.walltime}"]
    asked += [f"--{key}={value}" for key, value in (("account", shape.account), ("partition", shape.queue), ("qos", shape.qos), ("constraint", shape.constraint)) if value]  # fmt: skip
    if site.scheduler == "pbs":
        asked = [
            f"-N {name}",
            f"-o {log}",
            "-j oe",
            f"-l select=1:ncpus={shape.cores_per_node or 1}",
            f"-l walltime={shape.walltime}",
        ]
        asked += [f"-{key} {value}" for key, value in (("A", shape.account), ("q", shape.queue)) if value]
    sign = "#SBATCH" if site.scheduler == "slurm" else "#PBS"
    return JOB.format(
        options="\n".join(f"{sign} {option}" for option in (*asked, *shape.options)),
        folder=shlex.quote(str(cwd)),
        inside=INSIDE,
        seconds=shape.seconds() - min(max(60, shape.draining()), shape.seconds() // 2),
        note=shlex.quote(json.dumps(asdict(Driver(socket.gethostname(), job="%s", scheduler=site.scheduler)))),
        driver=shlex.quote(str(root.resolve() / rundir.DRIVER)),
        command=shlex.join(python.module("needle_parsl", *arguments)),
        submit=COMMANDS[site.scheduler][0],
        script=shlex.quote(str(root.resolve() / rundir.LOGS / SCRIPT)),
    )


def read(note: Path) -> Driver | None:
    """Read who drives a run; None if nobody was started detached."""
    try:
        return Driver(**rundir.read_json(note))
    except (InputError, TypeError):
        return None


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
        if process.create_time() == driver.born and not tethered.gone(process):
            return process
    return None


def end(driver: Driver) -> None:
    """End a driver as Ctrl-C would: it ends its workers and jobs. A process that does not end is asked a second time."""
    if driver.job:
        subprocess.run([COMMANDS[driver.scheduler][2], driver.job], capture_output=True, check=False, timeout=60)
        _wait(driver)
        return
    for _ in range(2):
        if process := _process(driver):
            process.terminate()
            _wait(driver)


def _wait(driver: Driver) -> None:
    ends = time.monotonic() + ENDING
    while alive(driver) and time.monotonic() < ends:
        time.sleep(0.2)


def tail(log: Path) -> str:
    """Give the end of what a driver has said."""
    return log.read_text(errors="replace")[-TAIL:] if log.exists() else ""
