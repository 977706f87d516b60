"""What would be submitted: the very job script and node script, written by the code that submits, without a scheduler."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from needle_parsl.errors import InputError
from needle_parsl.site import Site
from needle_parsl.workflow.executors import config, node_script
from needle_parsl.workflow.executors.jobs import Jobs

PORT = 54321
"""Stands for the port that the run will have."""


def scripts(site: Site, logs: Path) -> dict[str, str]:
    """Write the scripts of all shapes of a site.

    Args:
        site: The machine.
        logs: The folder of logs that the run would have.

    Returns:
        The texts by the names of the files.

    Raises:
        InputError: The site has no scheduler, or its configuration is the user's own function.
    """
    if site.scheduler == "local" or site.factory:
        raise InputError("this site submits no jobs that could be shown")
    found: dict[str, str] = {}
    for label in site.shapes():
        found[f"job {label}"] = _job(site, label, logs)
        found[f"node-{label}.sh"] = node_script.script(site, label, logs)
    return found


def _job(site: Site, label: str, logs: Path) -> str:
    """Give the script of a job, with the command line that submits it."""
    from needle_parsl.workflow.executors.patches import launch_command  # noqa: PLC0415  Parsl, which is imported first by `patches/spared_imports`

    with TemporaryDirectory() as folder:
        place = Path(folder) / "logs"
        place.mkdir()
        executor = config.htex(site, label, place, Jobs(place), where="127.0.0.1")
        executor.provider.script_dir = folder
        said: list[str] = []
        executor.provider.execute_wait = lambda command, timeout=None: _taken(said, command)  # noqa: ARG005  Parsl's
        executor.provider.submit(launch_command.of_block(executor, place / "parsl" / "000", PORT), 1)
        (script,) = (path for path in Path(folder).glob("needle-*") if path.is_file())
        text = f"# {said[0]}\n{script.read_text(encoding='utf-8')}".replace(
            script.name, f"{executor.provider.name}.{label}"
        )
        text = text.replace(executor.provider.name, config.name(logs.parent))
        return text.replace(f"{folder}/logs", str(logs)).replace(folder, f"{logs}/parsl/000/submit_scripts")


def _taken(said: list[str], command: str) -> tuple[int, str, str]:
    """Answer as a scheduler that takes the job."""
    said.append(" ".join(command.split()))
    return 0, "Submitted batch job 0", ""
