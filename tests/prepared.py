"""Processes for needle's command line in which the libraries that it uses are imported already.

Most of a short run is the import of torch, scipy, matplotlib and Parsl, and the tests start hundreds. `python prepared.py SOCKET LIBRARY ...` is a
process with one thread that imports the libraries, and nothing of needle's; for each command that comes on the socket it forks one that runs it.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

LIBRARIES = (
    "torch", "torch.nn", "torch.func", "torch.optim.lr_scheduler", "scipy.stats", "scipy.optimize", "scipy.special",
    "matplotlib.figure", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_pdf",
    "numba", "h5py", "iminuit", "jinja2", "typer", "parsl",
)  # fmt: skip
SPARED = ("globus_compute_sdk", "sqlalchemy")
"""What needle keeps Parsl from importing."""
LONGEST = 900.0
"""Seconds that a command may take."""
READ_LATE = {"COLUMNS", "PYTEST_CURRENT_TEST"}
"""Variables that only commands read."""
REQUEST, HEAD = 1 << 20, 8
"""Bytes: the largest request, and the number that is the answer."""


@dataclass(frozen=True)
class Preparation:
    """A process with imported libraries, which forks."""

    process: subprocess.Popen[bytes]
    channel: socket.socket

    @classmethod
    def begin(cls, environment: Mapping[str, str]) -> Preparation:
        """Start it with an environment, which Python and the libraries read while they are imported."""
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with there:
            command = [sys.executable, __file__, str(there.fileno()), *LIBRARIES]
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                pass_fds=[there.fileno()],
            )  # pipes, as those of the commands will be
        return cls(process, here)

    def run(self, arguments: list[str], cwd: Path, environment: Mapping[str, str]) -> tuple[int, str, str]:
        """Run `python -m needle_parsl` with arguments; give its exit code and all that it, and what it started, has printed."""
        pipes = os.pipe(), os.pipe()
        request = json.dumps([arguments, str(cwd), dict(environment)]).encode()
        with ThreadPoolExecutor(2) as readers:
            out, err = (readers.submit(_text, reading) for reading, _ in pipes)
            try:
                socket.send_fds(self.channel, [request], [writing for _, writing in pipes])
            finally:
                for _, writing in pipes:
                    os.close(writing)
            answer = self.channel.recv(HEAD)
        assert answer, self.end()
        return int(answer), out.result(), err.result()

    def end(self) -> str:
        """End it: without a channel, it ends by itself. Give what it has said."""
        self.channel.close()
        return self.process.communicate()[1].decode()


class Preparations:
    """Processes for some environments, each begun when it is first wanted."""

    def __init__(self, environments: Iterable[Mapping[str, str]]) -> None:
        self._known = {_imported_with(each): dict(each) for each in environments}
        self._begun: dict[frozenset[tuple[str, str]], Preparation] = {}

    def of(self, environment: Mapping[str, str]) -> Preparation | None:
        """Give the process whose libraries were imported with an environment; None if there is none."""
        key = _imported_with(environment)
        before = self._begun.get(key)
        if before is not None and before.process.poll() is not None:
            sys.stderr.write(f"a process with imported libraries has ended: {before.end()[-500:]}\n")
            del self._begun[key]
        if key in self._known and key not in self._begun:
            self._begun[key] = Preparation.begin(self._known[key])
        return self._begun.get(key)

    def end(self) -> None:
        """End all."""
        for one in self._begun.values():
            one.end()


def _imported_with(environment: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    """Give what Python and libraries may have read in an environment while they were imported."""
    return frozenset(pair for pair in environment.items() if pair[0] not in READ_LATE)


def _text(reading: int) -> str:
    with os.fdopen(reading, encoding="utf-8") as file:
        return file.read()


def _imported(libraries: list[str]) -> None:
    for name in SPARED:
        sys.modules[name] = None  # type: ignore[assignment]
    for name in libraries:
        with suppress(ImportError):  # an extra that is not there, or hidden
            import_module(name)
    for name in SPARED:
        del sys.modules[name]


def _served(channel: socket.socket) -> tuple[list[str], str, dict[str, str]] | None:
    """Fork for each request; give it in the fork, and None at the end of all."""
    while True:
        text, descriptors, *_ = socket.recv_fds(channel, REQUEST, 2)
        if not text:
            return None
        if not (child := os.fork()):
            channel.close()
            for place, descriptor in enumerate(descriptors, 1):
                os.dup2(descriptor, place)
                os.close(descriptor)
            arguments, cwd, environment = json.loads(text)
            return arguments, cwd, environment
        for descriptor in descriptors:
            os.close(descriptor)
        channel.send(str(_ended(child)).encode())


def _ended(child: int) -> int:
    """Wait for a process; give its exit code as `subprocess` does."""
    alarm = threading.Timer(LONGEST, os.kill, (child, signal.SIGKILL))
    alarm.start()
    _, status = os.waitpid(child, 0)
    alarm.cancel()
    alarm.join()  # nothing else runs where the next is forked
    return os.waitstatus_to_exitcode(status)


def main() -> None:
    """Serve; in a fork, be the command line."""
    _imported(sys.argv[2:])
    gc.collect()
    gc.freeze()
    assert len(list(Path("/proc/self/task").iterdir())) == 1, "a fork would lack the other threads"
    if (request := _served(socket.socket(fileno=int(sys.argv[1])))) is None:
        return
    arguments, cwd, environment = request
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[0] = cwd
    sys.argv[1:] = arguments
    runpy.run_module("needle_parsl", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
