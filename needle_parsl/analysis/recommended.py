"""Defaults that depend on other keys, or on the number of simulated events; docs/learning.md has what was measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from needle_parsl.analysis import catalogue

if TYPE_CHECKING:
    from needle_parsl.analysis.tables import Analysis, Training

FOLDS, FOLDS_OF_FEW, FEW = 5, 10, 5_000
"""Folds of cross-fitting, and with fewer than so many events of a sample."""
LARGE = 50_000
"""Events of a class from which on networks are larger, and less regularised."""


@dataclass(frozen=True)
class Size:
    """What a training is to suit."""

    events: float
    """Mean number of training events of a class."""
    varied: bool = False
    """Whether it tells variations of a process apart, whose densities are nearly equal."""


def settle(analysis: Analysis) -> Analysis:
    """Fill in what depends on other keys. `split.cross` stays open where events are to be cross-fitted in the usual number of folds."""
    split, training, ensemble = analysis.split, analysis.training, analysis.ensemble
    if analysis.binned:  # nothing is learned, whatever is said of it
        split, training, ensemble = type(split)(), type(training)(), type(ensemble)()
        analysis = replace(analysis, split=split, training=training, ensemble=ensemble)
    crossed = split.cross != 0 if split.cross is not None else _crosses(analysis)
    every = crossed and _classifies(analysis)
    loss = training.loss or (catalogue.ALL_CLASSES if every else catalogue.TWO_CLASSES)
    fitted = catalogue.combiner(ensemble.combine).fitted
    trained = replace(
        training,
        loss=loss,
        members=training.members or (2 if crossed else 10),
        bootstrap=fitted if training.bootstrap is None else training.bootstrap,
    )
    normalise = ensemble.normalise or (
        "none" if fitted else "reference" if analysis.features.parameters or analysis.unfitted else "yields"
    )
    parameters = {
        name: replace(own, grid=own.knots()) if name in analysis.simulated else own
        for name, own in analysis.model.parameters.items()
    }
    return replace(
        analysis,
        model=replace(analysis.model, parameters=parameters),
        split=split if crossed else replace(split, cross=0),
        training=trained,
        ensemble=replace(ensemble, normalise=normalise),
    )


def _crosses(analysis: Analysis) -> bool:
    """Whether events are cross-fitted where nothing is said of it."""
    other = analysis.split.divides() or analysis.training.folds is not None or bool(analysis.features.parameters)
    return not other and not catalogue.combiner(analysis.ensemble.combine).fitted


def _classifies(analysis: Analysis) -> bool:
    """Whether one network can learn several ratios."""
    training = analysis.training
    able = all(_classifier(table) and not table.label_smoothing for _, table in training.each())
    return able and not training.metrics


def _classifier(training: Training) -> bool:
    return catalogue.network(training.architecture()[0]).classifier


def folds(events: float) -> int:
    """Give the folds of cross-fitting for so many events of a sample."""
    return FOLDS if events >= FEW else FOLDS_OF_FEW


@dataclass(frozen=True, kw_only=True)
class Complete:
    """The size of networks, and how they are trained; `[training]` has the meaning of each."""

    layers: int
    nodes: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    dropout: float


def complete(training: Training, size: Size) -> Complete:
    """Fill in what `[training]` leaves open."""
    few = size.events < LARGE
    usual = Complete(
        layers=2 if few else 3,
        nodes=64,
        batch_size=1024 if size.varied else 512,
        learning_rate=3e-3,
        weight_decay=0.1 if few or size.varied else 0.01,
        dropout=0.1 if (few or size.varied) and _classifier(training) else 0.0,
    )
    given = {name: getattr(training, name) for name in asdict(usual)}
    return replace(usual, **{name: value for name, value in given.items() if value is not None})


GROWTH = 0.4
"""Power of the events with which the steps of a training grow."""


def steps(size: Size) -> int:
    """Give the steps of a training of the usual length."""
    return round((13 if size.varied else 30) * math.pow(max(size.events, 1.0), GROWTH))


LENGTHS = (0.5, 1.0, 2.0)
"""Of the usual length, after which a training may end."""
EPOCHS = 50
"""Where nobody says how many events there are."""


def suited(
    training: Training, counts: Sequence[int], *, varied: bool = False, part: float = 1.0, crossed: bool = False
) -> tuple[Training, tuple[int, ...]]:
    """Complete `[training]` for so many events.

    Args:
        training: As the user wrote it.
        counts: Events of each class.
        varied: Whether the classes are variations of a process.
        part: What part of the events trains.
        crossed: Whether the others validate, so that nothing else decides when a training ends.

    Returns:
        The table with all that it leaves open, and the epochs after which a training may end; none where it ends as the table says.
    """
    size = Size(sum(counts) / max(len(counts), 1), varied)
    vanishing = catalogue.SCHEDULES[training.schedule].vanishing
    chooses = _classifier(training) and vanishing and not training.patience
    own = complete(training, size)
    found = replace(training, **asdict(own))
    if found.epochs is not None:
        return found, (found.epochs,) if chooses and crossed else ()
    batches = max(1, math.ceil(sum(counts) * part / own.batch_size))
    epochs = [max(1, round(steps(size) * factor / batches)) for factor in LENGTHS]
    lengths = tuple(dict.fromkeys(epochs)) if chooses else ()
    return replace(found, epochs=lengths[-1] if lengths else epochs[1]), lengths
