"""The script of a driver's own job, which goes on in a next one."""

from __future__ import annotations

import shlex
from pathlib import Path

from needle_parsl import rundir
from needle_parsl.processes import python
from needle_parsl.site import NodeShape, Site
from needle_parsl.workflow.executors import job_options

LOG, SCRIPT = "driver.log", "driver.sh"
INSIDE = "NEEDLE_DRIVER"
"""Set for a driver that is detached already."""
NAME = "needle-driver"
"""What the names of all drivers' jobs begin with."""
SHORT = {"account": "A", "queue": "q"}
"""How PBS abbreviates options."""
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


def script(arguments: list[str], cwd: Path, root: Path, site: Site, submit: str, note: str) -> str:
    """Write the script of a driver's job: one node of the kind that small tasks have.

    Args:
        arguments: What needle is told.
        cwd: Where.
        root: The run directory.
        site: The machine.
        submit: The command that submits a job and prints its number.
        note: What the next job is remembered by, with `%s` for its number.
    """
    shape = site.shapes()[site.shape_for("cpu")]
    log = root.resolve() / rundir.LOGS / LOG
    asked = _asked(shape, site.scheduler, f"{NAME}-{root.name}", log)
    return JOB.format(
        options=job_options.lines((*asked, *shape.options), site.scheduler),
        folder=shlex.quote(str(cwd)),
        inside=INSIDE,
        seconds=shape.seconds() - min(max(60, shape.draining()), shape.seconds() // 2),
        note=shlex.quote(note),
        driver=shlex.quote(str(root.resolve() / rundir.DRIVER)),
        command=shlex.join(python.module("needle_parsl", *arguments)),
        submit=submit,
        script=shlex.quote(str(root.resolve() / rundir.LOGS / SCRIPT)),
    )


def _asked(shape: NodeShape, scheduler: str, name: str, log: Path) -> list[str]:
    named = job_options.named(shape, scheduler)
    if scheduler == "pbs":
        own = [
            f"-N {name}",
            f"-o {log}",
            "-j oe",
            f"-l select=1:ncpus={shape.cores_per_node or 1}",
            f"-l walltime={shape.walltime}",
        ]
        return own + [f"-{SHORT[key]} {value}" for key, value in named.items()]
    own = [f"--job-name={name}", f"--output={log}", "--open-mode=append", "--nodes=1", f"--time={shape.walltime}"]
    return own + [f"--{key}={value}" for key, value in named.items()]
