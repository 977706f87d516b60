"""The server of a run on a node of its own: a task of Parsl's that takes one place on a GPU node until the run ends.

`python -m needle_parsl.workflow.serving_block ROOT` is what runs there.
"""

from __future__ import annotations

import os
import shlex
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from needle_parsl import rundir
from needle_parsl.errors import NeedleError
from needle_parsl.files import write_text
from needle_parsl.processes import python, supervised
from needle_parsl.serving import endpoint as endpoints
from needle_parsl.site import Serving, Site
from needle_parsl.workflow import serving

STOPPED = "stopped"
"""In the folder of the server: the run has ended."""
LOOK = 0.5
TRIES = 5
"""How often a server is started again that ends."""


@contextmanager
def started(site: Site, root: Path, submit: Callable[[str], Future[Any]], say: serving.Say) -> Iterator[None]:
    """Keep a server on a node while tasks run, if the site has one there.

    Args:
        site: The machine.
        root: The run directory, on a file system that nodes share.
        submit: Runs a command line on a node for GPUs.
        say: Tells the user something.
    """
    if site.serving is None or site.serving.where != "gpu":
        yield
        return
    folder, stopping, times = root / endpoints.FOLDER, threading.Event(), [0]
    line = command(root, site.serving)

    def start(_: object = None) -> None:
        if stopping.is_set() or times[0] >= TRIES:
            return
        if times[0]:
            say(f"the inference server has ended; it is started again (see {root / rundir.LOGS / 'serving.log'})")
        times[0] += 1
        submit(line).add_done_callback(start)

    start()
    try:
        yield
    finally:
        stopping.set()
        with suppress(OSError):  # a full disk: the server ends with its worker
            write_text(folder / STOPPED, "")


def command(root: Path, wanted: Serving) -> str:
    """Give the command line of the server."""
    return shlex.join(
        python.module("needle_parsl.workflow.serving_block", str(root), wanted.server, wanted.tritonserver, wanted.host)
    )


def program(line: str, stdout: object, stderr: object) -> str:  # noqa: ARG001  Parsl takes them
    """Give the command line that ends with its worker; a bash_app."""
    return shlex.join([*supervised.command(os.getpid(), supervised.INHERIT, []), *shlex.split(line)])


def main(arguments: list[str]) -> int:
    """Serve until the run has ended; give the exit code."""
    root, server, tritonserver, host = arguments
    wanted = Serving(server=server, tritonserver=tritonserver, host=host or socket.gethostname())  # type: ignore[arg-type]
    choice = serving.of_site(wanted, Path(root))
    try:
        with serving.started(choice, _say, restart=True):
            while choice.repository.is_dir() and not (choice.repository.parent / STOPPED).exists():
                threading.Event().wait(LOOK)
    except NeedleError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
