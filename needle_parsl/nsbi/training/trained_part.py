"""What a pack trains: its networks on the features of events, or what is behind a frozen part on the outputs of that part."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch

from needle_parsl.analysis import catalogue
from needle_parsl.errors import printable
from needle_parsl.nsbi.training import embeddings, modules, networks, randomness
from needle_parsl.nsbi.training.embeddings import Shelf
from needle_parsl.nsbi.training.engines import backbone, choosing
from needle_parsl.nsbi.training.engines.choosing import Choice
from needle_parsl.nsbi.training.frozen import Embedding
from needle_parsl.nsbi.training.members import Member, Settings, TrainingJob
from needle_parsl.nsbi.training.ratio_events import RatioEvents
from needle_parsl.nsbi.training.refusals import NotEmbeddedError
from needle_parsl.nsbi.training.stored_events import StoredEvents

MEMORY = 2**30
"""Bytes that outputs may take, where nobody says so."""


@dataclass(frozen=True)
class TrainedPart:
    """What is trained, and by which engine."""

    events: RatioEvents | StoredEvents
    settings: Settings
    choice: Choice


def prepare(
    events: RatioEvents | StoredEvents,
    member: Member,
    settings: Settings,
    attempt: int = 0,
    shelf: Shelf | None = None,
    between: Callable[[], None] = lambda: None,
) -> TrainedPart:
    """Choose the engine by a member, and compute the outputs of a frozen part where these can stand for the features.

    Args:
        events: Of the ratio.
        member: The first one of the pack.
        settings: What is the same for all.
        attempt: Of the member.
        shelf: Where outputs are kept.
        between: Called between two batches while they are computed.

    Raises:
        InputError: The network or its loss cannot be used.
        TaskError: The weights of a class do not add up to more than 0.
    """
    job = TrainingJob.of(events, member, settings, attempt)
    whole = TrainedPart(events, settings, choosing.choose(job))
    if not settings.frozen or catalogue.ENGINES[whole.choice.engine].foreign:
        return whole
    try:
        found = _recognised(events, settings, job)
        known = _computed(found, job, shelf, between)
        own = replace(settings, embedding=found.embedding)
        return TrainedPart(known, own, _chosen(job, TrainingJob.of(known, member, own, attempt), found.embedding))
    except NotEmbeddedError as error:
        return replace(whole, choice=replace(whole.choice, reason=f"frozen parts are computed in every step: {error}"))


class _Found(NamedTuple):
    """A frozen part, and events that are held."""

    events: RatioEvents
    embedding: Embedding


def _recognised(events: RatioEvents | StoredEvents, settings: Settings, job: TrainingJob) -> _Found:
    if isinstance(events, StoredEvents):
        raise NotEmbeddedError("the events stay in their stores; a larger [training] memory_mib would hold them")
    if settings.initial and len(settings.initial.weights) > 1:
        raise NotEmbeddedError("members start from different weights")
    with _failing("it cannot be looked at"):
        return _Found(events, backbone.recognised(job))


@contextmanager
def _failing(what: str) -> Iterator[None]:
    """Give the features to networks that cannot be looked at, or cannot do without them."""
    try:
        yield
    except (MemoryError, NotEmbeddedError):
        raise
    except Exception as error:  # whatever a module of the user's says of calls that are none of a training
        raise NotEmbeddedError(f"{what} ({type(error).__name__}: {printable(str(error))[:200]})") from error


def _computed(found: _Found, job: TrainingJob, shelf: Shelf | None, between: Callable[[], None]) -> RatioEvents:
    """Put the outputs in the place of the features.

    Raises:
        NotEmbeddedError: They take too much memory.
    """
    events, embedding = found
    needed = 4 * embedding.width * len(events.x)
    if needed > (shelf.memory if shelf else MEMORY):
        mib = math.ceil(needed / 2**20)
        raise NotEmbeddedError(f"[training] memory_mib is too small for what {embedding} gives, {mib} MiB")
    with randomness.forked():
        network = modules.network(modules.build(job.settings, job.seed))
    x = embeddings.computed(events, network, embedding, job, shelf, between)
    return replace(events, x=torch.from_numpy(x), particles=None)


def _chosen(whole: TrainingJob, head: TrainingJob, embedding: Embedding) -> Choice:
    """Choose the engine for what is behind the frozen parts."""
    with _failing("with known outputs it fails"):
        backbone.agree(whole, head)
        choice = choosing.choose(head)
    if catalogue.ENGINES[choice.engine].foreign:
        raise NotEmbeddedError(choice.reason)
    return replace(choice, reason=f"what {embedding} gives is computed once, and the rest is trained on it")


def completed(settings: Settings, seed: int, weights: torch.Tensor) -> torch.Tensor:
    """Give the weights of a whole network, shape (P,), by those of what was trained.

    Args:
        settings: Of the member.
        seed: Of its attempt.
        weights: As `networks.vector` gives them.
    """
    if settings.embedding is None:
        return weights
    with randomness.forked(), torch.no_grad():
        own = networks.completed(modules.build(replace(settings, embedding=None), seed), settings.shape)
    parts = networks.tensors(own)
    settings.embedding.stand_in(modules.network(own))
    networks.fill(own, weights)
    return networks.joined(parts)
