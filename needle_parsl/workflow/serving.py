"""An inference server as a resource: found, started, watched, and ended with whoever has started it."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from needle_parsl import ownership, rundir
from needle_parsl.analysis import extras
from needle_parsl.errors import InputError, TaskError
from needle_parsl.files import write_text
from needle_parsl.processes import python, supervised
from needle_parsl.serving import endpoint as endpoints
from needle_parsl.serving import repository, triton
from needle_parsl.serving.endpoint import Endpoint
from needle_parsl.site import Serving, Site

Say = Callable[[str], None]
BUILTIN = "built-in"
READY = 180.0
"""Seconds within which a server answers."""
STOP = 30.0
"""Seconds that Triton has to unload its models."""
LOOK = 0.1
PAUSE = 2.0
"""Seconds before a server that has ended is started again."""
LONGEST = 90
"""Characters of the folder of a socket, whose name may have 107."""
EVERYWHERE = ("0.0.0.0", "::", "*", "")  # noqa: S104  these are refused
TOKEN_VARIABLE = "NEEDLE_SERVE_TOKEN"  # noqa: S105  a name


@dataclass(frozen=True, kw_only=True)
class ServerChoice:
    """What is served, how, and where it is written down."""

    repository: Path
    endpoint: Path
    """`endpoint.json`, for clients."""
    log: Path
    tritonserver: str = ""
    """A program; empty to look for one."""
    builtin: bool = False
    """Whether the built-in server is wanted, though there is a Triton."""
    host: str = ""
    """On which address of this machine; empty for sockets that this user alone can open."""
    port: int = 0
    """The first of three; 0 for free ones."""
    explicit: bool = False
    """Whether models are loaded when clients ask for them."""
    trust: bool = False
    """Whether a repository that somebody else may write to is served."""


@contextmanager
def started(choice: ServerChoice, say: Say = lambda _: None, *, restart: bool = False) -> Iterator[Server]:
    """Start a server, and end it in the end.

    Args:
        choice: What is served.
        say: Tells the user something.
        restart: Whether a server that ends by itself is started again.

    Raises:
        InputError: There is no such repository or program, a file is changed, or the port is taken.
        TaskError: The server has ended, or does not answer.
    """
    if not extras.here("serve"):
        raise InputError(f"a server {extras.remedy('serve')}")
    _insist(choice)
    with ownership.temporary() as folder:
        server = Server(choice, folder, say)
        server.start()
        watching = threading.Thread(target=server.watch, daemon=True)
        if restart:
            watching.start()
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def of_run(root: Path, site: Site, say: Say) -> Iterator[None]:
    """Start the server of a run, if its site has one, and end it with the run."""
    folder = root / endpoints.FOLDER
    shutil.rmtree(folder, ignore_errors=True)  # of an earlier run that was killed
    if site.serving is None:
        yield
        return
    try:
        if site.serving.where == "gpu":  # `serving_block` starts it there
            _models(folder, site.shapes()[site.shape_for("gpu")].gpus_per_node)
            yield
            return
        with started(of_site(site.serving, root), say, restart=True) as server:
            say(f"{server.name} evaluates networks for this run")
            yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _models(folder: Path, gpus: int) -> None:
    """Make the folder of the models of a run, and say on how many GPUs they are."""
    (folder / endpoints.MODELS).mkdir(parents=True)
    write_text(folder / endpoints.GPUS, str(min(gpus, 1)))  # Parsl gives a worker one


def of_site(wanted: Serving, root: Path) -> ServerChoice:
    """Say what the server of a run is like."""
    folder = root / endpoints.FOLDER
    program = wanted.tritonserver
    if wanted.server == "triton" and triton.find(program) is None:
        raise InputError(
            'serving.server: "triton" is not found here; "needle serve --fetch" installs it, or name serving.tritonserver'
        )
    return ServerChoice(
        repository=folder / endpoints.MODELS,
        endpoint=folder / endpoints.FILE,
        log=root / rundir.LOGS / "serving.log",
        tritonserver=program,
        builtin=wanted.server == BUILTIN,
        host=wanted.host,
        explicit=True,
    )


def _insist(choice: ServerChoice) -> None:
    if choice.explicit:
        choice.repository.mkdir(parents=True, exist_ok=True)
        return
    models = list(repository.read(choice.repository).values())
    if not choice.trust:
        repository.insist_on_owner(choice.repository, models)
    for model in models:
        repository.verify(model)


class Server:
    """A server that runs, or has ended."""

    def __init__(self, choice: ServerChoice, folder: Path, say: Say) -> None:
        self.choice, self.folder, self.say = choice, folder, say
        self.found = None if choice.builtin else triton.find(choice.tritonserver)
        self.backends = triton.backends(self.found, folder) if self.found else None
        self.process: subprocess.Popen[bytes] | None = None
        self.endpoint: Endpoint | None = None
        self.stopping, self.times, self.number = threading.Event(), 0, 0

    @property
    def name(self) -> str:
        """Name the server."""
        return f"tritonserver ({self.found.program})" if self.found else f"the {BUILTIN} server"

    def start(self) -> None:
        """Start it, wait until it is ready, and write where it is."""
        self.times += 1
        token = secrets.token_urlsafe(24) if self.choice.host else ""
        addresses = self._addresses()
        program, environment = self._program(addresses, token)
        self.choice.log.parent.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(
            supervised.command(os.getpid(), str(self.choice.log), program), env=environment, stdin=subprocess.DEVNULL
        )
        try:
            self.endpoint = self._ready(addresses, token)
        except BaseException:
            self._end()
            raise
        endpoints.write(self.choice.endpoint, self.endpoint)

    def _addresses(self) -> dict[str, str]:
        """Choose where it listens: sockets in a folder of this user alone, or ports."""
        host, port = self.choice.host, self.choice.port
        names = ("grpc", "http", "metrics") if self.found else ("grpc", "http")
        if not host:
            self.number += 1
            sockets = self.folder / str(self.number)
            if len(str(sockets)) > LONGEST:
                raise InputError(
                    f"{sockets}: is too long a name for sockets; set TMPDIR to a shorter one, or say --host"
                )
            sockets.mkdir(mode=0o700)
            return {name: f"unix:{sockets / name[0]}{':1' if name == 'grpc' else ''}" for name in names}
        if host in EVERYWHERE:
            raise InputError(
                f'--host {host}: would listen to everybody; name one address of this machine, such as "127.0.0.1"'
            )
        ports = [free_port(host, port + k if port else 0) for k in range(len(names))]
        return {name: f"{host}:{own}" for name, own in zip(names, ports, strict=True)}

    def _program(self, addresses: dict[str, str], token: str) -> tuple[list[str], dict[str, str]]:
        folder = self.choice.repository.resolve()
        if self.found is None:
            models = "" if self.choice.explicit else "*"
            program = python.module("needle_parsl.serving.builtin", str(folder), models, *addresses.values())
            return program, {**os.environ, TOKEN_VARIABLE: token, "OMP_NUM_THREADS": "1"}
        if token:
            self.say(
                "Triton takes its token from its command line, which others on this machine can read; without --host they cannot"
            )
        words = triton.command(
            self.found, folder, addresses, folder=self.backends, token=token, explicit=self.choice.explicit
        )
        return words, triton.environment(self.found)

    def _ready(self, addresses: dict[str, str], token: str) -> Endpoint:
        """Wait until the server answers.

        Raises:
            TaskError: It has ended, or does not answer.
        """
        from needle_parsl.serving.client import Client  # noqa: PLC0415  with grpc, an extra

        assert self.process is not None
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        made = Endpoint(
            server=BUILTIN, grpc=addresses["grpc"], http=addresses["http"], metrics=addresses.get("metrics", addresses["http"]), token=token,
            host=socket.gethostname(), pid=self.process.pid, repository=str(self.choice.repository.resolve()), started=now,
        )  # fmt: skip
        ends = time.monotonic() + READY
        while time.monotonic() < ends and not self.stopping.is_set():
            if self.process.poll() is not None:
                raise refusal(self.choice.log, self.name)
            client = Client(made)
            try:
                if client.ready():
                    return made if self.found is None else _named(made, client.server())
            finally:
                client.close()
            time.sleep(LOOK)
        raise TaskError(f"{self.name} does not answer after {READY:g} s; see {self.choice.log}")

    def wait(self, seconds: float) -> bool:
        """Wait for its end; whether it has ended by itself."""
        assert self.process is not None
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
            return True
        return False

    def watch(self) -> None:
        """Start it again whenever it ends, until it is stopped."""
        while not self.stopping.wait(LOOK):
            if self.process is not None and self.process.poll() is None:
                continue
            self.choice.endpoint.unlink(missing_ok=True)
            self.say(f"{self.name} has ended; it is started again (see {self.choice.log})")
            if self.stopping.wait(PAUSE):
                return
            try:
                self.start()
            except (InputError, TaskError, OSError) as error:
                self.say(f"{error}; ratios are evaluated by the tasks themselves")
                return

    def stop(self) -> None:
        """End it, and remove what says where it is."""
        self.stopping.set()
        self.choice.endpoint.unlink(missing_ok=True)
        self._end()

    def _end(self) -> None:
        """Let the server end by itself, then end its group."""
        process = self.process
        if process is None or process.poll() is not None:
            return
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(process.pid).children():
                child.send_signal(signal.SIGTERM)
        if not self.wait(STOP):
            process.terminate()
            if not self.wait(2 * supervised.GRACE):
                process.kill()


def refuse_second(path: Path) -> None:
    """Refuse to start a server in the place of one that runs.

    Raises:
        InputError: One does, as far as this machine knows.
    """
    if not path.exists():
        return
    found = endpoints.read(path)
    if found.host == socket.gethostname() and psutil.pid_exists(found.pid) and "supervised" in _command(found.pid):
        raise InputError(f"{path}: a server runs already (process {found.pid}); end it, or choose another --endpoint")


def _command(pid: int) -> str:
    with suppress(psutil.Error):
        return " ".join(psutil.Process(pid).cmdline())
    return ""


def _named(endpoint: Endpoint, name: str) -> Endpoint:
    return Endpoint(**{**vars(endpoint), "server": name})


def free_port(host: str, wanted: int) -> int:
    """Give a port that nobody listens on: the wanted one, or with 0 any.

    Raises:
        InputError: It is taken, or the address is none of this machine.
    """
    try:
        family = socket.getaddrinfo(host, wanted, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind((host, wanted))
            return int(one.getsockname()[1])
    except OSError as error:
        if wanted:
            raise InputError(
                f"port {wanted} of {host} cannot be had ({error.strerror}); choose another --port, or leave it out"
            ) from error
        raise InputError(f"--host {host}: is no address of this machine ({error.strerror})") from error


def refusal(log: Path, name: str) -> TaskError | InputError:
    """Say why a server has ended, from the end of its log."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-400:] if log.is_file() else []
    text = "\n".join(lines)
    if triton.MISSING in text:
        backend = text.split(triton.MISSING, 1)[1].split("'")[1]
        return InputError(
            f"{name} has no backend '{backend}', which a model needs; name a Triton that has it with --tritonserver, or say --builtin"
        )
    if "No module named" in text:
        module = text.rsplit("No module named", 1)[1].split("'")[1]
        return InputError(
            f"a model needs the module {module}, which {sys.prefix} has not; install it there (see {log})"
        )
    marks = ("error:", "E1", "E0", "Error", "failed")
    said = [line.strip() for line in lines if any(mark in line for mark in marks)] or lines[-1:]
    return TaskError(f"{name} has ended: {said[-1][:300] if said else 'it said nothing'} (see {log})")
