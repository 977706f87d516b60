"""Is a frozen part all that a network sees of an event? Then what it gives can stand for the features.

What a step does is recognised, as for the engines: nothing goes around the part, nothing asks for the epoch or the number of
the batch, and no hook could thaw it. That two batches agree would prove nothing of a third.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from needle_parsl.nsbi.data.loading.batches import Batch, ParticleBatch
from needle_parsl.nsbi.training import dropout, modules, randomness
from needle_parsl.nsbi.training.engines import optimizer as optimizing
from needle_parsl.nsbi.training.engines import tracing
from needle_parsl.nsbi.training.engines.module_host import TrainerStub
from needle_parsl.nsbi.training.engines.paths import Call, Outside, noted
from needle_parsl.nsbi.training.engines.sequential import loss_of
from needle_parsl.nsbi.training.frozen import BatchColumn, Embedding, shapes
from needle_parsl.nsbi.training.kernels import dropout_hash
from needle_parsl.nsbi.training.members import TrainingJob
from needle_parsl.nsbi.training.refusals import NotEmbeddedError

NEAR = 1e-5
"""Largest difference of outputs, losses and gradients, relative to the largest of them."""
CONSTANTS = (type(None), bool, str)
"""Kinds of arguments that say how a part is called, and nothing of an event."""


def recognised(job: TrainingJob) -> Embedding:
    """Find the frozen parts that all events of a member go through first.

    Raises:
        NotEmbeddedError: There are none, or something goes around them.
    """
    with randomness.forked():
        host = _hosted(job)
        batch = next(iter(job.fitting.batches(job.settings.batch_size)))
        embedding = _found(host, job, batch)
        _alone(host, job, batch, embedding)
        _still(modules.network(host.module), batch, embedding)
        _common(job, embedding)
        return embedding


def _hosted(job: TrainingJob) -> TrainerStub:
    module = modules.build(job.settings, job.seed)
    host = TrainerStub(module, job.settings.epochs, -(-len(job.fitting) // job.settings.batch_size))
    if host.hooks:
        raise NotEmbeddedError(f"{min(host.hooks)} may thaw it")
    optimizer, _ = optimizing.unpack(module.configure_optimizers())
    if tracing.overheard(module, optimizer):
        raise NotEmbeddedError("hooks of the network, its parts or its optimiser would not be called")
    return host


def _found(host: TrainerStub, job: TrainingJob, batch: Batch | ParticleBatch) -> Embedding:
    """Find parts of which the first is given the batch, and each other what the one before it has given."""
    network = modules.network(host.module)
    inner = dict(network.named_modules())
    frozen = [part for part in job.settings.frozen if part in inner]
    outer = [part for part in frozen if not any(part.startswith(f"{other}.") for other in frozen)]
    with noted(network, outer) as calls:
        host.step("training_step", modules.given(batch, job.settings), 0, len(batch.x))
    chain = _chain(calls, batch)
    if not chain:
        raise NotEmbeddedError("no frozen part is called with the features, or particles, as the network gets them")
    first = chain[0]
    leaves, form = pytree.tree_flatten(chain[-1].found)
    return Embedding(
        parts=tuple(call.part for call in chain),
        arguments=tuple(_said(value, batch) for value in first.given),
        named={name: _said(value, batch) for name, value in first.named.items()},
        shapes=shapes(leaves, len(batch.x)),
        form=form,
        particles=isinstance(batch, ParticleBatch),
    )


def _chain(calls: Sequence[Call], batch: Batch | ParticleBatch) -> list[Call]:
    chain: list[Call] = []
    for call in calls:
        if (not chain and _given(call, batch)) or (chain and _follows(call, chain[-1].found)):
            chain.append(call)
    return chain


def _follows(call: Call, found: Any) -> bool:
    """Whether a part is given what another has given."""
    return not call.named and len(call.given) == 1 and call.given[0] is found


def _given(call: Call, batch: Batch | ParticleBatch) -> bool:
    """Whether a part is called with columns of a batch, and with nothing else that could differ."""
    values = [*call.given, *call.named.values()]
    said = [_said(value, batch) for value in values]
    known = all(isinstance(value, (BatchColumn, *CONSTANTS)) for value in said)
    return known and any(isinstance(value, BatchColumn) for value in said)


def _said(value: Any, batch: Batch | ParticleBatch) -> Any:
    """Name a column of a batch."""
    for name in ("x", "particles"):
        if value is getattr(batch, name, batch):
            return BatchColumn(name)
    return value


def _alone(host: TrainerStub, job: TrainingJob, batch: Batch | ParticleBatch, embedding: Embedding) -> None:
    """Insist that nothing but what the parts give is used of the features, in all that a training calls.

    Raises:
        NotEmbeddedError: Something else is.
    """
    network = modules.network(host.module)
    parts = [network.get_submodule(part) for part in embedding.parts]
    inputs = [batch.x, *(batch[3:4])]
    for call in _calls(host, job, batch):
        outside = Outside(parts, inputs)
        with noted(network, embedding.parts) as calls, outside.watching():
            _, seen = tracing.trace(host, 0, call)
        if outside.used:
            raise NotEmbeddedError(
                f"{outside.used[0]} is computed with its inputs outside of {embedding}; what prepares them must be a part of it"
            )
        if not _alike(calls, batch, embedding):
            raise NotEmbeddedError(f"{embedding} is called several times, with other inputs")
        if seen.asked:
            raise NotEmbeddedError(f"its step asks for {', '.join(sorted(seen.asked))}")
        if seen.changed or seen.drawn:
            raise NotEmbeddedError("its step changes attributes or globals, or draws numbers of NumPy or Python")


def _alike(calls: Sequence[Call], batch: Batch | ParticleBatch, embedding: Embedding) -> bool:
    """Whether all calls of the parts are those that are known."""
    latest: dict[str, Any] = {}
    for call in calls:
        place = embedding.parts.index(call.part)
        if place == 0:
            said = tuple(_said(value, batch) for value in call.given)
            named = {name: _said(value, batch) for name, value in call.named.items()}
            same = _given(call, batch) and (said, named) == (embedding.arguments, embedding.named)
        else:
            same = _follows(call, latest.get(embedding.parts[place - 1]))
        if not same:
            return False
        latest[call.part] = call.found
    return True


def _calls(host: TrainerStub, job: TrainingJob, batch: Batch | ParticleBatch) -> list[Callable[[Any], Any]]:
    """Give the calls of a training: its step, that of validation, and `forward` alone."""
    given, size = modules.given(batch, job.settings), len(batch.x)

    def validate(number: Any) -> None:
        with evaluating(host.module):
            host.step("validation_step", given, number, size)

    def evaluate(_: Any) -> None:
        with evaluating(host.module):
            modules.ratio(host.module, batch, job.settings)

    return [lambda number: host.step("training_step", given, number, size), validate, evaluate]


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put all parts of a module into the mode of evaluation, and back."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, training in modes:
            part.training = training


def _still(network: nn.Module, batch: Batch | ParticleBatch, embedding: Embedding) -> None:
    """Insist that what the parts give of an event depends on nothing else.

    Raises:
        NotEmbeddedError: It depends on random numbers, or on the other events of a batch.
    """
    before = torch.random.get_rng_state()
    found = embedding.compute(network, batch)
    if not torch.equal(before, torch.random.get_rng_state()) or not torch.equal(
        found, embedding.compute(network, batch)
    ):
        raise NotEmbeddedError(f"{embedding} draws random numbers")
    few = max(len(batch.x) // 2, 1)
    if not near(embedding.compute(network, first_of(batch, few)), found[:few]):
        raise NotEmbeddedError(f"what {embedding} gives of an event depends on the others of its batch")


def first_of(batch: Batch | ParticleBatch, events: int) -> Batch | ParticleBatch:
    """Keep the first events of a batch."""
    few = Batch(batch.x[:events], batch.label[:events], batch.weight[:events])
    if not isinstance(batch, ParticleBatch):
        return few
    values, offsets, _ = batch.particles
    offsets = offsets[: events + 1]
    packed = batch.particles._replace(
        values=values[: int(offsets[-1])], offsets=offsets, longest=int(offsets.diff().max())
    )
    return ParticleBatch(*few, packed)


def _common(job: TrainingJob, embedding: Embedding) -> None:
    """Insist that the parts are the same whatever the seed, as those are that are read from a file.

    Raises:
        NotEmbeddedError: They are not.
    """
    built = [modules.network(modules.build(job.settings, job.seed + n)) for n in range(2)]
    for part in embedding.parts:
        one, other = (dict(own.get_submodule(part).state_dict(keep_vars=True)) for own in built)
        if not all(torch.equal(value, other[name]) for name, value in one.items()):
            raise NotEmbeddedError(f"{part} begins with random numbers, other ones for each member")


def agree(whole: TrainingJob, head: TrainingJob) -> None:
    """Hold loss and gradient of two batches, and ln r, beside those of what is trained with known outputs.

    Raises:
        NotEmbeddedError: They differ, or values leave torch, which may decide on anything.
    """
    with randomness.forked():
        host, batch = _hosted(head), next(iter(head.fitting.batches(head.settings.batch_size)))
        for call in _calls(host, head, batch):
            if left := tracing.trace(host, 0, call)[1].left:
                raise NotEmbeddedError(f"its step uses {', '.join(sorted(left))}")
    for one, other in zip(_measured(whole), _measured(head), strict=True):
        if not near(one, other):
            raise NotEmbeddedError("its training_step gives another loss or gradient with known outputs")


def _measured(job: TrainingJob) -> list[torch.Tensor]:
    """Give loss and gradient of two batches, and ln r of one."""
    found: list[torch.Tensor] = []
    with randomness.forked():
        module, size = modules.build(job.settings, job.seed), job.settings.batch_size
        host = TrainerStub(module, job.settings.epochs, -(-len(job.fitting) // size))
        order = job.fitting.order(torch.Generator().manual_seed(0))
        for start in range(0, min(2 * size, len(order)), size):
            batch = job.fitting.batch(order[start : start + size])
            dropout.begin(dropout.parts(module), dropout_hash.keyed(job.seed, 0))
            loss = loss_of(host.step("training_step", modules.given(batch, job.settings), 0, len(batch.x)))
            if loss is None:
                raise NotEmbeddedError("it skips batches")
            moved = [parameter for parameter in module.parameters() if parameter.requires_grad]
            gradients: Sequence[Any] = torch.autograd.grad(loss, moved, allow_unused=True)
            found += [loss.detach()[None], torch.cat([g.flatten() for g in gradients if g is not None])]
        with evaluating(module):
            return [*found, modules.ratio(module, batch, job.settings)]


def near(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether numbers are the same but for rounding."""
    scale = float(one.abs().max()) if one.numel() else 0.0
    return one.shape == other.shape and torch.allclose(one, other, rtol=NEAR, atol=NEAR * scale)
