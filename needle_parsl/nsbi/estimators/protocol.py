"""The seam between whoever wants log ratios and whatever evaluates the networks: torch, ONNX Runtime, or a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from needle_parsl.errors import InputError, closest
from needle_parsl.nsbi.transforms.transform import Transform

Floats = npt.NDArray[np.float64]
Features = npt.NDArray[np.float32]


class Ratio(NamedTuple):
    """A ratio at N events."""

    log_ratio: Floats
    """ln r, shape (N,)."""
    error: Floats
    """Its sigma, shape (N,); NaN where there is none, as with one member."""


class RatioEvaluator(Protocol):
    """Gives the ratios of events, whoever computes them; what needs the weights themselves asks an `Estimator`."""

    features: tuple[str, ...]
    """What x holds, in this order."""
    ratios: tuple[str, ...]
    """Which it knows."""
    transforms: Mapping[str, Transform]
    """What features go through, by ratio, as far as this is known here."""
    name: str
    """Who evaluates: `torch`, `onnxruntime`, `triton 2.51.0`."""

    def evaluate(self, x: Features, names: Sequence[str]) -> dict[str, Ratio]:
        """Evaluate ratios with their errors, the members once for both.

        Args:
            x: Features, shape (N, F).
            names: Which ratios.
        """
        ...

    def members(self, x: Features, name: str) -> Floats:
        """Evaluate each member of a ratio: features (N, F) to log ratios (M, N), neither calibrated nor normalised."""
        ...

    def log_ratios(self, x: Features, names: Sequence[str]) -> dict[str, Floats]:
        """Evaluate ln r by ratio: features (N, F) to shape (N,)."""
        return {name: found.log_ratio for name, found in self.evaluate(x, names).items()}

    def errors(self, x: Features, names: Sequence[str]) -> dict[str, Floats]:
        """Estimate sigma of ln r by ratio: features (N, F) to shape (N,)."""
        return {name: found.error for name, found in self.evaluate(x, names).items()}


def insist_on_ratios(names: Sequence[str], known: Sequence[str], where: str) -> None:
    """Refuse ratios that an evaluator does not know.

    Raises:
        InputError: There is one.
    """
    for name in names:
        if name not in known:
            raise InputError(f'{where}: has no ratio "{name}"{closest(name, known)}')


def insist_on_features(x: Features, features: Sequence[str], where: str, names: Sequence[str] | None = None) -> None:
    """Refuse events of another width, or whose columns are said to be others or in another order.

    Args:
        x: Features, shape (N, F).
        features: What they should be.
        where: Which evaluator, for the message.
        names: What the columns are, if that is known.

    Raises:
        InputError: They are others.
    """
    wanted = ", ".join(features)
    if names is not None and tuple(names) != tuple(features):
        missing = [name for name in features if name not in names]
        what = f'lack "{missing[0]}"' if missing else f"are in the order {', '.join(names)}"
        raise InputError(f"{where}: the columns {what}; it takes {wanted}, in this order")
    if x.ndim != 2 or x.shape[1] != len(features):
        raise InputError(f"{where}: the events have shape {x.shape}; expected (N, {len(features)}): {wanted}")
