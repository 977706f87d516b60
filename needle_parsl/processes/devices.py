"""Which GPU a worker has: set from its rank before torch is imported, by needle itself.

Parsl divides the pool by the lines of nvidia-smi, so that 6 workers on 4 GPUs would get a fifth device, and folds neither AMD's
nor Intel's devices.
"""

from __future__ import annotations

import os
import sys

from needle_parsl.errors import TaskError
from needle_parsl.site import NodeShape

VISIBLE = {"cuda": "CUDA_VISIBLE_DEVICES", "rocm": "ROCR_VISIBLE_DEVICES", "xpu": "ZE_AFFINITY_MASK"}
"""The variable that hides all other devices from a process."""
ALSO = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL")
"""What Slurm sets, too, and what would count among the visible ones again on AMD devices."""
GPUS, EACH, KIND, OWN = "NEEDLE_GPUS", "NEEDLE_WORKERS_PER_GPU", "NEEDLE_DEVICE", "NEEDLE_GPU"


def variables(shape: NodeShape) -> dict[str, str]:
    """Give what the workers of a node must know."""
    return {GPUS: str(shape.gpus_per_node), EACH: str(shape.workers_per_gpu), KIND: shape.device}


def choose() -> None:
    """Give this worker its device; nothing where no GPUs were asked for.

    Raises:
        TaskError: The job has other devices or workers than were asked for, or torch has looked at all of them already.
    """
    gpus = int(os.environ.get(GPUS, "0"))
    if not gpus or OWN in os.environ:
        return
    kind, each = os.environ[KIND], int(os.environ[EACH])
    rank, workers = int(os.environ["PARSL_WORKER_RANK"]), int(os.environ["PARSL_WORKER_COUNT"])
    given = [name for name in os.environ.get(VISIBLE[kind], "").split(",") if name] or [str(i) for i in range(gpus)]
    if len(given) != gpus or workers != gpus * each:
        raise TaskError(
            f"the node has {len(given)} GPUs and {workers} workers, but {gpus} and {gpus * each} were asked for; "
            "compare gpus_per_node and workers_per_gpu with what the job gets"
        )
    if "torch" in sys.modules:
        raise TaskError("torch was imported before this worker had its GPU; import it inside functions only")
    if kind == "rocm":
        for name in ALSO:
            os.environ.pop(name, None)
    os.environ[VISIBLE[kind]] = os.environ[OWN] = given[rank // each]


def own() -> str:
    """Name the device of this process; empty without one."""
    return os.environ.get(OWN, "")
