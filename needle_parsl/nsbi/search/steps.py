"""The steps of a search: which trials go on, which begin, and which packs train them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from needle_parsl.json_records import JsonRecord
from needle_parsl.nsbi.search import sampling
from needle_parsl.nsbi.search.design import Bracket, Design
from needle_parsl.nsbi.search.trials import Measured, Rung, Trial, objectives, paired, ranked


@dataclass(frozen=True, kw_only=True)
class Work(JsonRecord):
    """A trial that a pack trains to the end of a rung."""

    trial: int
    settings: Mapping[str, bool | int | float | str]
    epochs: int
    """Where the rung ends; 0 where the training itself decides."""
    lengths: tuple[int, ...]
    """Epochs of all rungs of its bracket; empty where the training itself decides."""
    begun: str
    """The pack that has trained it so far; empty from the start."""

    @property
    def goes_on(self) -> bool:
        """Whether there is a rung after this one."""
        return bool(self.lengths) and self.epochs < self.lengths[-1]


@dataclass(frozen=True, kw_only=True)
class Step(JsonRecord):
    """`search/step.NNN.json`: where a search stands, and what its next packs train."""

    step: int
    trials: tuple[Trial, ...]
    """All so far, by number."""
    packs: tuple[tuple[Work, ...], ...]
    steps: int
    """Of the whole search."""
    best: str = ""
    """The best trial so far, in words; empty as long as there is none."""


def after(trials: Sequence[Trial], measured: Mapping[int, Rung]) -> list[Trial]:
    """Note what was measured, by the number of the trial."""
    found = []
    for trial in trials:
        rung = measured.get(trial.number)
        state = "failed" if rung and rung.reason else trial.state
        found.append(replace(trial, rungs=(*trial.rungs, rung), state=state) if rung else trial)
    for epochs in sorted({rung.epochs for rung in measured.values()}):
        found = paired(found, epochs)
    return found


def advance(search: Design, trials: Sequence[Trial], step: int) -> tuple[list[Trial], list[Trial]]:
    """Decide the rungs that are whole, and begin the brackets that are due.

    Args:
        search: What is searched.
        trials: All so far, with what was measured of them.
        step: The number of the step.

    Returns:
        All trials; and those that are trained in this step.
    """
    found, going = list(trials), []
    for number, bracket in enumerate(search.brackets):
        rung = bracket.rung_at(step)
        if rung is None:
            continue
        if rung == 0:
            new = _begun(search, number, bracket, found)
            found += new
            going += new
        else:
            decided = _decided(search, [trial for trial in found if trial.bracket == number], bracket, rung)
            found = [decided.get(trial.number, trial) for trial in found]
            going += [trial for trial in decided.values() if trial.state == "running"]
    return found, going


def _begun(search: Design, number: int, bracket: Bracket, trials: Sequence[Trial]) -> list[Trial]:
    """Begin the trials of a bracket."""
    judged = search.metrics, search.risk
    settings = sampling.suggest(dict(search.space), search.sampler, search.seed, trials, bracket.counts[0], judged)
    return [Trial(number=len(trials) + k, settings=own, bracket=number) for k, own in enumerate(settings)]


def _decided(search: Design, trials: Sequence[Trial], bracket: Bracket, rung: int) -> dict[int, Trial]:
    """Let the best trials of a rung go on to the next; by number."""
    able = [trial for trial in trials if len(trial.rungs) == rung]
    best = {trial.number for trial in ranked(able, search.metrics, search.risk, search.pick)[: bracket.counts[rung]]}
    return {
        trial.number: trial if trial.number in best else replace(trial, state="ended")
        for trial in able
        if trial.state != "failed"
    }


def ended(search: Design, trials: Sequence[Trial]) -> list[Trial]:
    """Say which trials are complete, at the end of a search."""
    last = {number: len(bracket.counts) for number, bracket in enumerate(search.brackets)}
    return [
        replace(trial, state="complete" if len(trial.rungs) == last[trial.bracket] else "ended")
        if trial.state == "running"
        else trial
        for trial in trials
    ]


def winners(search: Design, trials: Sequence[Trial]) -> list[Trial]:
    """Give the best of the trials that were trained to their end; of all, where none was."""
    whole = [trial for trial in trials if trial.state == "complete"]
    order = ranked(whole or trials, search.metrics, search.risk, search.pick)
    able = [
        trial for trial in order if all(map(math.isfinite, objectives(trial.rungs[-1], search.metrics, search.risk)))
    ]
    return able[: search.taken]


def best(search: Design, trials: Sequence[Trial]) -> str:
    """Say which trial is the best so far, of those that were trained longest."""
    able = [trial for trial in trials if trial.rungs and trial.state != "failed"]
    longest = max((len(trial.rungs) for trial in able), default=0)
    order = ranked([trial for trial in able if len(trial.rungs) == longest], search.metrics, search.risk, search.pick)
    if not order:
        return ""
    rung = order[0].rungs[-1]
    shown = ", ".join(f"{name} {_shown(found)}" for name, found in rung.metrics.items())
    after = f" after {rung.epochs} epochs" if rung.epochs else ""
    return f"trial {order[0].number} ({order[0].words()}): {shown}{after}"


def _shown(found: Measured) -> str:
    return "not known" if found.value is None else f"{found.value:.4g} ± {found.error:.2g}"


def packed(
    works: Sequence[Work], costs: Sequence[float], packs: int, *, stacked: bool = False
) -> tuple[tuple[Work, ...], ...]:
    """Divide work among packs so that they end together: the most costly first, each to the pack that has the least.

    Args:
        works: The trials.
        costs: Of each.
        packs: How many there are.
        stacked: Whether trials that could be one stack stay together, as far as they are no more than the part of a pack.
    """
    loads, found = [0.0] * packs, [list[int]() for _ in range(packs)]
    units = _stacks(works, costs, sum(costs) / packs) if stacked else [[place] for place in range(len(works))]
    sizes = [sum(costs[place] for place in unit) for unit in units]
    for k in sorted(range(len(units)), key=lambda k: (-sizes[k], works[units[k][0]].trial)):
        least = loads.index(min(loads))
        loads[least] += sizes[k]
        found[least] += units[k]
    return tuple(tuple(works[place] for place in sorted(own)) for own in found)


NUMBERS = ("learning_rate", "weight_decay")
"""Settings in which networks that are trained together may differ: an accelerator's stack holds them for each."""


def stack(work: Work) -> str:
    """Name what trials have in common that can be one stack."""
    rest = {name: value for name, value in work.settings.items() if name not in NUMBERS}
    return json.dumps([rest, work.epochs, work.lengths, bool(work.begun)], sort_keys=True)


def _stacks(works: Sequence[Work], costs: Sequence[float], most: float) -> list[list[int]]:
    """Group the places of trials of one stack, none more costly than a pack should be."""
    groups: dict[str, list[list[int]]] = {}
    for place, work in enumerate(works):
        own = groups.setdefault(stack(work), [[]])
        if own[-1] and sum(costs[one] for one in own[-1]) + costs[place] > most * (1 + 1e-9):
            own.append([])
        own[-1].append(place)
    return [unit for own in groups.values() for unit in own]


def work(search: Design, trials: Sequence[Trial]) -> list[Work]:
    """Say what is trained of the trials that go on."""
    found = []
    for trial in trials:
        ends, done = search.brackets[trial.bracket].epochs, len(trial.rungs)
        lengths, begun = ends if ends[-1] else (), trial.rungs[-1].pack if done else ""
        found.append(Work(trial=trial.number, settings=trial.settings, epochs=ends[done], lengths=lengths, begun=begun))
    return found
