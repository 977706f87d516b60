"""Training a pack: each member a function of its own seed and view alone, whatever else is in the pack."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from needle_parsl.analysis import catalogue
from needle_parsl.errors import NeedleError, TaskError
from needle_parsl.nsbi.training import loop, modules, networks, randomness, trained_part, user_errors
from needle_parsl.nsbi.training.embeddings import Shelf
from needle_parsl.nsbi.training.engine_protocol import Engine
from needle_parsl.nsbi.training.engines.choosing import Choice
from needle_parsl.nsbi.training.engines.sequential import chunk, witness
from needle_parsl.nsbi.training.loop import MemberTraining
from needle_parsl.nsbi.training.members import Member, Settings, TrainingJob
from needle_parsl.nsbi.training.packs import Trained
from needle_parsl.nsbi.training.ratio_events import RatioEvents
from needle_parsl.nsbi.training.refusals import NotPackedError, UnlikeError
from needle_parsl.nsbi.training.state import Offer, State, never
from needle_parsl.nsbi.training.stopping import EarlyStopping
from needle_parsl.nsbi.training.stored_events import StoredEvents

ATTEMPTS = 2
"""A member that diverges is tried once more, with another seed; then it is recorded as diverged."""


@dataclass(frozen=True)
class Attempt:
    """A member that is to be trained."""

    member: Member
    attempt: int = 0
    state: Mapping[str, Any] = field(default_factory=dict)
    """Where it stood when it was interrupted; empty from the start."""
    engine: str = ""
    """Which engine must do it: `sequential`, after a faster one has been found to do something else; empty for that of the pack."""


def train_pack(
    events: RatioEvents | StoredEvents, members: Sequence[Member], settings: Settings, start: State, offer: Offer,
    shelf: Shelf | None = None,
) -> tuple[Trained, ...]:  # fmt: skip
    """Train members.

    Args:
        events: Of the ratio.
        members: In the order of the pack.
        settings: What is the same for all.
        start: Where to go on; an empty state begins.
        offer: Called between steps with a way to describe the state; what it raises ends the training.
        shelf: Where outputs of frozen parts are kept; None to compute them for this pack alone.
    """
    ended: list[BaseException] = []
    pack = _Pack(events, settings, start, _noting(offer, ended), shelf)
    _run(pack, members, start, ended)
    return tuple(pack.finished[m.name] for m in members)


def _noting(offer: Offer, ended: list[BaseException]) -> Offer:
    """Note what offering a state raises: it is none of the user's errors."""

    def offered(describe: Callable[[], State]) -> None:
        try:
            offer(describe)
        except BaseException as error:
            ended.append(error)
            raise

    return offered


def train_until(
    events: RatioEvents | StoredEvents, members: Sequence[Member], settings: Settings, start: State, epochs: int, shelf: Shelf | None = None,
    offer: Offer = never,
) -> tuple[tuple[Trained, ...], State]:  # fmt: skip
    """Train members up to an epoch; those that lightning.Trainer trains, to their end.

    Args:
        events: Of the ratio.
        members: In the order of the pack.
        settings: What is the same for all.
        start: Where to go on; an empty state begins.
        epochs: Where to pause; 0 for the end of the training.
        shelf: See `train_pack`.
        offer: See `train_pack`.

    Returns:
        The members as they are there, and the state from which they go on.
    """
    ended: list[BaseException] = []
    pack = _Pack(events, settings, start, _noting(offer, ended), shelf, epochs)
    _run(pack, members, start, ended)
    found = tuple(pack.finished.get(m.name) or pack.paused[m.name][0] for m in members)
    running = tuple(pack.paused[m.name][1] for m in members if m.name not in pack.finished)
    return found, State(tuple(pack.finished.values()), running)


def _run(pack: _Pack, members: Sequence[Member], start: State, ended: list[BaseException]) -> None:
    """Train until no member waits.

    Args:
        pack: In training.
        members: All of it.
        start: Where to go on.
        ended: What offering a state has raised.
    """
    running = {tuple(state["name"]): state for state in start.running}
    waiting = [_resumed(m, running.get(m.name, {})) for m in members if m.name not in pack.finished]
    while waiting:
        group = pack.together(waiting)
        try:
            again = pack.run(group)
        except Exception as error:
            for t in group:
                error.add_note(f"member {t.member.member}, fold {t.member.fold}")
            if isinstance(error, NeedleError) or error in ended or user_errors.own(error) is None:
                raise
            raise TaskError(user_errors.said(error, pack.settings.shape.network)) from error
        waiting = [*again, *(t for t in waiting if t not in group)]


def _place(t: Attempt) -> tuple[int, int]:
    """Say how far a member is: epoch, and batch in it."""
    return len(t.state.get("history", ())), t.state.get("step", 0)


def _resumed(member: Member, state: Mapping[str, Any]) -> Attempt:
    return Attempt(member, state.get("attempt", 0), state if "step" in state else {}, state.get("engine", ""))


class _PausedError(Exception):
    """All members that are left pause here."""


class _Pack:
    """A pack in training."""

    def __init__(
        self,
        events: RatioEvents | StoredEvents,
        settings: Settings,
        start: State,
        offer: Offer,
        shelf: Shelf | None,
        pause: int = 0,
    ) -> None:
        self.events, self.settings, self.start, self.offer, self.shelf = events, settings, start, offer, shelf
        self.finished: dict[tuple[int, ...], Trained] = {(t.member, t.fold): t for t in start.finished}
        self.pause = pause
        """Epochs after which members pause; 0 for never."""
        self.paused: dict[tuple[int, ...], tuple[Trained, Mapping[str, Any]]] = {}
        """Members as they stand there, and how they go on."""
        self.choice: Choice | None = None
        self.known: tuple[RatioEvents | StoredEvents, Settings] = (events, settings)
        """What is trained on; outputs of a frozen part may stand for the features."""
        self.most: int | None = None
        """Members that fit into memory together; None as long as nobody knows."""

    def together(self, waiting: Sequence[Attempt]) -> list[Attempt]:
        """Choose who is trained next: one member, or for the stack all that stand at the same batch of the same epoch."""
        first = waiting[0]
        if self.choice is None:
            self.choose(first)
        if self.choice is None or not catalogue.ENGINES[self.choice.engine].together or first.engine:
            return [first]
        return [t for t in waiting if _place(t) == _place(first) and not t.engine][: self.most]

    def choose(self, first: Attempt) -> None:
        """Choose the engine of the pack by a member; one without events has no say."""
        with suppress(TaskError):
            found = trained_part.prepare(
                self.events,
                first.member,
                self.settings,
                first.attempt,
                self.shelf,
                lambda: self.offer(lambda: self.start),
            )
            self.known = found.events, found.settings
            self.chosen(found.choice)

    def chosen(self, choice: Choice) -> None:
        """Take an engine, and say why if it is the last resort, or trains a frozen part's outputs over and over."""
        self.choice = choice
        name = self.settings.shape.network
        if catalogue.ENGINES[choice.engine].foreign:
            self.known = self.events, self.settings
            warnings.warn(f"{name} is trained by lightning.Trainer, one after the other: {choice.reason}", stacklevel=1)
        elif choice.reason and not self.known[1].embedding:
            warnings.warn(f"{name}: {choice.reason}", stacklevel=1)

    def run(self, group: Sequence[Attempt]) -> list[Attempt]:
        """Train some members; give those that are to be tried again."""
        trainings, again = [], []
        for t in group:
            try:
                trainings.append(self.begun(t))
            except TaskError as error:
                self.finished[t.member.name] = untrained(t.member, self.settings.shape, str(error))
        try:
            if trainings:
                self.trained(trainings, group[0].engine)
        except UnlikeError as error:
            return self.begun_anew(group, str(error))
        except NotPackedError as error:
            assert self.choice
            self.chosen(replace(self.choice, engine=catalogue.LIGHTNING, reason=str(error)))
            return [replace(t, state={}) for t in group]
        except (MemoryError, RuntimeError) as error:
            if not _out_of_memory(error):
                raise
            return self.halved(group, error)
        for ended in trainings:
            again += [] if ended.member.name in self.paused else self.ended(ended, group[0].engine)
        return again

    def ended(self, training: MemberTraining, engine: str) -> list[Attempt]:
        """Record a member, or let it begin anew."""
        if training.reason and training.attempt + 1 < ATTEMPTS:
            return [Attempt(training.member, training.attempt + 1, engine=engine)]
        found = self.result(training, engine)
        if found.reason and not training.reason and training.job.settings.embedding:
            return self.begun_anew([Attempt(training.member, training.attempt)], found.reason)
        self.finished[training.member.name] = found
        return []

    def begun_anew(self, group: Sequence[Attempt], why: str) -> list[Attempt]:
        """Let members that a fast engine does not train rightly begin anew in `sequential`, and say so."""
        name = self.settings.shape.network
        who = ", ".join(str(t.member.member) for t in group)
        warnings.warn(
            f"{name}: member {who} is trained again by the engine {catalogue.SEQUENTIAL}: {why}", stacklevel=1
        )
        return [replace(t, state={}, engine=catalogue.SEQUENTIAL) for t in group]

    def begun(self, t: Attempt) -> MemberTraining:
        """Begin a training, or go on with it."""
        events, settings = (self.events, self.settings) if t.engine else self.known
        found = prepared(events, t.member, settings, t.attempt)
        found.watched(self.choice.watch if self.choice else EarlyStopping())
        if t.state and t.state.get("known", "") == _known(settings):
            found.restore(t.state)
        return found

    def halved(self, group: Sequence[Attempt], error: BaseException) -> list[Attempt]:
        """Try a stack that does not fit into memory again in halves; a member that does not fit is recorded."""
        if len(group) > 1:
            self.most = len(group) // 2
            warnings.warn(f"{len(group)} members do not fit into memory together; {self.most} are tried", stacklevel=1)
            return [replace(t, state={}) for t in group]
        (alone,) = group
        reason = f"out of memory: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
        self.finished[alone.member.name] = untrained(alone.member, self.settings.shape, reason[:200])
        return []

    def result(self, ended: MemberTraining, engine: str = "") -> Trained:
        """Give the result of a training, if the weights that were kept are all that its network is."""
        engine = engine or (self.choice.engine if self.choice else "")
        reason, own = ended.reason or self.incomplete(ended), ended.job
        whole = partial(trained_part.completed, own.settings, own.seed)
        return ended.trained(lambda: _initial(self.settings.shape, own.seed), engine, reason, whole)

    def incomplete(self, ended: MemberTraining) -> str:
        """Say that the network of a training is more than its weights."""
        if ended.seen is None or ended.best is None:
            return ""
        own = ended.job
        known = own.settings.embedding
        job = TrainingJob.of(self.events, ended.member, self.settings, ended.attempt) if known else own
        return _incomplete(job, trained_part.completed(own.settings, own.seed, ended.best), ended.seen)

    def trained(self, trainings: list[MemberTraining], engine: str = "") -> None:
        """Run trainings to their end, within a random state of their own."""
        assert self.choice
        choice = replace(self.choice, engine=engine or self.choice.engine)
        with randomness.forked():
            if catalogue.ENGINES[choice.engine].foreign:
                run = catalogue.ENGINES[choice.engine].load()  # imports Lightning, which takes two seconds
                for started in trainings:
                    run(started, lambda: self.offer(lambda: State(tuple(self.finished.values()))))
                return
            arithmetic = _arithmetic(choice, [started.job for started in trainings])
            for place, started in enumerate(trainings):
                if started.resumed:
                    arithmetic.restore(place, started.resumed)
            describe = partial(self.described, trainings, engine, arithmetic)

            def between(left: Sequence[MemberTraining]) -> None:
                self.offer(lambda: describe(left))
                if self.pause and not left[0].step and len(left[0].history) >= self.pause:
                    self.kept(left, describe(left), engine)
                    raise _PausedError

            with suppress(_PausedError):
                loop.run(trainings, arithmetic, between)

    def kept(self, left: Sequence[MemberTraining], state: State, engine: str) -> None:
        """Keep members that pause, with what they go on from."""
        running = {tuple(one["name"]): one for one in state.running}
        self.paused |= {own.member.name: (self.result(own, engine), running[own.member.name]) for own in left}

    def described(
        self, trainings: Sequence[MemberTraining], engine: str, arithmetic: Engine, left: Sequence[MemberTraining]
    ) -> State:
        """Describe where the pack stands.

        Args:
            trainings: All that run together.
            engine: Which engine must do it; empty for that of the pack.
            arithmetic: What trains them.
            left: Those that have not ended, in the order of the arithmetic.
        """
        running: list[Mapping[str, Any]] = [
            {
                **c.described(),
                "arithmetic": arithmetic.describe(place),
                "engine": engine,
                "known": _known(c.job.settings),
            }
            for place, c in enumerate(left)
        ]
        running += [state for _, state in self.paused.values()]
        finished = dict(self.finished)
        for c in trainings:
            if c.ended and c.reason and c.attempt + 1 < ATTEMPTS:
                running.append({"name": c.member.name, "attempt": c.attempt + 1, "engine": engine})
            elif c.ended:
                finished[c.member.name] = self.result(c, engine)
        return State(tuple(finished.values()), tuple(running))


def _known(settings: Settings) -> str:
    """Name the frozen parts whose outputs are trained on: a state with them is none of a whole network."""
    return str(settings.embedding) if settings.embedding else ""


APART = 1e-4
"""Largest difference in ln r, and relative to it, between the network in training and what its weights make."""
ROUNDED = 0.1
"""The same for a Trainer that computes with fewer bits."""


def _incomplete(job: TrainingJob, best: torch.Tensor, seen: torch.Tensor) -> str:
    """Say that a network is more than its weights: what they make gives another ln r than in the best epoch.

    So it is with a plain number that `forward` uses and training moves, or an average that was swapped back.

    Args:
        job: Of the whole network.
        best: Its weights.
        seen: ln r of the first validation events in the best epoch.
    """
    with randomness.forked(), torch.no_grad():
        own = networks.completed(modules.build(job.settings, 0), job.settings.shape)
        try:
            networks.fill(own, best)
        except ValueError:
            return "its network has another number of weights when it is made anew"
        first = next(iter(job.validation.batches(chunk(own, job))))
        values = [witness(own.eval(), first, job) for _ in range(2)]
    given, again = (value[: len(seen)] for value in values if value is not None)
    near = ROUNDED if "precision" in job.settings.trainer else APART
    if torch.allclose(given, seen, rtol=near, atol=near) or not torch.equal(given, again):
        return ""
    away = float((given - seen).abs().max())
    return f"its stored weights do not give the val_loss of its best epoch: ln r differs by {away:.2g}; forward uses what is neither parameter nor buffer"


def _out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, of the machine or of the device."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)


def _arithmetic(choice: Choice, jobs: Sequence[TrainingJob]) -> Engine:
    engine = catalogue.ENGINES[choice.engine]
    made: Engine = engine.load()(jobs, choice.plan) if engine.compiled else engine.load()(jobs)
    return made


def prepared(events: RatioEvents | StoredEvents, member: Member, settings: Settings, attempt: int) -> MemberTraining:
    """Begin a training.

    Raises:
        TaskError: The weights of a class do not add up to more than 0.
    """
    return MemberTraining(member, attempt, TrainingJob.of(events, member, settings, attempt))


def _initial(shape: networks.NetworkShape, seed: int) -> torch.Tensor:
    return networks.vector(networks.build(shape, seed % 2**63))


def train(events: RatioEvents | StoredEvents, member: Member, settings: Settings) -> Trained:
    """Train one member alone."""
    (trained,) = train_pack(events, [member], settings, State(), lambda _: None)
    return trained


def untrained(member: Member, shape: networks.NetworkShape, reason: str) -> Trained:
    """Record a member that could not be trained, with its initial weights."""
    start = _initial(shape, member.seed_of(0)).numpy()
    return Trained(
        member=member.member,
        fold=member.fold,
        seed=member.seed,
        weights=start,
        history=np.empty((0, 2)),
        best_epoch=0,
        reason=reason,
        settings=member.said,
    )
