"""Is the ratio right? Numbers about one estimator, on events that neither trained nor combined it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.estimators import wifi
from needle_parsl.nsbi.estimators.checks.distances import distances
from needle_parsl.nsbi.estimators.checks.health import agreement, overtraining
from needle_parsl.nsbi.estimators.checks.sparse import Sparse
from needle_parsl.nsbi.estimators.checks.twosample import two_sample
from needle_parsl.nsbi.estimators.estimator import Estimator, normalisation
from needle_parsl.nsbi.estimators.results import (
    EffectiveEvents,
    HeldOutLoss,
    Mean,
    RatioDiagnostics,
    TrainingSummary,
    Truth,
    WifiWeights,
)
from needle_parsl.nsbi.training import packs
from needle_parsl.nsbi.training.closure import CalibrationCurve, calibration, closure
from needle_parsl.nsbi.training.packs import Pack

Floats = npt.NDArray[np.float64]
MOST = 20_000
"""Events on which the members are evaluated one by one, and training and test events compared."""


def diagnose(
    estimator: Estimator,
    samples: tuple[Events, Events],
    trained: tuple[Events, Events],
    exact: tuple[Floats, Floats] | None,
) -> RatioDiagnostics:
    """Measure an estimator; its training is added by `training`.

    Args:
        estimator: The ratio.
        samples: Test events of numerator and denominator.
        trained: Some training events of both.
        exact: The true ln r of the test events, where it is known.
    """
    numerator, denominator = samples
    mean, error = normalisation(estimator, denominator)
    learned = (estimator.of(numerator), estimator.of(denominator))
    members = estimator.members(denominator.inputs[:: 1 + len(denominator) // MOST])
    reweighted = denominator.weight * np.exp(learned[1])
    columns = _columns(numerator, denominator, learned)
    return RatioDiagnostics(
        ratio=estimator.ratio,
        members=len(estimator.weights),
        normalisation=Mean(mean, error),
        effective_events=EffectiveEvents(
            numerator.effective(), denominator.effective(), replace(denominator, weight=reweighted).effective()
        ),
        member_spread=float(np.sqrt((members.std(axis=0) ** 2).mean())),
        wifi=None if estimator.fitted is None else _weights(estimator.fitted),
        fallback=estimator.fallback or None,
        closure=closure(columns, numerator.weight, reweighted),
        distances=distances(columns, numerator.weight, reweighted),
        two_sample=two_sample(numerator, denominator, reweighted, estimator.transform),
        calibration=_calibration(learned, numerator, denominator),
        ensemble=agreement(members),
        support=Sparse.of(*learned, numerator.weight, denominator.weight).share,
        overtraining=overtraining(estimator, trained, (_some(numerator), _some(denominator))),
        exact=None if exact is None else _against(estimator, learned, exact, (numerator, denominator)),
    )


def _some(events: Events) -> Events:
    """Take some of the events, and of a mixture as large a part of each sample; they stand one behind the other."""
    return events.take(slice(None, None, 1 + len(events) // MOST))


def _weights(fitted: wifi.Weights) -> WifiWeights:
    return WifiWeights(
        weights=tuple(fitted.values.tolist()),
        dropped=tuple(fitted.dropped),
        condition=fitted.condition,
        design_condition=_finite(fitted.design_condition),
        ridge=fitted.ridge,
        freedom=_finite(fitted.freedom),
        held_out=HeldOutLoss(*map(_finite, fitted.held_out)),
    )


def training(pack: Pack) -> tuple[TrainingSummary, ...]:
    """List the training of each member: its curves by epoch, where it was best, and why it failed, if it did."""
    return tuple(
        TrainingSummary(
            member=m.member,
            fold=m.fold,
            best_epoch=m.best_epoch,
            training_loss=tuple(_finite(value) for value in m.history[:, 0]),
            validation_loss=tuple(_finite(value) for value in m.history[:, 1]),
            reason=m.reason or None,
            settings=m.settings or None,
        )
        for m in packs.settled(pack.members)
    )


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _columns(
    numerator: Events, denominator: Events, learned: tuple[Floats, Floats]
) -> dict[str, tuple[Floats, Floats]]:
    """Give what is histogrammed: every feature, and ln r."""
    features = {
        name: (numerator.x[:, place].astype(np.float64), denominator.x[:, place].astype(np.float64))
        for place, name in enumerate(numerator.names)
    }
    return {**features, "ln r": learned}


def _calibration(learned: tuple[Floats, Floats], numerator: Events, denominator: Events) -> CalibrationCurve:
    weights = [events.weight / events.weight.sum() for events in (numerator, denominator)]
    label = np.arange(len(numerator) + len(denominator)) < len(numerator)
    return calibration(expit(np.concatenate(learned)), label, np.concatenate(weights))


def _against(
    estimator: Estimator,
    learned: tuple[Floats, Floats],
    exact: tuple[Floats, Floats],
    samples: tuple[Events, Events],
) -> Truth:
    """Compare with the truth, both classes with equal weight."""
    total, bias, single = 0.0, 0.0, 0.0
    for ours, truth, events in zip(learned, exact, samples, strict=True):
        weight = np.abs(events.weight)
        total += float(np.average((ours - truth) ** 2, weights=weight)) / 2
        bias += float(np.average(ours - truth, weights=weight)) / 2
        some = slice(None, None, 1 + len(events) // MOST)
        errors = (estimator.members(events.inputs[some]) - truth[some]) ** 2
        single += float(np.average(errors.mean(axis=0), weights=weight[some])) / 2
    return Truth(total, bias, single)
