"""`python -m needle_parsl.serving.builtin DIR GRPC HTTP`: serve a repository until SIGTERM. The token is in the environment, where only its owner reads it."""

from __future__ import annotations

import os
import signal
import socket
import socketserver
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import grpc

from needle_parsl.errors import NeedleError
from needle_parsl.serving import kserve, repository
from needle_parsl.serving.builtin import grpc_service, http_service
from needle_parsl.serving.builtin.engine import Engine

VARIABLE = "NEEDLE_SERVE_TOKEN"
ALL = "*"
THREADS = 16
"""Calls that are answered at a time."""
GRACE = 5.0
"""Seconds that calls have to end after SIGTERM."""


class HttpServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """A thread for each connection, on a port or on a socket of the file system."""

    daemon_threads, allow_reuse_address = True, True

    def __init__(self, address: str, handler: type[BaseHTTPRequestHandler]) -> None:
        if address.startswith("unix:"):
            self.address_family = socket.AF_UNIX
            super().__init__(address.removeprefix("unix:"), handler)  # type: ignore[arg-type]
            return
        host, _, port = address.rpartition(":")
        super().__init__((host, int(port)), handler)


def main(arguments: list[str]) -> int:
    """Serve; give the exit code."""
    folder, models, grpc_address, http_address = arguments
    token = os.environ.pop(VARIABLE, "")
    engine = Engine(Path(folder))
    try:
        for name in repository.read(Path(folder)) if models == ALL else ():
            engine.load(name)
    except NeedleError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    checks = [grpc_service.TokenCheck(token)] if token else []
    pool = ThreadPoolExecutor(THREADS)
    server = grpc.server(pool, interceptors=checks, options=grpc_service.OPTIONS)
    server.add_generic_rpc_handlers((kserve.handler(grpc_service.Service(engine)),))
    handler = http_service.handler(http_service.HttpService(engine), token)
    asked = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked.set())
    with HttpServer(http_address, handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        server.add_insecure_port(grpc_address)
        server.start()
        sys.stderr.write(f"serving {', '.join(engine.models) or 'no model yet'}\n")
        asked.wait()
        server.stop(GRACE).wait()
        web.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
