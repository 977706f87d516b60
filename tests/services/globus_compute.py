#!/usr/bin/env python3
"""A local stand-in for the hosted Globus Compute service.

It lets an unmodified ``globus-compute-sdk`` client and an unmodified
``globus-compute-endpoint`` talk to each other on one machine, through a real
RabbitMQ broker, with no account and no network.  Three parts run in it:

* a web API on ``http://localhost:5000`` (the address both programs use when
  they are told that the environment is ``local``), with the calls that the SDK
  and the endpoint make, and no more;
* the two calls of Globus Auth that they need: a token for client credentials,
  and ``userinfo``;
* a consumer on the broker that takes the results and heartbeats that endpoints
  publish and passes each result on to the queue of its task group.

Everything is kept in memory: a restart forgets functions, endpoints and tasks.
Any client id and secret is let in, so it must never listen beyond loopback.
"""

from __future__ import annotations

import argparse
import base64
import collections
import contextlib
import json
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pika
from globus_compute_common import messagepack
from globus_compute_common.messagepack.message_types import (
    EPStatusReport,
    Result,
    ResultErrorDetails,
    Task,
)

log = logging.getLogger("local-compute")

EXCHANGE = "compute"
RESULTS_QUEUE = "results"
HEARTBEATS_QUEUE = "heartbeats"
GROUP_PREFIX = "group."
PAYLOAD_LIMIT = 10 * 1024 * 1024
# an endpoint drops a start command older than three minutes
START_COMMAND_TTL_S = 180
NAMESPACE = uuid.UUID("5b0e8f1e-6c1f-4f0c-9b53-6a9f3e2d7c10")


class ApiError(Exception):
    """An answer other than 2xx, in the JSON shape that the SDK reads."""

    CODES = {
        400: "BAD_REQUEST",
        401: "UNAUTHORIZED",
        403: "FORBIDDEN",
        404: "RESOURCE_NOT_FOUND",
        413: "TASK_PAYLOAD_TOO_LARGE",
        422: "SEMANTICALLY_INVALID",
    }

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status
        self.message = message

    def body(self) -> dict[str, Any]:
        return {
            "status": "Failed",
            "code": self.CODES.get(self.status, "INTERNAL_ERROR"),
            "http_status_code": self.status,
            "message": self.message,
        }


@dataclass
class Function:
    """Registered code, already in the length-prefixed form that tasks carry."""

    id: str
    name: str
    owner: str
    code: str
    meta: dict[str, Any] | None
    description: str | None = None


@dataclass
class Endpoint:
    """A core endpoint: the process that a user starts by hand at a site."""

    id: str
    name: str
    owner: str
    registration: dict[str, Any]
    last_heartbeat: float = 0.0
    heartbeat_period: float = 30.0

    @property
    def online(self) -> bool:
        """Whether a heartbeat came within the last two periods and a half."""
        if self.heartbeat_period <= 0:
            return False
        return time.time() - self.last_heartbeat < 2.5 * self.heartbeat_period


@dataclass
class UserEndpoint:
    """A child that a core endpoint forks for one user and one configuration."""

    id: str
    name: str
    parent: str
    identity: str
    options: dict[str, Any]
    runtime: dict[str, Any]
    report: dict[str, Any] = field(default_factory=dict)


@dataclass
class TaskRecord:
    """What the service remembers of one task."""

    id: str
    group: str
    function: str
    user_endpoint: str
    message: bytes
    headers: dict[str, Any]
    status: str = "waiting-for-ep"
    completion_t: str | None = None
    data: str | None = None
    failed: bool = False
    details: dict[str, Any] | None = None

    def as_status(self) -> dict[str, Any]:
        answer: dict[str, Any] = {"task_id": self.id, "status": self.status}
        if self.completion_t is not None:
            answer["completion_t"] = self.completion_t
            answer["exception" if self.failed else "result"] = self.data
            answer["details"] = self.details
        return answer


class Broker:
    """The AMQP side: queues, publishing, and the addresses handed to others."""

    def __init__(self, url: str):
        self.url = url

    def session(self) -> BrokerSession:
        return BrokerSession(pika.BlockingConnection(pika.URLParameters(self.url)))

    def set_up(self) -> None:
        with self.session() as s:
            s.channel.exchange_declare(EXCHANGE, "direct", durable=True)
            for name in (RESULTS_QUEUE, HEARTBEATS_QUEUE):
                s.queue(name)
                s.channel.queue_purge(name)

    def consume_from(self, queue: str) -> dict[str, Any]:
        """What an endpoint needs to read from a queue."""
        return {"connection_url": self.url, "queue": queue}

    def publish_to(self, queue: str) -> dict[str, Any]:
        """What an endpoint needs to write to a queue."""
        return {
            "connection_url": self.url,
            "exchange": EXCHANGE,
            "queue": queue,
            "queue_publish_kwargs": {
                "exchange": EXCHANGE,
                "routing_key": queue,
                "mandatory": True,
                "properties": {"delivery_mode": 2},
            },
        }


class BrokerSession:
    """One short-lived connection: pika's are not for sharing between threads."""

    def __init__(self, connection: pika.BlockingConnection):
        self.connection = connection
        self.channel = connection.channel()

    def __enter__(self) -> BrokerSession:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.connection.close()

    def queue(self, name: str) -> None:
        """Make a queue, and bind it to the exchange under its own name."""
        self.channel.queue_declare(name, durable=True)
        self.channel.queue_bind(name, EXCHANGE, routing_key=name)

    def publish(self, queue: str, body: bytes, **properties: Any) -> None:
        properties.setdefault("delivery_mode", 2)
        properties.setdefault("timestamp", int(time.time()))
        self.channel.basic_publish(EXCHANGE, queue, body, pika.BasicProperties(**properties))


def pack_buffers(*buffers: str) -> str:
    """Join serialized parts as the SDK does: each after its length and a newline."""
    return "".join(f"{len(b)}\n{b}" for b in buffers)


def as_uuid(text: str) -> str:
    """The text if it is a UUID, else a UUID made from it, always the same one."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return str(uuid.uuid5(NAMESPACE, text))


class ComputeService:
    """The state of the service, and what each call does to it."""

    def __init__(
        self,
        broker: Broker,
        payload_limit: int = PAYLOAD_LIMIT,
        wait_for_start_s: float = 0,
    ):
        self.broker = broker
        self.payload_limit = payload_limit
        self.wait_for_start_s = wait_for_start_s
        self.lock = threading.RLock()
        self.stopping = threading.Event()
        self.functions: dict[str, Function] = {}
        self.endpoints: dict[str, Endpoint] = {}
        self.user_endpoints: dict[str, UserEndpoint] = {}
        self.tasks: dict[str, TaskRecord] = {}
        self.groups: dict[str, list[str]] = collections.defaultdict(list)
        self.calls: collections.Counter[str] = collections.Counter()

    # --- functions -----------------------------------------------------------

    def register_function(self, who: str, data: dict[str, Any]) -> dict[str, Any]:
        code = data["function_code"]
        if not data.get("serialized", True):
            # plain source: "st" is the SDK's mark for source text
            code = pack_buffers(f"st\n{data['function_name']}:{code}")
        fn = Function(
            id=str(uuid.uuid4()),
            name=data["function_name"],
            owner=who,
            code=code,
            meta=data.get("meta"),
            description=data.get("description"),
        )
        with self.lock:
            self.functions[fn.id] = fn
        return {"function_uuid": fn.id}

    def get_function(self, fid: str) -> dict[str, Any]:
        fn = self._known(self.functions, fid, "Function")
        return {
            "function_uuid": fn.id,
            "function_name": fn.name,
            "function_code": fn.code,
            "description": fn.description,
            "metadata": fn.meta,
        }

    def delete_function(self, fid: str) -> dict[str, Any]:
        self._known(self.functions, fid, "Function")
        with self.lock:
            del self.functions[fid]
        return {"result": 302}

    # --- endpoints -----------------------------------------------------------

    def register_endpoint(self, who: str, data: dict[str, Any], eid: str | None = None) -> dict[str, Any]:
        """Note an endpoint, make its queues, and say how to reach them."""
        eid = str(uuid.UUID(eid)) if eid else str(uuid.uuid4())
        with self.lock:
            known = self.endpoints.get(eid)
            if known and known.owner != who:
                raise ApiError(403, f"Endpoint {eid} is another user's")
            name = data.get("endpoint_name") or (known.name if known else eid)
            ep = Endpoint(eid, name, who, data, last_heartbeat=time.time())
            self.endpoints[eid] = ep
            waiting = {
                t.user_endpoint
                for t in self.tasks.values()
                if t.completion_t is None and self.user_endpoints[t.user_endpoint].parent == eid
            }
        command_queue = f"commands.{eid}"
        with self.broker.session() as s:
            s.queue(command_queue)
            s.channel.queue_purge(command_queue)
            for uid in waiting:
                self._send_start(s, self.user_endpoints[uid])
        log.info("endpoint %s registered (%s)", eid, name)
        return {
            "endpoint_id": eid,
            "command_queue_info": self.broker.consume_from(command_queue),
            "heartbeat_queue_info": self.broker.publish_to(HEARTBEATS_QUEUE),
        }

    def describe_endpoint(self, eid: str) -> dict[str, Any]:
        ep = self._known(self.endpoints, eid, "Endpoint")
        return {
            "uuid": ep.id,
            "name": ep.name,
            "display_name": ep.registration.get("display_name") or ep.name,
            "multi_user": ep.registration.get("multi_user", False),
            "public": ep.registration.get("public", False),
            "owner_id": ep.owner,
            **(ep.registration.get("metadata") or {}),
        }

    def endpoint_status(self, eid: str) -> dict[str, Any]:
        if eid in self.user_endpoints:
            report = self.user_endpoints[eid].report
            state = "online" if report.get("active") else "offline"
            return {"status": state, "details": report}
        ep = self._known(self.endpoints, eid, "Endpoint")
        return {"status": "online" if ep.online else "offline", "details": {}}

    def list_endpoints(self, who: str, role: str | None) -> list[dict[str, Any]]:
        return [self.describe_endpoint(e.id) for e in self.endpoints.values() if role == "any" or e.owner == who]

    def delete_endpoint(self, eid: str) -> dict[str, Any]:
        self._known(self.endpoints, eid, "Endpoint")
        with self.lock:
            del self.endpoints[eid]
        return {"result": 302}

    def allowed_functions(self, eid: str) -> dict[str, Any]:
        ep = self._known(self.endpoints, eid, "Endpoint")
        allowed = ep.registration.get("allowed_functions")
        return {"restricted": allowed is not None, "functions": allowed or []}

    # --- tasks ---------------------------------------------------------------

    def submit(self, who: str, eid: str, data: dict[str, Any]) -> dict[str, Any]:
        """Take a batch: one task for each payload, in one task group."""
        size = sum(len(p) for payloads in data["tasks"].values() for p in payloads)
        if size > self.payload_limit:  # of a whole batch, as the hosted service has it
            raise ApiError(413, f"{size} bytes, more than {self.payload_limit}")
        ep = self._known(self.endpoints, eid, "Endpoint")
        if who != ep.owner and not ep.registration.get("multi_user"):
            raise ApiError(403, f"Endpoint {eid} is not shared with this user")
        allowed = ep.registration.get("allowed_functions")
        group = data.get("task_group_id") or str(uuid.uuid4())
        spec = data.get("resource_specification")
        uep = self._user_endpoint(who, ep, data)

        made: dict[str, list[str]] = {}
        records: list[TaskRecord] = []
        for fid, payloads in data["tasks"].items():
            fn = self._known(self.functions, fid, "Function")
            if allowed is not None and fid not in allowed:
                raise ApiError(403, f"Function {fid} not permitted on endpoint {eid}")
            for payload in payloads:
                tid = str(uuid.uuid4())
                headers: dict[str, Any] = {"function_uuid": fid, "task_uuid": tid}
                if spec:
                    headers["resource_specification"] = json.dumps(spec)
                if data.get("result_serializers"):
                    headers["result_serializers"] = data["result_serializers"]
                message = messagepack.pack(Task(task_id=tid, task_buffer=fn.code + payload))
                records.append(TaskRecord(tid, group, fid, uep.id, message, headers))
                made.setdefault(fid, []).append(tid)

        with self.broker.session() as s:
            if data.get("create_queue"):
                s.queue(GROUP_PREFIX + group)
            self._send_start(s, uep)
            self._wait_for_start(uep)
            with self.lock:
                for t in records:
                    self.tasks[t.id] = t
                    self.groups[group].append(t.id)
            for t in records:
                s.publish(f"tasks.{uep.id}", t.message, headers=t.headers)
        return {
            "request_id": str(uuid.uuid4()),
            "task_group_id": group,
            "endpoint_id": eid,
            "tasks": made,
        }

    def task(self, tid: str) -> dict[str, Any]:
        return self._known(self.tasks, tid, "Task").as_status()

    def tasks_status(self, ids: list[str]) -> dict[str, Any]:
        found = (self.tasks[i] for i in ids if i in self.tasks)
        return {"results": {t.id: t.as_status() for t in found}}

    def task_group(self, gid: str) -> dict[str, Any]:
        if gid not in self.groups:
            raise ApiError(404, f"Task group {gid} could not be resolved")
        with self.broker.session() as s:  # whoever asks may go on to wait on it
            s.queue(GROUP_PREFIX + gid)
        return {"taskgroup_id": gid, "tasks": [{"id": i} for i in self.groups[gid]]}

    def result_address(self) -> dict[str, Any]:
        return {"queue_prefix": GROUP_PREFIX, "connection_url": self.broker.url}

    # --- what comes back from endpoints --------------------------------------

    def run_consumer(self) -> None:
        """Read results and heartbeats until stopped; after a lost link, begin again."""
        while not self.stopping.is_set():
            try:
                with self.broker.session() as s:
                    s.channel.basic_consume(RESULTS_QUEUE, lambda *a: self._guard(self._on_result, s, *a))
                    s.channel.basic_consume(HEARTBEATS_QUEUE, lambda *a: self._guard(self._on_beat, s, *a))
                    s.channel.start_consuming()
            except pika.exceptions.AMQPError as e:
                if not self.stopping.wait(1):
                    log.warning("broker connection lost (%r); trying again", e)

    def _guard(self, action: Callable, s: BrokerSession, ch, method, _props, body):
        try:
            action(s, messagepack.unpack(body), body)
        except Exception:
            log.exception("message from an endpoint not understood; dropped")
        ch.basic_ack(method.delivery_tag)

    def _on_result(self, s: BrokerSession, result: Result, body: bytes) -> None:
        self._finish(s, str(result.task_id), result, body)

    def _on_beat(self, s: BrokerSession, beat: EPStatusReport, _body: bytes) -> None:
        eid, state = str(beat.endpoint_id), beat.global_state
        with self.lock:
            if eid in self.endpoints:
                self.endpoints[eid].last_heartbeat = time.time()
                self.endpoints[eid].heartbeat_period = state["heartbeat_period"]
            if eid in self.user_endpoints:
                self.user_endpoints[eid].report = state
        if "error" not in state:
            return
        log.warning("user endpoint %s failed to start: %s", eid, state["error"])
        with self.broker.session() as own:  # its tasks must not reach a later one
            own.queue(f"tasks.{eid}")
            own.channel.queue_purge(f"tasks.{eid}")
        for t in list(self.tasks.values()):
            if t.user_endpoint == eid and t.completion_t is None:
                failure = Result(
                    task_id=t.id,
                    data=state["error"],
                    error_details=ResultErrorDetails(code="EndpointStartFailure", user_message=state["error"]),
                )
                self._finish(s, t.id, failure, messagepack.pack(failure))

    def _finish(self, s: BrokerSession, tid: str, result: Result, body: bytes) -> None:
        with self.lock:
            t = self.tasks.get(tid)
            if t is None or t.completion_t is not None:
                return
            t.failed = result.is_error
            t.status = "failed" if t.failed else "success"
            t.data, t.details = result.data, result.details
            t.completion_t = str(time.time())
        s.queue(GROUP_PREFIX + t.group)
        s.publish(GROUP_PREFIX + t.group, body)
        log.info("task %s: %s", tid, t.status)

    # --- lesser parts ----------------------------------------------------------

    @staticmethod
    def _known(table: dict[str, Any], key: str, kind: str) -> Any:
        try:
            return table[key]
        except KeyError:
            raise ApiError(404, f"{kind} {key} could not be resolved") from None

    def _user_endpoint(self, who: str, ep: Endpoint, data: dict[str, Any]) -> UserEndpoint:
        """The child for this user and configuration: same input, same child."""
        options = data.get("user_endpoint_config") or {}
        key = json.dumps([ep.id, who, options], sort_keys=True)
        uid = str(uuid.uuid5(NAMESPACE, key))
        with self.lock:
            if uid not in self.user_endpoints:
                name = f"uep.{ep.id}.{uid}"
                self.user_endpoints[uid] = UserEndpoint(uid, name, ep.id, who, options, {})
            uep = self.user_endpoints[uid]
            uep.runtime = data.get("user_runtime") or {}
        return uep

    def _wait_for_start(self, uep: UserEndpoint) -> None:
        """Refuse the batch if the child fails to start while the caller waits."""
        if not self.wait_for_start_s or uep.report.get("active"):
            return
        uep.report = {}
        deadline = time.monotonic() + self.wait_for_start_s
        while not uep.report and time.monotonic() < deadline:
            time.sleep(0.1)
        if "error" in uep.report:
            error = uep.report["error"]
            raise ApiError(422, f"Request payload failed validation: {error}")

    def _send_start(self, s: BrokerSession, uep: UserEndpoint) -> None:
        """Ask the core endpoint to start a child; a running one ignores it."""
        s.queue(f"tasks.{uep.id}")
        command = {
            "command": "cmd_start_endpoint",
            "args": [],
            "kwargs": {
                "name": uep.name,
                "user_opts": uep.options,
                "user_runtime": uep.runtime,
                "amqp_creds": {
                    "endpoint_id": uep.id,
                    "task_queue_info": self.broker.consume_from(f"tasks.{uep.id}"),
                    "result_queue_info": self.broker.publish_to(RESULTS_QUEUE),
                    "heartbeat_queue_info": self.broker.publish_to(HEARTBEATS_QUEUE),
                },
            },
            "globus_effective_identity": uep.identity,
            "globus_username": f"{uep.identity}@local",
            "globus_identity_set": [identity_record(uep.identity)],
        }
        s.publish(
            f"commands.{uep.parent}",
            json.dumps(command).encode(),
            content_type="application/json",
            expiration=str(START_COMMAND_TTL_S * 1000),
        )


# --- Globus Auth -------------------------------------------------------------


def identity_record(who: str) -> dict[str, Any]:
    return {
        "sub": who,
        "id": who,
        "status": "used",
        "username": f"{who}@local",
        "name": "local user",
        "email": f"{who}@local",
        "identity_provider": who,
        "identity_provider_display_name": "local",
        "organization": "local",
        "identity_type": "login",
    }


def tokens_for(who: str, scopes: list[str]) -> dict[str, Any]:
    """Tokens for the asked scopes, one for each service that they belong to."""
    by_server: dict[str, list[str]] = collections.defaultdict(list)
    for scope in scopes:
        parts = urllib.parse.urlsplit(scope).path.strip("/").split("/")
        # https://auth.globus.org/scopes/<resource server>/<name>; the short
        # ones (openid ...) and manage_projects belong to Auth itself
        server = "auth.globus.org"
        if len(parts) == 3 and parts[0] == "scopes":
            try:
                uuid.UUID(parts[1])
                # the one service that names itself otherwise than by its UUID
                compute = "facd7ccc-c5f4-42aa-916b-a0e270e2c2a9"
                server = "funcx_service" if parts[1] == compute else parts[1]
            except ValueError:
                pass
        by_server[server].append(scope)
    items = [
        {
            "access_token": f"local.{who}",
            "scope": " ".join(scope),
            "expires_in": 172800,
            "token_type": "Bearer",
            "resource_server": server,
        }
        for server, scope in sorted(by_server.items())
    ]
    if not items:
        raise ApiError(400, "no scope asked")
    return {**items[0], "other_tokens": items[1:]}


# --- the web server ----------------------------------------------------------


class Handler(BaseHTTPRequestHandler):
    """Finds the call for a request; ``service`` is set on the class."""

    service: ComputeService
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def do_PUT(self) -> None:
        self._serve("PUT")

    def do_DELETE(self) -> None:
        self._serve("DELETE")

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)

    def _serve(self, verb: str) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        try:
            status, answer = 200, self._dispatch(verb, url.path, query, raw)
        except ApiError as e:
            status, answer = e.status, e.body()
        except (KeyError, ValueError, TypeError) as e:
            status, answer = 400, ApiError(400, f"bad request: {e!r}").body()
        except Exception as e:
            log.exception("%s %s failed", verb, url.path)
            status, answer = 500, ApiError(500, repr(e)).body()
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _identity(self) -> str:
        kind, _, value = self.headers.get("Authorization", "").partition(" ")
        if kind == "Bearer" and value.startswith("local."):
            return as_uuid(value.removeprefix("local."))
        if kind == "Basic":
            return as_uuid(base64.b64decode(value).decode().partition(":")[0])
        raise ApiError(401, "not logged in")

    def _dispatch(self, verb: str, path: str, query: dict[str, str], raw: bytes) -> Any:
        svc = self.service
        shown = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", path)
        with svc.lock:
            svc.calls[f"{verb} {shown}"] += 1

        if path == "/calls":  # how often each call was made: for tests
            return dict(svc.calls)
        if path == "/v2/version":
            return {
                "api": "local",
                "min_sdk_version": "2.0.0",
                "min_ep_version": "2.0.0",
            }
        who = self._identity()
        if path == "/v2/oauth2/token":
            form = dict(urllib.parse.parse_qsl(raw.decode()))
            return tokens_for(who, form.get("scope", "").split())
        if path == "/v2/oauth2/token/revoke":
            return {"active": False}
        if path == "/v2/oauth2/userinfo":
            me = identity_record(who)
            return {**me, "identity_set": [me]}
        if path == "/v2/get_amqp_result_connection_url":
            return svc.result_address()

        data = json.loads(raw) if raw else {}
        if path == "/v2/batch_status":
            return svc.tasks_status(data["task_ids"])
        if verb == "POST" and path in ("/v2/functions", "/v3/functions"):
            return svc.register_function(who, data)
        if path in ("/v2/endpoints", "/v3/endpoints"):
            if verb == "POST":
                return svc.register_endpoint(who, data)
            return svc.list_endpoints(who, query.get("role"))

        m = re.fullmatch(r"/v[23]/(\w+)/([0-9a-fA-F-]{36})(?:/(\w+))?", path)
        if m:
            kind, key, action = m[1], m[2].lower(), m[3]
            calls: dict[tuple[str, str, str | None], Callable[[], Any]] = {
                ("GET", "functions", None): lambda: svc.get_function(key),
                ("DELETE", "functions", None): lambda: svc.delete_function(key),
                ("PUT", "endpoints", None): lambda: svc.register_endpoint(who, data, key),
                ("GET", "endpoints", None): lambda: svc.describe_endpoint(key),
                ("DELETE", "endpoints", None): lambda: svc.delete_endpoint(key),
                ("GET", "endpoints", "status"): lambda: svc.endpoint_status(key),
                ("POST", "endpoints", "lock"): lambda: {"endpoint_id": key},
                ("GET", "endpoints", "allowed_functions"): lambda: svc.allowed_functions(key),
                ("POST", "endpoints", "submit"): lambda: svc.submit(who, key, data),
                ("GET", "tasks", None): lambda: svc.task(key),
                ("GET", "taskgroup", None): lambda: svc.task_group(key),
            }
            call = calls.get((verb, kind, action))
            if call:
                return call()
        raise ApiError(404, f"no such call here: {verb} {path}")


# --- a private broker --------------------------------------------------------


class PrivateRabbit:
    """A RabbitMQ node of our own: loopback only, all its files in one folder.

    Debian's ``/usr/sbin/rabbitmq-server`` insists on the system folders and on
    its own user, so the program that it wraps is started directly.
    """

    PROGRAM = "/usr/lib/rabbitmq/bin/rabbitmq-server"

    def __init__(self, folder: Path, port: int):
        self.folder = folder.resolve()
        self.port = port
        self.dist_port = port + 20000
        self.epmd_port = port + 20001
        self.process: subprocess.Popen | None = None
        self.epmd: subprocess.Popen | None = None

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/%2F"

    def start(self, patience_s: float = 240) -> None:
        if not Path(self.PROGRAM).exists():
            sys.exit("rabbitmq-server is not installed (apt-get install it)")
        self.folder.mkdir(parents=True, exist_ok=True)
        # the service forgets all tasks at a restart, so the broker has to as well
        shutil.rmtree(self.folder / "data", ignore_errors=True)
        conf = self.folder / "rabbitmq.conf"
        conf.write_text(
            f"listeners.tcp.default = 127.0.0.1:{self.port}\n"
            "log.console = false\n"
            "vm_memory_high_watermark.absolute = 512MiB\n"
            "disk_free_limit.absolute = 50MB\n"
        )
        (self.folder / "enabled_plugins").write_text("[].\n")
        env = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "LANG": "C.UTF-8",
            "HOME": str(self.folder),
            "RABBITMQ_NODENAME": f"local{self.port}@localhost",
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_CONFIG_FILE": str(conf),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_PID_FILE": str(self.folder / "rabbit.pid"),
            "RABBITMQ_DIST_PORT": str(self.dist_port),
            # few schedulers: the machine is shared, the traffic small
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ("+S 1:1 +sbwt none -kernel inet_dist_use_interface {127,0,0,1}"),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self.epmd_port),
        }
        # Erlang would start its name daemon itself, and leave it behind at the
        # end; as a child of ours, on a port of its own, it goes with the node
        epmd = shutil.which("epmd") or "/usr/bin/epmd"
        self.epmd = subprocess.Popen([epmd], env=env, start_new_session=True)
        while True:
            if self.epmd.poll() is not None:
                sys.exit(f"port {self.epmd_port} is taken: is another broker running?")
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.epmd_port), 1).close()
                break
            time.sleep(0.05)
        out = (self.folder / "startup.log").open("wb")
        self.process = subprocess.Popen(
            [self.PROGRAM],
            env=env,
            cwd=self.folder,
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + patience_s
        while True:
            try:
                pika.BlockingConnection(pika.URLParameters(self.url)).close()
                return
            except pika.exceptions.AMQPError:
                gone = self.process.poll() is not None
                if gone or time.monotonic() > deadline:
                    self.stop()
                    sys.exit(f"RabbitMQ did not start; see {self.folder}/startup.log")
                time.sleep(0.2)

    def stop(self) -> None:
        for p in (self.process, self.epmd):
            if p is None or p.poll() is not None:
                continue
            try:
                os.killpg(p.pid, signal.SIGTERM)
                p.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(p.pid, signal.SIGKILL)
                p.wait(5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--port",
        type=int,
        default=5000,
        help="web port; the SDK's local environment always means 5000",
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--broker-dir", type=Path, help="start a RabbitMQ kept here")
    where.add_argument("--broker-url", help="use this running broker (amqp://...)")
    parser.add_argument("--broker-port", type=int, default=5672)
    parser.add_argument("--payload-limit", type=int, default=PAYLOAD_LIMIT, metavar="BYTES")
    parser.add_argument(
        "--wait-for-start",
        type=float,
        default=0,
        metavar="SECONDS",
        help="at a submission, wait this long for a user endpoint to come up, and"
        " answer 422 if it fails (otherwise its tasks fail later)",
    )
    parser.add_argument("--ready-file", type=Path, help="written once all is up")
    parser.add_argument("-v", "--verbose", action="store_true")
    args = parser.parse_args()

    logging.basicConfig(
        level=logging.DEBUG if args.verbose else logging.INFO,
        format="%(asctime)s %(name)s %(levelname)s %(message)s",
    )
    logging.getLogger("pika").setLevel(logging.CRITICAL)

    # a stop signal becomes an exit, so that the broker is stopped too
    for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(sig, lambda *_: sys.exit(0))

    began = time.monotonic()
    rabbit = service = None
    try:
        if args.broker_dir:
            rabbit = PrivateRabbit(args.broker_dir, args.broker_port)
            rabbit.start()
        broker = Broker(rabbit.url if rabbit else args.broker_url)
        broker.set_up()
        service = ComputeService(broker, args.payload_limit, args.wait_for_start)
        threading.Thread(target=service.run_consumer, daemon=True).start()
        handler = type("BoundHandler", (Handler,), {"service": service})
        with ThreadingHTTPServer(("127.0.0.1", args.port), handler) as server:
            server.daemon_threads = True
            took = time.monotonic() - began
            log.info("ready on http://localhost:%d after %.1f s", args.port, took)
            if args.ready_file:
                args.ready_file.write_text(f"{os.getpid()}\n")
            server.serve_forever()
    finally:
        if service:
            service.stopping.set()
        if rabbit:
            rabbit.stop()
        if args.ready_file:
            args.ready_file.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
