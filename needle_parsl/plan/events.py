"""From a sample to its store: the tasks that generate, read, merge and convert."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from needle_parsl import expressions
from needle_parsl.analysis import Analysis, Data, Particles, Sample, catalogue
from needle_parsl.nsbi.transforms.wanted import Wanted
from needle_parsl.plan import specs
from needle_parsl.plan.builder import Graph
from needle_parsl.plan.specs import Convert, File, Piece, Task
from needle_parsl.plan.specs.stores import REGION, WHOLE
from needle_parsl.ranges import ranges


def convert(graph: Graph, name: str, sample: Sample | Data, first: Sequence[Task] = ()) -> Task:
    """Convert a sample: in one task, or in one for each piece, some that merge, and one that writes the store.

    A function that generates events is called afresh for every binned region: events of its own are as good.

    Args:
        graph: The plan.
        name: Of the store.
        sample: Where the events are.
        first: Stores that must be there as soon as this one is.
    """
    if sample.generate:
        seed = graph.salt("generate", name)
        made = specs.Generate(sample.generate, graph.inputs.physics, sample.events, seed)
        before = [graph.add("generate", name, made)]
        files: tuple[specs.File, ...] = (specs.File(path="", digest=before[0].key, borders=(0, sample.events)),)
    else:
        before, files = [], graph.inputs.files[name]
    before += first
    spec = conversion(graph, name, sample, files)
    made_by = cut(files, row_bytes(spec), graph.memory)
    if len(made_by.groups) == 1:
        return graph.add("convert", name, replace(spec, pieces=made_by.groups[0]), *before)
    parts = _parts(graph, spec, made_by, before)
    return graph.add("convert", name, replace(spec, parts=tuple(f"{p.stage.name}:{p.name}" for p in parts)), *parts)


def conversion(graph: Graph, name: str, sample: Sample | Data, files: tuple[specs.File, ...]) -> specs.Convert:
    """Say what is kept of a sample's events."""
    analysis, features = graph.analysis, graph.analysis.features
    place = name.partition(REGION)[2]
    region, every = analysis.model.regions.get(place), place == WHOLE
    inputs = features.parameters if analysis.parametrised(name.partition(".")[0]) else ()
    names = (region.binning.column,) if region else features.names[:1] if every else (*features.names, *inputs)
    weight, selection = sample.weight, sample.selection if isinstance(sample, Sample) else ""
    own = region.selection if region else analysis.stated if every else features.selection
    kept = tuple(text for text in (selection, own) if text)
    shared = () if place or analysis.split.id else graph.inputs.shared.get(name.partition(".")[0], ())
    known = () if place or isinstance(sample, Data) else joint(analysis, name)
    texts = [text for text in (*kept, weight, *(one.text for one in known)) if isinstance(text, str)]
    used = {*names, *analysis.split.id}.union(*(expressions.parse(text).names() for text in texts))
    derived = expressions.ordered(features.derived, used)
    used.update(*(expressions.parse(text).names() for _, text in derived))
    computed = tuple((made, _computed(graph, made)) for made in features.computed if made in used)
    return specs.Convert(
        sample=name, files=files, tree=sample.tree, features=names, weight=weight, selections=kept, id=analysis.split.id, salt=graph.salt("split"), derived=derived,
        on_bad_file=sample.on_bad_file, computed=computed, particles=None if place else _stored(features.particles), physics=graph.inputs.physics if computed else None,
        joint=known, content=shared, nan=None if place or "nan" not in features.missing else Wanted.of(features.missing).stored,
        memory=graph.memory, region=place,
    )  # fmt: skip


def _computed(graph: Graph, name: str) -> specs.ComputedSpec:
    """Say how a column is computed; what stages of the user's give has been found already."""
    how = graph.analysis.features.computed[name]
    return graph.inputs.columns.get(name) or specs.ComputedSpec(function=how.function, columns=how.columns)


def _stored(particles: Particles | None) -> Particles | None:
    """Leave out what is done to particles later."""
    return replace(particles, transform={}) if particles else None


def joint(analysis: Analysis, store: str) -> tuple[specs.Joint, ...]:
    """List what the loss wants to know jointly of the events of a store.

    That of a ratio is known of its denominator, and for soft labels of its numerator, too.
    """
    loss, found = catalogue.loss(analysis.training.loss), []
    for ratio, text in analysis.ratios.joint.items():
        sample, _, varied = ratio.partition(".")
        below = (sample,) if varied else analysis.ratios.reference
        if store in below or (store == ratio and loss.soft):
            found.append(specs.Joint(ratio, text, loss.soft))
    return tuple(found) if loss.joint else ()


def _parts(graph: Graph, sample: specs.Convert, made_by: Cut, before: list[Task]) -> list[Task]:
    """Read the pieces of a large sample, and merge them range by range of the hash."""
    whole = replace(sample, files=())
    parts = [
        graph.add("read", f"{sample.sample}/{number:05d}", specs.Read(whole, pieces, made_by.bits), *before)
        for number, pieces in enumerate(made_by.groups)
    ]
    if made_by.merges == 1:
        return parts
    names = tuple(f"{part.stage.name}:{part.name}" for part in parts)
    shares = [specs.Merge(names, (k, made_by.merges), graph.memory) for k in range(made_by.merges)]
    return [graph.add("merge", f"{sample.sample}/{s.share[0]:05d}", s, *parts) for s in shares]


SHARE = 24
"""A task holds this part of its memory as events: beside them there are their sorted copy, the columns as they are read,
unpacked baskets, and the libraries themselves."""


FINE = 2
"""Bits by which the cells of parts are finer than what a task holds, so that what is merged at a time fills its room."""


WINDOWS = 16
"""Times its share of the memory that a merging task works through."""


@dataclass(frozen=True)
class Cut:
    """The tasks of a sample."""

    groups: tuple[tuple[Piece, ...], ...]
    """What each task reads: whole files, or one piece of a file."""
    bits: int
    """Leading bits of the hash that make the cells of the parts; a cell of all parts together is what a task may hold."""
    merges: int
    """Tasks that merge the parts, a power of two; 1 leaves it to the task that writes the store."""


def row_bytes(sample: Convert) -> int:
    """Count the bytes that an event may have in the store: features, weight, id, and as many particles as are allowed."""
    particles = 8 + 4 * len(sample.particles.names) * sample.particles.max if sample.particles else 0
    return 4 * len(sample.features) + 16 + particles


def cut(files: tuple[File, ...], row_bytes: int, memory: int) -> Cut:
    """Cut a sample.

    Args:
        files: Its files.
        row_bytes: Bytes of an event in the store.
        memory: Bytes that a task may use.
    """
    rows = max(memory // SHARE // row_bytes, 1)
    total = sum(file.borders[-1] for file in files if file.borders)
    windows = -(-total // rows)
    bits = max(windows - 1, 0).bit_length()
    merges = 2 ** max(bits - (WINDOWS - 1).bit_length(), 0)
    return Cut(tuple(_groups(files, rows)), bits + FINE, merges)


def _groups(files: tuple[File, ...], rows: int) -> Iterator[tuple[Piece, ...]]:
    """Put small files together; a file that is cut shares no task, so that it can be left out as a whole."""
    size, held = sum(file.size for file in files) or 1, 0
    group: list[Piece] = []
    for file in files:
        share = file.size / size
        entries = file.borders[-1] if file.borders else 0
        if group and held + entries > rows:
            yield tuple(group)
            group, held = [], 0
        if entries > rows:
            yield from ((piece,) for piece in _pieces(file, rows, share))
        else:
            group.append(Piece(file, share=share))
            held += entries
    if group:
        yield tuple(group)


def _pieces(file: File, rows: int, share: float) -> Iterator[Piece]:
    found = ranges(file.borders, rows)
    for start, stop in found[:-1]:
        yield Piece(file, start, stop, share)
    yield Piece(file, found[-1][0], None, share)
