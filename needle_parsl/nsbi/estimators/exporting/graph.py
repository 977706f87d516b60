"""An ONNX graph in the making: nodes and constants, each with a name of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, TensorProto, helper, numpy_helper


class OnnxGraph:
    """Nodes in the order in which they are computed."""

    FLOAT, DOUBLE = TensorProto.FLOAT, TensorProto.DOUBLE

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, TensorProto] = {}

    def constant(self, value: npt.ArrayLike, kind: type = np.float64) -> str:
        """Add a constant; give its name."""
        name = f"c{len(self.constants)}"
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(np.asarray(value, kind)), name)
        return name

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add a node with one output; give its name."""
        name = output or f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def ordered(self, value: str, count: int) -> str:
        """Sort the columns of each row."""
        name, places = f"n{len(self.nodes)}", f"n{len(self.nodes)}.places"
        self.nodes.append(helper.make_node("TopK", [value, self.constant([count], np.int64)], [name, places], axis=1))
        return name

    def cast(self, value: str, kind: int) -> str:
        """Change the type of a value."""
        return self.add("Cast", value, to=kind)
