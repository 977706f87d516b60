"""What runs on a worker: thin shells that read, call the science, and write. Undecorated; `flow` makes them Parsl apps.

Each takes the run directory, its task, and the records of the tasks before it, which only make it wait.
"""

from __future__ import annotations

import os
import shlex
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from needle_parsl import rundir
from needle_parsl.plan import Task, specs
from needle_parsl.workflow.records import Record

if TYPE_CHECKING:
    from needle_parsl.nsbi.data.events import Events, Part
    from needle_parsl.nsbi.physics import LogDensity
    from needle_parsl.nsbi.statistics.likelihood import Likelihood

TRAINING = threading.Lock()
"""torch's global random state is one per process, so that threads train one after the other."""


def generate(root: str, task: Task, *_before: object, stdout: str = "", stderr: str = "") -> str:  # noqa: ARG001
    """Give the command line of a generator, which is a process of its own; Parsl takes the two log files."""
    spec: Any = task.spec
    output = Path(root) / rundir.place("generate", task.name)
    physics = str(Path(root) / rundir.PHYSICS) if spec.physics.source else ""
    program = [sys.executable, "-m", "needle_parsl.nsbi.data.generation"]
    return shlex.join(
        [*program, spec.reference, physics, spec.physics.path, str(spec.events), str(spec.seed), str(output)]
    )


def generated(root: str, task: Task, started: float, _exit_code: int) -> Record:
    """Write the record of a generator that has ended well."""
    path = Path(root) / rundir.place(task.stage, task.name)
    return _record(root, task, path, time.time() - started)


def convert(root: str, task: Task, *_before: object) -> Record:
    """Turn one sample's files into a store."""
    from needle_parsl.nsbi.data import conversion, events

    spec: Any = task.spec
    recipe, files = recipe_of(spec), input_files(spec, Path(root))
    return _write(root, task, lambda path: events.write(path, conversion.convert(files, recipe), spec.salt))


def recipe_of(spec: specs.Convert) -> Any:  # noqa: ANN401  imported lazily
    """Translate a spec into the words of `nsbi.data`."""
    from needle_parsl.nsbi.data.conversion import Recipe

    return Recipe(spec.sample, spec.features, spec.weight, spec.selections, spec.id)


def input_files(spec: specs.Convert, root: Path) -> Any:  # noqa: ANN401  imported lazily
    """Locate the files of a sample; one without a path is what the sample's generator wrote."""
    from needle_parsl.nsbi.data.conversion import InputFile
    from needle_parsl.nsbi.data.generation import TREE

    own = str(root / rundir.place("generate", spec.sample))
    return tuple(InputFile(f.path or own, spec.tree if f.path else TREE, f.digest) for f in spec.files)


def train(root: str, task: Task, *_before: object) -> Record:
    """Train the members of a pack."""
    import torch

    from needle_parsl.nsbi.training import engine, networks, packs, views

    spec: Any = task.spec
    torch.set_num_threads(1)
    numerator, denominator = _ratio_events(root, spec, "train")
    t = spec.training
    shape = networks.Shape(t.network, len(numerator.names), t.layers, t.nodes)
    settings = engine.Settings(
        shape, t.loss, t.optimizer, t.learning_rate, t.schedule, t.weight_decay, t.batch_size, t.epochs, t.patience
    )
    data = views.RatioEvents.build(numerator, denominator)

    def member(m: specs.Member) -> packs.Trained:
        view = views.MemberView(m.fold, t.folds, spec.fold_salt, t.validation, spec.validation_salt, m.bootstrap)
        return engine.train(data, engine.Member(m.member, m.fold, m.seed, view), settings)

    def work(path: Path) -> None:
        packs.write(path, packs.Pack(shape, data.scaler, tuple(member(m) for m in spec.members)))

    with TRAINING:
        return _write(root, task, work)


def combine(root: str, task: Task, *_before: object) -> Record:
    """Make one renormalised estimator of all members of a ratio."""
    from needle_parsl.nsbi.estimators import estimator
    from needle_parsl.nsbi.training import packs

    spec: Any = task.spec
    pack = packs.join([packs.read(Path(root) / rundir.place("train", name)) for name in spec.packs])
    _, denominator = _ratio_events(root, spec, "combine")

    def work(path: Path) -> None:
        made = estimator.compose(spec.ratio.name, pack, denominator, spec.combine, spec.quorum)
        estimator.write(path, made)

    return _write(root, task, work)


def diagnose(root: str, task: Task, *_before: object) -> Record:
    """Measure an estimator on test events."""
    from needle_parsl.nsbi.estimators import diagnostics, estimator
    from needle_parsl.nsbi.estimators.exact import log_mixture

    spec: Any = task.spec
    made = estimator.read(Path(root) / rundir.place("combine", spec.ratio.name))
    samples = _ratio_events(root, spec, "test")
    exact = None
    if spec.physics:
        log_density = _log_density(spec.physics)
        below = _shares(root, spec.ratio.denominator)
        above = [(spec.ratio.numerator, 1.0)]
        points = [s.x.astype("float64") for s in samples]
        exact = tuple(log_mixture(log_density, above, x) - log_mixture(log_density, below, x) for x in points)
    found = diagnostics.diagnose(made, *samples, exact)  # type: ignore[arg-type]
    return _write(root, task, lambda path: rundir.write_json(path, found))


def evaluate(root: str, task: Task, *_before: object) -> Record:
    """Compute the log ratios of all events of a dataset."""
    import numpy as np

    from needle_parsl.nsbi.estimators import estimator
    from needle_parsl.nsbi.statistics import dataset

    spec: Any = task.spec
    observed = spec.dataset == "observed"
    if observed:
        parts, weights = [_store(root, "observed")], [1.0]
    else:
        parts = [_part(root, share.density.name, spec.splitting, "test") for share in spec.samples]
        totals = [share for _, share in _shares(root, spec.samples)]
        weights = [total / part.weight.sum() for total, part in zip(totals, parts, strict=True)]
    x = np.concatenate([part.x for part in parts])
    made = dataset.Dataset(
        x=x,
        weight=np.concatenate([part.weight * weight for part, weight in zip(parts, weights, strict=True)]),
        sample=np.repeat(np.arange(len(parts)), [len(part) for part in parts]) if not observed else np.full(len(x), -1),
        samples=() if observed else tuple(share.density.name for share in spec.samples),
        ratios={
            name: estimator.read(Path(root) / rundir.place("combine", name)).log_ratio(x) for name in spec.ratios
        },
        yields=_yields(root, spec),
    )
    return _write(root, task, lambda path: dataset.write(path, made))


def fit(root: str, task: Task, *_before: object) -> Record:
    """Fit a dataset, with learned ratios or with exact densities."""
    from needle_parsl.nsbi.statistics.fitting import minimise

    spec: Any = task.spec
    learned = _likelihood(root, spec)
    if spec.physics is None:
        best = minimise(learned, learned.rates)
        found = best.record(learned.floored(best.values), learned.normalisations(best.values))
    else:
        best = minimise(_exact(root, spec, learned), learned.rates, exact_gradient=False)
        found = best.record(0, {})
    return _write(root, task, lambda path: rundir.write_json(path, found))


def interval(root: str, task: Task, *_before: object) -> Record:
    """Scan a parameter and read its confidence intervals off."""
    import numpy as np

    from needle_parsl.nsbi.statistics import intervals
    from needle_parsl.nsbi.statistics.fitting import minimise

    spec: Any = task.spec
    learned = _likelihood(root, spec)
    rates, name = learned.rates, spec.poi
    index = rates.parameters.index(name)
    best = minimise(learned, rates)

    def scan(grid: Any) -> list[intervals.Point]:  # noqa: ANN401  imported lazily
        return intervals.profile(learned, rates, best, name, grid)

    if spec.scan:
        points = scan(np.linspace(spec.scan.start, spec.scan.stop, spec.scan.points))
    else:
        points = intervals.automatic(scan, best, index, rates.limits[index], max(spec.intervals.level))
    found = intervals.record(name, points, best, spec.intervals.level, rates.limits[index])
    found["dataset"] = spec.dataset
    return _write(root, task, lambda path: rundir.write_json(path, found))


def report(root: str, task: Task, *before: Record) -> Record:
    """Write the report: a page, its figures, and the numbers it shows."""
    from needle_parsl.nsbi.report import gathering, page

    spec: Any = task.spec
    folder = Path(root)
    split = spec.splitting
    facts = gathering.gather(
        spec.name,
        spec.seed,
        spec.headline,
        spec.poi,
        blinded=spec.blinded,
        parts={
            name: {p: _part(root, name, split, p) for p in ("train", "combine", "test")}  # type: ignore[arg-type]
            for name in spec.stores
            if name != "observed"
        },
        observed=len(_store(root, "observed")) if "observed" in spec.stores else None,
        packs={name: folder / rundir.place("train", name) for name in spec.packs},
        diagnostics={name: rundir.read_json(folder / rundir.place("diagnose", name)) for name in spec.ratios},
        fits={name: rundir.read_json(folder / rundir.place("fit", name)) for name in spec.fits},
        scans={name: rundir.read_json(folder / rundir.place("interval", name)) for name in spec.scans},
        exact=_exact_points(root, spec),
        seconds=[(record.stage, record.seconds) for record in before],
    )
    return _write(root, task, lambda path: page.write(path, facts))


FUNCTIONS: dict[str, Callable[..., Record]] = {
    "convert": convert,
    "train": train,
    "combine": combine,
    "diagnose": diagnose,
    "evaluate": evaluate,
    "fit": fit,
    "interval": interval,
    "report": report,
}
"""The stages whose tasks are Python functions; `generate` is a program."""


def _write(root: str, task: Task, work: Callable[[Path], None]) -> Record:
    """Let `work` write the output under a temporary name, rename it, and record it."""
    started = time.perf_counter()
    path = Path(root) / rundir.place(task.stage, task.name)
    with rundir.atomic(path) as temporary:
        work(temporary)
    return _record(root, task, path, time.perf_counter() - started)


def _record(root: str, task: Task, path: Path, seconds: float) -> Record:
    worker = f"{socket.gethostname()}:{os.getpid()}:{threading.current_thread().name}"
    output = str(path.relative_to(root))
    return Record(task.key, task.stage, task.name, worker, round(seconds, 3), output, rundir.digest(path))


def _store(root: str, name: str) -> Events:
    from needle_parsl.nsbi.data import events

    return events.read(Path(root) / rundir.place("convert", name))


def _part(root: str, name: str, splitting: specs.Splitting, part: Part) -> Events:
    from needle_parsl.nsbi.data.events import Fractions

    split = splitting.split
    return _store(root, name).part(part, Fractions(split.train, split.combine, split.test, splitting.salt))


def _ratio_events(root: str, spec: Any, part: Part) -> tuple[Events, Events]:  # noqa: ANN401  several specs have a ratio
    """Read numerator and denominator; samples of a denominator are scaled to their yields."""
    from dataclasses import replace

    from needle_parsl.nsbi.data import events

    numerator = _part(root, spec.ratio.name, spec.splitting, part)
    shares = _shares(root, spec.ratio.denominator)
    below = []
    for density, expected in shares:
        scale = expected / events.sum_of_weights(Path(root) / rundir.place("convert", density.name))
        sample = _part(root, density.name, spec.splitting, part)
        below.append(replace(sample, weight=sample.weight * scale) if len(shares) > 1 else sample)
    return numerator, events.Events.join(below, numerator.names)


def _shares(root: str, shares: tuple[specs.Share, ...]) -> list[tuple[Any, float]]:
    """Give each density its expected events; what the user did not state is the sum of the weights."""
    from needle_parsl.nsbi.data.events import sum_of_weights

    return [
        (s.density, s.yield_ or sum_of_weights(Path(root) / rundir.place("convert", s.density.name))) for s in shares
    ]


def _yields(root: str, spec: specs.Evaluate) -> dict[str, float]:
    """Expected events; a variation's are the nominal ones times the ratio of the sums of weights."""
    from needle_parsl.nsbi.data.events import sum_of_weights

    def total(name: str) -> float:
        return sum_of_weights(Path(root) / rundir.place("convert", name))

    yields = {density.name: expected for density, expected in _shares(root, spec.samples)}
    varied = {d.name: yields[d.sample] * total(d.name) / total(d.sample) for d in spec.varied}
    return yields | varied


def _log_density(physics: specs.Physics) -> LogDensity:
    from needle_parsl import refs

    found: LogDensity = refs.resolve("physics.py:log_density", physics.source, physics.path)
    return found


def _likelihood(root: str, spec: specs.Fit) -> Likelihood:
    from needle_parsl.nsbi.statistics import dataset
    from needle_parsl.nsbi.statistics.likelihood import Likelihood
    from needle_parsl.nsbi.statistics.model import Rates

    simulation = dataset.read(Path(root) / rundir.place("evaluate", "asimov"))
    asimov = spec.dataset == "asimov"
    data = simulation if asimov else dataset.read(Path(root) / rundir.place("evaluate", spec.dataset))
    rates = Rates.build(spec.model, spec.shapes, simulation.yields)
    names = {name: nuisance.interpolation for name, nuisance in spec.model.nuisances.items()}
    return Likelihood.build(rates, names, spec.shapes, data, simulation)


def _exact(root: str, spec: specs.Fit, learned: Likelihood) -> Any:  # noqa: ANN401  imported lazily
    from needle_parsl.nsbi.estimators.exact import log_mixture
    from needle_parsl.nsbi.statistics import dataset
    from needle_parsl.nsbi.statistics.exact import ExactLikelihood

    assert spec.physics is not None
    log_density = _log_density(spec.physics)
    data = dataset.read(Path(root) / rundir.place("evaluate", spec.dataset))
    log_reference = log_mixture(log_density, _shares(root, spec.reference), data.x.astype("float64"))
    return ExactLikelihood(learned.rates, data, log_density, log_reference)


def _exact_points(root: str, spec: specs.Report) -> Any:  # noqa: ANN401  imported lazily
    """Learned and exact log ratios of the Asimov events, for the figure that compares them."""
    from needle_parsl.nsbi.estimators.exact import log_mixture
    from needle_parsl.nsbi.physics import Density
    from needle_parsl.nsbi.statistics import dataset

    data = dataset.read(Path(root) / rundir.place("evaluate", "asimov"))
    if spec.physics is None:
        return data, {}
    log_density, x = _log_density(spec.physics), data.x.astype("float64")
    reference = log_mixture(log_density, _shares(root, spec.reference), x)
    exact = {}
    for name in data.ratios:
        sample, _, varied = name.partition(".")
        density = Density(sample, *varied.rsplit(".", 1)) if varied else Density(sample)
        below = log_density(sample, x, {}) if varied else reference
        exact[name] = log_density(sample, x, density.nuisances()) - below
    return data, exact
