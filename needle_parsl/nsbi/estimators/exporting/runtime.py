"""Evaluating an exported file with ONNX Runtime alone: neither torch nor anything of needle's science that needs it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from needle_parsl.errors import InputError, printable
from needle_parsl.nsbi.transforms.transform import Transform
from needle_parsl.serving import onnx_contents

Floats = npt.NDArray[np.float64]
SILENT = ("ORT_DISABLE_TELEMETRY", "1")
"""ONNX Runtime writes down a device id and sends facts about each session to its maker unless this variable is set."""
LARGEST = 2**31 - 1
"""Bytes of an ONNX file; its format holds no more."""
INPUT = "features"
CHUNK = 2048
"""Events at a time: what the networks hold of them fits into a near cache, and memory stays flat."""
KINDS = ("log_ratio", "log_ratio_error")


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {printable(' '.join(str(error).split()))[:200]}"


def read(path: Path) -> bytes:
    """Read a file that may be an ONNX file."""
    if path.stat().st_size > LARGEST:
        raise InputError(f"{path}: is no exported estimator: it has more than {LARGEST} bytes")
    return path.read_bytes()


def opened(content: bytes, path: str) -> Any:
    """Open a graph in ONNX Runtime, on one thread.

    Args:
        content: Of the file.
        path: Its name, for messages.

    Raises:
        InputError: It is none, or names other files.
    """
    os.environ.setdefault(*SILENT)  # before its library is loaded
    import onnxruntime  # noqa: PLC0415  an extra

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(
            onnx_contents.whole(content, path), options, providers=["CPUExecutionProvider"]
        )
    except InputError:
        raise
    except Exception as error:  # its errors have no common class
        raise InputError(f"{path}: is no exported estimator ({_reason(error)})") from error


class Session:
    """An exported file that is evaluated, on one thread."""

    def __init__(self, model: Path | bytes) -> None:
        path = self.path = "the model" if isinstance(model, bytes) else str(model)
        self.session = opened(model if isinstance(model, bytes) else read(model), path)
        try:
            self.properties: dict[str, str] = dict(self.session.get_modelmeta().custom_metadata_map)
            self.features = tuple(json.loads(self.properties["features"]))
            self.ratios = tuple(json.loads(self.properties["ratios"]))
            texts = json.loads(self.properties.get("transforms", "{}"))
            self.transforms: Mapping[str, Transform] = {n: Transform.from_json(text) for n, text in texts.items()}
        except Exception as error:  # whatever is wrong with what it says of itself
            raise InputError(f"{path}: is no exported estimator ({_reason(error)})") from error
        self.outputs = [output.name for output in self.session.get_outputs()]

    def evaluate(self, x: npt.NDArray[np.float32]) -> dict[str, dict[str, Floats]]:
        """Evaluate all ratios.

        Args:
            x: Features, shape (N, F), in the order of `features`.

        Returns:
            By ratio `log_ratio`, and `log_ratio_error` where there is one; shape (N,).
        """
        try:
            parts = [self.session.run(self.outputs, {INPUT: x[k : k + CHUNK]}) for k in range(0, len(x), CHUNK)]
        except Exception as error:
            raise InputError(f"{self.path}: cannot be evaluated: {_reason(error)}") from error
        columns = {
            name: np.concatenate([np.empty(0), *(part[k] for part in parts)]) for k, name in enumerate(self.outputs)
        }
        return {
            ratio: {kind: columns[name] for kind in KINDS if (name := self._name(ratio, kind)) in columns}
            for ratio in self.ratios
        }

    def _name(self, ratio: str, kind: str) -> str:
        return kind if len(self.ratios) == 1 else f"{ratio}.{kind}"
