"""What `model.py` files find as `triton_python_backend_utils` in the built-in server: as much of Triton's as they use."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]
PLAIN = True
"""Whether arrays are NumPy's own, whatever its version; Triton's module has no such name."""


class TritonError:
    """Why a request failed."""

    INTERNAL, INVALID_ARG = "INTERNAL", "INVALID_ARG"

    def __init__(self, message: str, code: str = INTERNAL) -> None:
        self.text, self.kind = message, code


class Tensor:
    """A named array."""

    def __init__(self, name: str, array: Array) -> None:
        self.label, self.array = name, array

    def name(self) -> str:
        """Give its name."""
        return self.label

    def as_numpy(self) -> Array:
        """Give the array."""
        return self.array


class InferenceRequest:
    """What a client asks."""

    def __init__(self, inputs: Mapping[str, Array], outputs: Sequence[str], parameters: Mapping[str, object]) -> None:
        self.inputs, self.outputs, self.given = inputs, outputs, parameters

    def requested_output_names(self) -> list[str]:
        """List what is asked for."""
        return list(self.outputs)

    def parameters(self) -> str:
        """Give what the client says besides, as JSON."""
        return json.dumps(dict(self.given))


class InferenceResponse:
    """What a model gives."""

    def __init__(self, output_tensors: Sequence[Tensor], error: TritonError | None = None) -> None:
        self.tensors, self.error = output_tensors, error


def get_input_tensor_by_name(request: InferenceRequest, name: str) -> Tensor:
    """Find an input of a request."""
    return Tensor(name, request.inputs[name])
