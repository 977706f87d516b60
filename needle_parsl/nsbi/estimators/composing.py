"""From trained members to an estimator: coefficients or fitted weights, calibration, renormalisation."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from needle_parsl.analysis import catalogue
from needle_parsl.errors import TaskError
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.estimators import wifi
from needle_parsl.nsbi.estimators.calibrations import CalibrationMap
from needle_parsl.nsbi.estimators.ensembles import equal, inverse_loss
from needle_parsl.nsbi.estimators.estimator import CHUNK, Crossed, Estimator, Floats, chunks, normalisation
from needle_parsl.nsbi.training import packs
from needle_parsl.nsbi.training.packs import Pack, Trained


@dataclass(frozen=True)
class How:
    """How members are combined; the words of `[ensemble]`."""

    combine: str
    """A name in `catalogue.COMBINERS`, or a reference `module:attr`."""
    quorum: float
    """Fraction of the members that must have trained."""
    calibration: str = catalogue.NO_CALIBRATION
    """`none`, or a name in `catalogue.CALIBRATIONS`; not with wifi."""
    normalise: str = "reference"
    """`reference`: r <- r / E_ref[r]; `none` leaves r to a normalisation at the expected yields, see `yields`."""
    crossed: tuple[int, int] | None = None
    """Folds, and the salt of their hash, where every event trained some members."""


def compose(ratio: str, pack: Pack, samples: tuple[Events, Events], how: How) -> Estimator:
    """Combine the members of a ratio, on events that trained nothing.

    All but wifi are calibrated, if that is wanted, and normalised. The fitted weights of wifi have a covariance, which that would break, and
    are a calibration themselves. Where they cannot be had, the fallback that the catalogue names is in their place, and the estimator says why.

    Args:
        ratio: Its name.
        pack: All members.
        samples: Numerator and denominator from the `combine` part; an id that is in both is one event.
        how: The method.

    Raises:
        TaskError: Too few members have trained; the message counts the reasons. Or the weights cannot be found.
    """
    _judge(ratio, samples)
    raw = combined(ratio, pack, samples[1].names, how)
    combiner = catalogue.combiner(how.combine)
    if combiner.fitted:
        found = _fitted(raw, samples)
        if isinstance(found, Estimator):
            return found
        warnings.warn(f"ratio {ratio}: combined by {combiner.fallback} instead of {how.combine}: {found}", stacklevel=2)
        other = replace(how, combine=combiner.fallback, normalise="reference")
        return replace(compose(ratio, pack, samples, other), fallback=found)
    if how.calibration != catalogue.NO_CALIBRATION:
        raw = replace(raw, calibration=_calibrated(raw, samples, how.calibration))
    if how.normalise != "reference":
        return raw
    mean, _ = normalisation(raw, samples[1])
    if not (mean > 0 and np.isfinite(mean)):
        lost = int((~np.isfinite(raw.of(samples[1]))).sum())
        of = f", for ln r is no number for {lost} of {len(samples[1])} events" if lost else ""
        raise TaskError(f"ratio {ratio}: its mean over the reference is {mean:g}{of}; it cannot be renormalised")
    return replace(raw, log_norm=float(np.log(mean)))


def combined(ratio: str, pack: Pack, features: tuple[str, ...], how: How) -> Estimator:
    """Combine the members of a ratio without any events: neither calibrated nor normalised, and not by fitted weights.

    Args:
        ratio: Its name.
        pack: All members.
        features: What the networks see.
        how: The method.

    Raises:
        TaskError: Too few members have trained, or their losses are no weights.
    """
    trained = _trained(ratio, pack, how.quorum)
    shapes = tuple(m.shape or pack.shape for m in trained)
    longest = max(len(m.weights) for m in trained)
    weights = np.stack([np.pad(m.weights, (0, longest - len(m.weights)), constant_values=np.nan) for m in trained])
    crossed = Crossed(*how.crossed, np.array([m.fold for m in trained])) if how.crossed else None
    coefficients = _by_loss(ratio, trained) if catalogue.combiner(how.combine).by_loss else equal(len(trained))
    return Estimator(
        ratio=ratio, features=features, shape=shapes[0], transform=pack.transform, weights=weights, combine=how.combine, log_norm=0.0, coefficients=coefficients, crossed=crossed,
        shapes=shapes if len(set(shapes)) > 1 else (),
    )  # fmt: skip


def _calibrated(raw: Estimator, samples: tuple[Events, Events], method: str) -> CalibrationMap:
    log_ratio = np.concatenate([raw.of(events) for events in samples])
    label = np.arange(len(log_ratio)) < len(samples[0])
    try:
        weight = np.concatenate([events.weight for events in samples])
        found: CalibrationMap = catalogue.CALIBRATIONS[method].load()(log_ratio, label, weight)
    except TaskError as error:
        raise TaskError(f"ratio {raw.ratio}: {error}") from error
    return found


def _trained(ratio: str, pack: Pack, quorum: float) -> list[Trained]:
    trained = [m for m in packs.settled(pack.members) if not m.reason]
    if len(trained) < quorum * len(pack.members):
        reasons = sorted({m.reason for m in pack.members if m.reason})
        raise TaskError(
            f"ratio {ratio}: {len(trained)} of {len(pack.members)} members have trained, the quorum is {quorum:g}; "
            f"the others: {'; '.join(reasons)}"
        )
    return trained


def _by_loss(ratio: str, trained: list[Trained]) -> Floats:
    try:
        return inverse_loss(np.array([m.history[m.best_epoch, 1] for m in trained]))
    except ValueError as error:
        raise TaskError(f"ratio {ratio}: {error}") from error


def _judge(ratio: str, samples: tuple[Events, Events]) -> None:
    """Refuse classes over which no mean can be taken."""
    for side, events in zip(("numerator", "denominator"), samples, strict=True):
        total = float(events.weight.sum())
        if not (total > 0 and np.isfinite(total)):
            raise TaskError(
                f"ratio {ratio}: the {len(events)} events of its {side} in the part 'combine' have weights that add up to "
                f"{total:g}; expected more than 0: use more events, or a larger split.combine"
            )


def _fitted(raw: Estimator, samples: tuple[Events, Events]) -> Estimator | str:
    """Fit weights, or say why there are none."""
    designs = [_design(raw, some.inputs) for some in samples]
    for side, design in zip(("numerator", "denominator"), designs, strict=True):
        lost = int((~np.isfinite(design).all(axis=0)).sum())
        if lost:
            raise TaskError(
                f"ratio {raw.ratio}: ln r of a member is no finite number for {lost} of {design.shape[1]} events of the "
                f"{side} in the part 'combine'; look for features with values far from all others"
            )
    try:
        found = wifi.fit(*(wifi.ClassEvents(d, some.weight, some.id) for d, some in zip(designs, samples, strict=True)))
    except wifi.NoWeightsError as error:
        return str(error)
    return replace(raw, coefficients=found.values[1:], log_norm=-float(found.values[0]), fitted=found)


def _design(raw: Estimator, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Evaluate all members on all events; networks give float32, so that nothing is lost."""
    design = np.empty((len(raw.weights), len(x)), np.float32)
    for start, chunk in zip(range(0, len(x), CHUNK), chunks(x), strict=True):
        design[:, start : start + CHUNK] = raw.members(chunk)
    return design
