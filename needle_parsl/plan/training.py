"""The members of a ratio, and the tasks that train them pack by pack."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import PurePath
from typing import Any

from needle_parsl.analysis import Analysis, MemberSettings, Training, catalogue
from needle_parsl.nsbi.transforms.wanted import Wanted
from needle_parsl.plan import packing, specs
from needle_parsl.plan.builder import Graph
from needle_parsl.plan.specs import Task


def of_ratios(
    graph: Graph,
    ratios: Sequence[specs.Ratio],
    members: Callable[[Subject], Sequence[specs.MemberSpec]],
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
    found: dict[str, list[Task]] = {}
    for subject, own in subjects(graph, ratios):
        trained = packs(graph, subject, members(subject), stores, folder)
        found |= dict.fromkeys((ratio.name for ratio in own), trained)
    return found


Subject = specs.Ratio | specs.Classes | specs.Surrogate
"""What a network learns."""


def subjects(graph: Graph, ratios: Sequence[specs.Ratio]) -> list[tuple[Subject, list[specs.Ratio]]]:
    """List what is learned, each with the ratios that it gives: a ratio, all nominal ones, all variations of a process, or a surrogate's."""
    alone = [ratio for ratio in ratios if not ratio.surrogate]
    together = [(surrogate(own), own) for own in families([ratio for ratio in ratios if ratio.surrogate])]
    if not catalogue.loss(graph.analysis.training.loss).classes:
        return [*((ratio, [ratio]) for ratio in alone), *together]
    return [*((classes(own), own) for own in families(alone)), *together]


def families(ratios: Sequence[specs.Ratio]) -> list[list[specs.Ratio]]:
    """Group ratios that one network can give: the nominal ones, and the variations of each process."""
    groups: dict[str, list[specs.Ratio]] = {}
    for ratio in ratios:
        groups.setdefault(ratio.varied, []).append(ratio)
    return list(groups.values())


def classes(ratios: Sequence[specs.Ratio]) -> specs.Classes:
    """Give the samples that a network of many classes tells apart: first what is in the denominators."""
    below = [share.density for share in ratios[0].denominator]
    return specs.Classes(tuple(dict.fromkeys([*below, *(ratio.numerator for ratio in ratios)])))


def surrogate(ratios: Sequence[specs.Ratio]) -> specs.Surrogate:
    """Give the surrogate from which ratios come."""
    points = tuple(ratio.numerator for ratio in ratios)
    return specs.Surrogate(points[0].sample, ratios[0].surrogate, points)


def members(graph: Graph, ratio: Subject) -> list[specs.MemberSpec]:
    """List the networks of a ratio."""
    training, taken, tried = graph.analysis.training, _taken(graph), replicas(graph, ratio)
    own = entered(graph, ratio.name)
    return [
        specs.MemberSpec(
            member=member,
            fold=fold,
            seed=graph.salt("member", ratio.name, member // taken, fold),
            bootstrap=graph.salt("bootstrap", member // taken) if training.bootstrap else None,
            replica=member // taken if (member // taken, fold) in tried else -1,
            **own[training.entry_of(member)],
        )
        for member, fold in product(range(training.count()), range(training.folds or 1))
    ]


def _taken(graph: Graph) -> int:
    """Give how many settings of a search the ensemble is made of; its members take turns."""
    return graph.analysis.search.taken() if graph.analysis.search else 1


def replicas(graph: Graph, ratio: Subject) -> list[tuple[int, int]]:
    """List member and fold of the networks that a search trains of each trial, among those of the same settings; none of what it does not train."""
    search, training = graph.analysis.search, graph.analysis.training
    left_out = bool(search and search.ratios) and ratio.name not in (search.ratios if search else ())
    if search is None or ratio.varied or left_out:
        return []
    return list(product(range(training.count() // search.taken()), range(training.folds or 1)))[: search.replicas]


NUMBERS = ("learning_rate", "weight_decay")
"""Settings in which members of a pack may differ, of needle's networks."""


def entered(graph: Graph, ratio: str) -> list[dict[str, Any]]:
    """Say what the members of each entry of `[training] members` have of their own in a ratio: fields of `specs.Member`."""
    training = graph.analysis.training
    return [
        {
            "own": tuple((n, v) for n, v in said.said().items() if n in NUMBERS and _shared(training, entry)),
            "settings": str(_placeless(graph, ratio, said)),
            "entry": entry,
        }
        for entry, said in enumerate(training.entries())
    ]


def _placeless(graph: Graph, ratio: str, said: MemberSettings) -> MemberSettings:
    """Name the weights that members start from by the file and its content, not by the folder: their key depends on it."""
    if not said.initial:
        return said
    found = _given(graph, said.initial, ratio)
    content = f" ({found.digest[:8]})" if found else ""
    return replace(said, initial=f"{PurePath(said.initial).name}{content}")


def _given(graph: Graph, initial: str, ratio: str) -> specs.InitialSpec | None:
    """Give the weights that networks of a ratio start from."""
    found = graph.inputs.initial.get(initial, {})
    return found.get("") or found.get(ratio)


def _shared(training: Training, entry: int) -> bool:
    """Whether the members of an entry may be in a pack with others that differ in numbers; a module of the user's may hold them itself."""
    return not training.each()[entry][1].own_networks()


def _alike(training: Training, members: Sequence[specs.MemberSpec]) -> list[tuple[Training, list[specs.MemberSpec]]]:
    """Group members whose networks have one shape, and that train alike but for their own numbers."""
    common = {name: getattr(training, name) for name in NUMBERS}
    tables = [replace(own, **common) if _shared(training, k) else own for k, (_, own) in enumerate(training.each())]
    distinct = [table for k, table in enumerate(tables) if table not in tables[:k]]
    groups = [(table, [m for m in members if tables[m.entry] == table]) for table in distinct]
    return [(table, own) for table, own in groups if own]


def packs(
    graph: Graph,
    ratio: Subject,
    members: Sequence[specs.MemberSpec],
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
    splitting = graph.splitting if graph.splitting.folds else replace(graph.splitting, combine=0.0, test=0.0)
    found: list[Task] = []
    for slot in range(_taken(graph)):
        turn = [member for member in members if member.member % _taken(graph) == slot]
        for table, own in _alike(graph.analysis.training, turn):
            found += _packed(graph, ratio, splitting, table, own, stores, f"{folder}{ratio.name}", len(found), slot)
    return found


def _packed(
    graph: Graph, ratio: Subject, splitting: specs.Splitting, table: Training, members: Sequence[specs.MemberSpec],
    stores: Mapping[str, Task], name: str, first: int, slot: int,
) -> list[Task]:  # fmt: skip
    """Cut members that train alike into packs.

    Args:
        graph: The plan.
        ratio: What they learn.
        splitting: Of the events.
        table: `[training]` as it is for them.
        members: The networks.
        stores: Of all samples.
        name: What the names of the packs begin with.
        first: The number of the first pack.
        slot: Which of the settings of a search they take.
    """
    needed = [stores[density.name] for density in ratio.densities()]
    end = graph.ends.get(searched(graph, ratio))
    needed += [end] if end else []
    names = [density.sample for density in ratio.densities()]
    analysis = replace(graph.analysis, training=table)
    most = graph.pack or packing.members(analysis, graph.inputs.files, names)
    common = trained_from(graph, ratio, splitting, table)
    found = []
    for number, start in enumerate(range(0, len(members), most)):
        own = tuple(members[start : start + most])
        spec = replace(common, members=own, replica="/" in name, searched=end.name if end else "", slot=slot)
        if end:
            graph.kept += sum(member.replica >= 0 for member in own)
        found.append(graph.add("train", f"{name}.{first + number:04d}", spec, *needed))
    return found


def searched(graph: Graph, ratio: Subject) -> str:
    """Name the search whose settings a ratio takes; empty for none."""
    sample = ratio.varied or ratio.name
    return graph.searched.get(sample, graph.searched.get("", ""))


def trained_from(graph: Graph, ratio: Subject, splitting: specs.Splitting, table: Training) -> specs.Train:
    """Say what networks of a ratio are trained from, but for the members.

    Args:
        graph: The plan.
        ratio: What they learn.
        splitting: Of the events.
        table: `[training]` as it is for them.
    """
    alone = replace(table, members=1, initial="")
    if isinstance(ratio, specs.Surrogate):  # its network is not what others are
        alone, table = alone.perceptron(), replace(table, initial="")
    if not _suits(graph, catalogue.loss(alone.loss), ratio):
        alone = replace(alone, loss=catalogue.TWO_CLASSES)
    yields = (
        tuple(graph.share(d.sample) for d in ratio.samples)
        if isinstance(ratio, specs.Classes) and not ratio.varied
        else ()
    )
    return specs.Train(
        ratio=ratio,
        splitting=splitting,
        training=alone,
        fold_salt=graph.salt("fold"),
        validation_salt=graph.salt("validation"),
        members=(),
        yields=yields,
        transform=wanted(graph.analysis),
        initial=_given(graph, table.initial, ratio.name),
    )


def wanted(analysis: Analysis) -> Wanted:
    """Say what is done to features before networks see them."""
    features, jets = analysis.features, analysis.features.particles
    own = _by_name(features.transform, (*features.names, *features.parameters))
    return Wanted.of(features.missing, own, _by_name(jets.transform, jets.names) if jets else {})


def _by_name(said: Mapping[str, str] | str, names: Sequence[str]) -> Mapping[str, str]:
    """Give each feature its kind, where one word stands for all."""
    return dict.fromkeys(names, said) if isinstance(said, str) else said


def _suits(graph: Graph, loss: catalogue.Loss, ratio: Subject) -> bool:
    """Whether a loss can learn a ratio; variations mostly have but labels of two classes."""
    if loss.classes:
        return isinstance(ratio, specs.Classes)
    return not loss.joint or ratio.name in graph.analysis.ratios.joint
