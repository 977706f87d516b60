"""Ratios evaluated here: by torch from estimators themselves, or by ONNX Runtime from an exported file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from needle_parsl.errors import InputError
from needle_parsl.nsbi.estimators.protocol import Features, Floats, Ratio, RatioEvaluator, insist_on_ratios
from needle_parsl.nsbi.transforms.transform import Transform

if TYPE_CHECKING:
    from needle_parsl.nsbi.estimators.estimator import Estimator  # brings torch, which ONNX Runtime does without


class TorchEvaluator(RatioEvaluator):
    """Estimators as needle wrote them, member after member in torch."""

    name = "torch"

    def __init__(self, estimators: Mapping[str, Estimator]) -> None:
        self.estimators = estimators
        self.ratios = tuple(estimators)
        self.features = max((one.features for one in estimators.values()), key=len)
        self.transforms: Mapping[str, Transform] = {name: one.transform for name, one in estimators.items()}
        """Those of all: a ratio that does not depend on the parameters, which come last, looks at the first ones alone."""

    def evaluate(self, x: Features, names: Sequence[str]) -> dict[str, Ratio]:
        """Evaluate ratios with their errors; the members are evaluated once for both."""
        insist_on_ratios(names, self.ratios, "the estimators")
        return {name: self._one(self.estimators[name], x) for name in names}

    def _one(self, estimator: Estimator, x: Features) -> Ratio:
        pairs = [estimator.combined_with_error(part) for part in estimator.parts(x)]
        columns = (np.concatenate([np.empty(0), *column]) for column in zip(*pairs, strict=True))
        return Ratio(*columns) if pairs else Ratio(np.empty(0), np.empty(0))

    def members(self, x: Features, name: str) -> Floats:
        """Evaluate each member: features (N, F) to log ratios (M, N)."""
        insist_on_ratios((name,), self.ratios, "the estimators")
        own = self.estimators[name]
        return np.concatenate([np.empty((len(own.weights), 0)), *own.parts(x)], axis=1)


class OnnxEvaluator(RatioEvaluator):
    """An exported file, which has all of the ensemble but not its single members."""

    name = "onnxruntime"

    def __init__(self, path: Path) -> None:
        from needle_parsl.nsbi.estimators.exporting.runtime import Session  # noqa: PLC0415  with onnxruntime, an extra

        self.session = Session(path)
        self.features, self.ratios = self.session.features, self.session.ratios
        self.transforms = self.session.transforms

    def evaluate(self, x: Features, names: Sequence[str]) -> dict[str, Ratio]:
        """Evaluate ratios with their errors."""
        insist_on_ratios(names, self.ratios, self.session.path)
        found, none = self.session.evaluate(x), np.full(len(x), np.nan)
        return {name: Ratio(found[name]["log_ratio"], found[name].get("log_ratio_error", none)) for name in names}

    def members(self, x: Features, name: str) -> Floats:
        """Refuse: they are not in the file.

        Raises:
            InputError: Always.
        """
        del x
        raise InputError(
            f"{self.session.path}: has the ensemble of {name} and not its members; the run's estimator.h5 has them"
        )
