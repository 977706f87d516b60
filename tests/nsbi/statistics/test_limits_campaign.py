"""Upper limits by CLs, observed and expected, against those of pyhf on random binned models with every interpolation that both have.

Of pyhf's shape variations those of one sample add up, needle's multiply; so each sample has one at most here, where both are the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from needle_parsl.analysis import Model, Nuisance, Parameter
from needle_parsl.densities import Shape
from needle_parsl.nsbi.statistics.fits.fitting import minimise
from needle_parsl.nsbi.statistics.intervals import limits
from needle_parsl.nsbi.statistics.model.builder import Builder, Counts
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
from needle_parsl.nsbi.statistics.model.reweighting import asimov

pyhf = pytest.importorskip("pyhf")
pytestmark = pytest.mark.filterwarnings("ignore:jsonschema.RefResolver is deprecated:DeprecationWarning")
NORMS, HISTOGRAMS = ("code1", "code4"), ("code0", "code4p")
"""pyhf's codes of variations of the yield, and of the shape."""
OURS = {"code0": "linear"}
"""Where needle's name is another one."""
LEVEL = 0.95
CLOSE = 1e-3
"""By which limits may differ, relative to themselves."""
STEP = 0.01
STARTS = 8
MU = (0.0, 60.0)


@dataclass(frozen=True)
class Binned:
    """A random model with its data."""

    norm: str
    """Interpolation of yields."""
    histogram: str
    """Interpolation of shapes."""
    rates: dict[str, dict[str, tuple[float, float]]]
    """By nuisance and process: relative yields up and down."""
    lognormal: tuple[str, ...]
    """Nuisances whose constraint is log-normal; pyhf has the logarithm as its parameter."""
    shapes: dict[str, str]
    """By nuisance of the shape: its process."""
    channels: dict[str, dict[str, np.ndarray]]
    """By channel and process, or varied process."""
    errors: dict[str, dict[str, np.ndarray]]
    """Of the simulation; empty without."""
    observed: dict[str, np.ndarray]

    @property
    def processes(self) -> list[str]:
        return [name for name in next(iter(self.channels.values())) if "." not in name]

    def likelihood(self, *, observed: bool) -> Likelihood:
        nuisances = {
            name: Nuisance(
                interpolation=self.norm,
                rate=own,
                **({"constraint": "lognormal", "sigma": 0.3} if name in self.lognormal else {}),
            )
            for name, own in self.rates.items()
        } | {name: Nuisance(interpolation=OURS.get(self.histogram, self.histogram)) for name in self.shapes}
        processes = {p: "mu" if p == "s" else "1" for p in self.processes}
        shapes = [Shape(p, name, f"{p}.{name}.up", f"{p}.{name}.down", "") for name, p in self.shapes.items()]
        counts = [
            Counts(name, own, self.observed[name] if observed else None, self.errors.get(name, {}))
            for name, own in self.channels.items()
        ]
        return Builder.of(Model({"mu": Parameter(1.0, MU)}, processes, nuisances), shapes).counting(counts)

    def pyhf(self) -> Any:
        channels = [
            {"name": name, "samples": [self._sample(name, p) for p in self.processes]} for name in self.channels
        ]
        parameters = [{"name": "mu", "bounds": [list(MU)], "inits": [1.0]}]
        settings = {"normsys": {"interpcode": self.norm}, "histosys": {"interpcode": self.histogram}}
        return pyhf.Model({"channels": channels, "parameters": parameters}, poi_name="mu", modifier_settings=settings)

    def _sample(self, channel: str, process: str) -> dict[str, Any]:
        own = self.channels[channel]
        modifiers: list[dict[str, Any]] = [{"name": "mu", "type": "normfactor", "data": None}] if process == "s" else []
        for name, rates in self.rates.items():
            if process in rates:
                modifiers.append(
                    {"name": name, "type": "normsys", "data": dict(zip(("hi", "lo"), rates[process], strict=True))}
                )
        for name in (name for name, p in self.shapes.items() if p == process):
            data = {
                key: own[f"{process}.{name}.{side}"].tolist() for key, side in (("hi_data", "up"), ("lo_data", "down"))
            }
            modifiers.append({"name": name, "type": "histosys", "data": data})
        if self.errors:
            modifiers.append(
                {"name": f"stat_{channel}", "type": "staterror", "data": self.errors[channel][process].tolist()}
            )
        return {"name": process, "data": own[process].tolist(), "modifiers": modifiers}

    def data(self, theirs: Any) -> list[float]:
        return [*np.concatenate([self.observed[name] for name in theirs.config.channels]), *theirs.config.auxdata]


def drawn(seed: int) -> Binned:
    rng = np.random.default_rng(seed)
    processes = ["s", "b", "c"][: int(rng.integers(2, 4))]
    rates = {
        f"norm{k}": {
            p: (1 + rng.uniform(0.02, 0.3), 1 - rng.uniform(0.02, 0.25))
            for p in processes
            if rng.random() < 0.6 or p == "b"
        }
        for k in range(int(rng.integers(1, 4)))
    }
    shapes = {f"shape{k}": p for k, p in enumerate(p for p in processes if rng.random() < 0.6)}
    channels, errors, observed = {}, {}, {}
    for channel in range(int(rng.integers(1, 4))):
        bins = int(rng.integers(2, 6))
        own = {p: rng.uniform(3, 20, bins) if p == "s" else rng.uniform(10, 120, bins) for p in processes}
        varied = {}
        for name, p in shapes.items():
            tilt = np.linspace(-1, 1, bins) * rng.uniform(0.03, 0.2)
            for side, sign in (("up", 1), ("down", -1)):
                varied[f"{p}.{name}.{side}"] = own[p] * (1 + sign * tilt + rng.normal(0, 0.03, bins))
        channels[f"r{channel}"] = {**own, **varied}
        if seed % 2:
            errors[f"r{channel}"] = {p: own[p] * rng.uniform(0.02, 0.15, bins) for p in processes}
        strength = rng.choice([0.0, 0.3, 1.0])
        observed[f"r{channel}"] = rng.poisson(sum(y * (strength if p == "s" else 1.0) for p, y in own.items())).astype(
            float
        )
    lognormal = tuple(name for name in rates if rng.random() < 0.3)
    return Binned(NORMS[seed // 2 % 2], HISTOGRAMS[seed // 4 % 2], rates, lognormal, shapes, channels, errors, observed)


def both(made: Binned) -> tuple[limits.Test, limits.Test]:
    """Make the tests of the data and of Asimov data without a signal, as the task of `fit.limit` does."""
    learned = made.likelihood(observed=True)
    held = minimise(learned, learned.rates, fixed={"mu": 0.0}, errors=False)
    without = asimov(made.likelihood(observed=False), held.theta, np.empty(0, np.int64), learned.gammas(held.theta))
    return limits.Test.of(learned, "mu"), limits.Test.of(without, "mu")


def log_cls(root: float, expected: float) -> np.ndarray:
    """ln CLs where sqrt(q) of the data and of Asimov data without a signal are such: observed, and expected from the lowest limit."""
    bands = np.array(limits.BANDS, dtype=np.float64)
    return np.r_[np.log(limits.cls(root**2, expected**2)), norm.logcdf(bands - expected) - norm.logcdf(bands)]


def differences(made: Binned) -> np.ndarray:
    """Give the relative differences of the limits; where pyhf's minimiser, which starts once, finds others, with one that starts again."""
    kinked = made.norm == "code1" or made.histogram == "code0"
    found = CLOSE if kinked else compared(made, pyhf.optimize.scipy_optimizer)
    return compared(made, RepeatedToys) if np.abs(found).max() >= CLOSE else np.asarray(found)


def compared(made: Binned, minimiser: Any) -> np.ndarray:
    """Give the relative differences of the observed limit and of the expected ones, from the lowest.

    At needle's limits pyhf's CLs should be 1 - LEVEL. What it is instead is turned into a difference of limits by the slope of
    ln CLs, for which sqrt(q) is a straight line in mu, as it nearly is.
    """
    pyhf.set_backend("numpy", minimiser(tolerance=1e-9))
    seen, without = both(made)
    found = limits.limits(seen, without, 0.0, LEVEL, blind=False)
    ends, model = [found.observed, *found.expected.values()], made.pyhf()
    data, differences, best = made.data(model), [], seen.best.value("mu")
    for place, mu in enumerate(ends):
        observed, expected = pyhf.infer.hypotest(mu, data, model, return_expected_set=True, test_stat="qtilde")
        theirs = np.log([float(observed), *map(float, expected)][place] / (1 - LEVEL))
        roots = np.sqrt([seen.q(mu, 0.0) if place == 0 else 1.0, without.t(mu)])
        further = roots * (1 + STEP * mu / (mu - np.array([best, 0.0])))
        differences.append(theirs * STEP / (log_cls(*further) - log_cls(*roots))[place])
    return np.array(differences)


class RepeatedToys(pyhf.optimize.scipy_optimizer):
    """pyhf's minimiser from several starts: with kinks (code0, code1) mostly, with others at times, -ln L has several minima."""

    def _internal_minimize(self, func: Any, x0: list[float], bounds: Any = None, **more: Any) -> Any:
        own, rng = np.array([tuple(pair) == (-5, 5) for pair in bounds]), np.random.default_rng(1)
        starts = [np.array(x0), *(np.array(x0) + own * rng.choice([-0.7, 0.7], len(own)) for _ in range(STARTS - 1))]
        ends = [
            super(RepeatedToys, self)._internal_minimize(func, list(start), bounds=bounds, **more) for start in starts
        ]
        return min(ends, key=lambda end: float(end.fun))


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    yield
    pyhf.set_backend("numpy")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 7])
def test_limits_are_those_of_pyhf(seed: int) -> None:
    assert np.abs(differences(drawn(seed))).max() < CLOSE


@pytest.mark.campaign
def test_limits_of_fifty_models_are_those_of_pyhf() -> None:
    found = np.array([differences(drawn(seed)) for seed in range(50)])
    names = ["observed", *(f"expected {n:+d} sigma" for n in limits.BANDS)]
    print()
    for name, column in zip(names, found.T, strict=True):
        print(
            f"{name}: largest relative difference {np.abs(column).max():.1e} (model {np.abs(column).argmax()}), median {np.median(np.abs(column)):.1e}"
        )
    assert np.abs(found).max() < CLOSE
