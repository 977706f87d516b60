"""The KServe v2 protocol by gRPC, message by message."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np

from needle_parsl import __version__
from needle_parsl.errors import NeedleError
from needle_parsl.serving.builtin.engine import Engine, Loaded, RequestError
from needle_parsl.serving.datatypes import KINDS, NAMES
from needle_parsl.serving.endpoint import GRPC_TOKEN, MESSAGE
from needle_parsl.serving.kserve import messages, word

NAME = "needle"


class Service:
    """Answers calls."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def ServerLive(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        """Say that the server is there."""
        return messages.ServerLiveResponse(live=True)

    def ServerReady(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        """Say that models are loaded; the server answers nobody before."""
        return messages.ServerReadyResponse(ready=True)

    def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        """Say whether a model is loaded."""
        try:
            self.engine.find(request.name, request.version)
        except RequestError:
            return messages.ModelReadyResponse(ready=False)
        return messages.ModelReadyResponse(ready=True)

    def ServerMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        """Say which server this is."""
        return messages.ServerMetadataResponse(name=NAME, version=__version__, extensions=["model_configuration"])

    def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Say what a model takes and gives."""
        loaded = self._found(request, context)
        batch = [-1] if loaded.config.max_batch_size else []

        def described(tensors: Any) -> list[Any]:
            kind = messages.TensorMetadata
            return [kind(name=t.name, datatype=word(t.data_type), shape=[*batch, *t.dims]) for t in tensors]

        return messages.ModelMetadataResponse(
            name=loaded.version.name,
            versions=[str(number) for number in self.engine.models[loaded.version.name]],
            platform="python",
            inputs=described(loaded.config.input),
            outputs=described(loaded.config.output),
        )

    def ModelConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Give the configuration of a model."""
        return messages.ModelConfigResponse(config=self._found(request, context).config)

    def ModelStatistics(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Give the counts of a model, or of all."""
        if request.name:
            chosen = [self._found(request, context)]
        else:
            chosen = [own for versions in self.engine.models.values() for own in versions.values()]
        return messages.ModelStatisticsResponse(model_stats=[_statistics(one) for one in chosen])

    def RepositoryIndex(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        """List the models that are loaded."""
        kind = messages.ModelIndex
        models = self.engine.models.items()
        return messages.RepositoryIndexResponse(
            models=[kind(name=name, version=str(n), state="READY") for name, versions in models for n in versions]
        )

    def RepositoryModelLoad(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Load a model of the repository, or load it again."""
        try:
            self.engine.load(request.model_name)
        except NeedleError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        return messages.RepositoryModelLoadResponse()

    def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Call a model."""
        loaded = self._found(request, context, name=request.model_name, version=request.model_version)
        try:
            inputs = arrays(request)
            parameters = {one.key: _value(one.value) for one in request.parameters}
            found = self.engine.infer(loaded, inputs, [output.name for output in request.outputs], parameters)
        except RequestError as error:
            code = grpc.StatusCode.INTERNAL if error.failed else grpc.StatusCode.INVALID_ARGUMENT
            context.abort(code, str(error))
        response = messages.ModelInferResponse(
            model_name=loaded.version.name, model_version=str(loaded.version.number), id=request.id
        )
        for name, array in found.items():
            response.outputs.add(name=name, datatype=NAMES[array.dtype], shape=array.shape)
            response.raw_output_contents.append(array.tobytes())
        return response

    def _found(self, request: Any, context: Any, name: str = "", version: str = "") -> Loaded:
        try:
            return self.engine.find(name or request.name, version or getattr(request, "version", ""))
        except RequestError as error:
            context.abort(grpc.StatusCode.NOT_FOUND, str(error))
            raise


def _value(parameter: Any) -> Any:
    return getattr(parameter, parameter.WhichOneof("parameter_choice") or "string_param")


def arrays(request: Any) -> dict[str, Any]:
    """Read the inputs of a request, which travel as their bytes.

    Raises:
        RequestError: They are no arrays that are known here.
    """
    if len(request.raw_input_contents) != len(request.inputs):
        raise RequestError("inputs are expected as raw bytes")
    found = {}
    for given, content in zip(request.inputs, request.raw_input_contents, strict=True):
        kind = KINDS.get(given.datatype)
        if kind is None:
            raise RequestError(f'the input "{given.name}" is of {given.datatype}; known are {", ".join(KINDS)}')
        shape = list(given.shape)
        if min(shape, default=0) < 0 or np.prod(shape) * np.dtype(kind).itemsize != len(content):
            raise RequestError(
                f'the input "{given.name}" has {len(content)} bytes, which are not shape {shape} of {given.datatype}'
            )
        found[given.name] = np.frombuffer(content, kind).reshape(shape)
    return found


def _statistics(loaded: Loaded) -> Any:
    with loaded.counting:
        counts = loaded.counts
        timed = messages.StatisticDuration
        return messages.ModelStatistics(
            name=loaded.version.name,
            version=str(loaded.version.number),
            inference_count=counts.inferences,
            execution_count=counts.executions,
            inference_stats=messages.InferStatistics(
                success=timed(count=counts.success, ns=int(counts.seconds * 1e9)), fail=timed(count=counts.failure)
            ),
        )


class TokenCheck(grpc.ServerInterceptor):  # type: ignore[misc]
    """Lets in who says the token."""

    def __init__(self, token: str) -> None:
        self.token = token.encode()

    def intercept_service(self, continuation: Callable[[Any], Any], details: Any) -> Any:
        """Pass a call on, or refuse it."""
        said = dict(details.invocation_metadata).get(GRPC_TOKEN, "")
        if hmac.compare_digest(said.encode() if isinstance(said, str) else said, self.token):
            return continuation(details)
        message = "the token is missing or wrong; it stands in endpoint.json"
        return grpc.unary_unary_rpc_method_handler(
            lambda _, context: context.abort(grpc.StatusCode.UNAUTHENTICATED, message)
        )


OPTIONS = [
    ("grpc.max_receive_message_length", MESSAGE),
    ("grpc.max_send_message_length", MESSAGE),
    ("grpc.so_reuseport", 0),
]
