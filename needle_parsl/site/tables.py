"""The tables of a site file as frozen dataclasses. Every default lives here, and nowhere else."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Literal

from needle_parsl.reading import within

NEEDS = {
    "gpu": ("gpu", "cpu", "io"),
    "cpu": ("cpu", "io", "gpu"),
    "io": ("io", "cpu", "gpu"),
    "mpi": ("mpi", "cpu", "gpu", "io"),
}
"""What a task may need, and the shapes of nodes that serve it, the nearest first."""


@dataclass(frozen=True)
class Remote:
    """How the site is reached from elsewhere."""

    endpoint: str = ""
    """The id of its Globus Compute endpoint, for `needle submit`; `$NAME` stands for an environment variable there. Example: `"$NEEDLE_ENDPOINT"`."""


@dataclass(frozen=True)
class Environment:
    """The software that workers run, where it is not the very Python that runs `needle`."""

    kind: Literal["venv", "conda", "shifter", "podman-hpc", "apptainer", "packed"]
    """`venv`, `conda`: a folder that all nodes see; `shifter`, `podman-hpc`, `apptainer`: an image; `packed`: a tar file (conda-pack, venv-pack) that every node unpacks to its own disk once. Example: `"venv"`."""
    path: str
    """The folder, the image, or the tar file. Example: `"$SCRATCH/needle.tar.gz"`."""
    options: str = ""
    """What else the container's program is told. Example: `"--nv --bind /scratch"`."""
    local: str = "/tmp"  # noqa: S108  the node's own disk, where jobs may write
    """Where `packed` goes on the node's own disk; removed at the end of the block."""


@dataclass(frozen=True)
class Serving:
    """An inference server that a run starts, and that ends with it: its tasks have their networks evaluated there, and by themselves where it is lost."""

    where: Literal["driver", "gpu"] = "driver"
    """`driver`: beside `needle run`, which suits workers of the same machine; `gpu`: on a node of `[gpu]`, where it takes the place of one task."""
    server: Literal["any", "triton", "built-in"] = "any"
    """`any` is Triton where one is found, else the built-in server."""
    tritonserver: str = ""
    """The program of a Triton server, else `TRITONSERVER` of the environment or what `needle serve --fetch` has installed. Example: `"/opt/tritonserver/bin/tritonserver"`."""
    host: str = ""
    """Its address, for workers on other nodes, which need the token in the run directory; without, sockets that only this user's processes on the same
    machine can open; with `where = "gpu"` the name of the node. Example: `"10.0.0.1"`."""


@dataclass(frozen=True, kw_only=True)
class NodeShape:
    """One kind of node: what is asked for, and what runs there."""

    account: str = ""
    """Account to charge. Example: `"$NEEDLE_ACCOUNT"`."""
    queue: str = ""
    """Slurm's partition, or the queue of PBS. Example: `"debug"`."""
    qos: str = ""
    """Slurm's quality of service. Example: `"regular"`."""
    constraint: str = ""
    """Features that a node must have, as Slurm writes them. Example: `"gpu&hbm80g"`."""
    select: str = ""
    """What PBS' `select` says of a node beside its number of cores. Example: `"ngpus=4"`."""
    options: tuple[str, ...] = ()
    """Further options of the job, each a line after `#SBATCH` or `#PBS`. Example: `["--mail-type=FAIL"]`."""
    walltime: str = "00:30:00"
    """How long a block may run, `HH:MM:SS`."""
    nodes: int = field(default=1, metadata=within(1, 100_000))
    """Nodes of a block, which is one job. Unit: nodes."""
    exclusive: bool = True
    """Whether Slurm is asked for whole nodes."""
    cores_per_node: int = field(default=0, metadata=within(0, 4096))
    """Cores, as the scheduler counts them, that the pool of workers gets on a node; 0 leaves it to the scheduler. Unit: cores."""
    gpus_per_node: int = field(default=0, metadata=within(0, 64))
    """GPUs that are asked for on every node. Unit: GPUs."""
    workers_per_gpu: int = field(default=1, metadata=within(1, 64))
    """Workers that share a GPU; with more than one, start MPS in `node_setup`. Unit: workers."""
    workers_per_node: int = field(default=0, metadata=within(0, 4096))
    """Tasks at a time on a node; 0 is `gpus_per_node` x `workers_per_gpu`, else one per core. Unit: tasks."""
    device: Literal["cuda", "rocm", "xpu"] = "cuda"
    """Whose GPUs: the variable that gives a worker its own is CUDA_VISIBLE_DEVICES, ROCR_VISIBLE_DEVICES or ZE_AFFINITY_MASK."""
    launcher: Literal["srun", "mpiexec", "aprun", "jsrun", "single"] = "single"
    """What starts the pool of workers on every node of a block; `single` is for blocks of one node."""
    launcher_options: str = ""
    """Options of the launcher. Example: `"--cpu-bind none"`."""
    min_blocks: int = field(default=0, metadata=within(0, 10_000))
    """Blocks that are kept although there is nothing to do. Unit: blocks."""
    max_blocks: int = field(default=1, metadata=within(1, 10_000))
    """Blocks at a time. Unit: blocks."""
    drain: int = field(default=0, metadata=within(0))
    """Before the end of the walltime by this much no new task starts; trainings stop themselves 60 s before the end, or halfway through this time if it is short. 0 is a tenth of the walltime, at most 300 s. Unit: s."""
    idle: int = field(default=120, metadata=within(1))
    """A block without work is given back after this time. Unit: s."""
    setup: str = ""
    """Shell lines that run once per block, on its first node. Example: `"module load python"`."""
    node_setup: str = ""
    """Shell lines that run once on every node before its workers start, in the shell that starts them: MPS, scratch on the node. Example: `"nvidia-cuda-mps-control -d"`."""
    node_end: str = ""
    """Shell lines that run on every node when its workers have ended, however that came. Example: `"echo quit | nvidia-cuda-mps-control"`."""

    def workers(self) -> int:
        """Count the tasks that run at a time on a node."""
        allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        return self.workers_per_node or self.gpus_per_node * self.workers_per_gpu or self.cores_per_node or allowed or 1

    def seconds(self) -> int:
        """Give the walltime."""
        hours, minutes, seconds = (int(part) for part in self.walltime.split(":"))
        return 3600 * hours + 60 * minutes + seconds

    def draining(self) -> int:
        """Give the seconds before the end of the walltime in which no task starts."""
        return self.drain or min(300, self.seconds() // 10)


@dataclass(frozen=True, kw_only=True)
class Site(NodeShape):
    """A whole site file."""

    description: str
    """What machine this is, in one line. Example: `"Perlmutter at NERSC, GPU nodes"`."""
    scheduler: Literal["local", "slurm", "pbs"] = "local"
    """Who gives out the nodes; `local` is this machine."""
    executor: Literal["threads", "htex", "globus-compute"] = "threads"
    """How tasks run: `threads` of the process that runs `needle`; `htex`, worker processes of their own (Parsl's
    HighThroughputExecutor); or `globus-compute`, which is `htex` except that blocks of toys go to the endpoint of `[remote]`, whose
    workers must see the run directory under the same path. A scheduler needs one of the latter two."""
    pack: int = field(default=0, metadata=within(0, 100_000))
    """Members that one training task holds; 0 is 8, fewer where these would take more than about 30 s or too much memory.
    Unit: networks."""
    memory_mib: int = field(default=1024, metadata=within(1))
    """Memory that a task of conversion may use beside its libraries; a larger file is cut into more tasks. Unit: MiB."""
    window: int = field(default=1000, metadata=within(1))
    """Tasks that are submitted at a time. Unit: tasks."""
    scratch: str = "."
    """The folder that holds `runs/`; `$NAME` stands for an environment variable. Example: `"$SCRATCH/needle"`."""
    shared: bool = False
    """Whether the run directory follows the umask; else it is private to its user. Whoever may write there can change the results
    that a run reuses, and, through Parsl's keys in it, give its workers tasks: only for groups whose members trust each other."""
    interface: str = ""
    """The network interface on which workers reach this process; without, the address that the name of the host stands for. Example: `"hsn0"`."""
    environment: Environment | None = None
    """The software that workers run; without, the Python that runs `needle`."""
    driver: Literal["login", "job"] = "login"
    """Where `needle run` itself runs: here, or in a batch job that goes on in a next job before its walltime ends."""
    budget: float | str = 0.0
    """Node-hours that the jobs of a run may use, all of its blocks together; 0 is no limit. Example: `"200 node-hours"`."""
    poll: int = field(default=10, metadata=within(1, 600))
    """How often the scheduler is asked how the jobs are. Unit: s."""
    factory: str = ""
    """A function of no arguments that returns a `parsl.Config`, for machines that this file cannot describe. Example: `"mysite.py:config"`."""
    gpu: NodeShape | None = None
    """Nodes for trainings. What is not said in this table is as at the top."""
    cpu: NodeShape | None = None
    """Nodes for fits, toys and everything small. What is not said in this table is as at the top."""
    io: NodeShape | None = None
    """Nodes for reading and converting files. What is not said in this table is as at the top."""
    mpi: NodeShape | None = None
    """Nodes for programs that run on several nodes by MPI. What is not said in this table is as at the top."""
    remote: Remote = Remote()
    serving: Serving | None = None
    """An inference server beside the tasks; without, tasks evaluate networks themselves."""

    def shapes(self) -> dict[str, NodeShape]:
        """Map the names of the kinds of nodes to them; a site without such tables has one, `tasks`."""
        found = {name: getattr(self, name) for name in NEEDS if getattr(self, name) is not None}
        return found or {"tasks": self}

    def shape_for(self, need: str) -> str:
        """Name the shape that serves a need, the nearest that there is."""
        shapes = self.shapes()
        return next((name for name in NEEDS[need] if name in shapes), next(iter(shapes)))

    def notes(self) -> list[str]:
        """Say who else may read and write the run directory, and which needs are served by other nodes."""
        said = (
            ["shared = true: others may read the run directory, and write to it, as the umask says"]
            if self.shared
            else []
        )
        return [*said, *self._others()]

    def _others(self) -> list[str]:
        if len(self.shapes()) == 1:
            return []
        others = {need: self.shape_for(need) for need in ("gpu", "cpu", "io")}
        return [f"the site has no [{need}]; such tasks go to [{name}]" for need, name in others.items() if need != name]

    def node_hours(self) -> float:
        """Give the budget; 0 is no limit."""
        return float(str(self.budget).split()[0])
