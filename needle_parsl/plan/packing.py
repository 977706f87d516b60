"""How many members one training task holds, and how much faster than one by one that is.

It follows from the analysis and its number of events, not from the machine, so that a run that goes on elsewhere finds its packs again. A
site with `pack` chooses otherwise, and trains its own packs: the members are in the key. A member is the same in every pack.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from needle_parsl.analysis import Analysis, Sample, Training, catalogue, recommended
from needle_parsl.plan import specs

NODES, LAYERS = 64, 3
"""That stand for those of a network whose size is not known yet."""
SECONDS = 30.0
"""Work of a pack: long against the milliseconds that Parsl takes for a task, short against what a lost worker costs."""
RATE = 3e10
"""Floating-point operations per second of one core in small networks (docs/benchmarks.md)."""
MOST = 8
"""Members of a pack where their work and memory allow it: they share the reading of the events. A site with accelerators
says more. It does not follow the number of networks, so that more members leave the packs that are done as they are."""
VECTORS = 6
"""Vectors of the length of the weights that are held of a member: weights, gradients, the best, three of the optimiser."""
ACTIVATIONS = 10
"""Numbers that a stack holds of a member for each hidden neuron and event of a batch; 8 to 11 were measured (docs/training.md)."""


def members(analysis: Analysis, files: Mapping[str, tuple[specs.File, ...]], names: Iterable[str]) -> int:
    """Choose the members of a pack.

    Args:
        analysis: What the user wrote.
        files: The files of each sample.
        names: The samples of the ratio.
    """
    training = analysis.training
    counts = [events_of(analysis, files, name) for name in names]
    part = analysis.split.fractions()[0] if analysis.split.cross == 0 else 1.0
    size = recommended.Size(part * sum(counts) / max(len(counts), 1))
    own = recommended.complete(training, size)
    weights = parameters(training, len(analysis.features.names))
    steps = recommended.steps(size) if training.epochs is None else 0
    seen = part * sum(counts) * (training.epochs or 0) + steps * own.batch_size
    by_work = SECONDS / max(6 * weights * seen / RATE, 1e-9)
    stacked = ACTIVATIONS * own.batch_size * own.layers * own.nodes
    by_memory = training.memory_mib * 2**20 / (4 * (VECTORS * weights + stacked))
    return max(1, int(min(by_work, by_memory, MOST)))


def parameters(training: Training, features: int) -> int:
    """Count the weights of needle's perceptron; of another network nobody knows them yet, and these stand for them."""
    nodes, layers = training.nodes or NODES, training.layers or LAYERS
    return features * nodes + (layers - 1) * nodes**2 + (layers + 1) * nodes + 1


def events_of(analysis: Analysis, files: Mapping[str, tuple[specs.File, ...]], name: str) -> int:
    """Count the events of a sample before its selection, as far as a look into its files has told."""
    return _events(analysis.samples.get(name), files.get(name, ()))


def _events(sample: Sample | None, files: tuple[specs.File, ...]) -> int:
    """Count the events of a sample, as far as a look into its files has told."""
    if sample is not None and sample.generate:
        return sample.events
    return sum(file.borders[-1] for file in files if file.borders)


def speed_up(engine: str, nodes: int) -> float | None:
    """Estimate how many times as fast as a loop over lightning.Trainer an engine is; None where nothing was measured."""
    measured = catalogue.ENGINES[engine].speed if engine in catalogue.ENGINES else ()
    return next((factor for most, factor in measured if nodes <= most), 1.0 if measured else None)
