"""The study as Optuna keeps it, in SQLite: written from needle's own records, so that `optuna-dashboard` and everything else of Optuna's opens it."""

from __future__ import annotations

import hashlib
import math
import shutil
import sqlite3
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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

    Optuna takes ten milliseconds for a trial. What is in the file already stays, therefore, and a large search is written at its end.

    Args:
        path: The file; one that is not of these trials is made anew.
        design: What is searched.
        trials: All so far.
        whole: Whether the search has ended: then all are written anew, with their last errors, and numbered as needle does.
    """
    ended = [trial for trial in trials if trial.state != "running"]
    if not whole and len(ended) > MOST:
        return
    with warnings.catch_warnings(), files.atomic(path) as temporary:
        warnings.simplefilter("ignore")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        if whole or not (path.exists() and _filled(Path(shutil.copy(path, temporary)), design, ended)):
            temporary.unlink(missing_ok=True)
            _filled(temporary, design, ended)


MOST = 200
"""Trials up to which a study is written while the search goes on."""


class _Hasty(sqlite3.Connection):
    """Waits for no disk: the file is a temporary one until all is in it."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.execute("PRAGMA synchronous = OFF")


def _filled(path: Path, design: Design, trials: Sequence[Trial]) -> bool:
    """Add what is not there; whether all that was there is of these trials."""
    storage = None
    try:
        storage = RDBStorage(f"sqlite:///{path}", engine_kwargs={"connect_args": {"factory": _Hasty}})
        study = optuna.create_study(
            storage=storage, study_name=NAME, directions=_directions(design), load_if_exists=True
        )
        there = study.user_attrs.get("trials", [])
        known = [trial for trial in trials if trial.number in there]
        if study.user_attrs.get("settings", _settings([])) != _settings(known) or len(known) != len(there):
            return False
        study.set_metric_names(list(design.metrics))
        study.add_trials([_known(design, trial) for trial in trials if trial.number not in there])
        study.set_user_attr("trials", [trial.number for trial in trials])
        study.set_user_attr("settings", _settings(trials))
    except (KeyError, ValueError, SQLAlchemyError, optuna.exceptions.OptunaError):
        return False  # somebody's own file, or one of another version
    else:
        return True
    finally:
        if storage is not None:
            storage.engine.dispose()


def _settings(trials: Sequence[Trial]) -> str:
    """Fingerprint the settings of trials."""
    own = sorted((trial.number, trial.state, sorted(trial.settings.items())) for trial in trials)
    return hashlib.sha256(repr(own).encode()).hexdigest()


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
