"""Estimators of random networks in a model repository, and servers for it: the built-in one, and a real Triton."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from needle_parsl.nsbi.estimators.estimator import Estimator
from needle_parsl.nsbi.training import networks
from needle_parsl.nsbi.transforms.transform import Transform

FEATURES = ("eta", "pt", "d0")
SHAPE = networks.NetworkShape(network="mlp", features=3, layers=2, nodes=16)
SIZE = sum(p.numel() for p in networks.empty(SHAPE).parameters())
REQUIRED = "triton" in os.environ.get("NEEDLE_REQUIRE", "").split(",")


@pytest.fixture(scope="session", autouse=True)
def extra() -> None:
    """The packages of servers and clients."""
    for name in ("grpc", "onnx", "onnxruntime"):
        pytest.importorskip(name) if not REQUIRED else __import__(name)


def estimator(ratio: str, members: int, seed: int) -> Estimator:
    """Make an estimator of random networks."""
    weights = np.random.default_rng(seed).normal(0, 0.5, (members, SIZE)).astype(np.float32)
    return Estimator(
        ratio=ratio,
        features=FEATURES,
        shape=SHAPE,
        transform=Transform.none(FEATURES),
        weights=weights,
        combine="mean_ratio",
        log_norm=0.1,
        coefficients=np.full(members, 1 / members),
    )


@dataclass(frozen=True)
class Published:
    """A repository with two versions of the model `gaussian`, and the function `hits`."""

    folder: Path
    versions: tuple[dict[str, Estimator], ...]


HITS = """
import numpy as np

def load(folder):
    weight = float((folder / "weight.txt").read_text())

    def call(arrays):
        x, pairs = arrays["hits"], arrays["pairs"]
        if len(x) == 0:
            raise ValueError("an event without hits")
        length = np.linalg.norm(x[pairs[0]] - x[pairs[1]], axis=1)
        return {"labels": np.arange(len(x)), "length": weight * length}

    return call
"""
"""Arrays of any length in, such out."""


def publish(folder: Path) -> Published:
    """Write the repository."""
    from needle_parsl.nsbi.estimators import model_export
    from needle_parsl.serving import publishing
    from needle_parsl.serving.publishing import Interface, TensorShape

    versions = tuple(
        {"signal": estimator("signal", 5, seed), "signal.jes.up": estimator("signal.jes.up", 1, seed + 1)}
        for seed in (1, 10)
    )
    for number, own in enumerate(versions):
        model_export.publish(folder, "gaussian", own, {"pt": "GeV"}, f"/runs/{number}")
    above = folder.with_name("function")
    above.mkdir(exist_ok=True)
    (above / "hits.py").write_text(HITS)
    (above / "weight.txt").write_text("2.0")
    shape = Interface(
        inputs=(TensorShape("hits", "float32", (-1, 3)), TensorShape("pairs", "int64", (2, -1))),
        outputs=(TensorShape("labels", "int64", (-1,)), TensorShape("length", "float32", (-1,))),
        rows=0,
    )
    publishing.publish_function(folder, "hits", f"{above / 'hits.py'}:load", shape, [above / "weight.txt"])
    return Published(folder, versions)


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    """A repository that no test changes."""
    return publish(tmp_path_factory.mktemp("served") / "models")


@pytest.fixture(scope="session")
def tritonserver() -> str:
    """A Triton from PyPI, in a folder of the user that stays."""
    from needle_parsl.errors import NeedleError
    from needle_parsl.serving import triton

    try:
        found = triton.fetch()
    except NeedleError as error:
        (pytest.fail if REQUIRED else pytest.skip)(f"no Triton server: {error}")
    return str(found / "pytriton" / "tritonserver" / "bin" / "tritonserver")


KINDS = ["built-in", pytest.param("triton", marks=pytest.mark.triton)]


def chosen(request: pytest.FixtureRequest, published: Published, folder: Path, host: str = ""):
    """Say which server is started."""
    from needle_parsl.workflow.serving import ServerChoice

    return ServerChoice(
        repository=published.folder,
        endpoint=folder / "endpoint.json",
        log=folder / "server.log",
        tritonserver=request.getfixturevalue("tritonserver") if request.param == "triton" else "",
        builtin=request.param == "built-in",
        host=host,
    )


@pytest.fixture(scope="module", params=KINDS)
def endpoint(
    request: pytest.FixtureRequest, published: Published, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """The `endpoint.json` of a server that is ready."""
    from needle_parsl.workflow import serving

    choice = chosen(request, published, tmp_path_factory.mktemp("server"))
    with serving.started(choice):
        yield choice.endpoint
    assert not choice.endpoint.exists()


@pytest.fixture(scope="module", params=KINDS)
def tcp_endpoint(
    request: pytest.FixtureRequest, published: Published, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """The same of a server that listens on ports."""
    from needle_parsl.workflow import serving

    choice = chosen(request, published, tmp_path_factory.mktemp("server"), host="127.0.0.1")
    with serving.started(choice):
        yield choice.endpoint


@pytest.fixture(scope="session")
def events() -> np.ndarray:
    """Features of 40,000 events."""
    return np.random.default_rng(3).normal(0, 1, (40_000, 3)).astype(np.float32)
