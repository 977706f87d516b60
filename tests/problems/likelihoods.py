"""Small likelihoods: a model with everything, and a counting experiment."""

from __future__ import annotations

import numpy as np

from needle_parsl.analysis import Model, Nuisance, Parameter
from needle_parsl.densities import Shape
from needle_parsl.nsbi.statistics import dataset
from needle_parsl.nsbi.statistics.model.builder import Builder
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood

RNG = np.random.default_rng(7)


TABLE = Model(
    parameters={"mu": Parameter(1.0, (0.0, 5.0)), "k": Parameter(1.0, (0.2, 3.0), role="free")},
    processes={"s": "mu", "b": "k", "i": "0.3 * mu * k + 0.1"},
    nuisances={"jes": Nuisance(), "jer": Nuisance(), "lumi": Nuisance(rate={"s": (1.03, 0.97), "b": (1.02, 0.98)})},
)
SHAPES = (
    Shape("b", "jes", "b.jes.up", "b.jes.down", ""),
    Shape("s", "jes", "s.jes.up", "s.jes.down", ""),
    Shape("s", "jer", "s.jer.up", "", "mirror"),
)
YIELDS = {"s": 80.0, "b": 400.0, "i": 20.0, "b.jes.up": 420.0, "b.jes.down": 390.0, "s.jes.up": 84.0, "s.jes.down": 76.0, "s.jer.up": 81.0}  # fmt: skip


def simulated(n: int = 600) -> dataset.Dataset:
    names = [name for name in YIELDS if "." in name]
    ratios = {"s": RNG.normal(0, 0.5, n), "i": RNG.normal(0, 0.3, n)} | {name: RNG.normal(0, 0.1, n) for name in names}
    weight = RNG.uniform(0.5, 1.5, n)
    return dataset.Dataset(
        x=np.zeros((n, 1), np.float32),
        weight=weight,
        sample=np.arange(n) % 3,
        samples=("s", "b", "i"),
        ratios=ratios,
        yields=YIELDS,
    )


def build(data: dataset.Dataset | None = None) -> Likelihood:
    simulation = simulated()
    return Builder.of(TABLE, SHAPES).likelihood(data or simulation, simulation)


def counting(
    n: float, b: float = 50.0, s: float = 20.0, sigma: float = 0.0, bounds: tuple[float, float] = (0.0, 5.0)
) -> Likelihood:
    nuisances = {"bkg": Nuisance(rate={"b": (1 + sigma, 1 / (1 + sigma))})} if sigma else {}
    table = Model({"mu": Parameter(1.0, bounds)}, {"s": "mu", "b": "1"}, nuisances)
    events = dataset.Dataset(
        x=np.zeros((1, 1), np.float32),
        weight=np.array([float(n)]),
        sample=np.array([-1]),
        samples=(),
        ratios={"s": np.zeros(1)},
        yields={},
    )
    simulation = dataset.Dataset(x=np.zeros((2, 1), np.float32), weight=np.ones(2), sample=np.array([0, 1]), samples=("s", "b"), ratios={"s": np.zeros(2)},
                                 yields={"s": s, "b": b})  # fmt: skip
    return Builder.of(table, ()).likelihood(events, simulation)
