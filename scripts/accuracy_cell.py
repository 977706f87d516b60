"""One problem of `bench_accuracy.py` at one size: an analysis as one would write it, run for every seed, beside exact densities."""

from __future__ import annotations

import json
import resource
import sys
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import tomli_w
from pyarrow import parquet

from needle_parsl import analysis, site
from needle_parsl.errors import NeedleError
from needle_parsl.files import read_json
from needle_parsl.nsbi.estimators import files
from needle_parsl.nsbi.statistics import dataset, network_error
from needle_parsl.nsbi.statistics.dataset import Dataset
from needle_parsl.nsbi.statistics.fits.fitting import minimise
from needle_parsl.nsbi.statistics.fits.result import Result
from needle_parsl.nsbi.statistics.model.builder import Builder
from needle_parsl.nsbi.statistics.model.constraints import Constraints
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
from needle_parsl.nsbi.statistics.model.normalisation import Simulation
from needle_parsl.plan import specs, stages
from needle_parsl.workflow import prepared_run
from needle_parsl.workflow import run as running

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from problems import PROBLEMS, SHAPE, Problem, Sample, exact  # type: ignore[import-not-found] # lies with the tests

Floats = npt.NDArray[np.float64]
NORMALISING = 20_000
"""Events of each process behind Z, at most."""
FEW = 10_000
"""Below, parts of a sample have fewer events than the default of `split.min_events`."""
EXTRA = ("ensemble_error", "simulation_error")
"""What a fit states beside the statistics of the data, as `fits/*.json` names it."""


@dataclass(frozen=True)
class Task:
    """What is to be measured."""

    problem: str
    events: int
    """Simulated events of each process, and of each variation."""
    seeds: tuple[int, ...]
    """Of the networks, each a run."""
    settings: tuple[str, ...]
    """Overrides, as `--set` has them."""
    data: int
    """Data sets."""
    resample: bool
    """Whether every seed has simulated events of its own."""


def cpu() -> float:
    """Give the processor time of this process and its children so far, in seconds."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def write(problem: Problem, folder: Path, events: int, seed: int) -> Path:
    """Write simulated events as Parquet files, and the analysis of them: the same bytes every time."""
    path = folder / "analysis.toml"
    folder.mkdir(parents=True, exist_ok=True)
    samples: dict[str, Any] = {}
    for place, (name, process) in enumerate(problem.processes.items()):
        made = problem.simulate(name, np.random.default_rng([seed, place, zlib.crc32(problem.name.encode())]), events)
        for side, sample in made.items():
            parquet.write_table(table(problem, sample), folder / f"{name}_{side}.parquet")
        sides = {side: {"files": [f"{name}_{side}.parquet"]} for side in made if side != "nominal"}
        samples[name] = {"files": [f"{name}_nominal.parquet"], "weight": "weight", "yield": float(process.events)}
        samples[name] |= {"variations": {SHAPE: sides}} if sides else {}
    path.write_text(tomli_w.dumps(description(problem, events) | {"samples": samples}))
    return path


def table(problem: Problem, sample: Sample) -> pa.Table:
    """Make the columns of a file: features, weight, and what names an event where twins of it are elsewhere."""
    columns = {name: sample.x[:, i].astype(np.float32) for i, name in enumerate(problem.features)}
    named = {"event": sample.event} if problem.twins else {}
    return pa.table({**columns, "weight": sample.weight, **named})


def description(problem: Problem, events: int) -> dict[str, Any]:
    """Say what has no default, and what a small sample or twins need."""
    features: dict[str, Any] = {"names": list(problem.features)}
    if problem.missing and "missing" in {field.name for field in fields(analysis.Features)}:
        features["missing"] = list(problem.missing)
    split: dict[str, Any] = {"min_events": 100} if events < FEW else {}
    split |= {"id": ["event"]} if problem.twins else {}
    return {
        "name": problem.name,
        "features": features,
        "ratios": {"reference": list(problem.reference), "targets": list(problem.processes)},
        "model": problem.model(),
        **({"split": split} if split else {}),
    }


def run(path: Path, settings: Sequence[str]) -> tuple[prepared_run.Prepared, dict[str, float]]:
    """Run up to the Asimov fit and what is injected beside it, without what these do not need.

    Returns:
        The run, and processor seconds by stage; those before the first task, as of looking at files, are `start`.

    Raises:
        NeedleError: It ended without a result.
    """
    began = cpu()
    place = replace(site.load("local"), workers_per_node=1)
    prepared = prepared_run.prepare(path.parent / "run", analysis.load(path, list(settings)), place, "interval")
    needed = {task.key for task in prepared.plan.tasks if isinstance(task.spec, specs.FitSpec | specs.Closing)}
    for task in reversed(prepared.plan.tasks):
        needed |= set(task.after) if task.key in needed else set()
    tasks = tuple(task for task in prepared.plan.tasks if task.key in needed)
    prepared = replace(prepared, plan=replace(prepared.plan, tasks=tasks))
    used, last = {"start": cpu() - began}, cpu()

    def ended(task: Any, _: Any) -> None:
        nonlocal last
        used[task.stage.name] = used.get(task.stage.name, 0.0) + cpu() - last
        last = cpu()

    outcome = running.run(prepared, ended)
    if outcome.failed:
        first = outcome.failed[0]
        raise NeedleError(f"{first.stage} {first.what}: {first.reason}")
    return prepared, used


@dataclass(frozen=True)
class Data:
    """Data sets at the nominal point, each with the auxiliary observations that were thrown beside it."""

    x: Floats
    """Features of all, shape (N, F)."""
    ends: npt.NDArray[np.int64]
    """Where each ends."""
    constraints: Sequence[Constraints]

    @staticmethod
    def throw(problem: Problem, builder: Builder, number: int) -> Data:
        """Throw them; the same for all seeds and sizes."""
        generators = [np.random.default_rng([zlib.crc32(problem.name.encode()), i]) for i in range(number)]
        x = [problem.pseudo_data(generator, 1.0, {}) for generator in generators]
        nominal = builder.constraints.nominal()
        thrown = [builder.constraints.throw(nominal, generator) for generator in generators]
        return Data(np.concatenate(x), np.cumsum([len(one) for one in x]), thrown)

    def fit(self, builder: Builder, ratios: Mapping[str, Floats], simulation: Dataset) -> list[Result]:
        """Fit each with log ratios of all events."""
        whole = fewer(builder.likelihood(Dataset.of(self.x, ratios), simulation))
        found = []
        for start, stop, constraints in zip([0, *self.ends[:-1]], self.ends, self.constraints, strict=True):
            likelihood = whole.take(slice(start, stop), constraints)
            found.append(minimise(likelihood, likelihood.rates))
        return found


def numbers(fit: Result) -> dict[str, float | None]:
    """Give what is compared of a fit: null where it has failed, and for the error at a bound."""
    if not fit.converged:
        return {"mu": None, "error": None, SHAPE: None}
    error = fit.error("mu")
    return {"mu": fit.value("mu"), "error": None if np.isnan(error) else error, SHAPE: fit.value(SHAPE)}


def deviations(problem: Problem, truth: Mapping[str, Floats], learned: Mapping[str, Floats]) -> dict[str, Any]:
    """Compare log ratios in the data: standard deviation and mean of learned - exact.

    Of processes against the most frequent one, where that log ratio is between its quantiles at 5 and 95 % for events of the
    process; of variations over the events of their process.
    """
    yields = {name: process.events for name, process in problem.processes.items()}
    base = max(yields, key=lambda name: yields[name])
    flat = np.zeros_like(truth[base])
    densities = {name: n * np.exp(truth[name]) for name, n in yields.items()}
    total = np.sum([*densities.values()], axis=0)
    found: dict[str, Any] = {}
    for name in truth:
        process = name.partition(".")[0]
        if name == base:
            continue
        if name == process:
            own = truth[name] - truth[base]
            low, high = quantiles(own, densities[name] / total)
            off = learned.get(name, flat) - learned.get(base, flat) - own
            weight = ((own >= low) & (own <= high)).astype(float)
        else:
            off, weight = learned[name] - truth[name], densities[process] / total
        mean = float(np.average(off, weights=weight))
        spread = float(np.sqrt(np.average((off - mean) ** 2, weights=weight)))
        size = float(np.sqrt(np.average(truth[name] ** 2, weights=weight))) if name != process else None
        found[name] = {"sd": spread, "mean": mean, "size": size}
    return found


def quantiles(values: Floats, weight: Floats) -> tuple[float, float]:
    """Give the weighted quantiles at 5 and 95 %."""
    order = np.argsort(values)
    share = np.cumsum(weight[order]) / weight.sum()
    low, high = values[order][np.searchsorted(share, [0.05, 0.95])]
    return float(low), float(high)


def measure(task: Task, out: Path) -> list[dict[str, Any]]:
    """Run every seed that is not kept from before and compare; a line of progress for each.

    Args:
        task: What.
        out: A folder for events, runs, and the cells that are kept.

    Returns:
        A cell for each seed; one that ended without a result has only the reason, `failed`.
    """
    problem = PROBLEMS[task.problem]
    cells: list[dict[str, Any]] = []
    truth: Truth | None = None
    written: dict[int, Path] = {}
    for seed in task.seeds:
        if known := read(task, seed, out):
            cells.append(known)
            continue
        began, wall = cpu(), time.time()
        sample = seed if task.resample else 1
        folder = out / f"{problem.name}_{task.events}_{sample}"
        cell: dict[str, Any] = {"problem": problem.name, "events": task.events, "seed": seed}
        path = written.get(sample) or write(problem, folder, task.events, sample)
        written[sample] = path
        used = {"simulate": cpu() - began}
        try:
            prepared, stages = run(path, [f"seed={seed}", *task.settings])
            used |= stages
            began = cpu()
            builder = Builder.of(prepared.loaded.analysis.model, exact.shapes(problem))
            if truth is None:
                truth = Truth.make(problem, builder, task.data)
                used["exact"], began = cpu() - began, cpu()
            cell |= compared(problem, builder, truth, prepared.root, used)
        except NeedleError as error:
            cell["failed"] = str(error)
        cell |= {
            "cpu": {name: round(seconds, 2) for name, seconds in used.items()},
            "wall": round(time.time() - wall, 1),
        }
        cells.append(keep(task, cell, out))
        print(said(cell), file=sys.stderr, flush=True)
    return cells


def kept(problem: str, events: int, seed: int, out: Path) -> Path:
    """Say where a cell is kept as soon as it has ended."""
    return out / "cells" / f"{problem}_{events}_{seed}.json"


def conditions(task: Task) -> dict[str, Any]:
    """Give what a cell was measured with, beside its problem, size and seed."""
    return {"settings": list(task.settings), "data": task.data, "resample": task.resample}


def keep(task: Task, cell: dict[str, Any], out: Path) -> dict[str, Any]:
    """Write a cell down, so that an invocation that is ended loses only what it is at; give it as it is read."""
    path = kept(task.problem, task.events, cell["seed"], out)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps({"with": conditions(task), "cell": cell}, default=float, indent=1))
    part.replace(path)
    return dict(json.loads(path.read_text())["cell"])


def read(task: Task, seed: int, out: Path) -> dict[str, Any] | None:
    """Read a cell that an earlier invocation has kept; None where there is none, one of other conditions, or a failure."""
    path = kept(task.problem, task.events, seed, out)
    stored = json.loads(path.read_text()) if path.exists() else {}
    usable = stored.get("with") == conditions(task) and "failed" not in stored["cell"]
    return stored["cell"] if usable else None


def all_seeds(task: Task, out: Path) -> tuple[int, ...]:
    """List the seeds that are asked for, and those that earlier invocations have kept."""
    paths = (out / "cells").glob(f"{task.problem}_{task.events}_*.json")
    found = [int(path.stem.rpartition("_")[2]) for path in paths]
    return tuple(sorted({*task.seeds, *(seed for seed in found if read(task, seed, out))}))


@dataclass(frozen=True)
class Truth:
    """What needs no networks: the data sets with their exact ratios and fits."""

    data: Data
    ratios: Mapping[str, Floats]
    fits: Sequence[Result]

    @staticmethod
    def make(problem: Problem, builder: Builder, number: int) -> Truth:
        """Throw and fit them."""
        data = Data.throw(problem, builder, number)
        ratios = exact.log_ratios(problem, data.x)
        simulation = exact.simulation(problem, np.random.default_rng(zlib.crc32(problem.name.encode())), NORMALISING)
        return Truth(data, ratios, data.fit(builder, ratios, simulation))


def compared(problem: Problem, builder: Builder, truth: Truth, root: Path, used: dict[str, float]) -> dict[str, Any]:
    """Evaluate the estimators of a run on the data, fit with them, and put everything beside what is exact."""
    began = cpu()
    x = truth.data.x.astype(np.float32)
    paths = sorted((root / "estimators").glob("*/estimator.h5"))
    learned = {path.parent.name: files.read(path).log_ratio(x) for path in paths}
    used["evaluate data"], began = cpu() - began, cpu()
    simulation = dataset.read(root / stages.place("evaluate", "asimov"))
    fits = {"learned": truth.data.fit(builder, learned, simulation), "exact": truth.fits}
    used["fits"], began = cpu() - began, cpu()
    if simulation.priors:
        fits["finite"] = truth.data.fit(builder, *finite(problem, truth, simulation))
    used["finite"] = cpu() - began
    asimov = read_json(root / stages.place("fit", "asimov"))
    rows = zip(*fits.values(), strict=True)
    return {
        "data": [{arm: numbers(fit) for arm, fit in zip(fits, row, strict=True)} for row in rows],
        "ratios": deviations(problem, truth.ratios, learned),
        "asimov": {"converged": asimov["converged"], **asimov["parameters"]},
        "checks": checks(root / stages.place("interval", "closure"), asimov["parameters"]),
    }


def finite(problem: Problem, truth: Truth, simulation: Dataset) -> tuple[dict[str, Floats], Dataset]:
    """Normalise exact ratios as the run does learned ones: what they are off by then is its finite simulation.

    Returns:
        Ratios in the data, and the simulated events with theirs.
    """
    own = replace(simulation, ratios=exact.log_ratios(problem, simulation.x))
    joined = {name: np.concatenate([truth.ratios[name], values]) for name, values in own.ratios.items()}
    found, size = network_error.renormalised(own, joined), len(truth.data.x)
    behind = replace(own, ratios={name: values[size:] for name, values in found.items()})
    return {name: values[:size] for name, values in found.items()}, behind


def checks(path: Path, asimov: Mapping[str, Any]) -> dict[str, Any] | None:
    """Read what has come back of injections; None where a run makes none, as without `normalise = "yields"`.

    Returns:
        Slopes and offsets; by kind and name of an injection, `value - true` of each parameter in errors of the Asimov fit, null where there
        is none; `back`, the nuisance parameter over what was injected; `lost`, the fits that did not converge.
    """
    if not path.exists():
        return None
    closure = read_json(path)
    kinds = {kind: {one["name"]: one for one in closure[kind]} for kind in ("variations", "signals", "halves")}
    good = {kind: {name: one for name, one in own.items() if one["converged"]} for kind, own in kinds.items()}
    return {
        "normalisation": closure["normalisation"],
        **{kind: {name: pulls(one, asimov) for name, one in own.items()} for kind, own in good.items()},
        "back": {name: back(one) for name, one in good["variations"].items()},
        "lost": [name for kind, own in kinds.items() for name in own if name not in good[kind]],
    }


def pulls(injection: Mapping[str, Any], asimov: Mapping[str, Any]) -> dict[str, float | None]:
    """Give the distance of each parameter from what was injected."""
    errors = {name: one["error"] for name, one in asimov.items()}
    return {
        (name := one["parameter"]): (one["value"] - one["true"]) / errors[name] if errors[name] else None
        for one in injection["parameters"]
    }


def back(injection: Mapping[str, Any]) -> float:
    """Give the nuisance parameter over what was injected."""
    (one,) = (one for one in injection["parameters"] if one["parameter"] == SHAPE)
    return float(one["value"] / one["true"])


def fewer(likelihood: Likelihood) -> Likelihood:
    """Let some events stand for all those behind Z_j; fits take a tenth of the time."""
    tables = [replace(one, simulation=tuple(map(some, one.simulation))) for one in likelihood.tables]
    return replace(likelihood, tables=tuple(tables))


def some(simulation: Simulation) -> Simulation:
    """Pick events as often as their weights say, and tilt these until Z_j is at plus and minus one sigma what it is of all.

    Without that the shape nuisance would move by sqrt(expected / picked events) of its error.
    """
    if len(simulation.weight) <= NORMALISING:
        return simulation
    total, size = simulation.weight.sum(), np.abs(simulation.weight)
    rows = np.random.default_rng(0).choice(len(size), NORMALISING, p=size / size.sum())
    values = np.exp(np.concatenate([simulation.responses.log_up, simulation.responses.log_down]))
    picked = np.sign(simulation.weight[rows])
    weight = exact.tilted(picked / picked.sum(), values[:, rows], values @ simulation.weight / total)
    return Simulation(simulation.process, weight * total, simulation.responses.take(rows))


def said(cell: Mapping[str, Any]) -> str:
    """Say in a line how a cell went."""
    what = f"{cell['problem']} {cell['events']} seed {cell['seed']}: "
    seconds = f" ({sum(cell['cpu'].values()):.0f} CPU s, {cell['wall']:.0f} s)"
    if "failed" in cell:
        return f"{what}failed, {cell['failed']}{seconds}"
    shifts = moved(cell)
    middle = f"mu off by {shifts.mean():+.2f} +- {shifts.std():.2f} sigma" if len(shifts) else "no fit converged"
    return f"{what}{middle}, Asimov mu {cell['asimov']['mu']['value']:.2f}{seconds}"


def moved(cell: Mapping[str, Any], arm: str = "learned") -> Floats:
    """Give learned - exact mu in exact errors, of the data sets in which both fits converged; or that of the arm `finite`."""
    known = [d for d in both(cell) if d.get(arm, {}).get("mu") is not None]
    return np.array([(d[arm]["mu"] - d["exact"]["mu"]) / d["exact"]["error"] for d in known])


def both(cell: Mapping[str, Any]) -> list[dict[str, Any]]:
    """List the data sets of a cell in which both fits converged, the exact one away from bounds."""
    return [d for d in cell.get("data", ()) if d["learned"]["mu"] is not None and d["exact"]["error"] is not None]


def main() -> None:
    """Do what the first argument says as JSON, in the folder that the second one names; print cells as JSON."""
    wanted: dict[str, Any] = json.loads(sys.argv[1])
    lists = {"seeds": tuple(wanted["seeds"]), "settings": tuple(wanted["settings"])}
    task, out = Task(**(wanted | lists)), Path(sys.argv[2])
    print(json.dumps(measure(replace(task, seeds=all_seeds(task, out)), out)))


if __name__ == "__main__":
    main()
