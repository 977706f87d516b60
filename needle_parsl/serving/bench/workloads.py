"""The workloads in three layouts: one model for all, Triton's ensemble of a model for each step, and a call of the client for each step.

`chain` goes from hits to labels in six steps, as apps/tracking; `networks` is an ensemble of 16 networks, 8 features, two layers of 64.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from needle_parsl.serving import config_text, publishing
from needle_parsl.serving.bench import steps
from needle_parsl.serving.client import Client, ServedVersion
from needle_parsl.serving.config_text import Word
from needle_parsl.serving.publishing import ROWS, TYPES, Interface, TensorShape
from needle_parsl.serving.repository import CONFIG, ESTIMATOR

Array = npt.NDArray[Any]
LAYOUTS = ("one", "ensemble", "client")
MEMBERS, FEATURES, NODES = 16, 8, 64
STEPS = (
    ("embed", ("FEATURES",), "PLACE"),
    ("near", ("PLACE",), "NEAR"),
    ("score", ("FEATURES", "NEAR"), "SCORE"),
    ("keep", ("NEAR", "SCORE"), "EDGES"),
    ("graph", ("FEATURES", "EDGES"), "WEIGHT"),
    ("components", ("FEATURES", "EDGES", "WEIGHT"), "LABELS"),
)
"""Of the chain: name, inputs, output."""
TENSORS = {
    "FEATURES": ("float32", (-1, 4)), "PLACE": ("float32", (-1, 8)), "NEAR": ("int64", (2, -1)), "SCORE": ("float32", (-1,)),
    "EDGES": ("int64", (2, -1)), "WEIGHT": ("float32", (-1,)), "LABELS": ("int64", (-1,)),
}  # fmt: skip


@dataclass(frozen=True)
class Part:
    """A model that is called: its inputs and output, by the names that the workload has for them."""

    model: str
    inputs: Mapping[str, str]
    """The workload's name by the model's."""
    output: tuple[str, str]
    """The model's name, and the workload's."""
    rows: int = 0


@dataclass(frozen=True)
class Workload:
    """A workload in one layout."""

    name: str
    layout: str
    parts: tuple[Part, ...]
    output: str
    """What it ends with; with several parts, `combine` makes it of what they gave."""
    combine: Callable[..., Array] | None = None

    def call(self, client: Client, known: Mapping[str, Array]) -> Array:
        """Send the requests that an event, or a batch of events, needs."""
        arrays = dict(known)
        for part in self.parts:
            version = ServedVersion(part.model, 1, "", {}, part.rows)
            inputs = {own: arrays[name] for own, name in part.inputs.items()}
            arrays[part.output[1]] = client.call(version, inputs, (part.output[0],), {})[part.output[0]]
        return self.combine(*(arrays[part.output[1]] for part in self.parts)) if self.combine else arrays[self.output]


def chain(layout: str) -> Workload:
    """Describe the chain in a layout."""
    whole = Part(f"chain_{layout}", {"FEATURES": "FEATURES"}, ("LABELS", "LABELS"))
    single = tuple(Part(f"chain_{name}", {one: one for one in takes}, (out, out)) for name, takes, out in STEPS)
    return Workload("chain", layout, single if layout == "client" else (whole,), "LABELS")


def networks(layout: str) -> Workload:
    """Describe the ensemble of networks in a layout."""
    whole = Part(f"networks_{layout}", {"features": "features"}, ("log_ratio", "log_ratio"), ROWS)
    single = tuple(
        Part(f"member_{m:02}", {"features": "features"}, ("log_ratio", f"of_{m:02}"), ROWS) for m in range(MEMBERS)
    )
    several = layout == "client"
    return Workload("networks", layout, single if several else (whole,), "log_ratio", steps.mean if several else None)


BY_NAME = {"chain": chain, "networks": networks}


def arrays(name: str, rows: int, seed: int) -> dict[str, Array]:
    """Make what a request has: hits of an event, or features of events."""
    width, tensor = (4, "FEATURES") if name == "chain" else (FEATURES, "features")
    return {tensor: np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)}


def write(folder: Path, layouts: Sequence[str], *, instances: int = 1, batching: bool = True) -> None:
    """Write a repository with the models of both workloads.

    Args:
        folder: Of the repository.
        layouts: Which.
        instances: Processes of each model.
        batching: Whether requests that come at the same time are put together, where a model has batches.
    """
    if "one" in layouts:
        _function(folder, "chain_one", STEPS, instances)
        _networks(folder, "networks_one", range(MEMBERS), instances, batching=batching)
    if set(layouts) - {"one"}:
        for step in STEPS:
            _function(folder, f"chain_{step[0]}", (step,), instances)
        for m in range(MEMBERS):
            _networks(folder, f"member_{m:02}", [m], instances, batching=batching)
    if "ensemble" in layouts:
        _mean(folder, instances)
        _ensembles(folder)


def _tensors(names: Sequence[str]) -> tuple[TensorShape, ...]:
    return tuple(TensorShape(name, *TENSORS[name]) for name in names)


def _function(folder: Path, name: str, own: Sequence[tuple[str, tuple[str, ...], str]], instances: int) -> None:
    """Publish some steps as one model."""
    made = {output for _, _, output in own}
    takes = [one for one in dict.fromkeys(i for _, inputs, _ in own for i in inputs) if one not in made]
    interface = Interface(inputs=_tensors(takes), outputs=_tensors([own[-1][2]]), rows=0, instances=instances)
    _steps(folder, name, own, interface)


def _steps(folder: Path, name: str, own: Sequence[Any], interface: Interface) -> None:
    with tempfile.TemporaryDirectory() as beside:
        listed = Path(beside) / "steps.json"
        listed.write_text(json.dumps(own), encoding="utf-8")
        publishing.publish_function(folder, name, f"{steps.__file__}:load", interface, [listed])


def _mean(folder: Path, instances: int) -> None:
    """Publish what averages the networks of Triton's ensemble."""
    takes = [f"of_{m:02}" for m in range(MEMBERS)]
    interface = Interface(
        inputs=tuple(TensorShape(name, "float64", (1,)) for name in takes),
        outputs=(TensorShape("log_ratio", "float64", (1,)),),
        instances=instances,
    )
    _steps(folder, "networks_mean", [("mean", takes, "log_ratio")], interface)


def _networks(folder: Path, name: str, members: Sequence[int], instances: int, *, batching: bool) -> None:
    """Publish some networks as one graph, with the mean of their outputs."""
    interface = Interface(
        inputs=(TensorShape("features", "float32", (FEATURES,)),),
        outputs=(TensorShape("log_ratio", "float64", (1,)),),
        instances=instances,
        batching=batching,
    )

    def fill(target: Path) -> dict[str, Any]:
        (target / "model.onnx").write_bytes(_graph(members))
        return {"features": [f"x{k}" for k in range(FEATURES)], "ratios": {}, "nan": False}

    publishing.publish(folder, name, ESTIMATOR, interface, fill)


def _graph(members: Sequence[int]) -> bytes:
    """Write the graph of some networks: a chain of layers each, then the mean."""
    from onnx import TensorProto, helper, numpy_helper  # noqa: PLC0415  an extra

    nodes, weights, sizes = [], [], (FEATURES, NODES, NODES, 1)
    for m in members:
        draw, last = np.random.default_rng(m), "features"
        for k in range(3):
            made, shape = f"w{m}_{k}", (sizes[k], sizes[k + 1])
            weights.append(numpy_helper.from_array(draw.normal(0, sizes[k] ** -0.5, shape).astype(np.float32), made))
            nodes.append(helper.make_node("MatMul", [last, made], [f"l{m}_{k}"]))
            last = f"l{m}_{k}"
            if k < 2:
                nodes.append(helper.make_node("Tanh", [last], [f"t{m}_{k}"]))
                last = f"t{m}_{k}"
    nodes += [
        helper.make_node("Mean", [f"l{m}_2" for m in members], ["mean"]),
        helper.make_node("Cast", ["mean"], ["log_ratio"], to=TensorProto.DOUBLE),
    ]
    takes = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", FEATURES])
    gives = helper.make_tensor_value_info("log_ratio", TensorProto.DOUBLE, ["N", 1])
    graph = helper.make_graph(nodes, "networks", [takes], [gives], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def _ensembles(folder: Path) -> None:
    """Write Triton's ensembles: a configuration each, and no program."""
    _ensemble(folder, "chain_ensemble", chain("client").parts, 0, _tensors(["FEATURES"]), _tensors(["LABELS"]))
    last = Part("networks_mean", {f"of_{m:02}": f"of_{m:02}" for m in range(MEMBERS)}, ("log_ratio", "log_ratio"))
    takes, gives = TensorShape("features", "float32", (FEATURES,)), TensorShape("log_ratio", "float64", (1,))
    _ensemble(folder, "networks_ensemble", (*networks("client").parts, last), ROWS, (takes,), (gives,))


def _ensemble(
    folder: Path,
    name: str,
    parts: Sequence[Part],
    rows: int,
    takes: Sequence[TensorShape],
    gives: Sequence[TensorShape],
) -> None:
    def tensors(shapes: Sequence[TensorShape]) -> list[dict[str, Any]]:
        return [{"name": s.name, "data_type": Word(TYPES[s.kind]), "dims": list(s.dims)} for s in shapes]

    plan = [
        {
            "model_name": part.model,
            "model_version": -1,
            "input_map": [{"key": own, "value": known} for own, known in part.inputs.items()],
            "output_map": [{"key": part.output[0], "value": part.output[1]}],
        }
        for part in parts
    ]
    (folder / name / "1").mkdir(parents=True)
    config = {
        "name": name,
        "platform": "ensemble",
        "max_batch_size": rows,
        "input": tensors(takes),
        "output": tensors(gives),
    }
    text = config_text.message({**config, "ensemble_scheduling": {"step": plan}})
    (folder / name / CONFIG).write_text(text, encoding="utf-8")
