"""The one place where files of estimators are opened to evaluate log ratios."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from needle_parsl import stamps
from needle_parsl.nsbi.estimators import files
from needle_parsl.nsbi.estimators.estimator import Estimator
from needle_parsl.nsbi.estimators.evaluators import OnnxEvaluator, TorchEvaluator
from needle_parsl.nsbi.estimators.protocol import RatioEvaluator


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

    @property
    def evaluator(self) -> str:
        """Say who has evaluated so far: `torch`, or what was asked instead."""
        return "torch"


def estimators(paths: Mapping[str, Path]) -> Opened:
    """Open estimators to evaluate events."""
    return Opened({name: files.read(path) for name, path in paths.items()})


def column(path: Path) -> RatioEvaluator:
    """Open the file of one ratio, unless this process has just evaluated it."""
    return _column(path, tuple(stamps.of(path.stat())))


@lru_cache(maxsize=4)
def _column(path: Path, _state: object) -> RatioEvaluator:
    one = files.read(path)
    return TorchEvaluator({one.ratio: one})
