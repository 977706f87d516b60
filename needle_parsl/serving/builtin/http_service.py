"""The KServe v2 protocol by HTTP, with JSON alone, and metrics as Prometheus reads them."""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any

import numpy as np

from needle_parsl import __version__
from needle_parsl.serving.builtin.engine import Counts, Engine, RequestError
from needle_parsl.serving.datatypes import KINDS, NAMES
from needle_parsl.serving.endpoint import HTTP_TOKEN, MESSAGE

MODEL = re.compile(r"/v2/models/(?P<name>[^/]+)(/versions/(?P<version>[^/]+))?(?P<rest>/.*)?")
METRICS: dict[str, Callable[[Counts], int]] = {
    "nv_inference_request_success": lambda counts: counts.success,
    "nv_inference_request_failure": lambda counts: counts.failure,
    "nv_inference_count": lambda counts: counts.inferences,
    "nv_inference_exec_count": lambda counts: counts.executions,
    "nv_inference_compute_infer_duration_us": lambda counts: int(counts.seconds * 1e6),
}
"""Triton's names of what is counted."""


class HttpService:
    """Answers requests: a path and a body to a status and JSON, or text."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def answer(self, path: str, body: bytes | None) -> tuple[HTTPStatus, Any]:
        """Answer a request.

        Args:
            path: Of the address.
            body: Of a POST; None for a GET.
        """
        try:
            if body is not None:
                return HTTPStatus.OK, self._posted(path, body)
            return HTTPStatus.OK, self._got(path)
        except RequestError as error:
            return _status(error), {"error": str(error)}

    def _got(self, path: str) -> Any:
        if path in ("/v2/health/live", "/v2/health/ready"):
            return ""
        if path == "/metrics":
            return "".join(self._metrics())
        if path == "/v2":
            return {"name": "needle", "version": __version__, "extensions": ["statistics"]}
        if (found := MODEL.fullmatch(path)) is None:
            raise RequestError(f"{path}: is no address of this server", missing=True)
        loaded = self.engine.find(found["name"], found["version"] or "")
        if found["rest"] == "/ready":
            return ""
        if found["rest"] == "/stats":
            counts, own = loaded.counts, loaded.version
            said = {"inference_count": counts.inferences, "execution_count": counts.executions}
            return {"model_stats": [{"name": own.name, "version": str(own.number), **said}]}
        return {"name": loaded.version.name, "versions": [str(n) for n in self.engine.models[loaded.version.name]]}

    def _posted(self, path: str, body: bytes) -> Any:
        found = MODEL.fullmatch(path)
        if found is None or found["rest"] != "/infer":
            raise RequestError(f"{path}: is no address of this server", missing=True)
        loaded = self.engine.find(found["name"], found["version"] or "")
        try:
            asked = json.loads(body)
            inputs = {one["name"]: _array(one) for one in asked["inputs"]}
            outputs = [one["name"] for one in asked.get("outputs", [])]
            parameters = dict(asked.get("parameters", {}))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RequestError(f"the body is no request of the protocol ({type(error).__name__}: {error})") from error
        given = self.engine.infer(loaded, inputs, outputs, parameters)
        written = [
            {"name": name, "datatype": NAMES[array.dtype], "shape": list(array.shape), "data": array.ravel().tolist()}
            for name, array in given.items()
        ]
        return {"model_name": loaded.version.name, "model_version": str(loaded.version.number), "outputs": written}

    def _metrics(self) -> Iterator[str]:
        """Write the counts of all models."""
        for name, count in METRICS.items():
            yield f"# TYPE {name} counter\n"
            for model, versions in self.engine.models.items():
                for number, loaded in versions.items():
                    yield f'{name}{{model="{model}",version="{number}"}} {count(loaded.counts)}\n'


def _status(error: RequestError) -> HTTPStatus:
    if error.missing:
        return HTTPStatus.NOT_FOUND
    return HTTPStatus.INTERNAL_SERVER_ERROR if error.failed else HTTPStatus.BAD_REQUEST


def _array(given: Any) -> Any:
    kind = KINDS.get(given["datatype"])
    if kind is None:
        raise RequestError(f'the input "{given["name"]}" is of {given["datatype"]}; known are {", ".join(KINDS)}')
    return np.array(given["data"], kind).reshape(given["shape"])


def handler(service: HttpService, token: str) -> type[BaseHTTPRequestHandler]:
    """Make the class that reads requests from a connection."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(lambda: None)

        def do_POST(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            if size > MESSAGE:
                self.close_connection = True
                self._send(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"error": f"the request has more than {MESSAGE} bytes"})
                return
            self._answer(lambda: self.rfile.read(size))

        def _answer(self, body: Callable[[], bytes | None]) -> None:
            if not hmac.compare_digest(self.headers.get(HTTP_TOKEN, "").encode(), token.encode()):
                self.close_connection = True
                self._send(
                    HTTPStatus.UNAUTHORIZED, {"error": "the token is missing or wrong; it stands in endpoint.json"}
                )
                return
            self._send(*service.answer(self.path.split("?")[0], body()))

        def _send(self, status: HTTPStatus, content: Any) -> None:
            plain = isinstance(content, str)
            written = (content if plain else json.dumps(content)).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain" if plain else "application/json")
            self.send_header("Content-Length", str(len(written)))
            self.end_headers()
            self.wfile.write(written)

        def address_string(self) -> str:
            return "client"

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  of the standard library
            del format, args

    return Handler
