"""A site on this machine: the real Globus Compute endpoint and broker, and a stand-in for the hosted service between them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

ROOT = Path(__file__).parent.parent.parent
SERVICE = ROOT / "tests" / "services" / "globus_compute.py"
VENV = ROOT / ".endpoint"
"""The endpoint pins other versions than needle does: it has an environment of its own."""
WANTED = "globus-compute-endpoint==4.19.0"
CACHE = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))
"""Compiled toys, which take a minute to compile, are kept here whatever the home is."""
IDENTITY = "11111111-2222-4333-8444-555555555555"
TEMPLATE = "heartbeat_period: 5\nengine:\n  type: ThreadPoolEngine\n  max_workers: 2\n"
SCHEMA = {"type": "object", "properties": {}, "additionalProperties": False}


def install() -> str:
    """Install what is missing; give the reason if that cannot be."""
    if not any(Path(folder, "rabbitmq-server").exists() for folder in ("/usr/sbin", "/usr/lib/rabbitmq/bin")):
        if os.geteuid() or not shutil.which("apt-get"):
            return "rabbitmq-server is not installed, and only root can install it with apt-get"
        for command in (["update"], ["install", "-y", "--no-install-recommends", "rabbitmq-server"]):
            subprocess.run(["apt-get", "-q", *command], check=True, capture_output=True, timeout=300)
    if not (VENV / "bin" / "globus-compute-endpoint").exists():
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
        subprocess.run([VENV / "bin" / "pip", "install", "-q", WANTED], check=True, timeout=600)
    return ""


@dataclass
class LocalSite:
    """The service, its broker and endpoints, with all files in one folder."""

    folder: Path
    hidden: Path
    """For PYTHONPATH: reports of the site have no figures."""
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def remote(self) -> Path:
        return self.folder / "remote"

    def env(self, home: Path) -> dict[str, str]:
        """Lead the SDK to the service, with a login that needs no browser."""
        return {
            **os.environ,
            "PATH": f"{VENV / 'bin'}:{os.environ['PATH']}",
            "HOME": str(home),
            "GLOBUS_SDK_ENVIRONMENT": "local",
            "GLOBUS_SDK_SERVICE_URL_AUTH": "http://localhost:5000/",
            "GLOBUS_COMPUTE_CLIENT_ID": IDENTITY,
            "GLOBUS_COMPUTE_CLIENT_SECRET": "any",
            "GLOBUS_COMPUTE_USER_DIR": str(self.folder / "compute"),
            "NEEDLE_REMOTE": str(self.remote),
            "XDG_CACHE_HOME": CACHE,
        }

    def start_service(self) -> None:
        ready = self.folder / "ready"
        self._launch(
            "service", sys.executable, str(SERVICE), f"--broker-dir={self.folder / 'rabbit'}", f"--ready-file={ready}"
        )
        self._wait("service", ready)

    def configure(self, name: str, *, needle: bool = True, **more: str) -> None:
        """Write the files of an endpoint; one without needle on its PATH has none to call."""
        place = self.folder / "compute" / name
        place.mkdir(parents=True, mode=0o700)
        (place / "config.yaml").write_text("heartbeat_period: 5\nemail: nobody@localhost\n")
        (place / "user_config_template.yaml.j2").write_text(TEMPLATE)
        (place / "user_config_schema.json").write_text(json.dumps(SCHEMA))
        programs = self.folder / "programs"
        programs.mkdir(exist_ok=True)
        script = f'#!/bin/sh\nPYTHONPATH={self.hidden}:{ROOT} exec {sys.executable} -m needle_parsl "$@"\n'
        (programs / "needle").write_text(script)
        (programs / "needle").chmod(0o755)
        path = f"{programs}:" if needle else ""
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        lines = {
            "PATH": f"{path}{VENV / 'bin'}:/usr/bin:/bin",
            "GLOBUS_COMPUTE_USER_DIR": self.folder / "compute",
            "HOME": home,
            "NEEDLE_REMOTE": self.remote,
            "XDG_CACHE_HOME": CACHE,
            **more,
        }
        (place / "user_environment.yaml").write_text("".join(f"{key}: {value}\n" for key, value in lines.items()))

    def start(self, name: str) -> str:
        """Start an endpoint; give its id."""
        self._launch(name, str(VENV / "bin" / "globus-compute-endpoint"), "start", name)
        told = self.folder / "compute" / name / "endpoint.json"
        self._wait(name, told)
        return str(json.loads(told.read_text())["endpoint_id"])

    def children(self, name: str) -> list[psutil.Process]:
        """Give the user endpoints of an endpoint: what runs the tasks."""
        return psutil.Process(self.processes[name].pid).children()

    def stop(self, name: str) -> None:
        process = self.processes.pop(name)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _launch(self, name: str, *command: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as out:
            self.processes[name] = subprocess.Popen(
                command, env=self.env(self.folder), stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )  # fmt: skip

    def _wait(self, name: str, path: Path, patience: float = 300) -> None:
        ends = time.monotonic() + patience
        while not path.exists():
            assert self.processes[name].poll() is None, (self.folder / f"{name}.log").read_text()
            assert time.monotonic() < ends, f"{name} does not start"
            time.sleep(0.1)
