"""From a site to Parsl's configuration."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
from functools import partial
from pathlib import Path
from typing import Any

from needle_parsl import refs
from needle_parsl.errors import InputError
from needle_parsl.site import NEEDS, Site
from needle_parsl.workflow import retries
from needle_parsl.workflow.executors import globus, node_script
from needle_parsl.workflow.executors.block_errors import BlockErrorHandler
from needle_parsl.workflow.executors.jobs import Jobs
from needle_parsl.workflow.executors.patches import lost_blocks, supervised_interchange

PARSL = "parsl"
LABEL = "tasks"
WIDE = "wide"
"""What many short tasks need that are independent of each other."""
HEARTBEAT = 2
"""Seconds between two signs of life of a pool of workers; a lost worker is found within them."""
SILENCE = 15
"""Seconds without one after which interchange and pool give each other up."""
PROGRAMS = {"slurm": ("sbatch", "squeue", "scancel"), "pbs": ("qsub", "qstat", "qdel"), "local": ()}
"""What submits and ends jobs."""


def config(site: Site, logs: Path, jobs: Jobs) -> Any:
    """Configure Parsl for a run.

    Args:
        site: The machine.
        logs: Where Parsl writes its own files.
        jobs: Where jobs are written down.

    Raises:
        InputError: Parsl cannot work in this folder, or not with this site on this machine.
    """
    from parsl.config import Config  # noqa: PLC0415  Parsl, which is imported first by `patches/spared_imports`

    made = _users(site) if site.factory else Config(executors=_executors(site, logs, jobs))
    made.run_dir = str(logs / PARSL)
    made.initialize_logging = False
    made.strategy = "simple" if site.scheduler == "local" else "htex_auto_scale"
    made.strategy_period, made.max_idletime = 1, site.idle
    made.retries, made.retry_handler = retries.BUDGET, partial(retries.cost, block_ended=lost_blocks.ended)
    return made


def _users(site: Site) -> Any:
    """Call the user's own function."""
    path, name = refs.split(site.factory)
    try:
        source = Path(path).read_text(encoding="utf-8") if path.endswith(".py") else ""
    except OSError as error:
        raise InputError(f"factory: {path}: {error.strerror}") from error
    return refs.resolve(f"{Path(path).name if source else path}:{name}", source, path)()


def labels(executors: list[str]) -> dict[str, str]:
    """Map what tasks may need to the labels of the executors that serve it."""
    found = {
        need: next((name for name in (*shapes, LABEL) if name in executors), executors[0])
        for need, shapes in NEEDS.items()
    }
    return {**found, WIDE: globus.LABEL if globus.LABEL in executors else found["cpu"]}


def _executors(site: Site, logs: Path, jobs: Jobs) -> list[Any]:
    from parsl.executors import ThreadPoolExecutor  # noqa: PLC0415  Parsl, which is imported first by `patches/spared_imports`

    if site.executor == "threads":
        return [ThreadPoolExecutor(label=LABEL, max_threads=site.workers())]
    if missing := [program for program in PROGRAMS[site.scheduler] if not shutil.which(program)]:
        raise InputError(
            f"{', '.join(missing)}: not on this machine; run needle where the jobs of this site are submitted"
        )
    made = [htex(site, label, logs, jobs) for label in site.shapes()]
    return [*made, _endpoint(site, logs, jobs)] if site.executor == "globus-compute" else made


def _endpoint(site: Site, logs: Path, jobs: Jobs) -> Any:
    """Configure what runs through Globus Compute."""
    globus.require()
    from needle_parsl.workflow.executors import globus_executor  # noqa: PLC0415  Parsl, which is imported first by `patches/spared_imports`

    return globus_executor.executor(site.remote.endpoint, logs.parent, jobs.say)


def name(root: Path) -> str:
    """Give what the names of all jobs of a run directory begin with."""
    return f"needle-{hashlib.blake2b(os.fsencode(root), digest_size=4).hexdigest()}"


def htex(site: Site, label: str, logs: Path, jobs: Jobs, where: str = "") -> Any:
    """Configure worker processes for one shape of nodes: encrypted, and listening on one address only.

    Args:
        site: The machine.
        label: The shape.
        logs: Where Parsl writes its own files.
        jobs: Where jobs are written down.
        where: The address on which workers reach this process; by default that of the site's interface.
    """
    from needle_parsl.workflow.executors.patches import launch_command  # noqa: PLC0415  Parsl, which is imported first by `patches/spared_imports`
    from needle_parsl.workflow.executors.patches.idle_blocks import PatchedHtex  # noqa: PLC0415  Parsl, which is imported first by `patches/spared_imports`
    from needle_parsl.workflow.executors.patches.mpi_executor import PatchedMpiExecutor  # noqa: PLC0415  Parsl, which is imported first by `patches/spared_imports`

    if set(str(logs)) & set("{}'[]*?" if site.scheduler == "local" else "{}'[]*?$`\\\""):
        raise InputError(
            f"{logs}: worker processes cannot work in a folder with one of {{ }} ' [ ] * ? in its name; choose another --out"
        )
    shape, local = site.shapes()[label], site.scheduler == "local"
    start = (
        node_script.here(site, label, logs)
        if local
        else node_script.on_nodes(logs, node_script.write(site, label, logs))
    )
    common = {
        "label": label,
        "provider": _provider(site, label, logs, jobs),
        "address": "127.0.0.1" if local else where or address(site.interface),
        "encrypted": True,
        "heartbeat_period": HEARTBEAT,
        "heartbeat_threshold": SILENCE,
        "block_error_handler": BlockErrorHandler(logs),
        "launch_cmd": launch_command.launched_by(start),
        "interchange_launch_cmd": supervised_interchange.command(logs / f"interchange-{label}.log"),
    }
    if label == node_script.MPI:
        return PatchedMpiExecutor(max_workers_per_block=shape.nodes, mpi_launcher=_mpi(shape.launcher), **common)
    # The site says how many workers, not the number of cores.
    return PatchedHtex(cores_per_worker=1e-6, max_workers_per_node=shape.workers(), **common)


def _mpi(launcher: str) -> str:
    return launcher if launcher in ("srun", "aprun") else "mpiexec"


def _provider(site: Site, label: str, logs: Path, jobs: Jobs) -> Any:
    if site.scheduler == "local":
        from needle_parsl.workflow.executors.patches.local_blocks import LocalBlocks  # noqa: PLC0415  Parsl, which is imported first by `patches/spared_imports`

        return LocalBlocks(logs, "" if label == LABEL else f"{label}-")
    from needle_parsl.workflow.executors import providers  # noqa: PLC0415  Parsl, which is imported first by `patches/spared_imports`

    return providers.provider(site, label, name(logs.parent), jobs)


def address(interface: str) -> str:
    """Give the one address on which workers reach this process.

    Raises:
        InputError: There is no such interface, or the name of the host stands for none.
    """
    from parsl.addresses import address_by_interface  # noqa: PLC0415  Parsl, which is imported first by `patches/spared_imports`

    try:
        return str(address_by_interface(interface)) if interface else socket.gethostbyname(socket.gethostname())
    except OSError as error:
        here = ", ".join(found for _, found in socket.if_nameindex())
        wrong = (
            f'there is no interface "{interface}" with an address here'
            if interface
            else "the name of this host stands for no address"
        )
        raise InputError(f"{wrong}; set interface in the site file to one of: {here}") from error
