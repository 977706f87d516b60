"""The members of a ratio, and the tasks that train them pack by pack."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product

from needle_parsl.analysis import JOINT_LOSSES, Analysis
from needle_parsl.nsbi.transforms.wanted import Wanted
from needle_parsl.plan import estimating, packing, specs
from needle_parsl.plan.growing import Graph
from needle_parsl.plan.specs import Task


def of_ratios(
    graph: Graph,
    ratios: Sequence[specs.Ratio],
    members: Callable[[specs.Ratio | specs.Classes], Sequence[specs.Member]],
    stores: Mapping[str, Task],
    folder: str = "",
) -> dict[str, list[Task]]:
    """Train all ratios: each with networks of its own, or all nominal ones with networks of many classes.

    Args:
        graph: The plan.
        ratios: All that are learned.
        members: Lists the networks of one, or of all nominal ones.
        stores: Of all samples.
        folder: What the names of the packs begin with.

    Returns:
        The packs of each ratio, by its name.
    """
    together = classes(graph, ratios)
    shared = packs(graph, together, members(together), stores, folder) if together else []
    return {
        ratio.name: shared
        if together and not ratio.numerator.nuisance
        else packs(graph, ratio, members(ratio), stores, folder)
        for ratio in ratios
    }


def classes(graph: Graph, ratios: Sequence[specs.Ratio]) -> specs.Classes | None:
    """Give the samples that networks of many classes tell apart, if that is how ratios are learned."""
    nominal = [ratio for ratio in ratios if not ratio.numerator.nuisance]
    if graph.analysis.training.loss != "multiclass" or not nominal:
        return None
    below = (share.density for share in nominal[0].denominator)
    return specs.Classes(tuple(dict.fromkeys([*(ratio.numerator for ratio in nominal), *below])))


def members(graph: Graph, ratio: specs.Ratio | specs.Classes) -> list[specs.Member]:
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
    graph: Graph,
    ratio: specs.Ratio | specs.Classes,
    members: Sequence[specs.Member],
    stores: Mapping[str, Task],
    folder: str = "",
) -> list[Task]:
    """Cut members of a ratio into packs; a member is what its name says, whatever pack it is in.

    Args:
        graph: The plan.
        ratio: The ratio.
        members: Its networks.
        stores: Of all samples.
        folder: What the names of the packs of replicas begin with.
    """
    graph.networks += len(members)
    splitting = replace(graph.splitting, combine=0.0, test=0.0)
    alone = replace(graph.analysis.training, members=1)
    if not _suits(graph, alone.loss, ratio):
        alone = replace(alone, loss="carl")
    names = [density.sample for density in ratio.densities()]
    most = graph.pack or packing.size(graph.analysis, graph.inputs.files, names)
    found = []
    for number, start in enumerate(range(0, len(members), most)):
        own = tuple(members[start : start + most])
        spec = specs.Train(
            ratio,
            splitting,
            alone,
            graph.salt("fold"),
            graph.salt("validation"),
            own,
            replica=bool(folder),
            transform=wanted(graph.analysis),
        )
        found.append(graph.add("train", f"{folder}{ratio.name}.{number:04d}", spec, *estimating.needed(ratio, stores)))
    return found


def wanted(analysis: Analysis) -> Wanted:
    """Say what is done to features before networks see them."""
    features, jets = analysis.features, analysis.features.particles
    own = _by_name(features.transform, (*features.names, *features.parameters))
    return Wanted.of(features.missing, own, _by_name(jets.transform, jets.names) if jets else {})


def _by_name(said: Mapping[str, str] | str, names: Sequence[str]) -> Mapping[str, str]:
    """Give each feature its kind, where one word stands for all."""
    return dict.fromkeys(names, said) if isinstance(said, str) else said


def _suits(graph: Graph, loss: str, ratio: specs.Ratio | specs.Classes) -> bool:
    """Whether a loss can learn a ratio; variations mostly have but labels of two classes."""
    if loss == "multiclass":
        return isinstance(ratio, specs.Classes)
    return loss not in JOINT_LOSSES or ratio.name in graph.analysis.ratios.joint
