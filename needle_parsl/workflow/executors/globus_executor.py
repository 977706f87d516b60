"""Parsl's executor of tasks at a Globus Compute endpoint: many, short, none needing another.

They travel as lines of text to processes of the site's own needle, which stay from task to task.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from functools import partial
from pathlib import Path
from typing import Any

from parsl.executors import GlobusComputeExecutor

from needle_parsl import files
from needle_parsl.errors import CrashError, InputError, NeedleError, TaskError
from needle_parsl.workflow.executors import globus, wire

BATCH = 500
"""Tasks that one call to the service may carry: of a few kB each, where it takes 10 MB."""
BURST, WINDOW = 8, 5
"""Calls that go at once, and the seconds after which they are forgotten. The SDK's own 4 in 16 s would let tasks that come one by one
wait 4 s each; the service allows 20 calls in 10 s."""
LOOK = 30.0
"""Seconds between two looks whether the endpoint is online; it is given up at the second in a row that says no."""
SOURCE = '''
def needle_task(line):
    """Give a task to an idle process of this site's needle; it stays for the next task, and ends with this process."""
    import shutil
    import subprocess
    import sys

    idle = sys.__dict__.setdefault("_needle_idle", [])
    program = shutil.which("needle")
    if program is None:
        return {"missing": True}
    try:
        process = idle.pop()
    except IndexError:
        process = subprocess.Popen([program, "work"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        process.stdin.write(line + "\\n")
        process.stdin.flush()
        said = process.stdout.readline()
    except OSError:
        said = ""
    if not said:
        return {"code": process.wait()}
    idle.append(process)
    return {"said": said}
'''
"""What runs at the endpoint: it needs no package, so that the endpoint's own Python does not matter."""


class Endpoint(GlobusComputeExecutor):
    """Processes of needle at an endpoint."""

    def __init__(self, endpoint: str, root: Path, client: Any, say: Callable[[str], None]) -> None:
        from globus_compute_sdk import Executor  # noqa: PLC0415  the SDK takes a second

        sender = Executor(
            endpoint, client, batch_size=BATCH, api_burst_limit=BURST, api_burst_window_s=WINDOW,
            result_serializers=globus.JSON_BOTH_WAYS,
        )  # fmt: skip
        super().__init__(sender, label=globus.LABEL)
        self.endpoint, self.client = endpoint, client
        self.token, self.trouble = _token(root), None
        self.function, self.ended = sender.register_source_code(SOURCE, "needle_task"), threading.Event()
        self.say, self.hello = say, self._send(wire.HELLO, str(root))
        self.hello.add_done_callback(self._greeted)
        threading.Thread(target=self._watch, daemon=True).start()

    trouble: NeedleError | None
    """Why nothing will come from there any more; None while it may."""

    def submit(self, func: Callable[..., Any], resource_specification: Any, *args: Any, **kwargs: Any) -> Future[Any]:  # noqa: ARG002  Parsl's
        """Send a task; whatever the flow sends is `worker.call`, with these arguments."""
        return self._send(*args)

    def _send(self, stage: str, root: str, *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        if self.trouble is not None:
            future.set_exception(self.trouble)
            return future
        line = wire.question(self.token, stage, root, *arguments)
        try:
            sent = self.executor.submit_to_registered_function(self.function, (line,))
        except RuntimeError as error:  # it was ended while this task was on its way
            future.set_exception(TaskError(f"endpoint {self.endpoint}: {error}"))
            return future
        sent.add_done_callback(partial(self._answered, future))
        return future

    def _answered(self, future: Future[Any], sent: Future[Any]) -> None:
        """Pass on what came back; called in a thread of the SDK, where an exception would be lost."""
        try:
            future.set_result(self._understood(sent.result()))
        except NeedleError as error:
            future.set_exception(error)
        except CancelledError:
            future.set_exception(TaskError("the run was ended before this task"))
        except Exception as error:  # noqa: BLE001  the SDK may raise anything, and it becomes a sentence
            known = globus.sentence(self.endpoint, error)
            self.trouble = self.trouble or known
            future.set_exception(known or CrashError(str(globus.not_run(self.endpoint, error))))

    def _understood(self, found: dict[str, Any]) -> Any:
        """Read what came back.

        Raises:
            NeedleError: The task failed, or there was nobody who could do it.
        """
        if found.get("missing"):
            raise globus.no_needle(self.endpoint)
        if "said" not in found:
            raise CrashError(f"its worker at endpoint {self.endpoint} ended with exit code {found['code']}")
        return wire.result(found["said"])

    def _greeted(self, hello: Future[Any]) -> None:
        """Note that the workers there cannot do anything for this run."""
        error = hello.exception()
        if isinstance(error, NeedleError):
            self.trouble = self.trouble or error

    def _watch(self) -> None:
        """Notice that the endpoint has gone: the service would keep the tasks until it comes back."""
        before = True
        while not self.ended.wait(LOOK):
            if not self.hello.done():
                self.say(f"endpoint {self.endpoint} has not begun yet; its workers may wait in a queue")
            try:
                now = globus.online(self.client, self.endpoint)
            except Exception as error:  # noqa: BLE001  the network may come back; a login does not
                known = globus.sentence(self.endpoint, error)
                self.trouble = self.trouble or (known if isinstance(known, InputError) else None)
                continue
            if not (now or before):
                self.trouble = self.trouble or globus.offline(self.endpoint)
            before = now

    def shutdown(self) -> None:
        """End; tasks that are there already go on there, and their results are not waited for."""
        self.ended.set()
        super().shutdown()  # type: ignore[no-untyped-call]  # Parsl's


def _token(root: Path) -> str:
    """Write down what shows workers that they see this very directory."""
    token = secrets.token_hex(16)
    files.write_text(root / wire.TOKEN, token)
    return token


def executor(endpoint: str, root: Path, say: Callable[[str], None]) -> Endpoint:
    """Make the executor.

    Args:
        endpoint: The id of the endpoint.
        root: The run directory.
        say: Tells the user something, once.

    Raises:
        InputError: There is no such endpoint, no login, or no SDK.
        TaskError: The endpoint is offline, or the service does not answer.
    """

    def begin() -> Endpoint:
        with globus.sentences(endpoint):
            return Endpoint(endpoint, root, globus.client(endpoint), say)

    globus.check_id(endpoint)
    return globus.within(
        globus.PATIENCE, f"Globus Compute has not answered within {globus.PATIENCE:g} s; try again", begin
    )
