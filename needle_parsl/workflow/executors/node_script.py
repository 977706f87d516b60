"""What starts on every node of a block: one shell script around the pool of workers."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from needle_parsl import __version__, files
from needle_parsl.processes import devices, threads
from needle_parsl.site import Environment, Site
from needle_parsl.workflow import failure_reasons
from needle_parsl.workflow.executors.patches import mpi_nodes

POOL = "needle_parsl.workflow.executors.process_pool"
MARGIN = 60
"""Seconds before the end of a job when a training stops itself, at the latest."""
MPI = "mpi"
"""The shape of nodes for programs that run on several of them."""
NEVER = "99999999999"
"""When this machine ends, in seconds since the epoch."""
SCRIPT = """\
#!/bin/bash
# One node of a block: what the site wants there, the pool of workers, and the end of both.
# Arguments: when the job ends, in seconds since the epoch; what Python is told.
end=$1; shift
export {exports}
export NEEDLE_STOP=$(( end - {margin} ))
pool=
over() {{
  code=$?
  trap - EXIT
  set +e
  [ -n "$pool" ] || [ $code = 0 ] || echo "needle: node_setup has failed on $(hostname) with exit code $code" >&2
{ending}
  exit $code
}}
trap over EXIT
trap '[ -z "$pool" ] || kill -TERM $pool 2>/dev/null' TERM INT HUP
set -e
{setup}
set +e
{python} "$@" --drain_period=$(( end - $(date +%s) - {drain} )) &
pool=$!
wait $pool; code=$?
while kill -0 $pool 2>/dev/null; do wait $pool; code=$?; done  # a signal ends wait, too
exit $code
"""


def script(site: Site, label: str, logs: Path) -> str:
    """Write the script of a node of a shape."""
    shape = site.shapes()[label]
    exports = dict.fromkeys(threads.VARIABLES, "1") | {"NEEDLE_VERSION": __version__} | devices.variables(shape)
    exports |= _for_mpi(site, logs) if label == MPI else {}
    python, unpack, remove = _python(site.environment)
    return SCRIPT.format(
        exports=" ".join(f"{name}={value}" for name, value in exports.items()),
        margin=min(MARGIN, shape.draining() // 2),
        drain=shape.draining(),
        setup="\n".join(line for line in (shape.node_setup.rstrip(), unpack) if line) or ":",
        ending="\n".join(f"  {line}" for text in (shape.node_end, remove) for line in text.splitlines()) or "  :",
        python=python,
    )


def _python(environment: Environment | None) -> tuple[str, str, str]:
    """Give the command that is Python on the node, and the lines that make it and take it away."""
    if environment is None:
        return shlex.quote(sys.executable), "", ""
    path, options = shlex.quote(environment.path), environment.options
    if environment.kind in ("venv", "conda"):
        return f"{path}/bin/python", "", ""
    if environment.kind == "packed":
        place = f'"{environment.local}/needle-${{SLURM_JOB_ID:-${{PBS_JOBID:-$$}}}}"'
        unpack = f"mkdir -p {place} && tar -xf {path} -C {place}\n[ ! -x {place}/bin/conda-unpack ] || {place}/bin/python {place}/bin/conda-unpack"
        return f"{place}/bin/python", unpack, f"rm -rf {place}"
    programs = {
        "shifter": f"shifter --image={path} {options} python",
        "podman-hpc": f"podman-hpc run --rm --net=host --env-host {options} {path} python",
        "apptainer": f"apptainer exec {options} {path} python",
    }
    return " ".join(programs[environment.kind].split()), "", ""


def write(site: Site, label: str, logs: Path) -> Path:
    """Write the script of a shape beside the logs."""
    path = logs / f"node-{label}.sh"
    files.write_text(path, script(site, label, logs))
    return path


def _for_mpi(site: Site, logs: Path) -> dict[str, str]:
    """Let programs find the launcher of the extra `mpi` after the site's own, and on this machine the list of nodes, this one."""
    path = {} if site.environment else {"PATH": f"$PATH:{shlex.quote(str(Path(sys.executable).parent))}"}
    if site.scheduler != "local":
        return path
    return path | mpi_nodes.variables(logs)


def on_nodes(logs: Path, path: Path) -> str:
    """Give the beginning of the launch command on the nodes of a cluster; Parsl's arguments of the pool follow."""
    return f"exec bash {shlex.quote(str(path))} $NEEDLE_JOB_END {shlex.join(_pool(logs))}"


def here(site: Site, label: str, logs: Path) -> str:
    """Give the beginning of the launch command on this machine; a plain pool needs no script."""
    shape = site.shapes()[label]
    if not (shape.gpus_per_node or shape.node_setup or shape.node_end or site.environment or label == MPI):
        return shlex.join([sys.executable, *_pool(logs)])
    return shlex.join(["bash", str(write(site, label, logs)), NEVER, *_pool(logs)])


def _pool(logs: Path) -> list[str]:
    return ["-P", "-m", POOL, os.fspath(logs.parent / failure_reasons.LOST)]
