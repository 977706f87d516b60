"""The messages of the KServe v2 protocol, with what Triton adds and needle uses: built from a table, so that no generated code is needed.

Fields of messages that are not here are passed over, as protocol buffers do.

References:
    KServe, Open Inference Protocol, github.com/kserve/open-inference-protocol; Triton, github.com/triton-inference-server/common,
    protobuf/grpc_service.proto and model_config.proto.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"
TABLE = """
ServerLiveRequest:
ServerLiveResponse: live 1 bool
ServerReadyRequest:
ServerReadyResponse: ready 1 bool
ModelReadyRequest: name 1 string, version 2 string
ModelReadyResponse: ready 1 bool
ServerMetadataRequest:
ServerMetadataResponse: name 1 string, version 2 string, extensions 3 string*
ModelMetadataRequest: name 1 string, version 2 string
TensorMetadata: name 1 string, datatype 2 string, shape 3 int64*
ModelMetadataResponse: name 1 string, versions 2 string*, platform 3 string, inputs 4 TensorMetadata*, outputs 5 TensorMetadata*
ModelConfigRequest: name 1 string, version 2 string
ModelConfigResponse: config 1 ModelConfig
ModelStatisticsRequest: name 1 string, version 2 string
StatisticDuration: count 1 uint64, ns 2 uint64
InferStatistics: success 1 StatisticDuration, fail 2 StatisticDuration
ModelStatistics: name 1 string, version 2 string, inference_count 4 uint64, execution_count 5 uint64, inference_stats 6 InferStatistics
ModelStatisticsResponse: model_stats 1 ModelStatistics*
RepositoryIndexRequest: repository_name 1 string, ready 2 bool
ModelIndex: name 1 string, version 2 string, state 3 string, reason 4 string
RepositoryIndexResponse: models 1 ModelIndex*
RepositoryModelLoadRequest: repository_name 1 string, model_name 2 string
RepositoryModelLoadResponse:
InferParameter: bool_param 1 bool, int64_param 2 int64, string_param 3 string, double_param 4 double
Parameter: key 1 string, value 2 InferParameter
InferInputTensor: name 1 string, datatype 2 string, shape 3 int64*
InferRequestedOutputTensor: name 1 string
ModelInferRequest: model_name 1 string, model_version 2 string, id 3 string, parameters 4 Parameter*, inputs 5 InferInputTensor*, \
outputs 6 InferRequestedOutputTensor*, raw_input_contents 7 bytes*
InferOutputTensor: name 1 string, datatype 2 string, shape 3 int64*
ModelInferResponse: model_name 1 string, model_version 2 string, id 3 string, outputs 5 InferOutputTensor*, raw_output_contents 6 bytes*
Specific: versions 1 int64*
ModelVersionPolicy: specific 3 Specific
ModelInput: name 1 string, data_type 2 DataType, dims 4 int64*
ModelOutput: name 1 string, data_type 2 DataType, dims 3 int64*
ModelInstanceGroup: name 1 string, count 2 int32, gpus 3 int32*, kind 4 Kind
ModelDynamicBatching: max_queue_delay_microseconds 2 uint64
ModelParameter: string_value 1 string
ConfigParameter: key 1 string, value 2 ModelParameter
ModelConfig: name 1 string, platform 2 string, version_policy 3 ModelVersionPolicy, max_batch_size 4 int32, input 5 ModelInput*, \
output 6 ModelOutput*, instance_group 7 ModelInstanceGroup*, dynamic_batching 11 ModelDynamicBatching, parameters 14 ConfigParameter*, \
backend 17 string
"""
"""Name of each message, and of each of its fields with number and type; a star says that it is repeated. A mapping is what it is on the wire:
repeated pairs of key and value."""
ENUMS = {
    "DataType": ("TYPE_INVALID", "TYPE_BOOL", "TYPE_UINT8", "TYPE_UINT16", "TYPE_UINT32", "TYPE_UINT64", "TYPE_INT8", "TYPE_INT16",
                 "TYPE_INT32", "TYPE_INT64", "TYPE_FP16", "TYPE_FP32", "TYPE_FP64", "TYPE_STRING", "TYPE_BF16"),
    "Kind": ("KIND_AUTO", "KIND_GPU", "KIND_CPU", "KIND_MODEL"),
}  # fmt: skip
METHODS = (
    "ServerLive",
    "ServerReady",
    "ModelReady",
    "ServerMetadata",
    "ModelMetadata",
    "ModelConfig",
    "ModelStatistics",
    "RepositoryIndex",
    "RepositoryModelLoad",
    "ModelInfer",
)
TYPES = {"double": 1, "int64": 3, "uint64": 4, "int32": 5, "bool": 8, "string": 9, "bytes": 12}
"""Numbers of `FieldDescriptorProto.Type`; those of messages and enumerations are 11 and 14."""
MESSAGE, ENUM, ONE, REPEATED = 11, 14, 1, 3


def _file() -> Any:
    """Describe the table as a file of definitions."""
    found = descriptor_pb2.FileDescriptorProto(name="needle/kserve.proto", package=PACKAGE, syntax="proto3")
    for name, words in ENUMS.items():
        enum = found.enum_type.add(name=name)
        for number, word in enumerate(words):
            enum.value.add(name=word, number=number)
    for line in TABLE.strip().splitlines():
        name, _, fields = line.partition(":")
        message = found.message_type.add(name=name)
        for field in filter(None, fields.strip().split(", ")):
            _add(message, *field.split())
    return found


def _add(message: Any, name: str, number: str, kind: str) -> None:
    """Add a field to the description of a message."""
    plain, label = kind.removesuffix("*"), REPEATED if kind.endswith("*") else ONE
    if plain in TYPES:
        field = message.field.add(name=name, number=int(number), label=label, type=TYPES[plain])
        if message.name == "InferParameter":
            _one_of(message, field)
        return
    of = ENUM if plain in ENUMS else MESSAGE
    message.field.add(name=name, number=int(number), label=label, type=of, type_name=f".{PACKAGE}.{plain}")


def _one_of(message: Any, field: Any) -> None:
    """Say that only one of the fields of a parameter is there."""
    if not message.oneof_decl:
        message.oneof_decl.add(name="parameter_choice")
    field.oneof_index = 0


def _messages() -> SimpleNamespace:
    """Make the classes."""
    pool = descriptor_pool.DescriptorPool()
    pool.Add(_file())
    names = [line.partition(":")[0] for line in TABLE.strip().splitlines()]
    found = {name: pool.FindMessageTypeByName(f"{PACKAGE}.{name}") for name in names}
    return SimpleNamespace(**{name: message_factory.GetMessageClass(one) for name, one in found.items()})


messages: Any = _messages()
"""The class of each message, by name."""


class Stub:
    """The calls of a server, each a function of a request."""

    def __init__(self, channel: Any) -> None:
        for method in METHODS:
            asked, given = (getattr(messages, f"{method}{side}") for side in ("Request", "Response"))
            call = channel.unary_unary(
                f"/{SERVICE}/{method}",
                request_serializer=asked.SerializeToString,
                response_deserializer=given.FromString,
            )
            setattr(self, method, call)


def handler(service: Any) -> Any:
    """Make what a server answers with the methods of an object of these names."""
    handlers = {}
    for method in METHODS:
        asked, given = (getattr(messages, f"{method}{side}") for side in ("Request", "Response"))
        handlers[method] = grpc.unary_unary_rpc_method_handler(
            getattr(service, method), request_deserializer=asked.FromString, response_serializer=given.SerializeToString
        )
    return grpc.method_handlers_generic_handler(SERVICE, handlers)


def word(kind: int) -> str:
    """Name a type of numbers as requests do: `FP32`."""
    return ENUMS["DataType"][kind].removeprefix("TYPE_")
