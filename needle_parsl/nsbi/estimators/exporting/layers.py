"""From a torch network to ONNX nodes: a chain of Gemms, with whatever stands between them.

The forward function is traced, so that any network of known layers will do, with residual connections, too. What is not
known is said by name.
"""

from __future__ import annotations

import math
import operator
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import fx, nn
from torch.nn import functional

from needle_parsl.errors import TaskError
from needle_parsl.nsbi.estimators.exporting.graph import OnnxGraph

Layer = Callable[[OnnxGraph, Any, str], str]
"""Takes the graph, the layer and the name of its input; gives the name of its output."""


TRACING = threading.Lock()
"""Held while torch's modules are patched: two traces at a time would leave them patched for good."""


class _Tracer(fx.Tracer):
    """A tracer that leaves alone what other threads do with their modules meanwhile: torch patches all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.thread = threading.get_ident()

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Trace the call of a module in this thread, and pass those of others on."""
        if threading.get_ident() != self.thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)


def traced(network: nn.Module) -> fx.GraphModule:
    """Trace a network.

    Raises:
        TaskError: Its forward function decides by values, or takes more than the features.
    """
    try:
        with TRACING:
            found = fx.GraphModule(network, _Tracer().trace(network.eval()))
    except Exception as error:
        raise TaskError(f"{type(network).__name__} cannot be exported: {_first_line(error)}") from error
    takes = [node.name for node in found.graph.nodes if node.op == "placeholder"]
    if len(takes) != 1:
        raise TaskError(f"{type(network).__name__} cannot be exported: it takes {', '.join(takes)}, not features alone")
    return found


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def emit(graph: OnnxGraph, network: fx.GraphModule, features: str) -> str:
    """Add the nodes of one network with the weights that it holds.

    Args:
        graph: What to add to.
        network: From `traced`.
        features: Name of the transformed features, (N, F).

    Returns:
        The name of its log ratios, as a column (N, 1).

    Raises:
        TaskError: A layer or function is not known here.
    """
    values: dict[fx.Node, str] = {}
    for node in network.graph.nodes:
        if node.op == "placeholder":
            values[node] = features
        elif node.op == "output":
            return graph.add("Reshape", values[node.args[0]], graph.constant([-1, 1], np.int64))
        else:
            values[node] = _node(graph, network, node, values)
    raise TaskError("the network cannot be exported: it gives nothing")


def _node(graph: OnnxGraph, network: fx.GraphModule, node: fx.Node, values: dict[fx.Node, str]) -> str:
    given: list[Any] = [values[a] if isinstance(a, fx.Node) else a for a in node.args]
    if node.op == "call_module":
        layer = network.get_submodule(str(node.target))
        if type(layer) in LAYERS:
            return LAYERS[type(layer)](graph, layer, given[0])
        raise _unknown(f"the layer {type(layer).__name__}")
    if node.op == "get_attr":
        value = operator.attrgetter(str(node.target))(network)
        return graph.constant(value.detach().numpy(), np.float32)
    made = FUNCTIONS.get(node.target if node.op == "call_function" else str(node.target))
    if made is None:
        raise _unknown(f"the function {getattr(node.target, '__name__', node.target)}")
    return made(graph, given, values, node)


def _unknown(what: str) -> TaskError:
    return TaskError(f"the network cannot be exported: {what} is not known; estimator.h5 and the torch files have it")


def _linear(graph: OnnxGraph, layer: nn.Linear, x: str) -> str:
    weight = graph.constant(layer.weight.detach().numpy().T, np.float32)
    bias: torch.Tensor | None = layer.bias
    added = () if bias is None else (graph.constant(bias.detach().numpy(), np.float32),)
    return graph.add("Gemm", x, weight, *added)


def _silu(graph: OnnxGraph, _: object, x: str) -> str:
    return graph.add("Mul", x, graph.add("Sigmoid", x))


def _gelu(graph: OnnxGraph, layer: Any, x: str) -> str:
    if getattr(layer, "approximate", "none") != "none":
        raise _unknown("an approximate GELU")
    scaled = graph.add("Mul", x, graph.constant(1 / math.sqrt(2), np.float32))
    cumulative = graph.add("Add", graph.add("Erf", scaled), graph.constant(1, np.float32))
    return graph.add("Mul", graph.add("Mul", x, cumulative), graph.constant(0.5, np.float32))


def _layer_norm(graph: OnnxGraph, layer: nn.LayerNorm, x: str) -> str:
    own: tuple[torch.Tensor | None, ...] = (layer.weight, layer.bias)
    plain = (np.ones(layer.normalized_shape), np.zeros(layer.normalized_shape))
    constants = [
        graph.constant(default if value is None else value.detach().numpy(), np.float32)
        for value, default in zip(own, plain, strict=True)
    ]
    return graph.add("LayerNormalization", x, *constants, axis=-len(layer.normalized_shape), epsilon=layer.eps)


def _batch_norm(graph: OnnxGraph, layer: nn.BatchNorm1d, x: str) -> str:
    if layer.running_mean is None or layer.running_var is None or not layer.affine:
        raise _unknown("BatchNorm1d without running means or weights")
    parts = (layer.weight, layer.bias, layer.running_mean, layer.running_var)
    constants = [graph.constant(part.detach().numpy(), np.float32) for part in parts]
    return graph.add("BatchNormalization", x, *constants, epsilon=layer.eps)


def _plain(name: str, **attributes: str) -> Layer:
    """Make an operator of the same meaning; `attributes` are named by the layer's own."""

    def made(graph: OnnxGraph, layer: object, x: str) -> str:
        own: dict[str, Any] = {key: float(getattr(layer, value)) for key, value in attributes.items()}
        return graph.add(name, x, **own)

    return made


def _same(_: OnnxGraph, __: object, x: str) -> str:
    return x


LAYERS: dict[type[nn.Module], Layer] = {
    nn.Linear: _linear,
    nn.SiLU: _silu,
    nn.GELU: _gelu,
    nn.ReLU: _plain("Relu"),
    nn.Tanh: _plain("Tanh"),
    nn.Sigmoid: _plain("Sigmoid"),
    nn.ELU: _plain("Elu", alpha="alpha"),
    nn.LeakyReLU: _plain("LeakyRelu", alpha="negative_slope"),
    nn.LayerNorm: _layer_norm,
    nn.BatchNorm1d: _batch_norm,
    nn.Dropout: _same,
    nn.Identity: _same,
}
"""By the type of the layer; a class derived from one of them may do something else, and is not meant."""


def _squeezed(graph: OnnxGraph, given: list[Any], _: object, node: fx.Node) -> str:
    axis = given[1] if len(given) > 1 else node.kwargs.get("dim")
    if not isinstance(axis, int):
        raise _unknown("squeeze without a dimension")
    return graph.add("Squeeze", given[0], graph.constant([axis], np.int64))


def _joined(graph: OnnxGraph, given: list[Any], values: dict[fx.Node, str], node: fx.Node) -> str:
    axis: Any = given[1] if len(given) > 1 else node.kwargs.get("dim", 0)
    return graph.add("Concat", *(values[part] for part in given[0]), axis=int(axis))


def _taken(graph: OnnxGraph, given: list[Any], _: object, __: fx.Node) -> str:
    """One column: x[:, k] or x[..., k]."""
    index = given[1] if isinstance(given[1], tuple) else (given[1],)
    if len(index) != 2 or index[0] not in (Ellipsis, slice(None)) or not isinstance(index[1], int):
        raise _unknown("an index that is no column")
    return graph.add("Gather", given[0], graph.constant(index[1], np.int64), axis=1)


def _clamped(graph: OnnxGraph, given: list[Any], _: object, node: fx.Node) -> str:
    low, high = (given[n] if len(given) > n else node.kwargs.get(key) for n, key in ((1, "min"), (2, "max")))
    if not isinstance(low, (int, float)) or not isinstance(high, (int, float)):
        raise _unknown("clamp with one bound")
    return graph.add("Clip", given[0], graph.constant(low, np.float32), graph.constant(high, np.float32))


def _logit(graph: OnnxGraph, given: list[Any], _: object, __: fx.Node) -> str:
    below = graph.add("Sub", graph.constant(1, np.float32), given[0])
    return graph.add("Sub", graph.add("Log", given[0]), graph.add("Log", below))


def _logaddexp(graph: OnnxGraph, given: list[Any], _: object, __: fx.Node) -> str:
    """ln(exp a + exp b) = max + ln(1 + exp(-|a - b|)), which overflows nowhere."""
    first, second = given[:2]
    near = graph.add("Exp", graph.add("Neg", graph.add("Abs", graph.add("Sub", first, second))))
    rest = graph.add("Log", graph.add("Add", near, graph.constant(1, np.float32)))
    return graph.add("Add", graph.add("Max", first, second), rest)


def _binary(name: str) -> Callable[..., str]:
    def made(graph: OnnxGraph, given: list[Any], _: object, __: fx.Node) -> str:
        first, second = (a if isinstance(a, str) else graph.constant(a, np.float32) for a in given[:2])
        return graph.add(name, first, second)

    return made


def _of_layer(layer: Layer) -> Callable[..., str]:
    return lambda graph, given, _, __: layer(graph, None, given[0])


FUNCTIONS: dict[Any, Callable[..., str]] = {
    "squeeze": _squeezed,
    torch.squeeze: _squeezed,
    torch.cat: _joined,
    torch.logaddexp: _logaddexp,
    "clamp": _clamped,
    torch.clamp: _clamped,
    torch.logit: _logit,
    operator.neg: _of_layer(_plain("Neg")),
    operator.getitem: _taken,
    operator.add: _binary("Add"),
    torch.add: _binary("Add"),
    operator.sub: _binary("Sub"),
    operator.mul: _binary("Mul"),
    torch.mul: _binary("Mul"),
    operator.truediv: _binary("Div"),
    functional.silu: _of_layer(_silu),
    functional.gelu: _of_layer(_gelu),
    functional.relu: _of_layer(_plain("Relu")),
    torch.relu: _of_layer(_plain("Relu")),
    torch.tanh: _of_layer(_plain("Tanh")),
    torch.sigmoid: _of_layer(_plain("Sigmoid")),
    "tanh": _of_layer(_plain("Tanh")),
    "relu": _of_layer(_plain("Relu")),
    "sigmoid": _of_layer(_plain("Sigmoid")),
}
"""By function, or by the name of a method of tensors."""
