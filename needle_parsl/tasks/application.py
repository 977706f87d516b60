"""Tasks of `needle evaluate`: estimators applied to new files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from needle_parsl import refs
from needle_parsl.nsbi.data.recipes import FileRange, InputFile
from needle_parsl.nsbi.estimators import application
from needle_parsl.nsbi.estimators.opening import RatioSource
from needle_parsl.plan.specs import Application
from needle_parsl.tasks import inputs


def look(spec: Application, files: Sequence[str]) -> dict[str, list[int]]:
    """Open all files; give the rows of each at which reading may start, from 0 to their number."""
    return application.look(files, spec.tree, inputs.recipe(spec.events))


def apply(spec: Application, path: str, start: int, stop: int, output: str) -> int:
    """Evaluate the rows of a file from `start` to `stop`; give the number of events that the selection kept."""
    refs.grant(spec.code.names, spec.code.source, spec.code.path)
    source = RatioSource(spec.onnx, spec.estimators, spec.ratios)
    piece = FileRange(InputFile(path=path, tree=spec.tree, label=path), start, stop)
    return application.apply(source, piece, inputs.recipe(spec.events), output)


def join(spec: Application, parts: Sequence[str], output: str, facts: Mapping[str, str]) -> None:
    """Put the parts together."""
    application.join(parts, output, spec.ratios, facts)
