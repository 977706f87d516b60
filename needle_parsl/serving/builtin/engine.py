"""Models of a repository in this process: loaded, called, and counted."""

from __future__ import annotations

import importlib.util
import queue
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf import text_format

from needle_parsl.errors import InputError, closest, printable, said
from needle_parsl.serving import repository
from needle_parsl.serving.builtin import backend_utils
from needle_parsl.serving.builtin.backend_utils import InferenceRequest, InferenceResponse, TritonError
from needle_parsl.serving.datatypes import NAMES
from needle_parsl.serving.kserve import messages, word
from needle_parsl.serving.repository import CONFIG, Model, Version

Array = npt.NDArray[np.generic]


class RequestError(Exception):
    """A request that cannot be answered; its message is for the client."""

    def __init__(self, message: str, *, missing: bool = False, failed: bool = False) -> None:
        super().__init__(message)
        self.missing, self.failed = missing, failed
        """Whether there is no such model, and whether it is the model that has failed."""


@dataclass
class Counts:
    """What a version has done."""

    success: int = 0
    """Requests that were answered."""
    failure: int = 0
    inferences: int = 0
    """Events, or calls of a function."""
    executions: int = 0
    seconds: float = 0.0
    """In the model."""


@dataclass(frozen=True)
class Loaded:
    """A version that can be called."""

    version: Version
    config: Any
    """A message of Triton's."""
    instances: queue.SimpleQueue[Any]
    counts: Counts = field(default_factory=Counts)
    counting: threading.Lock = field(default_factory=threading.Lock)


class Engine:
    """Serves the models of a repository, each version by as many instances as its configuration says."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.models = folder, dict[str, dict[int, Loaded]]()
        sys.modules["triton_python_backend_utils"] = backend_utils

    def load(self, name: str) -> None:
        """Load the versions of a model that are served.

        Raises:
            InputError: A file of it is not what was exported, or it cannot be loaded.
        """
        model = repository.one(self.folder, name)
        repository.verify(model)
        self.models[name] = {n: _loaded(model, model.version(str(n))) for n in model.served}

    def find(self, name: str, version: str = "") -> Loaded:
        """Find a model that is loaded; without a version, the latest.

        Raises:
            RequestError: There is none.
        """
        versions = self.models.get(name)
        if versions is None:
            raise RequestError(f'there is no model "{printable(name)}"{closest(name, self.models)}', missing=True)
        number = version or str(max(versions))
        found = next((own for n, own in versions.items() if str(n) == number), None)
        if found is None:
            known = ", ".join(map(str, versions))
            raise RequestError(
                f"{name}: has no version {printable(number)} that is served; there are {known}", missing=True
            )
        return found

    def infer(
        self, loaded: Loaded, inputs: Mapping[str, Array], outputs: Sequence[str], parameters: Mapping[str, object]
    ) -> dict[str, Array]:
        """Call a model.

        Raises:
            RequestError: What it is given is not what it takes, or it failed.
        """
        started = time.perf_counter()
        try:
            rows, found = _answered(loaded, inputs, outputs, parameters)
        except RequestError:
            with loaded.counting:
                loaded.counts.failure += 1
            raise
        with loaded.counting:
            loaded.counts.success += 1
            loaded.counts.inferences += rows
            loaded.counts.executions += 1
            loaded.counts.seconds += time.perf_counter() - started
        return found


def _answered(
    loaded: Loaded, inputs: Mapping[str, Array], outputs: Sequence[str], parameters: Mapping[str, object]
) -> tuple[int, dict[str, Array]]:
    """Give the number of events, and the outputs."""
    rows = _checked(loaded.config, inputs)
    response = _called(loaded, InferenceRequest(inputs, _asked(loaded.config, outputs), parameters))
    if response.error is not None:
        raise RequestError(response.error.text, failed=response.error.kind == TritonError.INTERNAL)
    return rows, {tensor.label: tensor.array for tensor in response.tensors}


def _called(loaded: Loaded, request: InferenceRequest) -> InferenceResponse:
    instance = loaded.instances.get()
    try:
        (response,) = instance.execute([request])
    except Exception as error:  # noqa: BLE001  whatever a model raises is an answer
        return InferenceResponse([], TritonError(f"the model failed: {said(error)}"))
    finally:
        loaded.instances.put(instance)
    found: InferenceResponse = response
    return found


def _loaded(model: Model, version: Version) -> Loaded:
    config = text_format.Parse((model.folder / CONFIG).read_text(), messages.ModelConfig())
    arguments = {
        "model_name": model.name,
        "model_version": str(version.number),
        "model_repository": str(model.folder),
        "model_instance_kind": "CPU",
        "model_instance_device_id": "0",
    }
    instances: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for _ in range(max(sum(group.count for group in config.instance_group), 1)):
        instances.put(_instance(version, arguments))
    return Loaded(version, config, instances)


def _instance(version: Version, arguments: Mapping[str, str]) -> Any:
    """Execute the `model.py` of a version, and make an instance of its model."""
    name = f"needle_model_{version.digest}"
    spec = importlib.util.spec_from_file_location(name, version.folder / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        instance = module.TritonPythonModel()
        instance.initialize(arguments)
    except Exception as error:
        raise InputError(f"{version.folder}: cannot be loaded: {said(error)}") from error
    return instance


def _asked(config: Any, outputs: Sequence[str]) -> list[str]:
    """List the outputs that are wanted; all where none is named."""
    known = [output.name for output in config.output]
    for name in outputs:
        if name not in known:
            raise RequestError(f'{config.name}: has no output "{printable(name)}"{closest(name, known)}')
    return list(outputs) or known


def _checked(config: Any, inputs: Mapping[str, Array]) -> int:
    """Insist on the inputs that a model takes; give the number of events, or 1 for a model without batches.

    Raises:
        RequestError: One is missing, or has another type or shape.
    """
    rows = 1
    known = {given.name: given for given in config.input}
    for name in inputs:
        if name not in known:
            raise RequestError(f'{config.name}: has no input "{printable(name)}"{closest(name, known)}')
    for name, given in known.items():
        if name not in inputs:
            raise RequestError(f'{config.name}: the input "{name}" is missing')
        array, wanted = inputs[name], [*([-1] if config.max_batch_size else []), *given.dims]
        kind = word(given.data_type)
        if NAMES.get(array.dtype) != kind:
            raise RequestError(f'{config.name}: the input "{name}" is {NAMES.get(array.dtype)}; expected {kind}')
        if len(array.shape) != len(wanted) or any(w not in (-1, n) for w, n in zip(wanted, array.shape, strict=True)):
            raise RequestError(f'{config.name}: the input "{name}" has shape {list(array.shape)}; expected {wanted}')
        if config.max_batch_size:
            rows = len(array)
    if config.max_batch_size and not 1 <= rows <= config.max_batch_size:
        raise RequestError(f"{config.name}: {rows} events in a request; expected 1 to {config.max_batch_size}")
    return rows
