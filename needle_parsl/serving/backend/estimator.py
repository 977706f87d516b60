"""The `model.py` of an estimator that needle has exported: features in, log ratios out, by ONNX Runtime. The same text for every estimator."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils

from needle_parsl.serving.backend.arrays import array_of, tensor_of

ROWS = 2048
"""Events at a time: what the networks hold of them fits into a near cache. On a CPU no result depends on it."""


class TritonPythonModel:
    """One instance: a session on one thread, or on the GPU that the server gives it."""

    def initialize(self, args):
        """Load the graph; it is read as bytes, so that it cannot name other files."""
        folder = Path(args["model_repository"]) / args["model_version"]
        self.facts = json.loads((folder / "needle.json").read_text())["facts"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            (folder / "model.onnx").read_bytes(), options, providers=_providers(args)
        )
        self.known = [output.name for output in self.session.get_outputs()]

    def execute(self, requests):
        """Evaluate the events of all requests together, and give each its own."""
        inputs = [array_of(pb_utils.get_input_tensor_by_name(request, "features")) for request in requests]
        wrong = [self._wrong(request, x) for request, x in zip(requests, inputs)]
        asked = [[name for name in self.known if name in request.requested_output_names()] for request in requests]
        good = [k for k, message in enumerate(wrong) if not message]
        names = [name for name in self.known if any(name in asked[k] for k in good)]
        found = self._evaluated(np.concatenate([inputs[k] for k in good]), names) if good else {}
        responses, start = [], 0
        for k, x in enumerate(inputs):
            if wrong[k]:
                code = pb_utils.TritonError.INVALID_ARG
                responses.append(pb_utils.InferenceResponse([], pb_utils.TritonError(wrong[k], code)))
                continue
            own = slice(start, start := start + len(x))
            responses.append(pb_utils.InferenceResponse([tensor_of(name, found[name][own]) for name in asked[k]]))
        return responses

    def _evaluated(self, x, names):
        """Evaluate outputs of the graph: features (N, F) to arrays by name."""
        parts = [self.session.run(names, {"features": x[k : k + ROWS]}) for k in range(0, len(x), ROWS)]
        return {name: np.concatenate([part[k] for part in parts]) for k, name in enumerate(names)}

    def _wrong(self, request, x):
        """Say what is wrong with a request; empty if nothing is."""
        features = self.facts["features"]
        said = json.loads(request.parameters() or "{}").get("features")
        if said is not None and json.loads(said) != features:
            return f"the columns are said to be {', '.join(json.loads(said))}; the model takes {', '.join(features)}, in this order"
        lost = np.isinf(x) if self.facts["nan"] else ~np.isfinite(x)
        if lost.any():
            row, column = np.argwhere(lost)[0]
            return f"{features[column]} is {x[row, column]} in row {row}, and no finite number; the model takes finite ones"
        return ""


def _providers(args):
    """Name what computes: the GPU of the instance, if the server gives it one and ONNX Runtime knows it."""
    if args["model_instance_kind"] == "GPU" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        device = {"device_id": int(args["model_instance_device_id"])}
        return [("CUDAExecutionProvider", device), "CPUExecutionProvider"]
    return ["CPUExecutionProvider"]
