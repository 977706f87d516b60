"""Which settings are tried next: Optuna's samplers, asked with what is known and a seed, so that the same answers follow from the same records.

References:
    T. Akiba et al., arXiv:1907.10902; J. Bergstra et al., tree-structured Parzen estimators, NeurIPS 2011.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from needle_parsl import salts
from needle_parsl.analysis import catalogue
from needle_parsl.analysis.space import Axis, Value
from needle_parsl.nsbi.search.trials import Trial, objectives

Space = Mapping[str, Axis]
Settings = dict[str, Value]


def suggest(
    space: Space, sampler: str, seed: int, trials: Sequence[Trial], count: int, judged: tuple[Sequence[str], float]
) -> list[Settings]:
    """Choose the settings of the next trials.

    Args:
        space: What may vary.
        sampler: A name in `catalogue.SAMPLERS`.
        seed: Of the search.
        trials: All before, in their order.
        count: How many are wanted.
        judged: The metrics, and the weight of their errors.

    Returns:
        As many as asked for, or fewer where a grid has no more.
    """
    if sampler == "grid":
        return list(itertools.islice(grid(space), len(trials), len(trials) + count))
    kind = catalogue.SAMPLERS[sampler]
    with _quietly():
        if sampler == "tpe":
            study = _study(_sampler(sampler, salts.key(seed, len(trials))), len(judged[0]))
            study.add_trials([known(space, trial, judged) for trial in trials])
            return [dict(study.ask(distributions(space)).params) for _ in range(count)]
        return _replayed(space, sampler, seed, trials if kind.adaptive else trials[:0], len(trials), count, judged)


def _replayed(
    space: Space,
    sampler: str,
    seed: int,
    trials: Sequence[Trial],
    first: int,
    count: int,
    judged: tuple[Sequence[str], float],
) -> list[Settings]:
    """Ask a sampler for all settings from the first on: its state is that of its own memory, and is made again.

    It knows more now than when it was asked first, and would ask for others: what it is told is of the settings that were tried. Its random numbers are
    others each time, as if those before had been drawn.
    """
    study = _study(_sampler(sampler, salts.key(seed, len(trials))), len(judged[0]))
    for trial in trials:
        study.enqueue_trial(dict(trial.settings))
        asked = study.ask(distributions(space))
        told = known(space, trial, judged)
        study.tell(asked, told.values, state=told.state) if told.values else study.tell(asked, state=TrialState.FAIL)
    skipped = 0 if trials else first
    found = [dict(study.ask(distributions(space)).params) for _ in range(skipped + count)]
    return found[skipped:]


def grid(space: Space) -> Iterator[Settings]:
    """Give every combination of values, the last key moving first; there may be more than fit into memory."""
    for values in itertools.product(*(axis.values() for axis in space.values())):
        yield dict(zip(space, values, strict=True))


def known(space: Space, trial: Trial, judged: tuple[Sequence[str], float]) -> Any:
    """Give a trial as Optuna has it."""
    done = bool(trial.rungs) and trial.state != "failed"
    values = list(objectives(trial.rungs[-1], *judged)) if done else None
    attributes: dict[str, Any] = {"bracket": trial.bracket}
    if done:
        attributes |= {
            name: {"error": one.error, "replicas": list(one.replicas)} for name, one in trial.rungs[-1].metrics.items()
        }
    reached = (
        {rung.epochs: objectives(rung, *judged)[0] for rung in trial.rungs if rung.metrics}
        if len(judged[0]) == 1
        else {}
    )
    if values and len(values) > 1 and not all(map(math.isfinite, values)):
        done = False  # no front can be drawn through it
    state = TrialState.COMPLETE if done else TrialState.FAIL if trial.rungs else TrialState.RUNNING
    return optuna.trial.create_trial(
        params=dict(trial.settings),
        distributions=distributions(space),
        values=values if done else None,
        state=state,
        intermediate_values={epochs: value for epochs, value in reached.items() if math.isfinite(value)},
        user_attrs=attributes,
    )


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """Give the space in Optuna's words."""
    return {name: _distribution(axis) for name, axis in space.items()}


def _distribution(axis: Axis) -> BaseDistribution:
    if axis.choices:
        return CategoricalDistribution(axis.choices)
    if axis.whole:
        return IntDistribution(int(axis.low), int(axis.high), log=axis.log, step=int(axis.step or 1))
    return FloatDistribution(axis.low, axis.high, log=axis.log, step=axis.step)


STARTED = 10
"""Trials that are random before the estimators have anything to go by."""


def _sampler(name: str, seed: int) -> Any:
    options: dict[str, Any] = {
        "tpe": {"constant_liar": True, "n_startup_trials": STARTED},
        "qmc": {"scramble": True, "warn_independent_sampling": False},
        "cmaes": {"warn_independent_sampling": False},  # of lists, which it leaves to chance
    }
    return getattr(optuna.samplers, catalogue.SAMPLERS[name].reference)(seed=seed % 2**32, **options.get(name, {}))


def _study(sampler: Any, metrics: int) -> optuna.Study:
    return optuna.create_study(sampler=sampler, directions=["minimize"] * metrics)


class _quietly(warnings.catch_warnings):  # noqa: N801  used as a function
    """Say nothing of experimental arguments and new studies."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.simplefilter("ignore")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
