"""The study as Optuna keeps it, in SQLite: written from needle's own records, so that `optuna-dashboard` and everything else of Optuna's opens it."""

from __future__ import annotations

import contextlib
import json
import math
import sqlite3
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.distributions import distribution_to_json
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from needle_parsl import files
from needle_parsl.analysis import catalogue
from needle_parsl.nsbi.search import sampling
from needle_parsl.nsbi.search.design import Design
from needle_parsl.nsbi.search.trials import Trial

NAME = "needle"


def write(path: Path, design: Design, trials: Sequence[Trial], *, whole: bool = False) -> None:
    """Write the trials that have ended as a study; nothing reads it here, so that what happens to it changes no search.

    Args:
        path: The file, which is replaced.
        design: What is searched.
        trials: All so far.
        whole: Whether the search has ended.
    """
    ended = [trial for trial in trials if trial.state != "running"]
    if not ended or (not whole and len(ended) > MOST):
        return
    with warnings.catch_warnings(), files.atomic(path) as temporary, contextlib.suppress(*UNABLE):
        warnings.simplefilter("ignore")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        _filled(temporary, design, [_known(design, trial) for trial in ended])


UNABLE = (KeyError, ValueError, SQLAlchemyError, optuna.exceptions.OptunaError)
"""What a study may be refused with, such as values that JSON does not have."""
MOST = 200
"""Trials up to which a study is written while the search goes on."""
SCHEMA = 12
"""Of the tables that are filled here: Optuna's own call makes a transaction of each trial, which takes ten milliseconds."""


class _Hasty(sqlite3.Connection):
    """Waits for no disk: the file is a temporary one until all is in it."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.execute("PRAGMA synchronous = OFF")


def _filled(path: Path, design: Design, trials: Sequence[FrozenTrial]) -> None:
    """Make a study of trials."""
    storage = RDBStorage(f"sqlite:///{path}", engine_kwargs={"connect_args": {"factory": _Hasty}})
    try:
        study = optuna.create_study(storage=storage, study_name=NAME, directions=_directions(design))
        with storage.engine.begin() as connection:
            known = connection.exec_driver_sql("SELECT schema_version FROM version_info").scalar()
            if known == SCHEMA:
                _insert(connection, _rows(study._study_id, design, trials))  # noqa: SLF001  what rows of trials name it by
        if known != SCHEMA:
            study.set_metric_names(list(design.metrics))
            study.add_trials(trials)
    finally:
        storage.engine.dispose()


def _insert(connection: Connection, tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Fill Optuna's tables, in one transaction."""
    for name, rows in tables.items():
        if rows:
            columns: list[Any] = [sqlalchemy.column(one) for one in rows[0]]
            connection.execute(sqlalchemy.insert(sqlalchemy.table(name, *columns)), rows)


def _rows(study: int, design: Design, trials: Sequence[FrozenTrial]) -> dict[str, list[dict[str, Any]]]:
    """Give the rows of each table; trials are numbered from 0, and their ids from 1."""
    metrics = {"study_id": study, "key": "study:metric_names", "value_json": json.dumps(list(design.metrics))}
    found: dict[str, list[dict[str, Any]]] = {
        "study_system_attributes": [metrics], "trials": [], "trial_params": [], "trial_values": [], "trial_user_attributes": [],
        "trial_intermediate_values": [],
    }  # fmt: skip
    texts: dict[str, str] = {}
    for number, one in enumerate(trials):
        own = {"trial_id": number + 1}
        begun, ended = (time and time.isoformat(" ") for time in (one.datetime_start, one.datetime_complete))
        found["trials"].append(
            {
                **own,
                "number": number,
                "study_id": study,
                "state": one.state.name,
                "datetime_start": begun,
                "datetime_complete": ended,
            }
        )
        for name, axis in one.distributions.items():
            text = texts.setdefault(name, distribution_to_json(axis))
            value = axis.to_internal_repr(one.params[name])
            found["trial_params"].append({**own, "param_name": name, "param_value": value, "distribution_json": text})
        for place, value in enumerate(one.values or ()):
            number_, kind = _stored(value)
            found["trial_values"].append({**own, "objective": place, "value": number_, "value_type": kind})
        for name, said in one.user_attrs.items():
            found["trial_user_attributes"].append({**own, "key": name, "value_json": json.dumps(said)})
        for step, value in one.intermediate_values.items():
            number_, kind = _stored(value)
            found["trial_intermediate_values"].append(
                {**own, "step": step, "intermediate_value": number_, "intermediate_value_type": kind}
            )
    return found


def _stored(value: float) -> tuple[float | None, str]:
    """Give a number as Optuna keeps it: SQL knows none that is infinite."""
    if math.isfinite(value):
        return value, "FINITE"
    return None, "INF_POS" if value > 0 else "INF_NEG"


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
