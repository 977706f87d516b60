"""What the keys of a site file mean together: each contradiction is said at the key that has to be mended."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from needle_parsl.reading import TableReader
from needle_parsl.site.tables import NodeShape, Serving, Site

WALLTIME = re.compile(r"\d{1,3}:[0-5]\d:[0-5]\d")
UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
BUDGET = re.compile(r"\d+(\.\d+)?( node-hours?)?")
EVERYWHERE = ("all", "any", "*", "0.0.0.0", "::")  # noqa: S104  these are refused
ONE_LINE = ("account", "queue", "qos", "constraint", "select", "walltime", "launcher_options")
OF_OTHERS = {"slurm": ("select",), "pbs": ("qos", "constraint"), "local": ("queue", "qos", "constraint", "select")}
"""Keys that a scheduler does not know."""


def check(reader: TableReader, site: Site, table: Mapping[str, Any]) -> None:
    """Complain about what contradicts itself.

    Args:
        reader: Told of it.
        site: What was read.
        table: The file.
    """
    for key, message in _whole(site):
        reader.complain(key, message)
    for name, shape in site.shapes().items():
        own = table.get(name, {})
        for key, message in _shape(site, shape):
            reader.complain(f"{name}.{key}" if key in own else key, message)


def _whole(site: Site) -> Iterator[tuple[str, str]]:
    batch = site.scheduler != "local"
    if batch and site.executor == "threads" and not site.factory:
        yield "executor", f'a scheduler needs executor = "htex"; found "{site.executor}"'
    if not BUDGET.fullmatch(str(site.budget)):
        yield "budget", f'found "{site.budget}", expected node-hours, such as "200 node-hours"'
    elif site.node_hours() and not batch:
        yield "budget", "needs a scheduler; this machine costs no node-hours"
    if site.interface.lower() in EVERYWHERE:
        yield (
            "interface",
            f'"{site.interface}" would listen to everybody; name one interface ("ip -brief address" lists them)',
        )
    if site.driver == "job" and not batch:
        yield "driver", 'a driver in a job needs a scheduler; write driver = "login"'
    if site.executor == "globus-compute" and not UUID.fullmatch(site.remote.endpoint):
        found = site.remote.endpoint
        yield (
            "remote.endpoint" if found else "executor",
            f'"{found}" is no endpoint id; "globus-compute-endpoint list" at the site shows it'
            if found
            else '"globus-compute" needs an endpoint; write [remote] endpoint = "$NEEDLE_ENDPOINT"',
        )
    if site.serving is not None:
        yield from _serving(site, site.serving)
    if site.environment and site.executor == "threads":
        yield (
            "environment",
            'threads run the Python that runs needle; an environment of their own needs executor = "htex"',
        )


def _serving(site: Site, serving: Serving) -> Iterator[tuple[str, str]]:
    if serving.host.lower() in EVERYWHERE:
        yield (
            "serving.host",
            f'"{serving.host}" would listen to everybody; name one address ("ip -brief address" lists them)',
        )
    if serving.where == "gpu" and site.executor != "htex":
        yield "serving.where", f'"gpu" needs worker processes, executor = "htex"; found executor = "{site.executor}"'
    if serving.where == "driver" and site.scheduler != "local" and not serving.host:
        yield (
            "serving.host",
            'workers on other nodes reach no socket of this one; name an address of it, or write where = "gpu"',
        )
    if serving.server == "built-in" and serving.tritonserver:
        yield "serving.tritonserver", 'has no meaning with server = "built-in"'


def _shape(site: Site, shape: NodeShape) -> Iterator[tuple[str, str]]:
    yield from _texts(site, shape)
    yield from _workers(site, shape)
    if site.scheduler == "local":
        if shape.nodes > 1:
            yield "nodes", f'this machine is one node; found {shape.nodes} with scheduler = "local"'
        return
    if shape.nodes > 1 and shape.launcher == "single":
        yield "launcher", f'"single" starts workers on one node of {shape.nodes}; with Slurm write launcher = "srun"'
    if shape.launcher == "srun" and site.scheduler != "slurm":
        yield "launcher", '"srun" is Slurm\'s; with PBS write launcher = "mpiexec"'
    if shape.min_blocks > shape.max_blocks:
        yield "min_blocks", f"is {shape.min_blocks}, more than max_blocks, {shape.max_blocks}"
    yield from _walltime(shape)


def _texts(site: Site, shape: NodeShape) -> Iterator[tuple[str, str]]:
    for name in ONE_LINE:
        if not getattr(shape, name).isprintable():
            yield name, "must be one line"
    for name in OF_OTHERS[site.scheduler]:
        if getattr(shape, name):
            yield name, f'has no meaning with scheduler = "{site.scheduler}"'
    if any(not line.startswith("-") or not line.isprintable() for line in shape.options):
        yield "options", 'each must be one option of the job, such as "--mail-type=FAIL"'


def _walltime(shape: NodeShape) -> Iterator[tuple[str, str]]:
    if not WALLTIME.fullmatch(shape.walltime):
        yield "walltime", f'found "{shape.walltime}", expected HH:MM:SS, such as "02:30:00"'
    elif shape.seconds() < 60:
        yield "walltime", f'found "{shape.walltime}", expected at least "00:01:00"'
    elif shape.drain >= shape.seconds():
        yield "drain", f"{shape.drain} s before the end of a walltime of {shape.seconds()} s leave no time for work"


def _workers(site: Site, shape: NodeShape) -> Iterator[tuple[str, str]]:
    gpus, each, workers = shape.gpus_per_node, shape.workers_per_gpu, shape.workers_per_node
    if each > 1 and not gpus:
        yield "workers_per_gpu", f"is {each}, but gpus_per_node is 0"
    elif gpus and workers and workers % gpus:
        yield (
            "workers_per_node",
            f"{workers} workers cannot share {gpus} GPUs evenly; write {gpus * each}, or leave it out",
        )
    elif gpus and workers and workers != gpus * each:
        yield (
            "workers_per_node",
            f"is {workers}, but {gpus} GPUs x {each} workers_per_gpu are {gpus * each}; leave one of them out",
        )
    if site.scheduler != "local" and not (gpus or workers or shape.cores_per_node):
        yield "workers_per_node", "how many tasks a node runs at a time cannot be seen from here; say it"
