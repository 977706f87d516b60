"""`[search]`: which settings of the training are best, found by training them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from needle_parsl.analysis import catalogue, space
from needle_parsl.reading import among, within

TOP = re.compile(r"winner|top:([1-9]\d*)")
"""How an ensemble is made of what was found."""


@dataclass(frozen=True, kw_only=True)
class Scheduler:
    """`[search] scheduler`: which trials are trained on, and which end early."""

    name: str = "none"
    """`none` trains all trials to their end; `halving` lets the best part of each rung go on (arXiv:1502.07943); `hyperband` does so from several first
    lengths (arXiv:1603.06560). A rung is decided when all its trials are there, so that the result does not depend on the machine.
    Example: `"halving"`."""
    grace_period: int | None = field(default=None, metadata=within(1))
    """Epochs of the first rung; left out, a ninth of `max_epochs`, or with another `reduction_factor` its square. Unit: epochs. Example: `5`."""
    max_epochs: int | None = field(default=None, metadata=within(1))
    """Epochs of a whole training; left out, `training.epochs`. Unit: epochs. Example: `50`."""
    reduction_factor: int = field(default=3, metadata=within(2))
    """One trial of so many goes on to the next rung, which is so many times as long. Unit: trials."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """`[search]`: hyper-parameters; docs/search.md."""

    space: dict[str, str | dict[str, str]]
    """What varies: keys of `[training]`, `network.NAME` for an argument of a network of your own, or `ensemble.combine` and `ensemble.calibration`, each with a range: `uniform:`, `loguniform:`, `quniform:`,
    `randint:`, `lograndint:`, `qrandint:`, `choice:`, `grid:`. Example: `{ layers = "randint:2,6", learning_rate = "loguniform:1e-4,1e-2" }`."""
    trials: int = field(default=20, metadata=within(1))
    """Settings that are tried. Unit: trials."""
    replicas: int = field(default=3, metadata=within(1))
    """Networks of each trial and ratio: the first ones of the ensemble, member by member and fold by fold. Unit: networks."""
    metric: str | tuple[str, ...] = field(default="val_loss", metadata=among(catalogue.SEARCH_METRICS))
    """What decides, on events that did not train; several give a Pareto front (docs/search.md)."""
    risk: float = field(default=1.0, metadata=within(0.0))
    """The objective is the mean over replicas and so many times its standard error. Unit: standard errors."""
    sampler: str = field(default="tpe", metadata=among(catalogue.SAMPLERS))
    """How settings are chosen: by what was seen (`tpe`, `cmaes`), or not (`random`, `qmc`, `grid`: every combination). Of Optuna."""
    scheduler: Scheduler = field(default_factory=Scheduler)
    ratios: tuple[str, ...] = ()
    """Ratios that are trained in trials; left out, all nominal ones. Example: `["signal"]`."""
    per_ratio: bool = False
    """Whether each ratio has a search of its own; its variations are trained as it is."""
    ensemble: str = "winner"
    """Members are trained as the winner is, or in turn as each of the best: `"top:5"`."""
    pick: str = "balanced"
    """With several metrics, which point of the Pareto front is taken: that with the best value of a metric, or the one whose ranks in all of them add up to the
    least (`balanced`). Example: `"expected_error"`."""

    def combines(self) -> bool:
        """Whether keys of `[ensemble]` vary."""
        return any(name.startswith(space.ENSEMBLE) for name in space.flat(self.space))

    def metrics(self) -> tuple[str, ...]:
        """List the metrics."""
        return (self.metric,) if isinstance(self.metric, str) else self.metric

    def taken(self) -> int:
        """Give how many of the best settings the ensemble is made of."""
        found = TOP.fullmatch(self.ensemble)
        return int(found[1]) if found and found[1] else 1
