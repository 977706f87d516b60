"""One short call to a Globus Compute endpoint: plain source and JSON go there, JSON comes back, within a time limit."""

from __future__ import annotations

import json
import time
from typing import Any

from needle_parsl.errors import InputError, TaskError
from needle_parsl.workflow.executors import globus

FIRST_LOOK, LONGEST_PAUSE = 0.5, 3.0
"""Seconds between two looks for an answer: growing, since the service allows 20 requests in 10 s."""
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


def ask(endpoint: str, question: dict[str, Any], seconds: float = globus.PATIENCE) -> dict[str, Any]:
    """Put a question to the needle of a site.

    Args:
        endpoint: The id of its endpoint.
        question: What `answering.answer` understands.
        seconds: When to give up.

    Raises:
        InputError: The id, the login or the question is wrong, or the SDK is not installed.
        TaskError: The endpoint is offline or silent, or has no needle.
    """
    globus.check_id(endpoint)
    late = f"endpoint {endpoint} has not answered within {seconds:g} s; what it began goes on there: ask again with needle status"

    def call() -> dict[str, Any]:
        with globus.sentences(endpoint):
            return _call(endpoint, json.dumps(question), seconds)

    return _understood(endpoint, globus.within(seconds, late, call))


def _call(endpoint: str, text: str, seconds: float) -> dict[str, Any]:
    """Send the question as a task, and look for its result until it is there.

    Raises:
        NeedleError: As `ask`.
    """
    client = globus.client(endpoint)
    batch = client.create_batch(result_serializers=globus.JSON_BOTH_WAYS)
    batch.add(client.register_source_code(SOURCE, "needle_call"), args=(text, 0.8 * seconds))
    (task,) = (task for ids in client.batch_run(endpoint, batch)["tasks"].values() for task in ids)
    return _result(client, endpoint, task, seconds)


def _result(client: Any, endpoint: str, task: str, seconds: float) -> dict[str, Any]:
    """Look until the result is there; whoever waits gives up first.

    Raises:
        TaskError: The endpoint could not run the task.
    """
    from globus_compute_sdk.errors import TaskExecutionFailed  # noqa: PLC0415  the SDK takes a second

    ends, pause = time.monotonic() + seconds, FIRST_LOOK
    try:
        while (state := client.get_task(task))["pending"] and time.monotonic() < ends:
            time.sleep(pause)
            pause = min(1.3 * pause, LONGEST_PAUSE)
    except TaskExecutionFailed as error:
        raise globus.not_run(endpoint, error) from error
    found: dict[str, Any] = state.get("result") or {"slow": True}
    return found


def _understood(endpoint: str, found: dict[str, Any]) -> dict[str, Any]:
    """Read what the site's needle said.

    Raises:
        NeedleError: It is not there, too slow, too old, or says that something is wrong.
    """
    if found.get("missing"):
        raise globus.no_needle(endpoint)
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
