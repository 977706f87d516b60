"""The networks of a trial, evaluated on the events that validate them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from needle_parsl.nsbi.data.loading.batches import Batch, ParticleBatch
from needle_parsl.nsbi.search.metrics import Replica
from needle_parsl.nsbi.training import modules, networks, randomness
from needle_parsl.nsbi.training.members import Member, Settings
from needle_parsl.nsbi.training.packs import Trained
from needle_parsl.nsbi.training.ratio_events import RatioEvents
from needle_parsl.nsbi.training.stored_events import StoredEvents

Floats = npt.NDArray[np.float64]
CHUNK = 8192
"""Events that are evaluated at a time."""


def replicas(
    events: RatioEvents | StoredEvents,
    members: Sequence[Member],
    settings: Settings,
    trained: Sequence[Trained],
    *,
    others: bool,
) -> list[Replica]:
    """Evaluate each network on its validation events.

    Args:
        events: Of the ratio.
        members: That were trained, in the order of `trained`.
        settings: Of the trial.
        trained: The networks; all have trained.
        others: Whether all networks are evaluated on the events of each, too.
    """
    found = []
    with randomness.forked(), torch.no_grad():
        made = [_network(settings, own) for own in trained]
        for place, member in enumerate(members):
            batches = list(events.look(member.view)[1].batches(CHUNK))
            x, label, weight = (np.concatenate([np.asarray(batch[k]) for batch in batches]) for k in range(3))
            logit = _logits(made[place], batches, settings)
            rest = tuple(_logits(own, batches, settings) for own in made if own is not made[place]) if others else ()
            found.append(
                Replica(
                    loss=float(trained[place].history[trained[place].best_epoch, 1]),
                    x=x.astype(np.float64),
                    label=label.astype(np.int64),
                    weight=weight.astype(np.float64),
                    logit=logit,
                    fold=member.fold,
                    others=rest,
                )
            )
    return found


def _network(settings: Settings, trained: Trained) -> torch.nn.Module:
    own: torch.nn.Module = networks.completed(modules.build(settings, 0), settings.shape)
    networks.fill(own, torch.from_numpy(trained.weights))
    return own.eval()


def _logits(network: torch.nn.Module, batches: Sequence[Batch | ParticleBatch], settings: Settings) -> Floats:
    found = [modules.ratio(network, batch, settings).double().cpu().numpy() for batch in batches]
    return np.concatenate(found)
