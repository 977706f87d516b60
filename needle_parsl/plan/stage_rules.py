"""What is wrong with the order of the user's stages: names that are no stage's, circles, and outputs that come too late."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from needle_parsl.analysis import Analysis, OwnStage
from needle_parsl.analysis.tables.stages import EVENTS, MADE, made_by
from needle_parsl.densities import Density
from needle_parsl.errors import closest
from needle_parsl.plan.stages import STAGES

Found = Iterator[tuple[str, str]]


def problems(analysis: Analysis) -> Found:
    """List mistakes, each as a key and a message."""
    for name, stage in analysis.stages.items():
        if name in STAGES:
            yield f"stages.{name}", "is the name of a stage of needle's; choose another name"
        yield from _after(analysis, name, stage)
        yield from _outputs(analysis, name, stage)
    for circle in circles(analysis.stages):
        yield f"stages.{circle[0]}.after", f"goes round in a circle: {' after '.join([*circle, circle[0]])}"
    yield from _files(analysis)
    yield from _columns(analysis)


def _after(analysis: Analysis, name: str, stage: OwnStage) -> Found:
    known = {**analysis.stages, **STAGES}
    for before in stage.after:
        if before not in known:
            yield f"stages.{name}.after", f'"{before}" is no stage{closest(before, known)}'
        elif analysis.stages_alone and before not in {**analysis.stages, "report": None}:
            yield f"stages.{name}.after", f'"{before}" has no tasks here, since the analysis has no samples'
    yield from _before(analysis, name, stage)
    if "section" in stage.outputs.values() and "report" in ancestors(analysis.stages, name):
        yield f"stages.{name}.after", 'comes after the report, which cannot hold its section; leave "report" out'


def _before(analysis: Analysis, name: str, stage: OwnStage) -> Found:
    """Check what waits for a stage."""
    key, order = f"stages.{name}.before", list(STAGES)
    latest = max((order.index(one) for one in ancestors(analysis.stages, name) if one in STAGES), default=-1)
    known = [*analysis.stages, *STAGES]
    for later in stage.before:
        if later not in known:
            yield key, f'"{later}" is no stage{closest(later, known)}'
        elif later in STAGES and order.index(later) <= latest:
            yield key, f'"{later}" cannot wait for it, since it comes after "{order[latest]}"'


def _outputs(analysis: Analysis, name: str, stage: OwnStage) -> Found:
    """Check placeholders of outputs of earlier stages."""
    for text in stage.named():
        earlier, _, output = text.partition(".")
        if not output:
            kinds = analysis.stages[earlier].outputs if earlier in stage.after and earlier in analysis.stages else {}
            if len(kinds) > 1:
                which = " or ".join(f"{{{earlier}.{one}}}" for one in kinds)
                yield f"stages.{name}.command", f"{{{text}}} has {len(kinds)} outputs; write {which}"
            continue
        if earlier not in stage.after or earlier not in analysis.stages:
            yield (
                f"stages.{name}.command",
                f"{{{text}}} stands for nothing; before the dot is a stage of yours in after",
            )
        elif output not in analysis.stages[earlier].outputs:
            known = analysis.stages[earlier].outputs
            yield (
                f"stages.{name}.command",
                f'{{{text}}}: "{output}" is no output of "{earlier}"{closest(output, known)}',
            )


def ancestors(stages: Mapping[str, OwnStage], name: str) -> set[str]:
    """List all stages, of the user's and of needle, that come before one by what is said of them."""
    found: set[str] = set()
    left = list(stages[name].after)
    while left:
        if (before := left.pop()) not in found:
            found.add(before)
            left += stages[before].after if before in stages else ()
    return found


def circles(stages: Mapping[str, OwnStage]) -> list[list[str]]:
    """List circles of stages, each from the one that the file names first."""
    found: list[list[str]] = []
    for name in stages:
        if name in ancestors(stages, name) and not any(name in circle for circle in found):
            found.append(_circle(stages, name))
    return found


def _circle(stages: Mapping[str, OwnStage], name: str) -> list[str]:
    """Follow a circle once round."""
    path = [name]
    while True:
        ahead = [b for b in stages[path[-1]].after if b in stages and (b == name or name in ancestors(stages, b))]
        if name in ahead:
            return path
        path.append(next(b for b in ahead if b not in path))


def ordered(stages: Mapping[str, OwnStage]) -> list[str]:
    """Order stages so that each comes after those it needs; else as the file has them."""
    found: list[str] = []
    while len(found) < len(stages):
        found.append(
            next(n for n in stages if n not in found and all(b in found for b in stages[n].after if b in stages))
        )
    return found


def _files(analysis: Analysis) -> Found:
    """Check what makes the files of samples."""
    for key, text in made_files(analysis):
        stage, output = made_by(text)
        if stage not in analysis.stages:
            yield key, f'"{stage}" is no stage of yours{closest(stage, analysis.stages)}'
            continue
        kinds = analysis.stages[stage].outputs
        events = [name for name, kind in kinds.items() if holds_events(kind)]
        if output and output not in kinds:
            yield key, f'"{output}" is no output of the stage "{stage}"{closest(output, kinds)}'
        elif not output and len(events) != 1:
            yield key, f'"{stage}" has {len(events)} outputs with events; write "{MADE}{stage}.OUTPUT"'
        if late := _late(analysis, stage):
            yield key, f'the stage "{stage}" comes after "{late}", and so cannot make the files of a sample'


def _late(analysis: Analysis, stage: str) -> str:
    """Name a stage of needle's after which a stage comes; empty if there is none."""
    return min((before for before in ancestors(analysis.stages, stage) if before in STAGES), default="")


def _columns(analysis: Analysis) -> Found:
    """Check what stages give to computed columns."""
    for key, name in made_columns(analysis):
        own = analysis.stages.get(name)
        if own is None:
            yield key, f'"{name}" is no stage of yours{closest(name, analysis.stages)}'
        elif key.endswith(".ratio") and not own.analysis:
            yield key, f'the stage "{name}" has no analysis, and so no ratios'
        elif not key.endswith(".ratio") and (own.apart() or (own.over and not own.merge)):
            yield key, f'the stage "{name}" has several outputs; give it a merge of all'
        elif late := _late(analysis, name):
            yield key, f'the stage "{name}" comes after "{late}", and so cannot make a column'


def made_columns(analysis: Analysis) -> list[tuple[str, str]]:
    """List the keys at which stages give something to a computed column, with their names."""
    found = []
    for name, column in analysis.features.computed.items():
        found += [(f"features.computed.{name}.after", stage) for stage in column.after]
        found += [(f"features.computed.{name}.ratio", column.ratio.partition(".")[0])] if column.ratio else []
    return found


def holds_events(kind: str) -> bool:
    """Whether a format may be that of a sample's files."""
    return kind in EVENTS or kind in (".root", ".parquet", ".csv", ".h5", ".hdf5")


def made_files(analysis: Analysis) -> list[tuple[str, str]]:
    """List the keys at which a stage stands for files, with what stands there."""
    return [(key, text) for key, text, _, _ in made_for(analysis)]


def made_for(analysis: Analysis) -> list[tuple[str, str, str, str]]:
    """List the same, with the sample (`observed` for data) and the variation, "nominal" or such as `jes.up`."""
    found = [
        (f"samples.{name}.files", text, name, "nominal") for name, own in analysis.samples.items() for text in own.files
    ]
    for name, sample in analysis.samples.items():
        for nuisance, variation in sample.variations.items():
            for side, source in (("up", variation.up), ("down", variation.down)):
                place, varied = f"samples.{name}.variations.{nuisance}.{side}.files", f"{nuisance}.{side}"
                found += [(place, text, name, varied) for text in (source.files if source else ())]
        for number, joint in enumerate(sample.joint):
            place, varied = f"samples.{name}.joint[{number}].files", Density(name, at=joint.point()).variation
            found += [(place, text, name, varied) for text in joint.files]
    if data := analysis.data():
        found += [("fit.data", text, "observed", "nominal") for text in data.files]
    return [one for one in found if one[1].startswith(MADE)]


def first(analysis: Analysis) -> list[str]:
    """List the stages that make files of samples, or columns, with those before them, in their order."""
    makers = {made_by(text)[0] for _, text in made_files(analysis)} | {name for _, name in made_columns(analysis)}
    needed = makers.union(*(ancestors(analysis.stages, name) for name in makers if name in analysis.stages))
    return [name for name in ordered(analysis.stages) if name in needed]
