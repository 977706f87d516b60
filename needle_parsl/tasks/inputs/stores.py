"""Samples: their files, stores, sums of weights and shares of the events."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from needle_parsl import files, rundir
from needle_parsl.densities import Density
from needle_parsl.nsbi.data import store as stores
from needle_parsl.nsbi.data.events import Events, Fractions, Part
from needle_parsl.nsbi.data.generation import TREE
from needle_parsl.nsbi.data.recipes import FileRange, InputFile, Recipe
from needle_parsl.nsbi.data.store import Lost, Schema, Store
from needle_parsl.nsbi.stage_outputs import formats
from needle_parsl.plan import specs, stages

if TYPE_CHECKING:
    from needle_parsl.nsbi.report.gathering import Provenance


def path(root: str, stage: str, name: str) -> Path:
    """Locate the output of a task."""
    return Path(root) / stages.place(stage, name)


def recipe(spec: specs.Convert) -> Recipe:
    """Translate a spec into the words of `nsbi.data`."""
    return Recipe.of(
        spec.plain(), (spec.physics.source, spec.physics.path) if spec.physics else ("", ""), formats.given
    )


def schema(spec: specs.Convert) -> Schema:
    """Say what the events of a sample's store are."""
    joint = tuple(known.ratio for known in spec.joint)
    return Schema(spec.features, spec.particles.names if spec.particles else (), spec.salt, joint)


def pieces(root: str, spec: specs.Convert, wanted: tuple[specs.Piece, ...]) -> list[FileRange]:
    """Locate pieces of a sample's files; one without a path is what the sample's generator wrote."""
    own = str(path(root, "generate", spec.sample))
    found = []
    for piece in wanted:
        f = piece.file
        file = InputFile(
            path=f.path or own,
            tree=spec.tree if f.path else TREE,
            label=f.digest,
            stamp=f.stamp,
            share=piece.share,
            links=f.links,
        )
        found.append(FileRange(file, piece.start, piece.stop))
    return found


def parts(root: str, names: tuple[str, ...]) -> list[Path]:
    """Locate what other tasks have read or merged."""
    return [path(root, *name.split(":", 1)) for name in names]


def store(root: str, name: str) -> Events:
    """Read all events of a store."""
    return stores.read(path(root, "convert", name))


def first(root: str, name: str, rows: int) -> Events:
    """Read the first events of a store, which are a random sample of it."""
    with Store(path(root, "convert", name)) as found:
        return found.read(0, min(rows, len(found)))


def part(root: str, name: str, splitting: specs.Splitting, purpose: Part, most: int | None = None) -> Events:
    """Read the events of a store that serve one purpose, or so many of them with the weight of all."""
    with Store(path(root, "convert", name)) as found:
        start, stop = found.rows_of(purpose, fractions(splitting))
        kept = stop - start if most is None else min(stop - start, most)
        events = found.read(start, start + kept)
        return events if start + kept == stop else replace(events, weight=events.weight * ((stop - start) / kept))


def fractions(splitting: specs.Splitting) -> Fractions:
    """Say how events are split."""
    return Fractions(splitting.train, splitting.combine, splitting.test, splitting.salt, bool(splitting.folds))


def total(root: str, name: str) -> float:
    """Read the sum of the weights of a store."""
    with Store(path(root, "convert", name)) as found:
        return found.attributes["sum_of_weights"]


def count(root: str, name: str) -> int:
    """Count the events of a store."""
    with Store(path(root, "convert", name)) as found:
        return len(found)


def features(root: str, name: str) -> tuple[str, ...]:
    """Name the features of a store."""
    with Store(path(root, "convert", name)) as found:
        return found.schema.features


def lost(root: str, name: str) -> list[Lost]:
    """List the bad files that were left out of a store."""
    with Store(path(root, "convert", name)) as found:
        return found.lost


def shares(root: str, wanted: tuple[specs.Share, ...]) -> list[tuple[Density, float]]:
    """Give each density its expected events; what the user did not state is the sum of the weights."""
    return [(share.density, _expected(root, share)) for share in wanted]


def _expected(root: str, share: specs.Share) -> float:
    """Give the expected events of a density: of a yield that is stated for more events, as much as are its own."""
    own = total(root, share.density.name)
    if share.yield_ is None or share.of is None:
        return share.yield_ or own
    return share.yield_ * own / total(root, share.counted)


def yields_of(root: str, wanted: tuple[specs.Share, ...]) -> list[float]:
    """Give the expected events of each density."""
    return [expected for _, expected in shares(root, wanted)]


def mixed(root: str, wanted: tuple[specs.Share, ...], splitting: specs.Splitting, purpose: Part) -> Events:
    """Read the events of several samples, each with its yield."""
    parts = []
    for density, expected in shares(root, wanted):
        sample = part(root, density.name, splitting, purpose)
        parts.append(replace(sample, weight=sample.weight * (expected / total(root, density.name))))
    return Events.join(parts, parts[0].names)


def provenance(root: str) -> Provenance:
    """Read what the run is made from, and with."""
    from needle_parsl.nsbi.report.gathering import Provenance  # noqa: PLC0415  with all that a report shows

    state = files.read_json(Path(root) / rundir.RUN)
    versions = {"needle": state["needle"], **state["versions"]}
    learned = state.get("stage_analyses", {})
    regions = state.get("region_inputs", {})
    looks = (state.get("stage_inputs", {}), *learned.values(), *regions.values(), state["inputs"])
    paths = {name: Path(root) / specs.PARTS / name / rundir.ANALYSIS for name in learned}
    texts = [f"# [stages.{name}] analysis\n{path.read_text(encoding='utf-8')}" for name, path in paths.items()]
    return Provenance(
        versions,
        {path: found["digest"] for looked in looks for path, found in looked.get("files", {}).items()},
        "\n".join([(Path(root) / rundir.ANALYSIS).read_text(encoding="utf-8"), *texts]),
        [f"{one['who']}, {one['when']}, by {one['how']}" for one in state["unblinded"]],
    )
