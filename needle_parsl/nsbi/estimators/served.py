"""Ratios of a model in a repository: evaluated by a server, or from the same graph here, to the same numbers.

On a CPU the two give the same bytes: ONNX Runtime's result for an event does not depend on which events are evaluated with it. A server on a GPU
rounds differently in single precision.
"""

from __future__ import annotations

import json
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from needle_parsl import files
from needle_parsl.errors import InputError, TaskError
from needle_parsl.nsbi.estimators.exporting import runtime
from needle_parsl.nsbi.estimators.protocol import (
    Features,
    Floats,
    Ratio,
    RatioEvaluator,
    insist_on_features,
    insist_on_ratios,
)
from needle_parsl.nsbi.estimators.ratio_cache import RatioCache
from needle_parsl.serving import endpoint as endpoints
from needle_parsl.serving import repository
from needle_parsl.serving.endpoint import LostError
from needle_parsl.serving.repository import ESTIMATOR, Version

if TYPE_CHECKING:
    from needle_parsl.nsbi.transforms.transform import Transform
    from needle_parsl.serving.client import ServedVersion

Outputs = dict[str, npt.NDArray[Any]]
CHUNK = 16_384
"""Events of a request."""
RATIO, ERROR, MEMBERS = "log_ratio", "log_ratio_std", "members"


class Runner(Protocol):
    """Calls a graph."""

    facts: Mapping[str, Any]
    """What the model says of itself."""
    digest: str
    """Of the version."""

    @property
    def name(self) -> str:
        """Who has evaluated so far."""
        ...

    def run(self, x: Features, outputs: Sequence[str]) -> Iterator[Outputs]:
        """Evaluate outputs: features (N, F) to arrays (n, ...), part by part."""
        ...


class ModelEvaluator(RatioEvaluator):
    """All ratios of a model."""

    def __init__(self, runner: Runner, where: str, cache: RatioCache | None = None) -> None:
        self.runner, self.where, self.cache = runner, where, cache
        if "ratios" not in runner.facts:
            raise InputError(f"{where}: is a function, and gives no ratios")
        self.features = tuple(runner.facts["features"])
        self.counts: dict[str, int] = dict(runner.facts["ratios"])
        self.ratios = tuple(self.counts)
        self.transforms: Mapping[str, Transform] = {}

    @property
    def name(self) -> str:  # type: ignore[override]  # it may become another while events are evaluated
        """Say who has evaluated so far."""
        return self.runner.name

    def evaluate(self, x: Features, names: Sequence[str]) -> dict[str, Ratio]:
        """Evaluate ratios with their errors."""
        self._insist(x, names)
        found = self._run(x, (RATIO, ERROR))
        places = {name: k for k, name in enumerate(self.ratios)}
        return {name: Ratio(found[RATIO][:, places[name]], found[ERROR][:, places[name]]) for name in names}

    def members(self, x: Features, name: str) -> Floats:
        """Evaluate each member of a ratio: features (N, F) to log ratios (M, N)."""
        self._insist(x, (name,))
        return np.concatenate([np.empty((self.counts[name], 0)), *self.parts(x, name)], axis=1)

    def parts(self, x: Features, name: str) -> Iterator[Floats]:
        """Evaluate each member, some events at a time."""
        before = list(self.counts)[: self.ratios.index(name)]
        start = sum(self.counts[other] for other in before)
        own = slice(start, start + self.counts[name])
        for part in self.runner.run(x, (MEMBERS,)):
            yield part[MEMBERS][:, own].T.astype(np.float64)

    def _insist(self, x: Features, names: Sequence[str]) -> None:
        insist_on_ratios(names, self.ratios, self.where)
        insist_on_features(x, self.features, self.where)

    def _run(self, x: Features, outputs: Sequence[str]) -> dict[str, Floats]:
        key = RatioCache.key(self.runner.digest, x, outputs) if self.cache else ""
        known = self.cache.get(key) if self.cache else None
        if known is not None:
            return known
        parts = list(self.runner.run(x, outputs))
        empty = np.empty((0, len(self.ratios)))
        found = {name: np.concatenate([empty, *(part[name] for part in parts)]) for name in outputs}
        if self.cache:
            self.cache.put(key, found)
        return found


class GraphRunner:
    """The graph of a version, in this process."""

    name = "onnxruntime"

    def __init__(self, version: Version) -> None:
        self.facts, self.digest = version.facts, version.digest
        path = version.folder / "model.onnx"
        if version.kind != ESTIMATOR or files.digest(path) != version.files["model.onnx"]:
            raise InputError(f"{path}: is not what was exported; export the model again")
        self.path, self.session = str(path), runtime.opened(runtime.read(path), str(path))

    def run(self, x: Features, outputs: Sequence[str]) -> Iterator[Outputs]:
        """Evaluate outputs, a chunk of events at a time."""
        for start in range(0, len(x), CHUNK):
            yield self._chunk(x[start : start + CHUNK], list(outputs))

    def _chunk(self, x: Features, outputs: list[str]) -> Outputs:
        steps = range(0, len(x), runtime.CHUNK)
        parts = [self.session.run(outputs, {runtime.INPUT: x[k : k + runtime.CHUNK]}) for k in steps]
        return {name: np.concatenate([part[k] for part in parts]) for k, name in enumerate(outputs)}


class ServedRunner:
    """A version at a server; where that is lost, its graph here."""

    def __init__(self, path: Path, model: str, version: str = "", *, load: bool = False) -> None:
        """Connect.

        Args:
            path: `endpoint.json`.
            model: Its name.
            version: Its number; empty for the latest.
            load: Whether the server is asked to load the model first.
        """
        self.path, self.model, self.load = path, model, load
        self.used: dict[str, None] = {}
        """Who has evaluated, in order."""
        self.lock, self.here = threading.Lock(), dict[str, GraphRunner]()
        self.endpoint = endpoints.read(path)
        self.client = self._client()
        self.version: ServedVersion = self.client.described(model, version)
        self.facts, self.digest = self.version.facts, self.version.digest
        self.lost = ""
        """Which server is; empty while it answers."""

    def _client(self) -> Any:
        from needle_parsl.serving.client import Client  # noqa: PLC0415  with grpc, an extra

        client = Client(self.endpoint)
        if self.load:
            client.load(self.model)
        return client

    @property
    def name(self) -> str:
        """Name the server; where it was lost, what took its place, too."""
        return ", ".join(self.used) or self.endpoint.server

    def run(self, x: Features, outputs: Sequence[str]) -> Iterator[Outputs]:
        """Evaluate outputs, some chunks of events on their way at a time."""
        starts = list(range(0, len(x), CHUNK))
        while starts:
            if not self._connected():
                yield from self._local().run(x[starts[0] :], outputs)
                self.used[GraphRunner.name] = None
                return
            for part in self._served([x[start : start + CHUNK] for start in starts], outputs):
                starts.pop(0)
                self.used[self.endpoint.server] = None
                yield part

    def _served(self, chunks: Sequence[Features], outputs: Sequence[str]) -> Iterator[Outputs]:
        """Ask the server for as many chunks as it answers."""
        # Triton gives parameters to a model as text.
        said = {"features": json.dumps(self.facts["features"])}
        try:
            yield from self.client.stream(self.version, [{runtime.INPUT: chunk} for chunk in chunks], outputs, said)
        except LostError as error:
            self.lost = self.endpoint.started
            say_lost(self.path, self.endpoint.started, error)

    def _connected(self) -> bool:
        """Whether there is a server: the one so far, or one that has taken its place."""
        if not self.lost:
            return True
        try:
            found = endpoints.read(self.path)
        except InputError:
            return False
        if found.started == self.lost:
            return False
        return self._again(found)

    def _again(self, found: endpoints.Endpoint) -> bool:
        """Connect to the server that has taken the place of the lost one, if it has the same version."""
        self.client.close()
        self.endpoint = found
        try:
            self.client = self._client()
            same: bool = self.client.described(self.model, str(self.version.number)).digest == self.digest
        except (InputError, TaskError):
            same = False
        self.lost = "" if same else found.started
        return same

    def _local(self) -> GraphRunner:
        with self.lock:
            if not self.here:
                folder = Path(self.endpoint.repository)
                version = repository.one(folder, self.model).version(str(self.version.number))
                if version.digest != self.digest:
                    raise TaskError(f"{version.folder}: is not what the lost server had; start it again")
                self.here[""] = GraphRunner(version)
            return self.here[""]


_SAYING = threading.Lock()
_SAID: set[tuple[str, str]] = set()
"""Servers of which this process has said that they are lost."""


def say_lost(path: Path, started: str, error: Exception) -> None:
    """Warn that a server is lost, once in a process.

    Args:
        path: Its `endpoint.json`.
        started: When it was; empty for one that was never reached.
        error: What it looks like.
    """
    with _SAYING:
        said, key = (str(path), started) in _SAID, (str(path), started)
        _SAID.add(key)
    if not said:
        warnings.warn(f"{error}; ratios are evaluated here instead, to the same numbers", stacklevel=2)
