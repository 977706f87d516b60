"""What a search may decide by: numbers of each replica of a trial, on events that did not train it.

References:
    Closure and calibration as in `nsbi.training.metrics`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax

from needle_parsl.analysis import Model, catalogue
from needle_parsl.nsbi.statistics.analyses import fits
from needle_parsl.nsbi.statistics.dataset import Dataset, at
from needle_parsl.nsbi.statistics.model import Rates
from needle_parsl.nsbi.statistics.model.builder import Builder
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
from needle_parsl.nsbi.training import metrics
from needle_parsl.nsbi.training.metrics import Judged

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Replica:
    """One network of a trial with its validation events."""

    loss: float
    """Of the epoch whose weights are kept."""
    x: Floats
    """Transformed features, shape (N, F)."""
    label: npt.NDArray[np.int64]
    """1 for the numerator and 0 for the reference, or the number of a class, shape (N,)."""
    weight: Floats
    """Shape (N,)."""
    logit: Floats
    """ln r, shape (N,), or outputs of all classes, (N, C)."""
    fold: int = 0
    others: tuple[Floats, ...] = ()
    """What the replicas before it say of its events, in the same shape."""

    @property
    def finite(self) -> bool:
        """Whether it has trained."""
        return bool(np.isfinite(self.logit).all() and np.isfinite(self.loss))


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What a fit of the parameter of interest needs."""

    model: Model
    """Without nuisances and regions."""
    poi: str
    classes: tuple[str, ...]
    """Samples, as labels number them; the first is the reference."""
    yields: Mapping[str, float]
    """Expected events of each process."""
    networks: int
    """Of the ensemble that follows."""


def pairs(replica: Replica) -> list[Judged]:
    """Give a replica as ratios: its own, or each class over the first one."""
    if replica.logit.ndim == 1:
        return [Judged(replica.x, replica.label > 0, replica.weight, replica.logit)]
    found = []
    for number in range(1, replica.logit.shape[1]):
        own = (replica.label == 0) | (replica.label == number)
        ratio = replica.logit[own, number] - replica.logit[own, 0]
        weight, label = replica.weight[own].copy(), replica.label[own] == number
        for side in (label, ~label):
            weight[side] /= weight[side].sum()
        found.append(Judged(replica.x[own], label, weight, ratio))
    return found


def _each(
    what: Callable[[Judged], float], replicas: Sequence[Replica], join: Callable[[Sequence[float]], object] = np.mean
) -> list[float]:
    """Measure every ratio of every replica."""
    return [float(join([what(one) for one in pairs(replica)])) for replica in replicas]  # type: ignore[arg-type]


def val_loss(replicas: Sequence[Replica], _: Fitted | None) -> list[float]:
    """Give the loss on the validation events."""
    return [replica.loss for replica in replicas]


def closure_chi2(replicas: Sequence[Replica], _: Fitted | None) -> list[float]:
    """Average chi2 / ndf over features and ratios: the reference, reweighted with r, against the numerator."""
    return _each(metrics.closure_chi2, replicas)


def wasserstein(replicas: Sequence[Replica], _: Fitted | None) -> list[float]:
    """Average Wasserstein-1 distance over features and ratios, in standard deviations. NaN with negative weights."""
    return _each(metrics.wasserstein, replicas)


def ece(replicas: Sequence[Replica], _: Fitted | None) -> list[float]:
    """Give the expected calibration error of the score, the mean over ratios."""
    return _each(metrics.ece, replicas)


def mce(replicas: Sequence[Replica], _: Fitted | None) -> list[float]:
    """Give the largest calibration error of the score in a bin of any ratio."""
    return _each(metrics.mce, replicas, max)


def auc(replicas: Sequence[Replica], _: Fitted | None) -> list[float]:
    """Give the area under the ROC curve, with weights, the mean over ratios."""
    return _each(area, replicas)


def area(events: Judged) -> float:
    """Give the probability that an event of the numerator has the larger score, ties counted half."""
    rank = np.unique(events.log_ratio, return_inverse=True)[1]
    above, below = (
        np.bincount(rank[side], events.weight[side], rank.max() + 1) for side in (events.label, ~events.label)
    )
    return float((above * (np.cumsum(below) - below / 2)).sum() / (above.sum() * below.sum()))


def normalisation(replicas: Sequence[Replica], _: Fitted | None) -> list[float]:
    """Give the distance of the mean of r over the reference from 1, the mean over ratios."""
    return _each(_unnormalised, replicas)


def _unnormalised(events: Judged) -> float:
    weight = events.weight[~events.label]
    return abs(float(weight @ np.exp(np.clip(events.log_ratio[~events.label], -50, 50)) / weight.sum()) - 1)


def spread(replicas: Sequence[Replica], _: Fitted | None) -> list[float]:
    """Give the root mean square over events of the standard deviation of ln r between replicas, on the events of each."""
    found = []
    for replica in replicas:
        values = np.stack([ratios(one) for one in (replica.logit, *replica.others)])
        variance = values.var(axis=0, ddof=1).reshape(len(replica.label), -1).mean(axis=1)
        weight = np.abs(replica.weight)
        found.append(float(np.sqrt(weight @ variance / weight.sum())))
    return found


def ratios(logit: Floats) -> Floats:
    """Give ln r, shape (N,) or (N, C - 1)."""
    return logit if logit.ndim == 1 else logit[:, 1:] - logit[:, :1]


def expected_error(replicas: Sequence[Replica], fitted: Fitted | None) -> list[float]:
    """Give the error of the parameter of interest: that of the fit, and in quadrature what the scatter of replicas leaves in the ensemble."""
    assert fitted
    results = [_fit(replica, fitted) for replica in replicas]
    values, errors = np.array(results).T
    count = len(values)
    scatter = (values - values.mean()) ** 2 * count / max(count - 1, 1) / fitted.networks
    return [float(value) for value in np.sqrt(errors**2 + scatter)]


def expected_bias(replicas: Sequence[Replica], fitted: Fitted | None) -> list[float]:
    """Give the distance of the fit of expected events from the nominal value, before any normalisation, for the mean of all replicas."""
    assert fitted
    nominal = fitted.model.parameters[fitted.poi].nominal
    away = np.array([_fit(replica, fitted)[0] for replica in replicas]) - nominal
    return [float(value) for value in away * (np.sign(away.mean()) or 1.0)]


def _fit(replica: Replica, fitted: Fitted) -> tuple[float, float]:
    """Fit the expected events with the ratios of a replica; the parameter's value and error, NaN if there is no minimum.

    A network that knows little may put the minimum at a bound, where the fit has no error: it is that of the curvature at the nominal parameters then, and no
    less than the distance from them.
    """
    data = dataset(replica, fitted)
    rates = Rates.build(fitted.model)
    factors = dict(zip(rates.processes, rates.factors(rates.start)[0].tolist(), strict=True))
    likelihood = Builder.of(fitted.model, ()).likelihood(at(data, factors), data)
    result = fits.fit_dataset(likelihood, expected=True)
    own = result.parameters[fitted.poi]
    if not result.converged:
        return float("nan"), float("nan")
    if own.error is not None:
        return own.value, own.error
    return own.value, max(_curved(likelihood, rates, fitted.poi), abs(own.value - own.nominal))


def _curved(likelihood: Likelihood, rates: Rates, poi: str) -> float:
    """Give the error of a parameter by the curvature at the nominal parameters, NaN where that is no minimum in any direction."""
    hessian, place = likelihood.hessian(rates.start), rates.parameters.index(poi)
    if not np.isfinite(hessian).all() or np.linalg.eigvalsh(hessian)[0] <= 0:
        return float("nan")
    return float(np.sqrt(np.linalg.inv(hessian)[place, place]))


def dataset(replica: Replica, fitted: Fitted) -> Dataset:
    """Make expected events of validation events: those of the processes, each weighted to its yield."""
    processes = list(fitted.model.processes)
    places = {fitted.classes.index(name): name for name in processes}
    rows = np.concatenate([np.flatnonzero(replica.label == place) for place in places])
    label, ratio = replica.label[rows], log_softmax(replica.logit[rows], axis=1)
    weight = replica.weight[rows]
    for place, name in places.items():
        weight[label == place] *= fitted.yields[name] / weight[label == place].sum()
    ratios = {name: ratio[:, place] - ratio[:, 0] for place, name in places.items() if place}
    samples = {name: int((label == place).sum()) for place, name in places.items()}
    return Dataset.of(replica.x[rows], ratios, weight=weight, samples=samples, yields=dict(fitted.yields))


def measure(names: Sequence[str], replicas: Sequence[Replica], fitted: Fitted | None) -> dict[str, list[float]]:
    """Compute metrics by name, a number for each replica; NaN for all where a replica has not trained.

    Args:
        names: In `catalogue.SEARCH_METRICS`.
        replicas: Of one trial and one ratio, or of all classes.
        fitted: Where a metric fits the parameter of interest.
    """
    if not replicas or not all(replica.finite for replica in replicas):
        return {name: [float("nan")] * max(len(replicas), 1) for name in names}
    return {name: list(catalogue.SEARCH_METRICS[name].load()(replicas, fitted)) for name in names}
