"""HTTP by sockets of the file system or by ports, without any library."""

from __future__ import annotations

import http.client
import json
import socket
from contextlib import closing
from typing import Any

from needle_parsl.serving.endpoint import HTTP_TOKEN, Endpoint


class Connection(http.client.HTTPConnection):
    """A connection to an address of an endpoint."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self.path = address.removeprefix("unix:") if address.startswith("unix:") else ""
        super().__init__("localhost" if self.path else host, 80 if self.path else int(port), timeout=20)

    def connect(self) -> None:
        if not self.path:
            return super().connect()
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)
        return None


def ask(
    endpoint: Endpoint, path: str, body: Any = None, *, address: str = "", token: str | None = None
) -> tuple[int, str]:
    """Ask; give status and answer."""
    connection = Connection(address or endpoint.http)
    headers = {HTTP_TOKEN: endpoint.token if token is None else token, "Content-Type": "application/json"}
    with closing(connection):
        connection.request("POST" if body else "GET", path, json.dumps(body) if body else None, headers)
        response = connection.getresponse()
        return response.status, response.read().decode()
