"""From where trials go on: the states that a pack has kept of them, at the end of a rung or within it.

Random states differ from process to process, so that a state is no output: where one is missing, its trial is trained from the start, to the same result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from needle_parsl import files, rundir
from needle_parsl.nsbi.search.steps import Work
from needle_parsl.nsbi.training import state
from needle_parsl.nsbi.training.packs import Trained
from needle_parsl.nsbi.training.state import State
from needle_parsl.plan import Task, digest, specs

APART = 1_000_000
"""Between the numbers of members of trials that are trained together; no ensemble has as many."""


@dataclass(frozen=True)
class TrialState:
    """Of one trial and ratio in a pack."""

    root: str
    task: Task
    work: Work
    subject: specs.Train

    def path(self, pack: str) -> Path:
        """Give where a pack keeps it."""
        return Path(self.root) / rundir.TRIAL_STATES / f"{pack}-{self.work.trial}-{self.subject.ratio.name}.h5"

    def key(self, pack: str) -> str:
        """Say what a state is that of: of a pack by its key, which says what code and events it was made from."""
        return digest([pack, self.subject, self.work.settings, self.work.lengths])

    def write(self, found: State) -> None:
        """Keep a state of this pack."""
        with files.atomic(self.path(self.task.name)) as temporary:
            state.write(temporary, found, self.key(self.task.key))

    def read(self) -> State:
        """Give where the trial goes on: where a kill has left this pack, else where the pack before it has ended; else from the start."""
        if found := state.read(self.path(self.task.name), self.key(self.task.key)):
            return found
        if not self.work.begun:
            return State()
        path = self.path(self.work.begun)
        known = (state.read(path, self.key(before)) for before in self.task.after) if path.exists() else ()
        return next((found for found in known if found), State())


def number(member: int, place: int) -> int:
    """Number a member among those of all trials that are trained together; a negative place takes that back."""
    return member + APART * place


def numbered(trained: Trained, place: int) -> Trained:
    """Number a network likewise."""
    return replace(trained, member=number(trained.member, place))


def _moved(running: Mapping[str, Any], place: int) -> Mapping[str, Any]:
    member, *rest = running["name"]
    return {**running, "name": (number(member, place), *rest)}


def start(trials: Sequence[TrialState]) -> State:
    """Join the states of trials that are trained together."""
    each = [(place, trial.read()) for place, trial in enumerate(trials)]
    return State(
        tuple(numbered(one, place) for place, own in each for one in own.finished),
        tuple(_moved(one, place) for place, own in each for one in own.running),
    )


def keep(trials: Sequence[TrialState], whole: State) -> None:
    """Write the state of each trial."""
    for place, trial in enumerate(trials):
        finished = [one for one in whole.finished if one.member // APART == place]
        running = [one for one in whole.running if one["name"][0] // APART == place]
        if finished or running:
            trial.write(
                State(tuple(numbered(one, -place) for one in finished), tuple(_moved(one, -place) for one in running))
            )


def forget(root: str, task: Task, works: Sequence[Work]) -> None:
    """Remove the states of trials that have come to their end in a pack that is done."""
    for work in works:
        for subject in task.of(specs.Trials).subjects if not work.goes_on else ():
            TrialState(root, task, work, subject).path(task.name).unlink(missing_ok=True)
