"""Training a pack: each member a function of its own seed and view alone, whatever else is in the pack."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
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
from needle_parsl.nsbi.training.engines.protocol import Arithmetic
from needle_parsl.nsbi.training.engines.rows import Rows
from needle_parsl.nsbi.training.engines.stacked import Stacked
from needle_parsl.nsbi.training.members import Job, Member, Settings
from needle_parsl.nsbi.training.packs import Trained
from needle_parsl.nsbi.training.state import Offer, State
from needle_parsl.nsbi.training.streaming import StoredEvents
from needle_parsl.nsbi.training.views import RatioEvents
from needle_parsl.nsbi.training.watching import Watch

ATTEMPTS = 2
"""A member that diverges is tried once more, with another seed; then it is recorded as diverged."""
ENGINES: dict[str, Callable[[Sequence[Job]], Arithmetic]] = {"rows": Rows, "stacked": Stacked}
"""Each takes the jobs of its members. `native` needs numba, and what its proof has found."""


@dataclass(frozen=True)
class Try:
    """A member that is to be trained."""

    member: Member
    attempt: int = 0
    state: Mapping[str, Any] = field(default_factory=dict)
    """Where its course stood when it was interrupted; empty from the start."""


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
    waiting = [_resumed(m, running.get(m.name, {})) for m in members if m.name not in pack.finished]
    while waiting:
        group = pack.together(waiting)
        try:
            again = pack.run(group)
        except Exception as error:
            for t in group:
                error.add_note(f"member {t.member.member}, fold {t.member.fold}")
            raise
        waiting = [*again, *(t for t in waiting if t not in group)]
    return tuple(pack.finished[m.name] for m in members)


def _place(t: Try) -> tuple[int, int]:
    """Say how far a member is: epoch, and batch in it."""
    return len(t.state.get("history", ())), t.state.get("step", 0)


def _resumed(member: Member, state: Mapping[str, Any]) -> Try:
    return Try(member, state.get("attempt", 0), state if "step" in state else {})


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
        self.most: int | None = None
        """Members that fit into memory together; None as long as nobody knows."""

    def together(self, waiting: Sequence[Try]) -> list[Try]:
        """Choose who is trained next: one member, or for the stack all that stand at the same batch of the same epoch."""
        first = waiting[0]
        if self.choice is None:
            self.choose(first)
        if self.choice is None or self.choice.engine != "stacked":
            return [first]
        return [t for t in waiting if _place(t) == _place(first)][: self.most]

    def choose(self, first: Try) -> None:
        """Choose the engine of the pack by a member; one without events has no say."""
        with suppress(TaskError):
            self.chosen(choosing.choose(prepared(self.events, first.member, self.settings, first.attempt).job))

    def chosen(self, choice: Choice) -> None:
        """Take an engine, and say why if it is the last resort."""
        self.choice = choice
        if choice.reason:
            name = self.settings.shape.network
            warnings.warn(f"{name} is trained by lightning.Trainer, one after the other: {choice.reason}", stacklevel=1)

    def run(self, group: Sequence[Try]) -> list[Try]:
        """Train some members; give those that are to be tried again."""
        courses, again = [], []
        for t in group:
            try:
                courses.append(self.begun(t))
            except TaskError as error:
                self.finished[t.member.name] = untrained(t.member, self.settings.shape, str(error))
        try:
            if courses:
                self.trained(courses)
        except NotPackedError as error:
            assert self.choice
            self.chosen(replace(self.choice, engine="lightning", reason=str(error)))
            return [replace(t, state={}) for t in group]
        except (MemoryError, RuntimeError) as error:
            if not _out_of_memory(error):
                raise
            return self.halved(group, error)
        for ended in courses:
            if ended.reason and ended.attempt + 1 < ATTEMPTS:
                again.append(Try(ended.member, ended.attempt + 1))
            else:
                self.finished[ended.member.name] = self.result(ended)
        return again

    def begun(self, t: Try) -> Course:
        """Begin a course, or go on with it."""
        found = prepared(self.events, t.member, self.settings, t.attempt)
        found.watched(self.choice.watch if self.choice else Watch())
        if t.state:
            found.restore(t.state)
        return found

    def halved(self, group: Sequence[Try], error: BaseException) -> list[Try]:
        """Try a stack that does not fit into memory again in halves; a member that does not fit is recorded."""
        if len(group) > 1:
            self.most = len(group) // 2
            warnings.warn(f"{len(group)} members do not fit into memory together; {self.most} are tried", stacklevel=1)
            return [replace(t, state={}) for t in group]
        (alone,) = group
        reason = f"out of memory: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
        self.finished[alone.member.name] = untrained(alone.member, self.settings.shape, reason[:200])
        return []

    def result(self, ended: Course) -> Trained:
        """Give the result of a course."""
        engine = self.choice.engine if self.choice else ""
        return ended.trained(lambda: _initial(self.settings.shape, ended.job.seed), engine)

    def trained(self, courses: list[Course]) -> None:
        """Run courses to their end, within a random state of their own."""
        assert self.choice
        with torch.random.fork_rng(devices=[]):
            if self.choice.engine == "lightning":
                from needle_parsl.nsbi.training.engines import alone  # imports Lightning, which takes two seconds

                for started in courses:
                    alone.run(started, lambda: self.offer(lambda: State(tuple(self.finished.values()))))
                return
            arithmetic = _arithmetic(self.choice, [started.job for started in courses])
            for place, started in enumerate(courses):
                if started.resumed:
                    arithmetic.restore(place, started.resumed)
            course.run(courses, arithmetic, lambda left: self.offer(lambda: self.described(courses, left, arithmetic)))

    def described(self, courses: Sequence[Course], left: Sequence[Course], arithmetic: Arithmetic) -> State:
        """Describe where the pack stands.

        Args:
            courses: All that run together.
            left: Those that have not ended, in the order of the arithmetic.
            arithmetic: What trains them.
        """
        running = [{**c.described(), "arithmetic": arithmetic.describe(place)} for place, c in enumerate(left)]
        finished = dict(self.finished)
        for c in courses:
            if c.ended and c.reason and c.attempt + 1 < ATTEMPTS:
                running.append({"name": c.member.name, "attempt": c.attempt + 1})
            elif c.ended:
                finished[c.member.name] = self.result(c)
        return State(tuple(finished.values()), tuple(running))


def _out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, of the machine or of the device."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)


def _arithmetic(choice: Choice, jobs: Sequence[Job]) -> Arithmetic:
    if choice.engine == "native":
        from needle_parsl.nsbi.training.engines.native import Native

        return Native(jobs, choice.plan)
    return ENGINES[choice.engine](jobs)


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
