"""What training the members of a pack takes: events, members and settings, in the words of `nsbi.training`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from needle_parsl import files, initial_weights, plan, rundir
from needle_parsl.analysis import Training, applied, recommended
from needle_parsl.analysis.space import Value
from needle_parsl.nsbi.training import packs, quadratic
from needle_parsl.nsbi.training import train as engine
from needle_parsl.nsbi.training.embeddings import Shelf
from needle_parsl.nsbi.training.members import Member, Settings
from needle_parsl.nsbi.training.packs import Pack, Trained
from needle_parsl.nsbi.training.ratio_events import MemberView, RatioEvents
from needle_parsl.nsbi.training.state import Offer, State
from needle_parsl.nsbi.training.stored_events import StoredEvents
from needle_parsl.plan import specs
from needle_parsl.tasks import inputs

VALIDATED = 20_000
"""Events of its fold by which a member is validated, about: all members together decide on the length of a training."""


@dataclass(frozen=True)
class PackTraining:
    """All that a pack is trained from."""

    events: RatioEvents | StoredEvents
    members: list[Member]
    settings: Settings
    shelf: Shelf
    start: State = field(default_factory=State)

    def trained(self, offer: Offer) -> tuple[Trained, ...]:
        """Train all members to their end."""
        return engine.train_pack(self.events, self.members, self.settings, self.start, offer, self.shelf)

    def pack(self, members: Sequence[Trained]) -> Pack:
        """Put the members into a pack."""
        transform = self.events.transform
        if not self.settings.shape.particles:
            transform = replace(transform, particles=None)
        return packs.Pack(self.settings.shape, transform, tuple(members))


def prepare(
    root: str,
    spec: specs.Train,
    code: specs.Physics | None,
    events: RatioEvents | StoredEvents | None = None,
    settings: Mapping[str, Value] | None = None,
    lengths: tuple[int, ...] = (),
    said: str = "",
) -> PackTraining:
    """Prepare the training of a pack.

    Args:
        root: The run directory.
        spec: What is trained.
        code: The user's Python file, where something of it trains.
        events: Of `spec`, where they are already read.
        settings: What a search has chosen.
        lengths: Epochs at which the training may end in the search.
        said: Words for these settings, where members of an ensemble differ in them.
    """
    events = inputs.training_events(root, spec) if events is None else events
    if settings:
        own = replace(spec.training, epochs=lengths[-1]) if lengths else spec.training
        spec = replace(spec, training=applied.apply(own, settings))
    if isinstance(spec.ratio, specs.Surrogate):
        spec = replace(spec, training=spec.training.perceptron())
    jets = events.transform.particles
    source = (code.source, code.path) if code else ("", "")
    table, ends = _suited(spec, list(events.counts().values()))
    ends = lengths if lengths and ends else ends
    classes = [density.name for density in spec.ratio.samples] if isinstance(spec.ratio, specs.Classes) else []
    made = Settings.of(table, events.features, jets.outputs if jets else 0, *source, classes, ends)
    if isinstance(spec.ratio, specs.Surrogate):
        made = replace(made, shape=quadratic.shape(made.shape, len(spec.ratio.nuisances)))
    if spec.initial:
        made = replace(made, initial=initial_weights.read(spec.initial))
    if spec.yields:
        expected = inputs.yields_of(root, spec.yields)
        made = replace(made, log_yields=tuple(math.log(value) for value in expected))
        events = replace(events, shares=dict(enumerate(value / sum(expected) for value in expected)))
    folds, count = spec.splitting.folds, sum(events.counts().values())
    validated = min(1.0, VALIDATED * folds / max(count, 1)) if ends else 0.0
    members = [_member(spec, member, validated, said) for member in spec.members]
    memory = spec.training.memory_mib * 2**20
    shelf = Shelf(Path(root) / rundir.EMBEDDINGS, files.atomic, plan.digest(code), memory)
    return PackTraining(events, members, made, shelf)


def _suited(spec: specs.Train, counts: list[int]) -> tuple[Training, tuple[int, ...]]:
    """Complete `[training]` for the events that there are."""
    folds, crossed = spec.training.folds or 1, bool(spec.splitting.folds)
    part = (1 - 1 / folds if folds > 1 else 1.0) * (1.0 if crossed else 1 - spec.training.validation)
    return recommended.suited(spec.training, counts, varied=bool(spec.ratio.varied), part=part, crossed=crossed)


def _member(spec: specs.Train, member: specs.MemberSpec, own: float, said: str) -> Member:
    view = MemberView(
        fold=member.fold,
        folds=spec.training.folds or 1,
        fold_salt=spec.fold_salt,
        validation=spec.training.validation,
        validation_salt=spec.validation_salt,
        bootstrap_salt=member.bootstrap,
        replica=spec.replica,
        own=own,
    )
    return Member(
        member=member.member,
        fold=member.fold,
        seed=member.seed,
        view=view,
        own=member.own,
        said=said or member.settings,
    )
