"""The one place where files of estimators are opened to evaluate log ratios."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

from needle_parsl import stamps
from needle_parsl.errors import InputError, TaskError
from needle_parsl.files import digest, digest_of
from needle_parsl.nsbi.estimators import files, model_export
from needle_parsl.nsbi.estimators.estimator import Estimator
from needle_parsl.nsbi.estimators.evaluators import OnnxEvaluator, TorchEvaluator
from needle_parsl.nsbi.estimators.protocol import RatioEvaluator
from needle_parsl.nsbi.estimators.ratio_cache import RatioCache
from needle_parsl.nsbi.estimators.served import GraphRunner, ModelEvaluator, ServedRunner, say_lost
from needle_parsl.serving import endpoint as endpoints
from needle_parsl.serving.endpoint import LostError


@dataclass(frozen=True)
class RatioSource:
    """Where the ratios come from."""

    onnx: str
    """An exported file with all of them; empty to evaluate with torch."""
    estimators: Mapping[str, str]
    """The file of each ratio."""
    ratios: tuple[str, ...]
    """Which are wanted, in this order."""

    def open(self) -> RatioEvaluator:
        """Load the networks, unless this process has just evaluated them."""
        paths = (self.onnx,) if self.onnx else tuple(self.estimators[name] for name in self.ratios)
        states = tuple((stat.st_mtime_ns, stat.st_size) for stat in (Path(name).stat() for name in paths))
        return _loaded(self.onnx, () if self.onnx else tuple(zip(self.ratios, paths, strict=True)), states)


@lru_cache(maxsize=1)
def _loaded(onnx: str, estimators: tuple[tuple[str, str], ...], _states: tuple[tuple[int, int], ...]) -> RatioEvaluator:
    """Load networks; files in another state are others."""
    if onnx:
        return OnnxEvaluator(Path(onnx))
    return TorchEvaluator({name: files.read(Path(path)) for name, path in estimators})


@dataclass(frozen=True)
class Opened:
    """Estimators of a run, whose members may be evaluated elsewhere."""

    estimators: Mapping[str, Estimator]
    elsewhere: tuple[RatioEvaluator, ...] = ()

    @property
    def evaluator(self) -> str:
        """Say who has evaluated so far: `torch`, or what was asked instead."""
        names = ["torch"] if any(one.elsewhere is None for one in self.estimators.values()) else []
        return ", ".join(dict.fromkeys([*(one.name for one in self.elsewhere), *names]))


def estimators(paths: Mapping[str, Path], endpoint: Path | None = None) -> Opened:
    """Open estimators to evaluate events.

    Args:
        paths: The file of each ratio.
        endpoint: `endpoint.json` of a server that has, or had, a repository beside it: estimators are added to that, evaluated
            there, and from the same graph here where the server is lost.
    """
    found = {name: files.read(path) for name, path in paths.items()}
    if endpoint is None:
        return Opened(found)
    groups: dict[tuple[str, ...], dict[str, Estimator]] = {}
    for name, one in found.items():
        groups.setdefault(one.features, {})[name] = one
    evaluators = []
    for group in groups.values():
        content = digest_of("".join(f"{name} {digest(paths[name])}\n" for name in group).encode())
        try:
            evaluator = _served(endpoint, f"ratios-{content}", group)
        except TaskError as error:  # networks that ONNX cannot hold
            warnings.warn(f"{error}; they are evaluated by torch, without the server", stacklevel=2)
            continue
        evaluators.append(evaluator)
        found |= {n: replace(one, elsewhere=partial(evaluator.parts, name=n)) for n, one in group.items()}
    return Opened(found, tuple(evaluators))


def _served(endpoint: Path, name: str, group: Mapping[str, Estimator]) -> ModelEvaluator:
    """Have a server evaluate estimators that take the same features, as one model."""
    how = model_export.Processes(endpoints.gpus(endpoint))
    version = model_export.publish(endpoint.parent / endpoints.MODELS, name, group, {}, "", how)
    try:
        return ModelEvaluator(ServedRunner(endpoint, name, load=True), name)
    except (InputError, LostError) as error:
        say_lost(endpoint, "", error)
        return ModelEvaluator(GraphRunner(version), name)


def served(endpoint: Path, model: str, version: str = "", cache: Path | None = None) -> ModelEvaluator:
    """Open a model of a server that runs; where that is lost, its graph is evaluated here.

    Args:
        endpoint: `endpoint.json`, from `needle serve`.
        model: Its name.
        version: Its number; empty for the latest.
        cache: A folder in which what has been evaluated is kept by content.

    Raises:
        InputError: There is no such server, model or version.
        LostError: The server does not answer.
    """
    return ModelEvaluator(ServedRunner(endpoint, model, version), model, RatioCache(cache) if cache else None)


def column(path: Path) -> RatioEvaluator:
    """Open the file of one ratio, unless this process has just evaluated it."""
    return _column(path, tuple(stamps.of(path.stat())))


@lru_cache(maxsize=4)
def _column(path: Path, _state: object) -> RatioEvaluator:
    one = files.read(path)
    return TorchEvaluator({one.ratio: one})
