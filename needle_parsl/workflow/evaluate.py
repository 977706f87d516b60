"""`needle evaluate`: the estimators of a run, applied to new files by tasks on Parsl workers."""

from __future__ import annotations

import multiprocessing
import pkgutil
import tempfile
from collections.abc import Callable
from concurrent.futures import Future, as_completed
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

from needle_parsl import analysis, plan, rundir
from needle_parsl.analysis.file import match
from needle_parsl.errors import InputError, closest
from needle_parsl.files import atomic, digest, read_json
from needle_parsl.plan import specs, stages
from needle_parsl.plan.builder import Graph
from needle_parsl.plan.events import conversion
from needle_parsl.ranges import ranges
from needle_parsl.site import Site
from needle_parsl.workflow import dask, forms, overwrite, stage_analyses, user_process
from needle_parsl.workflow import trust as trusting

TASKS = "needle_parsl.tasks.application:"
"""Where the functions for workers are; found by name there."""

ROWS = 100_000
"""Rows of a task: its memory, and what is lost with a worker."""
NOTE = {"file": str, "exported": bool, "reason": str}
WRITTEN = {"digest": str, "bytes": int, "largest_difference": float}
"""What a run says of an exported file, and more of one that could be written."""
SAMPLE = "events"
"""What messages call the new events."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked for."""

    root: Path
    """The run."""
    files: tuple[str, ...]
    """Files, patterns, or addresses."""
    output: Path
    """A Parquet file."""
    tree: str
    ratios: tuple[str, ...]
    """Empty for all."""
    at: tuple[tuple[str, float], ...] = ()
    """Values of parameters that networks have as inputs; the others are columns of the files."""
    trust: bool = False
    """Whether code of somebody else's run may be executed."""
    force: bool = False
    """Whether a file that needle did not write may be replaced."""


def evaluate(
    request: Request, site: Site, said: Callable[[int, int], None], say: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Evaluate all events that the selection of the analysis keeps.

    Args:
        request: What is asked for.
        site: The machine.
        said: Called with tasks done and tasks in all.
        say: Tells the user something.

    Returns:
        `rows` that were read, `events` that were kept, the `engine`, `ratios`, and `output`.

    Raises:
        InputError: There is no such ratio, files or columns are missing, or the run has no estimators yet.
    """
    root = str(request.root)
    ratios, onnx = _ratios(request)
    heard: list[str] = []
    wanted, code, limit = _wanted(request, heard.append, networks=onnx is None)
    for text in heard:
        say(text)
    files = [path for name in request.files for path in _matched(name)]
    overwrite.refuse(request.output, [*files, *overwrite.inputs(request.root)], request.root, force=request.force)
    paths = {name: str((request.root / stages.place("combine", name)).resolve()) for name in ratios}
    spec = specs.Application(
        onnx=str(onnx or ""), estimators=paths, ratios=ratios, events=wanted, tree=request.tree, code=code, limit=limit
    )
    request.output.parent.mkdir(parents=True, exist_ok=True)
    with (
        dask.workers(site) as pool,
        tempfile.TemporaryDirectory(dir=request.output.parent, prefix=".needle-") as folder,
    ):
        borders = pool.submit(work, "look", spec, files).result()
        pieces = [
            (path, start, stop) for path, cuts in borders.items() for start, stop in ranges(cuts, ROWS) if stop > start
        ]
        parts = [str(Path(folder) / f"{number:08d}.parquet") for number in range(len(pieces))]
        calls = ((apply, spec, *piece, part) for piece, part in zip(pieces, parts, strict=True))
        events = _all(pool, calls, site.window, lambda done: said(done, len(pieces)))
        facts = {"run": root, "engine": "onnxruntime" if onnx else "torch"} | ({"trusted": heard[0]} if heard else {})
        with atomic(request.output) as temporary:
            pool.submit(work, "join", spec, parts, str(temporary), facts).result()
        overwrite.note(request.output.parent, [request.output])
    rows = sum(stop - start for _, start, stop in pieces)
    return {"rows": rows, "events": events, **facts, "ratios": list(ratios), "output": str(request.output)}


def _matched(pattern: str) -> list[str]:
    try:
        return match(Path.cwd() / "events", (pattern,))
    except InputError as error:
        raise InputError(f"--events {pattern}: {error}") from error


def _all(pool: dask.Pool, calls: Any, window: int, said: Callable[[int], None]) -> int:
    """Keep some tasks running until all are done; add up what they give."""
    total = done = 0
    running: set[Future[int]] = {pool.submit(*one) for one in islice(calls, window)}
    while running:
        ended = next(as_completed(running))
        running.remove(ended)
        total, done = total + ended.result(), done + 1
        said(done)
        running |= {pool.submit(*one) for one in islice(calls, 1)}
    return total


def _wanted(
    request: Request, say: Callable[[str], None], *, networks: bool
) -> tuple[specs.Convert, plan.Physics, float]:
    """Say what is read of new events, what the analysis reads of observed ones; and give the user's code, with its limit."""
    loaded = analysis.read(request.root / rundir.ANALYSIS)
    physics = trusting.code(request.root, loaded, networks=networks, trust=request.trust, say=say)
    learned = stage_analyses.of_run(request.root, loaded.analysis)
    whole, columns = stage_analyses.with_columns(loaded.analysis, learned, request.root, {})
    inputs = plan.Inputs(files={}, physics=physics, exact=False, columns=columns)
    graph = Graph(analysis=whole, inputs=inputs, pack=1, memory=2**30)
    events = conversion(graph, SAMPLE, analysis.Data(files=request.files, tree=request.tree), ())
    wanted = loaded.analysis.features.parameters
    for name, _ in request.at:
        if name not in wanted:
            raise InputError(f'--at {name}: "{name}" is none of features.parameters{closest(name, wanted)}')
    at = tuple((name, repr(value)) for name, value in request.at)
    events = replace(events, id=(), features=(*events.features, *wanted), derived=(*events.derived, *at))
    return events, physics, loaded.analysis.limits.of("evaluate")


def lacking(root: Path) -> InputError:
    """Say why a run has no estimators."""
    if analysis.read(root / rundir.ANALYSIS).analysis.binned:
        return InputError(f"{root}: is of binned regions alone; without [ratios] there are no estimators")
    return InputError(f'{root}: has no estimators yet; "needle run" makes them')


def _ratios(request: Request) -> tuple[tuple[str, ...], Path | None]:
    """List the ratios, and the exported file that has them, if it can be evaluated here."""
    folder = request.root / "estimators"
    known = sorted(path.parent.name for path in folder.glob("*/estimator.h5"))
    if not known:
        raise lacking(request.root)
    for name in request.ratios:
        if name not in known:
            raise InputError(f'{request.root}: has no ratio "{name}"{closest(name, known)}')
    wanted = request.ratios or tuple(known)
    note, file = folder / "all.json", folder / "all.onnx"
    if len(wanted) == 1:
        note, file = folder / wanted[0] / "export.json", folder / wanted[0] / "estimator.onnx"
    found = exported(note) if find_spec("onnxruntime") and note.exists() else {"exported": False}
    usable = found["exported"] and file.exists() and digest(file) == found["digest"]
    return wanted, file.resolve() if usable else None


def exported(note: Path) -> dict[str, Any]:
    """Read what a run says of an exported file.

    Raises:
        InputError: It is damaged, or no such note.
    """
    found: Any = read_json(note)
    if not forms.fits(found, NOTE) or (found["exported"] and not forms.fits(found, WRITTEN)):
        raise InputError(f"{note}: says nothing of an exported file; remove it, and the next run makes it again")
    table: dict[str, Any] = found
    return table


def work(name: str, *arguments: Any) -> Any:
    """Call a function of `tasks.application` on a worker."""
    return pkgutil.resolve_name(TASKS + name)(*arguments)


def apply(spec: specs.Application, path: str, start: int, stop: int, output: str) -> int:
    """Evaluate rows of a file on a worker; code of the user's in a process of its own, where workers are threads."""
    in_driver = multiprocessing.parent_process() is None and not user_process.here()
    if in_driver and (spec.code.names or spec.events.computed):
        said = "limits.evaluate of the analysis"
        events: int = user_process.call(apply, spec, path, start, stop, output, limit=spec.limit, said=said)
        return events
    kept: int = work("apply", spec, path, start, stop, output)
    return kept
