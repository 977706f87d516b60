"""The study as Optuna keeps it, in SQLite: written from needle's own records, so that `optuna-dashboard` and everything else of Optuna's opens it."""

from __future__ import annotations

import math
import shutil
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import optuna
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from needle_parsl import files
from needle_parsl.analysis import catalogue
from needle_parsl.nsbi.search import sampling
from needle_parsl.nsbi.search.design import Design
from needle_parsl.nsbi.search.trials import Trial

NAME = "needle"


def write(path: Path, design: Design, trials: Sequence[Trial], *, whole: bool = False) -> None:
    """Add the trials that have ended to a study; nothing reads it here, so that what happens to it changes no search.

    Args:
        path: The file; one that is not of these trials is made anew. What is in it already stays, since a trial takes ten milliseconds.
        design: What is searched.
        trials: All so far.
        whole: Whether the search has ended: then all are written anew, so that Optuna numbers them as needle does.
    """
    with warnings.catch_warnings(), files.atomic(path) as temporary:
        warnings.simplefilter("ignore")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        ended = {trial.number: trial for trial in trials if trial.state != "running"}
        if whole or not (path.exists() and _filled(Path(shutil.copy(path, temporary)), design, ended)):
            temporary.unlink(missing_ok=True)
            _filled(temporary, design, ended)


def _filled(path: Path, design: Design, trials: Mapping[int, Trial]) -> bool:
    """Add what is not there; whether all that was there is of these trials."""
    storage = None
    try:
        storage = RDBStorage(f"sqlite:///{path}")
        study = optuna.create_study(
            storage=storage, study_name=NAME, directions=_directions(design), load_if_exists=True
        )
        there = {one.user_attrs["trial"]: one for one in study.get_trials(deepcopy=False)}
        new = {number: _known(design, trial) for number, trial in trials.items()}
        if any(number not in new or not _same(one, new[number]) for number, one in there.items()):
            return False
        study.set_metric_names(list(design.metrics))
        study.add_trials([one for number, one in new.items() if number not in there])
    except (KeyError, ValueError, SQLAlchemyError, optuna.exceptions.OptunaError):
        return False  # somebody's own file, or one of another version
    else:
        return True
    finally:
        if storage is not None:
            storage.engine.dispose()


def _same(one: FrozenTrial, other: FrozenTrial) -> bool:
    return (one.params, one.state) == (other.params, other.state) and one.user_attrs == other.user_attrs


def _directions(design: Design) -> list[StudyDirection]:
    return [
        StudyDirection.MAXIMIZE if catalogue.SEARCH_METRICS[name].larger else StudyDirection.MINIMIZE
        for name in design.metrics
    ]


def _known(design: Design, trial: Trial) -> FrozenTrial:
    """Give a trial with the means of its metrics, not with what is minimised of them."""
    found: FrozenTrial = sampling.known(dict(design.space), trial, (design.metrics, design.risk))
    found.set_user_attr("trial", trial.number)
    if found.values:
        found.values = [math.inf if value is None else value for value in _values(design, trial)]
        if trial.state == "ended" and len(design.metrics) == 1:
            found.state = TrialState.PRUNED
    return found


def _values(design: Design, trial: Trial) -> list[float | None]:
    return [trial.rungs[-1].metrics[name].value for name in design.metrics]
