"""One short call to a Globus Compute endpoint: plain source and JSON go there, JSON comes back, within a time limit."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from needle_parsl.errors import InputError, NeedleError, TaskError

PATIENCE = 60.0
"""Seconds that a call may take; the first one to an idle endpoint starts its workers."""
FIRST_LOOK, LONGEST_PAUSE = 0.5, 3.0
"""Seconds between two looks for an answer: growing, since the service allows 20 requests in 10 s."""
JSON_BOTH_WAYS = ["globus_compute_sdk.serialize.JSONData"]
NOT_YET = "Another instance of this endpoint is running"
"""What an endpoint says for some heartbeats after it was killed: its PID file is too young to be stale."""
LOGIN = "python -c 'import globus_compute_sdk; globus_compute_sdk.Client()'"
SOURCE = '''
def needle_call(text, seconds):
    """Give a question to this site's needle, and bring back what it says."""
    import shutil
    import subprocess

    program = shutil.which("needle")
    if program is None:
        return {"missing": True}
    try:
        done = subprocess.run([program, "answer"], input=text, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return {"slow": True}
    return {"code": done.returncode, "said": done.stdout, "errors": done.stderr[-2000:]}
'''
"""What runs at the endpoint: it needs no package, so that the endpoint's own Python does not matter."""


def ask(endpoint: str, question: dict[str, Any], seconds: float = PATIENCE) -> dict[str, Any]:
    """Put a question to the needle of a site.

    Args:
        endpoint: The id of its endpoint.
        question: What `answering.answer` understands.
        seconds: When to give up.

    Raises:
        InputError: The id, the login or the question is wrong, or the SDK is not installed.
        TaskError: The endpoint is offline or silent, or has no needle.
    """
    _check_id(endpoint)
    found = _within(seconds, endpoint, lambda: _call(endpoint, json.dumps(question), seconds))
    return _understood(endpoint, found)


def _check_id(endpoint: str) -> None:
    try:
        uuid.UUID(endpoint)
    except ValueError:
        raise InputError(
            f'"{endpoint}" is no endpoint id; "globus-compute-endpoint list" at the site shows it, such as {uuid.UUID(int=0)}'
        ) from None


def _within(seconds: float, endpoint: str, call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Wait for a call no longer than this: the SDK's own calls may wait for minutes."""
    ended: list[dict[str, Any] | Exception] = []

    def work() -> None:
        try:
            ended.append(call())
        except Exception as error:  # noqa: BLE001  it is raised again in the thread that waits
            ended.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if not ended:
        raise TaskError(
            f"endpoint {endpoint} has not answered within {seconds:g} s; what it began goes on there: ask again with needle status"
        )
    if isinstance(ended[0], Exception):
        raise ended[0]
    return ended[0]


def _call(endpoint: str, text: str, seconds: float) -> dict[str, Any]:
    """Send the question as a task, and look for its result until it is there.

    Raises:
        NeedleError: As `ask`.
    """
    try:
        import globus_compute_sdk as sdk
        import globus_sdk
        from globus_compute_sdk.errors import TaskExecutionFailed
        from globus_compute_sdk.serialize import JSONData
    except ImportError:
        raise InputError(
            'remote runs need Globus Compute; install it with: pip install "needle-parsl[remote]"'
        ) from None
    try:
        client = sdk.Client(do_version_check=False, data_serialization_strategy=JSONData())
        if client.app is None or client.app.login_required():
            raise InputError(f"there is no valid login to Globus; log in with: {LOGIN}")
        if client.get_endpoint_status(endpoint)["status"] != "online":
            raise TaskError(f"endpoint {endpoint} is offline; start it at the site: globus-compute-endpoint start NAME")
        batch = client.create_batch(result_serializers=JSON_BOTH_WAYS)
        batch.add(client.register_source_code(SOURCE, "needle_call"), args=(text, 0.8 * seconds))
        (task,) = (task for ids in client.batch_run(endpoint, batch)["tasks"].values() for task in ids)
        return _result(client, task, seconds)
    except globus_sdk.GlobusAPIError as error:
        raise _refused(endpoint, error.http_status, error.message or "") from error
    except globus_sdk.NetworkError as error:
        raise TaskError(f"the Globus Compute service cannot be reached ({error}); look at the network") from error
    except TaskExecutionFailed as error:
        last = str(error).strip().splitlines()[-1].strip()
        if NOT_YET in last:
            raise TaskError(
                f"endpoint {endpoint} was killed and waits until its old process counts as gone; ask again in a minute"
            ) from error
        raise TaskError(f"endpoint {endpoint} could not run the call ({last}); look at its logs at the site") from error


def _result(client: Any, task: str, seconds: float) -> dict[str, Any]:
    """Look until the result is there; whoever waits gives up first."""
    ends, pause = time.monotonic() + seconds, FIRST_LOOK
    while (state := client.get_task(task))["pending"] and time.monotonic() < ends:
        time.sleep(pause)
        pause = min(1.3 * pause, LONGEST_PAUSE)
    found: dict[str, Any] = state.get("result") or {"slow": True}
    return found


def _refused(endpoint: str, status: int, message: str) -> NeedleError:
    """Say what an answer of the service means."""
    if status == 404:
        return InputError(f"there is no endpoint {endpoint}; compare it with globus-compute-endpoint list at the site")
    if status in (401, 403):
        return InputError(f"Globus does not let this login use endpoint {endpoint}; log in as its owner with: {LOGIN}")
    if status == 413:
        return InputError("the inputs are too large to travel; name data files by their path at the site")
    return TaskError(f"the Globus Compute service answered with {status}: {' '.join(message.split())}")


def _understood(endpoint: str, found: dict[str, Any]) -> dict[str, Any]:
    """Read what the site's needle said.

    Raises:
        NeedleError: It is not there, too slow, too old, or says that something is wrong.
    """
    if found.get("missing"):
        raise TaskError(
            f"endpoint {endpoint} finds no needle; put its folder on PATH in user_environment.yaml of the endpoint"
        )
    if found.get("slow"):
        raise TaskError(f"the needle at endpoint {endpoint} did not answer in time; ask again with needle status")
    try:
        answer: Any = json.loads(found["said"])
    except ValueError:
        last = (found["errors"].strip().splitlines() or ["nothing"])[-1]
        raise TaskError(f"the needle at endpoint {endpoint} is another version or broken; it said: {last}") from None
    if "error" in answer:
        raise (InputError if answer["wrong_input"] else TaskError)(f"at the site: {answer['error']}")
    whole: dict[str, Any] = answer
    return whole
