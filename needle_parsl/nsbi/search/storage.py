"""The study as Optuna keeps it, in SQLite: written from needle's own records, so that `optuna-dashboard` and everything else of Optuna's opens it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.study import StudyDirection

from needle_parsl import files
from needle_parsl.analysis import catalogue
from needle_parsl.nsbi.search import sampling
from needle_parsl.nsbi.search.design import Design
from needle_parsl.nsbi.search.trials import Trial

NAME = "needle"


def write(path: Path, design: Design, trials: Sequence[Trial]) -> None:
    """Write a study anew; nothing reads it here, so that what happens to it later changes no search.

    Args:
        path: The file.
        design: What is searched.
        trials: All so far; those that are still trained have no values yet.
    """
    with warnings.catch_warnings(), files.atomic(path) as temporary:
        warnings.simplefilter("ignore")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = RDBStorage(f"sqlite:///{temporary}")
        study = optuna.create_study(storage=storage, study_name=NAME, directions=_directions(design))
        study.set_metric_names(list(design.metrics))
        study.add_trials([_known(design, trial) for trial in trials])
        storage.engine.dispose()


def _directions(design: Design) -> list[StudyDirection]:
    return [
        StudyDirection.MAXIMIZE if catalogue.SEARCH_METRICS[name].larger else StudyDirection.MINIMIZE
        for name in design.metrics
    ]


def _known(design: Design, trial: Trial) -> Any:
    """Give a trial with the means of its metrics, not with what is minimised of them."""
    found = sampling.known(dict(design.space), trial, (design.metrics, design.risk))
    if found.values:
        found.values = [trial.rungs[-1].metrics[name].value for name in design.metrics]
    return found
