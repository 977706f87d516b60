"""Training a pack: each member a function of its own seed and view alone, whatever else is in the pack."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from needle_parsl.errors import TaskError
from needle_parsl.nsbi.data import hashing
from needle_parsl.nsbi.training import course, networks
from needle_parsl.nsbi.training.course import Course
from needle_parsl.nsbi.training.engines import choosing
from needle_parsl.nsbi.training.engines.choosing import Choice
from needle_parsl.nsbi.training.engines.hosting import NotPackedError
from needle_parsl.nsbi.training.engines.rows import Rows
from needle_parsl.nsbi.training.members import Job, Member, Settings
from needle_parsl.nsbi.training.packs import Trained
from needle_parsl.nsbi.training.state import Offer, State
from needle_parsl.nsbi.training.streaming import StoredEvents
from needle_parsl.nsbi.training.views import RatioEvents

ATTEMPTS = 2
"""A member that diverges is tried once more, with another seed; then it is recorded as diverged."""
ENGINES = {"rows": Rows}
"""Each takes the jobs of its members."""


def train_pack(
    events: RatioEvents | StoredEvents, members: Sequence[Member], settings: Settings, start: State, offer: Offer
) -> tuple[Trained, ...]:
    """Train members.

    Args:
        events: Of the ratio.
        members: In the order of the pack.
        settings: What is the same for all.
        start: Where to go on; an empty state begins.
        offer: Called between steps with a way to describe the state; what it raises ends the training.
    """
    pack = _Pack(events, settings, {(t.member, t.fold): t for t in start.finished}, offer)
    running = {tuple(state["name"]): state for state in start.running}
    for member in members:
        if member.name in pack.finished:
            continue
        try:
            pack.train(member, running.get(member.name))
        except Exception as error:
            error.add_note(f"member {member.member}, fold {member.fold}")
            raise
    return tuple(pack.finished[m.name] for m in members)


class _Pack:
    """A pack in training."""

    def __init__(
        self,
        events: RatioEvents | StoredEvents,
        settings: Settings,
        finished: dict[tuple[int, ...], Trained],
        offer: Offer,
    ) -> None:
        self.events, self.settings, self.finished, self.offer = events, settings, finished, offer
        self.choice: Choice | None = None

    def train(self, member: Member, running: Mapping[str, Any] | None) -> None:
        """Train a member, from where it was interrupted."""
        for attempt in range(running["attempt"] if running else 0, ATTEMPTS):
            try:
                ended = self.run(member, attempt, running)
            except TaskError as error:
                self.finished[member.name] = untrained(member, self.settings.shape, str(error))
                return
            running = None
            if not ended.reason:
                break
        engine = self.choice.engine if self.choice else ""
        self.finished[member.name] = ended.trained(lambda: _initial(self.settings.shape, ended.job.seed), engine)

    def run(self, member: Member, attempt: int, running: Mapping[str, Any] | None) -> Course:
        """Run one course by the engine of the pack; by lightning.Trainer if it turns out that nothing else can."""
        started = prepared(self.events, member, self.settings, attempt)
        self.choice = self.choice or self.chosen(started.job)
        if self.choice.engine != "lightning":
            try:
                self.packed(started, self.choice.engine, running)
            except NotPackedError as error:
                self.choice = self.told(Choice("lightning", str(error)))
            else:
                return started
        return self.alone(prepared(self.events, member, self.settings, attempt))

    def chosen(self, job: Job) -> Choice:
        """Choose the engine of the pack by its first member."""
        return self.told(choosing.choose(job))

    def told(self, choice: Choice) -> Choice:
        """Say why the last resort is needed."""
        if choice.reason:
            name = self.settings.shape.network
            warnings.warn(f"{name} is trained by lightning.Trainer, one after the other: {choice.reason}", stacklevel=1)
        return choice

    def packed(self, started: Course, engine: str, running: Mapping[str, Any] | None) -> None:
        """Run one course step by step, within a random state of its own."""
        with torch.random.fork_rng(devices=[]):
            arithmetic = ENGINES[engine]([started.job])
            if running:
                started.restore(running)
                arithmetic.restore(0, running["arithmetic"])

            def describe(left: Sequence[Course]) -> State:
                states = [{**c.described(), "arithmetic": arithmetic.describe(k)} for k, c in enumerate(left)]
                return State(tuple(self.finished.values()), tuple(states))

            course.run([started], arithmetic, lambda left: self.offer(lambda: describe(left)))

    def alone(self, started: Course) -> Course:
        """Run one course by lightning.Trainer."""
        from needle_parsl.nsbi.training.engines import alone  # imports Lightning, which takes two seconds

        with torch.random.fork_rng(devices=[]):
            alone.run(started, lambda: self.offer(lambda: State(tuple(self.finished.values()))))
        return started


def prepared(events: RatioEvents | StoredEvents, member: Member, settings: Settings, attempt: int) -> Course:
    """Begin a course of training.

    Raises:
        TaskError: The weights of a class do not add up to more than 0.
    """
    fitting, validation = events.look(member.view)
    return Course(member, attempt, Job(member.settings(settings), _seed(member, attempt), fitting, validation))


def _seed(member: Member, attempt: int) -> int:
    return hashing.key("retry", member.seed) if attempt else member.seed


def _initial(shape: networks.Shape, seed: int) -> torch.Tensor:
    return networks.vector(networks.build(shape, seed % 2**63))


def train(events: RatioEvents | StoredEvents, member: Member, settings: Settings) -> Trained:
    """Train one member alone."""
    (trained,) = train_pack(events, [member], settings, State(), lambda _: None)
    return trained


def untrained(member: Member, shape: networks.Shape, reason: str) -> Trained:
    """Record a member that could not be trained, with its initial weights."""
    start = _initial(shape, _seed(member, 0)).numpy()
    return Trained(member.member, member.fold, member.seed, start, np.empty((0, 2)), 0, reason)
