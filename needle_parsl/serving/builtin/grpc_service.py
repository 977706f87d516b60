"""The KServe v2 protocol by gRPC, with the messages that come with Triton's client."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc

from needle_parsl import __version__
from needle_parsl.errors import NeedleError
from needle_parsl.serving.builtin.engine import Engine, Loaded, RequestError
from needle_parsl.serving.datatypes import KINDS, NAMES
from needle_parsl.serving.endpoint import GRPC_TOKEN, MESSAGE

NAME = "needle"


class Service(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Answers calls."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def ServerLive(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        """Say that the server is there."""
        return service_pb2.ServerLiveResponse(live=True)

    def ServerReady(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        """Say that models are loaded; the server answers nobody before."""
        return service_pb2.ServerReadyResponse(ready=True)

    def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        """Say whether a model is loaded."""
        try:
            self.engine.find(request.name, request.version)
        except RequestError:
            return service_pb2.ModelReadyResponse(ready=False)
        return service_pb2.ModelReadyResponse(ready=True)

    def ServerMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        """Say which server this is."""
        return service_pb2.ServerMetadataResponse(name=NAME, version=__version__, extensions=["model_configuration"])

    def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Say what a model takes and gives."""
        loaded = self._found(request, context)
        batch = [-1] if loaded.config.max_batch_size else []

        def described(tensors: Any) -> list[Any]:
            kind = service_pb2.ModelMetadataResponse.TensorMetadata
            return [kind(name=t.name, datatype=_word(t.data_type), shape=[*batch, *t.dims]) for t in tensors]

        return service_pb2.ModelMetadataResponse(
            name=loaded.version.name,
            versions=[str(number) for number in self.engine.models[loaded.version.name]],
            platform="python",
            inputs=described(loaded.config.input),
            outputs=described(loaded.config.output),
        )

    def ModelConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Give the configuration of a model."""
        return service_pb2.ModelConfigResponse(config=self._found(request, context).config)

    def ModelStatistics(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Give the counts of a model, or of all."""
        if request.name:
            chosen = [self._found(request, context)]
        else:
            chosen = [own for versions in self.engine.models.values() for own in versions.values()]
        return service_pb2.ModelStatisticsResponse(model_stats=[_statistics(one) for one in chosen])

    def RepositoryIndex(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        """List the models that are loaded."""
        kind = service_pb2.RepositoryIndexResponse.ModelIndex
        models = self.engine.models.items()
        return service_pb2.RepositoryIndexResponse(
            models=[kind(name=name, version=str(n), state="READY") for name, versions in models for n in versions]
        )

    def RepositoryModelLoad(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Load a model of the repository, or load it again."""
        try:
            self.engine.load(request.model_name)
        except NeedleError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        return service_pb2.RepositoryModelLoadResponse()

    def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Call a model."""
        loaded = self._found(request, context, name=request.model_name, version=request.model_version)
        try:
            inputs = arrays(request)
            parameters = {
                key: getattr(value, value.WhichOneof("parameter_choice")) for key, value in request.parameters.items()
            }
            found = self.engine.infer(loaded, inputs, [output.name for output in request.outputs], parameters)
        except RequestError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        response = service_pb2.ModelInferResponse(
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


def _word(kind: int) -> str:
    from tritonclient.grpc import model_config_pb2  # noqa: PLC0415

    name: str = model_config_pb2.DataType.Name(kind)
    return name.removeprefix("TYPE_")


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
        timed = service_pb2.StatisticDuration
        return service_pb2.ModelStatistics(
            name=loaded.version.name,
            version=str(loaded.version.number),
            inference_count=counts.inferences,
            execution_count=counts.executions,
            inference_stats=service_pb2.InferStatistics(
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
