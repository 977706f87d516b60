"""Files for torch users without needle: an exported program (.pt2), and plain weights (safetensors)."""

from __future__ import annotations

import io
import json
import math
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from torch import nn

from needle_parsl import __version__, refs
from needle_parsl.analysis import catalogue
from needle_parsl.errors import TaskError
from needle_parsl.nsbi.estimators.calibrations import CalibrationMap
from needle_parsl.nsbi.estimators.estimator import Estimator
from needle_parsl.nsbi.estimators.exporting.transformed import Transformed
from needle_parsl.nsbi.transforms.transform import trial

TOLERANCE = 1e-5
"""Largest difference of ln r from needle's own."""


class EnsembleModule(nn.Module):
    """All members of an estimator, with what stands before and behind them: features (N, F) to ln r (N,)."""

    def __init__(self, estimator: Estimator) -> None:
        super().__init__()
        members = [deepcopy(network) for _, network in estimator.filled()]
        self.members = nn.ModuleList(members).requires_grad_(requires_grad=False)
        self.transform = Transformed(estimator.transform)
        self.coefficients = nn.Buffer(torch.from_numpy(np.array(estimator.coefficients, np.float64)))
        reference = catalogue.combiner(estimator.combine).torch
        self.combine = catalogue.found(reference) if reference else None
        self.log_norm, self.slope = estimator.log_norm, estimator.slope
        self.calibrate = None if estimator.calibration is None else Calibrated(estimator.calibration)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Evaluate ln r."""
        made = self.transform(x)
        members = torch.stack([member(made) for member in self.members], dim=1).double()
        assert self.combine is not None
        combined = self.combine(members, self.coefficients)
        calibrated = combined if self.calibrate is None else self.calibrate(combined)
        log_ratio: torch.Tensor = self.slope * calibrated - self.log_norm
        return log_ratio


class Calibrated(nn.Module):
    """A calibration of ln r."""

    def __init__(self, calibration: CalibrationMap) -> None:
        super().__init__()
        self.straight = catalogue.CALIBRATIONS[calibration.kind].straight
        self.knots, self.values = (
            nn.Buffer(torch.from_numpy(np.array(v))) for v in (calibration.knots, calibration.values)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Calibrate ln r of shape (N,)."""
        if not self.straight:
            return self.values[torch.searchsorted(self.knots, x, right=True)]
        if len(self.values) == 1:
            return self.values.expand(len(x))
        low = (torch.searchsorted(self.knots, x) - 1).clamp(0, len(self.knots) - 2)
        part = ((x - self.knots[low]) / (self.knots[low + 1] - self.knots[low])).clamp(0, 1)
        return torch.lerp(self.values[low], self.values[low + 1], part)


def mean_ratio(members: torch.Tensor, coefficients: torch.Tensor) -> torch.Tensor:
    """Give ln of the mean ratio: log ratios (N, M) and coefficients (M,) to (N,)."""
    return torch.logsumexp(members + coefficients.log(), dim=1)


def mean_score(members: torch.Tensor, coefficients: torch.Tensor) -> torch.Tensor:
    """Give ln of the odds of the mean score; shapes as above."""
    above, below = torch.sigmoid(members) @ coefficients, torch.sigmoid(-members) @ coefficients
    return above.log() - below.log()


def mean_log(members: torch.Tensor, coefficients: torch.Tensor) -> torch.Tensor:
    """Give the mean of the logarithms; shapes as above."""
    return members @ coefficients


def median_ratio(members: torch.Tensor, coefficients: torch.Tensor) -> torch.Tensor:
    """Give ln of the median ratio; shapes as above."""
    ordered, count = torch.sort(members, dim=1).values, len(coefficients)
    return torch.logaddexp(ordered[:, (count - 1) // 2], ordered[:, count // 2]) - math.log(2)


def write_program(path: Path, estimator: Estimator) -> None:
    """Write `NAME.pt2`: `torch.export.load(path).module()(x)` gives ln r.

    Raises:
        TaskError: torch cannot export the network, or the program gives something else than needle.
    """
    module, x = EnsembleModule(estimator), _trial(estimator)
    if module.combine is None:
        how = refs.own_name(estimator.combine)
        raise TaskError(
            f"ratio {estimator.ratio}: its members are combined by {how}, code of yours that .pt2 cannot hold"
        )
    try:
        program = torch.export.export(module, (x,), dynamic_shapes=({0: torch.export.Dim("events", min=1)},))
        found = program.module()(x).numpy()
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise TaskError(f"ratio {estimator.ratio}: torch cannot export its networks: {lines[0]}") from error
    away = float(np.abs(found - estimator.log_ratio(x.numpy())).max())
    if not away <= TOLERANCE:
        raise TaskError(f"ratio {estimator.ratio}: the exported program differs by {away:.2g} in ln r")
    buffer = io.BytesIO()  # torch insists on names that end in .pt2
    torch.export.save(program, buffer, extra_files={"needle.json": json.dumps(_facts(estimator))})
    path.write_bytes(buffer.getvalue())


def _trial(estimator: Estimator) -> torch.Tensor:
    """Make events in the range of the features, some of them missing."""
    return torch.from_numpy(trial(estimator.transform, np.random.default_rng(0), 256))


def _facts(estimator: Estimator) -> dict[str, str]:
    return {
        "ratio": estimator.ratio,
        "features": json.dumps(estimator.features),
        "combine": estimator.combine,
        "calibration": estimator.calibration.kind if estimator.calibration else "none",
        "slope": repr(estimator.slope),
        "log_norm": repr(estimator.log_norm),
        "transform": estimator.transform.to_json(),
        "needle": __version__,
        "torch": torch.__version__,
    }


def write_weights(path: Path, estimator: Estimator) -> None:
    """Write `NAME.safetensors`: the weights of each member by their names in torch, transform and coefficients.

    What the buffers of the transform mean is in the metadata, too: `transform`, as JSON.
    """
    from safetensors.torch import save_file  # noqa: PLC0415  an extra

    module = EnsembleModule(estimator)
    save_file({name: value.contiguous() for name, value in module.state_dict().items()}, path, _facts(estimator))
