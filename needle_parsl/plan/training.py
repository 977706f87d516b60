"""The members of a ratio, and the tasks that train them pack by pack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product

from needle_parsl.analysis import JOINT_LOSSES
from needle_parsl.plan import estimating, packing, specs
from needle_parsl.plan.growing import Graph
from needle_parsl.plan.specs import Task


def members(graph: Graph, ratio: specs.Ratio) -> list[specs.Member]:
    """List the networks of a ratio."""
    training = graph.analysis.training
    return [
        specs.Member(
            member,
            fold,
            graph.salt("member", ratio.name, member, fold),
            graph.salt("bootstrap", member) if training.bootstrap else None,
        )
        for member, fold in product(range(training.members), range(training.folds))
    ]


def packs(
    graph: Graph, ratio: specs.Ratio, members: Sequence[specs.Member], stores: Mapping[str, Task], folder: str = ""
) -> list[Task]:
    """Cut members of a ratio into packs; a member is what its name says, whatever pack it is in.

    Args:
        graph: The plan.
        ratio: The ratio.
        members: Its networks.
        stores: Of all samples.
        folder: What the names of the packs begin with.
    """
    graph.networks += len(members)
    splitting = replace(graph.splitting, combine=0.0, test=0.0)
    alone = replace(graph.analysis.training, members=1)
    if alone.loss in JOINT_LOSSES and ratio.name not in graph.analysis.ratios.joint:
        alone = replace(alone, loss="carl")
    names = (ratio.numerator.sample, *(share.density.sample for share in ratio.denominator))
    most = graph.pack or packing.size(graph.analysis, graph.inputs.files, names)
    found = []
    for number, start in enumerate(range(0, len(members), most)):
        own = tuple(members[start : start + most])
        spec = specs.Train(ratio, splitting, alone, graph.salt("fold"), graph.salt("validation"), own)
        found.append(graph.add("train", f"{folder}{ratio.name}.{number:04d}", spec, *estimating.needed(ratio, stores)))
    return found
