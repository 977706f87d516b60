"""A real Triton server: where it is found, how it is fetched, and the command line that starts it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from needle_parsl import files, ownership
from needle_parsl.errors import InputError, TaskError
from needle_parsl.serving.endpoint import TOKEN

PACKAGE = "nvidia-pytriton==0.7.0"
"""Which holds a Triton for CPUs and GPUs with the Python backend alone; none of what it needs is installed, since nothing of it is imported."""
VARIABLE = "TRITONSERVER"
RESTRICTED = "health,metadata,inference,shared-memory,model-config,model-repository,statistics,trace,logging"
"""All that Triton can be asked."""
STUBS = "python_backend_stubs"
MISSING = "unable to find backend library for backend"
"""What Triton's log says of a model whose backend it has not."""


@dataclass(frozen=True)
class TritonServer:
    """An installation."""

    program: Path

    @property
    def home(self) -> Path:
        """Give the folder above `bin`."""
        return self.program.parent.parent

    @property
    def stub(self) -> Path:
        """Locate what runs Python models, of an installation from PyPI; it is made for one version of Python."""
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        return self.home / STUBS / version / "triton_python_backend_stub"

    @property
    def packaged(self) -> bool:
        """Whether it came from PyPI, where the Python backend has to be put together."""
        return (self.home / STUBS).is_dir()


def cache() -> Path:
    """Locate the folder that `needle serve --fetch` installs into."""
    above = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return above / "needle" / PACKAGE.replace("==", "-")


def find(program: str = "") -> TritonServer | None:
    """Find a server: the program that is named, that of the variable `TRITONSERVER`, or what was fetched; None if there is none.

    Raises:
        InputError: The one that is named is not there.
    """
    for said, path in (("--tritonserver", program), (VARIABLE, os.environ.get(VARIABLE, ""))):
        if path:
            return TritonServer(_program(said, path))
    fetched = cache() / "pytriton" / "tritonserver" / "bin" / "tritonserver"
    if not fetched.is_file():
        return None
    ownership.insist(cache(), instead="remove it, and fetch it again")
    return TritonServer(fetched)


def _program(said: str, path: str) -> Path:
    found = shutil.which(path)
    if found is None:
        raise InputError(
            f"{said} {path}: is no program; name tritonserver itself, such as /opt/tritonserver/bin/tritonserver"
        )
    return Path(found).resolve()


def fetch() -> Path:
    """Install a server from PyPI beside the environment, unless that was done; give its folder.

    Raises:
        TaskError: pip cannot have it.
    """
    target = cache()
    if target.is_dir():
        return target
    ownership.private(target.parent)
    with files.atomic(target) as temporary:
        how = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-compile"]
        pip = [sys.executable, "-P", "-m", "pip", "install", *how]
        done = subprocess.run([*pip, "--target", str(temporary), PACKAGE], capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
            raise TaskError(f"{PACKAGE} cannot be fetched: {last}")
    return target


def backends(server: TritonServer, folder: Path) -> Path | None:
    """Put the Python backend of an installation from PyPI together; None where the installation has its own.

    Raises:
        InputError: It has none for this Python.
    """
    if not server.packaged:
        return None
    if not server.stub.is_file():
        raise InputError(
            f"{server.program}: has no Python backend for Python {sys.version_info.major}.{sys.version_info.minor}"
        )
    python = folder / "backends" / "python"
    python.mkdir(parents=True)
    for path in (server.home / "backends" / "python").iterdir():
        if path.is_file():
            (python / path.name).symlink_to(path)
    shutil.copy(server.stub, python / server.stub.name)
    return folder / "backends"


def environment(server: TritonServer) -> dict[str, str]:
    """Give the environment: models use the Python that runs needle, on one thread each."""
    found = {**os.environ, "OMP_NUM_THREADS": "1", "ORT_DISABLE_TELEMETRY": "1"}
    found["PATH"] = os.pathsep.join([str(Path(sys.prefix) / "bin"), os.environ.get("PATH", "")])
    if server.packaged:
        libraries = [str(sysconfig.get_config_var("LIBDIR")), str(server.home.parents[1] / "nvidia_pytriton.libs")]
        found["LD_LIBRARY_PATH"] = os.pathsep.join([*libraries, *filter(None, [os.environ.get("LD_LIBRARY_PATH")])])
    return found


def command(
    server: TritonServer,
    repository: Path,
    addresses: Mapping[str, str],
    *,
    folder: Path | None,
    token: str,
    explicit: bool,
) -> list[str]:
    """Give the command line.

    Args:
        server: The installation.
        repository: What to serve.
        addresses: Of `grpc`, `http` and `metrics`, as in an endpoint.
        folder: Of backends, from `backends`.
        token: What clients have to say; it stands in the command line, which others on this machine can read.
        explicit: Whether models are loaded when clients ask for them, and none before.
    """
    words = [
        str(server.program),
        f"--model-repository={repository}",
        "--disable-auto-complete-config",
        "--log-info=true",
    ]
    if folder is not None:
        words.append(f"--backend-directory={folder}")
    elif (server.home / "backends" / "onnxruntime").is_dir():
        words.append("--model-config-name=onnxruntime")
    for name, address in addresses.items():
        host, _, port = address.rpartition(":")
        if address.startswith("unix:") and name != "grpc":
            host, port = address, "1"
        words += [f"--{name}-address={host}", f"--{name}-port={port}"]
    if token:
        words += [
            f"--http-restricted-api={RESTRICTED}:{TOKEN}={token}",
            f"--grpc-restricted-protocol={RESTRICTED}:{TOKEN}={token}",
        ]
    return [*words, *(["--model-control-mode=explicit"] if explicit else [])]
