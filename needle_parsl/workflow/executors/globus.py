"""The door to Globus Compute: a login that is there, an endpoint that is online, and sentences for what goes wrong.

Only this module, `remote.service` and `executors.globus_executor` use its SDK; `patches.spared_imports` keeps Parsl from importing it.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from typing import Any, TypeVar

from needle_parsl.errors import InputError, NeedleError, TaskError

LABEL = "endpoint"
"""Of the executor, which is there for tasks that are independent of each other alone."""
PATIENCE = 60.0
"""Seconds that a call may take; the first one to an idle endpoint starts its workers."""
JSON_BOTH_WAYS = ["globus_compute_sdk.serialize.JSONData"]
NOT_YET = "Another instance of this endpoint is running"
"""What an endpoint says for some heartbeats after it was killed: its PID file is too young to be stale."""
LOGIN = "python -c 'import globus_compute_sdk; globus_compute_sdk.Client()'"
NO_LOGIN = f"there is no valid login to Globus, or it has expired; log in with: {LOGIN}"
Found = TypeVar("Found")


def check_id(endpoint: str) -> None:
    """Refuse what is no endpoint id.

    Raises:
        InputError: It is none.
    """
    try:
        uuid.UUID(endpoint)
    except ValueError:
        raise InputError(
            f'"{endpoint}" is no endpoint id; "globus-compute-endpoint list" at the site shows it, such as {uuid.UUID(int=0)}'
        ) from None


def within(seconds: float, late: str, call: Callable[[], Found]) -> Found:
    """Wait for a call no longer than this: the SDK's own calls may wait for minutes.

    Args:
        seconds: When to give up.
        late: What is said then.
        call: The call.

    Raises:
        TaskError: It has not ended; it goes on in a thread that nobody waits for.
    """
    ended: list[Found] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            ended.append(call())
        except BaseException as error:  # noqa: BLE001  it is raised again in the thread that waits
            failed.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if failed:
        raise failed[0]
    if not ended:
        raise TaskError(late)
    return ended[0]


def require() -> None:
    """See that the SDK is there.

    Raises:
        InputError: It is not installed.
    """
    if find_spec("globus_compute_sdk") is None:
        raise InputError('Globus Compute is not installed; install it with: pip install "needle-parsl[remote]"')


def client(endpoint: str) -> Any:
    """Log in, and see that an endpoint is online.

    Raises:
        InputError: The SDK is not installed, there is no login, or no such endpoint.
        TaskError: The endpoint is offline.
    """
    require()
    import globus_compute_sdk as sdk  # noqa: PLC0415  the SDK takes a second
    from globus_compute_sdk.serialize import JSONData  # noqa: PLC0415  the SDK takes a second

    made = sdk.Client(do_version_check=False, data_serialization_strategy=JSONData(), app=_app())
    if made.app is None or made.app.login_required():
        raise InputError(NO_LOGIN)
    if not online(made, endpoint):
        raise offline(endpoint)
    return made


def _app() -> Any:
    """Make the SDK's own login, which asks nobody: by itself it would wait for somebody who types a code."""
    from globus_compute_sdk.sdk.auth.globus_app import get_globus_app  # noqa: PLC0415  the SDK takes a second
    from globus_sdk import UserApp  # noqa: PLC0415  the SDK takes a second
    from globus_sdk.login_flows import LoginFlowManager  # noqa: PLC0415  the SDK takes a second

    class Nobody(LoginFlowManager):
        def run_login_flow(self, auth_parameters: Any) -> Any:  # noqa: ARG002  globus_sdk's
            raise InputError(NO_LOGIN)

        @classmethod
        def for_globus_app(cls, app_name: str, login_client: Any, config: Any) -> Any:  # noqa: ARG003  globus_sdk's
            return cls(login_client)

    app = get_globus_app()
    if not isinstance(app, UserApp):
        return app
    return UserApp(app.app_name, client_id=app.client_id, config=replace(app.config, login_flow_manager=Nobody))


def online(client: Any, endpoint: str) -> bool:
    """Whether an endpoint has given a sign of life of late."""
    return bool(client.get_endpoint_status(endpoint)["status"] == "online")


@contextmanager
def sentences(endpoint: str) -> Iterator[None]:
    """Turn what the SDK raises into sentences.

    Raises:
        NeedleError: Whatever it was.
    """
    try:
        yield
    except Exception as error:
        if (known := sentence(endpoint, error)) is None:
            raise
        raise known from error


def sentence(endpoint: str, error: BaseException) -> NeedleError | None:
    """Say what an exception of the SDK means; None if it is none of the service's."""
    if isinstance(error, NeedleError):
        return error
    import globus_sdk  # noqa: PLC0415  the SDK takes a second
    from globus_sdk.token_storage import TokenValidationError  # noqa: PLC0415  the SDK takes a second

    refused = isinstance(error, globus_sdk.AuthAPIError) and error.http_status < 500
    if refused or isinstance(error, TokenValidationError):
        return InputError(NO_LOGIN)
    if isinstance(error, globus_sdk.GlobusAPIError):
        return _refused(endpoint, error.http_status, error.message or "")
    if isinstance(error, globus_sdk.NetworkError):
        return TaskError(f"the Globus Compute service cannot be reached ({error}); look at the network")
    return None


def _refused(endpoint: str, status: int, message: str) -> NeedleError:
    """Say what an answer of the service means."""
    if status == 404:
        return InputError(f"there is no endpoint {endpoint}; compare it with globus-compute-endpoint list at the site")
    if status == 401:
        return InputError(NO_LOGIN)
    if status == 403:
        return InputError(f"Globus does not let this login use endpoint {endpoint}; log in as its owner with: {LOGIN}")
    if status == 413:
        return InputError("the inputs are too large to travel; name data files by their path at the site")
    return TaskError(f"the Globus Compute service answered with {status}: {' '.join(message.split())}")


def offline(endpoint: str) -> TaskError:
    """Say that an endpoint is not there."""
    return TaskError(f"endpoint {endpoint} is offline; start it at the site: globus-compute-endpoint start NAME")


def no_needle(endpoint: str) -> TaskError:
    """Say that there is no needle at an endpoint."""
    return TaskError(
        f"endpoint {endpoint} finds no needle; put its folder on PATH in user_environment.yaml of the endpoint"
    )


def not_run(endpoint: str, error: Exception) -> TaskError:
    """Say why an endpoint could not run a task."""
    last = str(error).strip().splitlines()[-1].strip()
    if NOT_YET in last:
        return TaskError(
            f"endpoint {endpoint} was killed and waits until its old process counts as gone; ask again in a minute"
        )
    return TaskError(f"endpoint {endpoint} could not run the call ({last}); look at its logs at the site")
