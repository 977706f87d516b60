"""Tasks that make stores of events: what generators wrote, parts of samples, and what they are merged to."""

from __future__ import annotations

from pathlib import Path

from needle_parsl import refs, rundir
from needle_parsl.nsbi.data import acceptance, gathering, store
from needle_parsl.plan import Task, specs
from needle_parsl.plan.events import SHARE
from needle_parsl.processes import python
from needle_parsl.records import Output, Record, writing
from needle_parsl.tasks import inputs


def generator(root: str, task: Task) -> list[str]:
    """Give the command line of a generator."""
    spec = task.of(specs.Generate)
    physics = str(Path(root) / rundir.PHYSICS) if spec.physics.source else ""
    output = str(Path(root) / task.place)
    told = [
        spec.reference,
        physics,
        refs.digest(spec.physics.source),
        spec.physics.path,
        str(spec.events),
        str(spec.seed),
        output,
    ]
    return python.module("needle_parsl.nsbi.data.generation", *told)


def generated(root: str, task: Task, started: float, _exit_code: int) -> Record:
    """Record what a generator wrote, after its program has ended well."""
    return Output(task, Path(root) / task.place, started).record(root)


def read(root: str, task: Task, *_before: Record) -> Record:
    """Read some pieces of a sample into a part of its store."""
    spec = task.of(specs.Read)
    sample = spec.sample
    with writing(root, task) as out:
        pieces, skip = inputs.pieces(root, sample, spec.pieces), sample.on_bad_file == "skip"
        found = gathering.gather(pieces, inputs.recipe(sample), skip=skip)
        store.write(out.path, found.events, inputs.schema(sample), spec.bits, found.sources, found.lost)
    return out.record(root)


def merge(root: str, task: Task, *_before: Record) -> Record:
    """Merge one range of the hash out of all parts of a sample."""
    spec = task.of(specs.Merge)
    with writing(root, task) as out:
        store.merge(inputs.parts(root, spec.parts), out.path, spec.memory // SHARE, spec.share)
    return out.record(root)


def convert(root: str, task: Task, *_before: Record) -> Record:
    """Write the store of a sample, from its files or from what other tasks have made of them."""
    spec = task.of(specs.Convert)
    recipe = inputs.recipe(spec)
    with writing(root, task) as out:
        if spec.parts:
            store.merge(inputs.parts(root, spec.parts), out.path, spec.memory // SHARE)
        else:
            found = gathering.gather(inputs.pieces(root, spec, spec.pieces), recipe, skip=spec.on_bad_file == "skip")
            store.write(out.path, found.events, inputs.schema(spec), None, found.sources, found.lost)
        with store.Store(out.path) as made:
            sums = made.attributes
            if not spec.region:  # a process may have no events there
                acceptance.accept(len(made), int(sums["repeated_ids"]), sums["sum_of_weights"], _named(spec), recipe)
    return out.record(root)


def _named(spec: specs.Convert) -> list[str]:
    return [file.path or f"what {spec.sample}'s generator made" for file in spec.files]
