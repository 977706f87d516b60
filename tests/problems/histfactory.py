"""Random models of binned regions, as this library and as pyhf have them: normsys, histosys, lumi, staterror and shapesys, shared by channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from needle_parsl.analysis import Model, Nuisance, Parameter
from needle_parsl.densities import Shape
from needle_parsl.nsbi.statistics.model.builder import Builder, Counts
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood

LUMI = 0.02


@dataclass(frozen=True)
class BothModels:
    ours: Likelihood
    spec: dict[str, Any]
    """Of pyhf."""
    observed: list[list[float]]
    """By channel."""
    alone: list[tuple[str, ...]]
    """Processes with factors of their own, by channel."""


def random_models(seed: int) -> BothModels:
    rng = np.random.default_rng(seed)
    processes = ("s", *("a", "b", "c")[: rng.integers(1, 4)])
    rates = {
        f"norm{k}": {p: (float(1 + up), float(1 - rng.uniform(0.01, 0.15))) for p in processes if rng.random() < 0.6 or p == processes[-1]}
        for k, up in enumerate(rng.uniform(0.01, 0.2, rng.integers(1, 4)))
    }  # fmt: skip
    moved = processes[-1]
    channels, counts, observed, alone = [], [], [], []
    for number in range(rng.integers(1, 4)):
        bins = int(rng.integers(1, 5))
        nominal = {p: rng.uniform(3, 15, bins) if p == "s" else rng.uniform(10, 120, bins) for p in processes}
        varied = {side: nominal[moved] * (1 + sign * rng.uniform(0.02, 0.2, bins)) for side, sign in (("up", 1), ("down", -1))}  # fmt: skip
        errors = {p: own * rng.uniform(0.02, 0.3, bins) for p, own in nominal.items()}
        own = tuple(p for p in processes if rng.random() < 0.5)
        alone.append(own)
        samples = []
        for p in processes:
            kind, name = ("shapesys", f"own_{p}_{number}") if p in own else ("staterror", f"stat_{number}")
            modifiers = [{"name": name, "type": kind, "data": errors[p].tolist()}, {"name": "lumi", "type": "lumi", "data": None}]  # fmt: skip
            modifiers += [{"name": n, "type": "normsys", "data": dict(zip(("hi", "lo"), rate[p], strict=True))} for n, rate in rates.items() if p in rate]  # fmt: skip
            if p == "s":
                modifiers.append({"name": "mu", "type": "normfactor", "data": None})
            if p == moved:
                modifiers.append({"name": "shape", "type": "histosys", "data": {"hi_data": varied["up"].tolist(), "lo_data": varied["down"].tolist()}})  # fmt: skip
            samples.append({"name": p, "data": nominal[p].tolist(), "modifiers": modifiers})
        channels.append({"name": f"channel{number}", "samples": samples})
        observed.append(rng.poisson(sum(nominal.values()) * rng.uniform(0.9, 1.1)).astype(float).tolist())
        expected = nominal | {f"{moved}.{side}": values for side, values in varied.items()}
        counts.append(Counts(f"channel{number}", expected, np.array(observed[-1]), errors, own))
    lumi = {"name": "lumi", "auxdata": [1.0], "sigmas": [LUMI], "bounds": [[0.5, 1.5]], "inits": [1.0]}
    spec = {"channels": channels, "parameters": [lumi]}
    nuisances = {name: Nuisance(rate=rate) for name, rate in rates.items()}
    nuisances["lumi"] = Nuisance(rate=dict.fromkeys(processes, (1 + LUMI, 1 - LUMI)), interpolation="linear")
    nuisances["shape"] = Nuisance(interpolation="code4p")
    model = Model({"mu": Parameter(1.0, (-20.0, 30.0))}, {p: "mu" if p == "s" else "1" for p in processes}, nuisances)
    shapes = [Shape(moved, "shape", f"{moved}.up", f"{moved}.down", "")]
    return BothModels(Builder.of(model, shapes).counting(counts), spec, observed, alone)
