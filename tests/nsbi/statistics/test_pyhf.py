"""Random models with all modifiers of binned regions, against pyhf: -ln L, best values and errors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from problems.histfactory import LUMI, BothModels, random_models

from needle_parsl.nsbi.statistics.fits.fitting import minimise
from needle_parsl.nsbi.statistics.model.process_errors import ProcessErrors

STEPS = 8
"""Of Newton, which doubles the digits with each."""


@pytest.fixture
def pyhf() -> Iterator[Any]:
    import pyhf
    import torch

    default = torch.get_default_dtype()
    pyhf.set_backend("pytorch", precision="64b")
    yield pyhf
    pyhf.set_backend("numpy")
    torch.set_default_dtype(default)  # which pyhf changes, for all tests that come after


def placed(both: BothModels, names: list[str], theta: np.ndarray) -> np.ndarray:
    """Put our parameters, and the factors that we minimise over, where pyhf has them."""
    likelihood = both.ours
    values = {name: [float(value)] for name, value in zip(likelihood.rates.parameters, theta, strict=True)}
    values["lumi"] = [1 + LUMI * values["lumi"][0]]
    for number, (gamma, table) in enumerate(zip(likelihood.gammas(theta), likelihood.of_kind("bins"), strict=True)):
        if not isinstance(table.staterror, ProcessErrors):
            values[f"stat_{number}"] = gamma.tolist()
            continue
        values[f"stat_{number}"] = gamma[-1].tolist()
        for j, p in enumerate(likelihood.rates.processes):
            values[f"own_{p}_{number}"] = gamma[table.staterror.group[j]].tolist()
    return np.concatenate([values[name] for name in names])


def compared(pyhf: Any, seed: int) -> dict[str, float]:
    """Give the largest differences of one model."""
    import torch

    both = random_models(seed)
    theirs = pyhf.Model(both.spec, poi_name="mu")
    channels = dict(zip((f"channel{k}" for k in range(len(both.observed))), both.observed, strict=True))
    data = torch.tensor([*np.concatenate([channels[name] for name in theirs.config.channels]), *theirs.config.auxdata], dtype=torch.float64)  # fmt: skip
    likelihood, names = both.ours, theirs.config.par_order

    def nll(point: torch.Tensor) -> torch.Tensor:
        return -theirs.logpdf(point, data)[0]

    def at(theta: np.ndarray) -> tuple[float, torch.Tensor]:
        point = torch.tensor(placed(both, names, theta), dtype=torch.float64)
        return float(nll(point)), point

    start, rng = likelihood.rates.start, np.random.default_rng(seed)
    worst = 0.0
    for _ in range(3):
        theta = start + rng.normal(0, 0.7, len(start)) * np.r_[0.5, np.ones(len(start) - 1)]
        worst = max(worst, abs(at(theta)[0] - at(start)[0] - (likelihood(theta)[0] - likelihood(start)[0])))
    best = minimise(likelihood, likelihood.rates)
    theta = best.theta
    for _ in range(STEPS):
        theta = theta - np.linalg.solve(likelihood.hessian(theta), likelihood(theta)[1])
    point = at(best.theta)[1]
    for _ in range(STEPS):  # to their minimum, by their own derivatives
        hessian = torch.autograd.functional.hessian(nll, point)
        gradient = torch.autograd.functional.jacobian(nll, point)
        point = point - torch.linalg.solve(hessian, gradient)
    error = torch.sqrt(torch.diag(torch.linalg.inv(hessian)))
    place = [theirs.config.par_map[name]["slice"].start for name in likelihood.rates.parameters]
    scale = np.array([LUMI if name == "lumi" else 1.0 for name in likelihood.rates.parameters])
    shift = np.array([1.0 if name == "lumi" else 0.0 for name in likelihood.rates.parameters])
    values, errors = (point[place].numpy() - shift) / scale, error[place].numpy() / scale
    ours = np.sqrt(np.diag(np.linalg.inv(likelihood.hessian(theta))))
    return {
        "nll": worst,
        "value": float((np.abs(best.theta - values) / errors).max()),
        "left": best.nll - likelihood(theta)[0],
        "error": float(np.abs(ours / errors - 1).max()),
    }


@pytest.mark.filterwarnings("ignore:Creating a tensor from a list of numpy.ndarrays:UserWarning")
@pytest.mark.filterwarnings("ignore:jsonschema.RefResolver is deprecated:DeprecationWarning")
@pytest.mark.parametrize("seed", range(3))
def test_random_models_are_those_of_pyhf(pyhf: Any, seed: int) -> None:
    agrees(compared(pyhf, seed))


@pytest.mark.campaign
@pytest.mark.filterwarnings("ignore:Creating a tensor from a list of numpy.ndarrays:UserWarning")
@pytest.mark.filterwarnings("ignore:jsonschema.RefResolver is deprecated:DeprecationWarning")
@pytest.mark.parametrize("seed", range(100, 200))
def test_a_hundred_random_models_are_those_of_pyhf(pyhf: Any, seed: int) -> None:
    agrees(compared(pyhf, seed))


def agrees(found: dict[str, float]) -> None:
    assert found["nll"] < 1e-6
    assert found["value"] < 1e-5
    assert found["error"] < 1e-4
    assert abs(found["left"]) < 1e-9
