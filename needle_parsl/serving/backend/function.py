"""The `model.py` of a function of named arrays: what `function.py` in the same folder loads is called once a request."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

from needle_parsl.serving.backend.arrays import array_of, tensor_of

sys.dont_write_bytecode = True  # the folder holds what was exported, and nothing else


class TritonPythonModel:
    """One instance of the function, with its weights."""

    def initialize(self, args):
        """Load the function: `NAME(folder)` of `function.py` gives it."""
        folder = Path(args["model_repository"]) / args["model_version"]
        self.facts = json.loads((folder / "needle.json").read_text())["facts"]
        spec = importlib.util.spec_from_file_location(f"needle_function_{args['model_name']}", folder / "function.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        self.call = getattr(module, self.facts["function"])(folder)

    def execute(self, requests):
        """Call the function for each request; arrays may be of any length."""
        return [self._one(request) for request in requests]

    def _one(self, request):
        try:
            found = self.call(
                {name: array_of(pb_utils.get_input_tensor_by_name(request, name)) for name in self.facts["inputs"]}
            )
            asked = [name for name in self.facts["outputs"] if name in request.requested_output_names()]
            kinds = self.facts["outputs"]
            return pb_utils.InferenceResponse(
                [tensor_of(name, np.array(found[name], dtype=kinds[name], order="C")) for name in asked]
            )
        except Exception as error:
            return pb_utils.InferenceResponse(
                [], pb_utils.TritonError(f"the function failed: {type(error).__name__}: {error}")
            )
