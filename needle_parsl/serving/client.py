"""The client: arrays to a server by gRPC, in chunks of which some are on their way at a time, with retries and time limits."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt

from needle_parsl.errors import InputError, TaskError, printable
from needle_parsl.serving.datatypes import KINDS, NAMES
from needle_parsl.serving.endpoint import GRPC_TOKEN, MESSAGE, Endpoint, LostError
from needle_parsl.serving.kserve import Stub, messages

Array = npt.NDArray[np.generic]
CHUNK = 16_384
"""Events of a request: from about a thousand on, a request costs no more per event than a call in the same process."""
FLIGHT = 3
"""Requests that are on their way at a time."""
SECONDS = 120.0
"""That a request may take."""
TRIES, PAUSE = 3, 0.2
"""How often a request is sent before the server counts as lost, and seconds before it is sent again, each time twice as many."""
PASSING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)
"""What may be different when it is tried again."""
WRONG = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNAUTHENTICATED,
)
"""What the one who asks has to mend."""


@dataclass(frozen=True)
class ServedVersion:
    """What a server says of a version of a model."""

    name: str
    number: int
    digest: str
    facts: Mapping[str, Any]
    rows: int
    """Of a request, at most; 0 where arrays have no common first axis."""


class Client:
    """A connection to a server."""

    def __init__(self, endpoint: Endpoint, seconds: float = SECONDS) -> None:
        self.endpoint, self.seconds = endpoint, seconds
        limits = [("grpc.max_receive_message_length", MESSAGE), ("grpc.max_send_message_length", MESSAGE)]
        self.channel = grpc.insecure_channel(endpoint.grpc, options=[*limits, ("grpc.enable_http_proxy", 0)])
        self.stub: Any = Stub(self.channel)
        self.metadata = [(GRPC_TOKEN, endpoint.token)] if endpoint.token else []

    def close(self) -> None:
        """Close the connection."""
        self.channel.close()

    def ready(self, seconds: float = 1.0) -> bool:
        """Whether the server answers, and has loaded its models."""
        try:
            return bool(
                self.stub.ServerReady(messages.ServerReadyRequest(), timeout=seconds, metadata=self.metadata).ready
            )
        except grpc.RpcError:
            return False

    def server(self) -> str:
        """Name the server, with its version: `triton 2.51.0`."""
        found = self._call("ServerMetadata", messages.ServerMetadataRequest())
        return f"{found.name} {found.version}"

    def load(self, model: str) -> None:
        """Have the server load a model of its repository."""
        self._call("RepositoryModelLoad", messages.RepositoryModelLoadRequest(model_name=model))

    def described(self, model: str, version: str = "") -> ServedVersion:
        """Ask what a model is; without a version, its latest.

        Raises:
            InputError: There is no such model or version, or needle has not exported it.
        """
        config = self._call("ModelConfig", messages.ModelConfigRequest(name=model, version=version)).config
        found = {one.key: one.value.string_value for one in config.parameters}
        numbers = sorted(int(key.removeprefix("version.")) for key in found if key.startswith("version."))
        if not numbers:
            raise InputError(f"{self.endpoint.grpc}: the model {printable(model)} is none that needle has exported")
        number = int(version) if version.isdigit() else numbers[-1]
        if number not in numbers:
            raise InputError(
                f"{model}: has no version {number} that is served; there are {', '.join(map(str, numbers))}"
            )
        own = json.loads(found[f"version.{number}"])
        return ServedVersion(model, number, own["digest"], own["facts"], config.max_batch_size)

    def statistics(self, model: str) -> dict[str, int]:
        """Count what the server has done for a model: `inferences` are events, `executions` batches of them."""
        found = self._call("ModelStatistics", messages.ModelStatisticsRequest(name=model)).model_stats
        return {
            "inferences": sum(one.inference_count for one in found),
            "executions": sum(one.execution_count for one in found),
            "failures": sum(one.inference_stats.fail.count for one in found),
        }

    def call(
        self, version: ServedVersion, inputs: Mapping[str, Array], outputs: Sequence[str], parameters: Mapping[str, str]
    ) -> dict[str, Array]:
        """Call a model once.

        Args:
            version: Which.
            inputs: Arrays by name.
            outputs: Which outputs are wanted.
            parameters: What is said besides.

        Raises:
            InputError: It does not take these.
            LostError: The server does not answer.
        """
        return next(self.stream(version, [inputs], outputs, parameters))

    def stream(
        self,
        version: ServedVersion,
        several: Sequence[Mapping[str, Array]],
        outputs: Sequence[str],
        parameters: Mapping[str, str],
    ) -> Iterator[dict[str, Array]]:
        """Call a model several times, with some calls on their way at a time; answers come in order. Arguments as those of `call`."""
        left, flying = deque(several), deque[tuple[Any, Any]]()
        while left or flying:
            while left and len(flying) < FLIGHT:
                request = _request(version, left.popleft(), outputs, parameters)
                flying.append((request, self._sent(request)))
            request, future = flying.popleft()
            yield _arrays(self._answer(request, future))

    def _sent(self, request: Any) -> Any:
        return self.stub.ModelInfer.future(request, timeout=self.seconds, metadata=self.metadata)

    def _answer(self, request: Any, future: Any) -> Any:
        """Wait for an answer, and ask again where that may help."""
        for number in range(TRIES):
            try:
                return future.result()
            except grpc.RpcError as error:
                self._judge(error, last=number == TRIES - 1)
            time.sleep(PAUSE * 2**number)
            future = self._sent(request)
        raise AssertionError

    def _call(self, method: str, request: Any) -> Any:
        for number in range(TRIES):
            try:
                return getattr(self.stub, method)(request, timeout=self.seconds, metadata=self.metadata)
            except grpc.RpcError as error:
                self._judge(error, last=number == TRIES - 1)
            time.sleep(PAUSE * 2**number)
        raise AssertionError

    def _judge(self, error: Any, *, last: bool) -> None:
        """Raise what has failed for good.

        Raises:
            InputError: The request is wrong.
            TaskError: The server itself has failed.
            LostError: It does not answer.
        """
        code, details = error.code(), printable(" ".join(str(error.details()).split()))[:300]
        if code in WRONG or (code == grpc.StatusCode.UNAVAILABLE and "unknown model" in details):
            raise InputError(f"the inference server: {details}") from error
        if code not in PASSING:
            raise TaskError(f"the inference server has failed: {details}") from error
        if last:
            raise LostError(f"the inference server at {self.endpoint.grpc} does not answer ({code.name})") from error


def _request(
    version: ServedVersion, inputs: Mapping[str, Array], outputs: Sequence[str], parameters: Mapping[str, str]
) -> Any:
    request = messages.ModelInferRequest(model_name=version.name, model_version=str(version.number))
    for name, array in inputs.items():
        request.inputs.add(name=name, datatype=NAMES[array.dtype], shape=array.shape)
        request.raw_input_contents.append(np.ascontiguousarray(array).tobytes())
    for name in outputs:
        request.outputs.add(name=name)
    for name, value in parameters.items():
        request.parameters.add(key=name, value=messages.InferParameter(string_param=value))
    size = request.ByteSize()
    if size > MESSAGE:
        raise InputError(
            f"{version.name}: a request of {size} bytes; the server takes {MESSAGE} at most, so send fewer events"
        )
    return request


def _arrays(response: Any) -> dict[str, Array]:
    contents = zip(response.outputs, response.raw_output_contents, strict=True)
    return {
        one.name: np.frombuffer(content, KINDS[one.datatype]).reshape(tuple(one.shape)) for one, content in contents
    }
