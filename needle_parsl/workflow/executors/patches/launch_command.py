"""Start the pool of workers by a command of ours, in folders whose names may have spaces.

Parsl: 2026.10.26, `DEFAULT_LAUNCH_CMD` and `_get_launch_command` of `HighThroughputExecutor`.
Without it: `process_worker_pool.py` is looked for on the PATH of the node; the folders of certificates and logs stand in the command
    without quotes, so that a run directory with a space in its name starts no workers; and what a site would submit can be seen only by
    submitting it, since the command is put together where an executor starts.
Upstream: no issue was found; two could be: "Quote {cert_dir} and {logdir} in DEFAULT_LAUNCH_CMD", and "Offer the launch command of a block
    without starting the executor".
Not needed any more when `test_plain_parsl_does_not_quote_folders` and `test_plain_parsl_gives_no_launch_command_before_it_starts` fail.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from parsl.executors.high_throughput.executor import DEFAULT_LAUNCH_CMD


def launched_by(program: str) -> str:
    """Give Parsl's own command with another program, and with folders in quotes."""
    quoted = (
        str(DEFAULT_LAUNCH_CMD)
        .replace("{cert_dir}", "'{cert_dir}'")
        .replace("--logdir={logdir}", "'--logdir={logdir}'")
    )
    return quoted.replace("process_worker_pool.py", program)


def of_block(executor: Any, run_dir: Path, port: int) -> str:
    """Give the command of the first block of an executor that is not started.

    Args:
        executor: It is of no further use afterwards.
        run_dir: Where Parsl would write its files.
        port: On which its interchange would listen.
    """
    executor.run_dir, executor.worker_port, executor.logconf_path = str(run_dir), port, None
    executor.cert_dir = str(run_dir / executor.label / "certificates")
    executor.initialize_scaling()
    return str(executor._get_launch_command("0"))  # noqa: SLF001  no other way
