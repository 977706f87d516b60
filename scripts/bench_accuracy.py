"""Learned against exact fits of the same data, on the problems of tests/problems: how far mu is off, in units of its error.

    bench_accuracy.py                                  the table of docs/accuracy.md
    bench_accuracy.py --quick                          two problems, small, one seed
    bench_accuracy.py --problems student,peak --sizes 200000 --seeds 1,2 --set ensemble.combine=mean_log
    bench_accuracy.py --out accuracy --table          the table of what is in the folder, without measuring

Below the table is what it took, and which problems miss what is wanted of them, by how much.

Every problem is written as an analysis with nothing but what has no default, run in-process at the site `local` up to the
Asimov fit and what is injected beside it, and its estimators are applied to data sets thrown from the exact densities. Each data
set is fitted with learned ratios and the yields and Z of the run, with exact ratios, yields and Z, and, for what the finite simulation
does, with exact ratios that are normalised on the events of the run. Two problems run side by side, one thread each.
Into the folder `--out` go `accuracy.md`, the table, and `accuracy.json`, every number; the last line is one of JSON. What has been measured
with the same options is kept there, seed by seed, and counts in the table of a later invocation: one that was ended goes on where it was,
and `--seeds 2,3` adds to `--seeds 1`. Take another folder after a change of the program.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import measuring  # type: ignore[import-not-found]  # scripts find what stands beside them
import numpy as np
from accuracy_cell import EXTRA, PROBLEMS, SHAPE, Task, all_seeds, both, moved, read  # type: ignore[import-not-found]

HEADER = (
    "problem", "events", "mean shift [seeds]", "of it finite", "spread", "worst", "error / exact", "total / exact",
    "shape: mean, worst", "sd of ln r", "sd of ln g", "stated, covers", "halves", "injected", "Asimov mu", "failed",
    "CPU s: training, all",
)  # fmt: skip
TRAINING = ("train", "combine", "covariance")
"""Stages that make estimators."""
Row = Mapping[str, Any]
"""What is known of one problem at one size, see `summary`."""


class Target(NamedTuple):
    """What is wanted of every problem."""

    name: str
    low: float
    high: float
    of: Callable[[Row], tuple[float, ...]]
    """Gives the numbers that are to be within these limits."""


MANY = 100_000
"""Events of a process from which on ratios are wanted as good as exact ones."""
OF_MANY = (
    Target("mean shift", -0.15, 0.15, lambda row: (row["mean"],)),
    Target("spread", 0.0, 0.3, lambda row: (row["spread"],)),
    Target("error / exact", 0.95, 1.10, lambda row: (row["error"],)),
)
"""With so many events."""
OF_FEW = (
    Target("halves, mean of both", 0.0, 0.3, lambda row: (row["halves"],)),
    Target("injected, come back", 0.9, 1.1, lambda row: row["back"]),
    Target("total / exact", 0.95, np.inf, lambda row: (row["total"],)),
)
"""With fewer."""
COVERED = Target("stated error covers", 0.63, 0.73, lambda row: (row["covers"],))
"""Of all data sets of a size together."""


class Miss(NamedTuple):
    """A number that is not as it is wanted."""

    problem: str
    events: int
    target: Target
    found: float

    @property
    def by(self) -> float:
        """Give the distance from the limit."""
        return max(self.target.low - self.found, self.found - self.target.high)

    def line(self) -> str:
        """Write a row of the table."""
        low, high = self.target.low, self.target.high
        wanted = f"{low:g} to {high:g}" if high < np.inf else f"{low:g} at least"
        cells = self.problem, f"{self.events:,}", self.target.name, wanted, f"{self.found:.3f}", f"{self.by:.3f}"
        return "| " + " | ".join(cells) + " |"


def unit(task: Task, folder: Path) -> list[dict[str, Any]]:
    """Measure one problem at one size in a process of its own; its progress goes to the terminal."""
    program = str(Path(__file__).with_name("accuracy_cell.py"))
    command = [sys.executable, program, json.dumps(asdict(task)), str(folder)]
    ended = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=False, env={**os.environ, **measuring.ONE_THREAD}
    )
    if ended.returncode:
        lost = {
            "problem": task.problem,
            "events": task.events,
            "cpu": {},
            "failed": f"ended with code {ended.returncode}",
        }
        return [{**lost, "seed": seed} for seed in task.seeds]
    cells: list[dict[str, Any]] = json.loads(ended.stdout.strip().splitlines()[-1])
    return cells


def summary(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Sum up the seeds of one problem at one size; None where nothing is known.

    `mean` and `spread` are the mean over seeds of mean and standard deviation over data sets, `worst` is that of all.
    """
    good = [cell for cell in cells if len(moved(cell))]
    pairs = [d for cell in good for d in both(cell)]
    lost = sum(d["learned"]["mu"] is None for cell in cells for d in cell.get("data", ()))
    found: dict[str, Any] = {
        "problem": cells[0]["problem"], "events": cells[0]["events"], "lost": lost,
        "failed": [cell["failed"] for cell in cells if "failed" in cell],
        "training": np.mean([sum(cell["cpu"].get(stage, 0.0) for stage in TRAINING) for cell in cells]),
        "cpu": np.mean([sum(cell["cpu"].values()) for cell in cells]),
    }  # fmt: skip
    if not good:
        return found
    shifts = [moved(cell) for cell in good]
    errors = [d["learned"]["error"] / d["exact"]["error"] for d in pairs if d["learned"]["error"]] or [np.nan]
    shapes = np.array([d["learned"][SHAPE] - d["exact"][SHAPE] for d in pairs])
    means = [shift.mean() for shift in shifts]
    return found | {
        "means": means, "mean": np.mean(means), "spread": np.mean([shift.std() for shift in shifts]),
        "worst": max(np.abs(shift).max() for shift in shifts),
        "finite": [float(moved(cell, "finite").mean()) for cell in good if len(moved(cell, "finite"))],
        "error": np.mean(errors), "error_range": (min(errors), max(errors)),
        "shape": shapes.mean(), "shape_worst": np.abs(shapes).max(),
        "sd_r": _largest(good, varied=False), "sd_g": _largest(good, varied=True),
        "asimov": [cell["asimov"]["mu"]["value"] for cell in good], **stated(good), **returned(good),
    }  # fmt: skip


def _largest(cells: Sequence[Mapping[str, Any]], *, varied: bool) -> tuple[str, float]:
    """Name the ratio that is furthest from exact, with its standard deviation averaged over seeds."""
    names = [name for name in cells[0]["ratios"] if (SHAPE in name.split(".")) == varied]
    spreads = {name: float(np.mean([cell["ratios"][name]["sd"] for cell in cells])) for name in names}
    name = max(spreads, key=lambda one: spreads[one])
    return name, spreads[name]


def stated(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Compare what runs state for networks and finite simulation with what learned - exact is.

    Returns:
        `stated`, the mean of it in exact errors; `covers`, how often it covers the shift; `pulls`, the mean shift over it by seed; `total`, the
        smallest error of a fit with it, in exact errors.
    """
    sizes, covered, pulls, totals = [], [], [], []
    for cell in cells:
        size = extra(cell)
        for d in both(cell):
            sizes.append(size / d["exact"]["error"])
            covered.append(abs(d["learned"]["mu"] - d["exact"]["mu"]) < size)
            totals += [np.hypot(d["learned"]["error"], size) / d["exact"]["error"]] if d["learned"]["error"] else []
        pulls.append(np.mean([d["learned"]["mu"] - d["exact"]["mu"] for d in both(cell)]) / size)
    return {
        "stated": float(np.mean(sizes)), "covers": float(np.mean(covered)), "pulls": pulls,
        "total": float(min(totals, default=np.nan)),
    }  # fmt: skip


def extra(cell: Mapping[str, Any]) -> float:
    """Give what a run states for networks and finite simulation, in units of mu."""
    return float(np.linalg.norm([cell["asimov"]["mu"].get(name) or 0.0 for name in EXTRA]))


def returned(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Sum up what has come back of injections; nothing where runs make none.

    Returns:
        `halves`, the largest distance of a parameter from its nominal value in the mean of both halves, in errors of the Asimov fit, and
        `single`, that of a half; `back`, the smallest and the largest value of a nuisance parameter over what was injected.
    """
    halves, single, back = [], [], []
    for cell in cells:
        made = cell.get("checks") or {"halves": {}, "back": {}}
        known = [{k: v for k, v in half.items() if v is not None} for half in made["halves"].values()]
        single += [abs(value) for half in known for value in half.values()]
        halves += [abs(np.mean([half[k] for half in known])) for k in known[0]] if len(known) == 2 else []
        back += made["back"].values()
    return {
        "halves": max(halves, default=np.nan), "single": max(single, default=np.nan),
        "back": (min(back, default=np.nan), max(back, default=np.nan)),
    }  # fmt: skip


def cells_of(row: Mapping[str, Any]) -> list[str]:
    """Write a row of the table."""
    ends = [str(len(row["failed"]) + row["lost"]), f"{row['training']:.0f}, {row['cpu']:.0f}"]
    if "mean" not in row:
        return [row["problem"], f"{row['events']:,}", *["-"] * (len(HEADER) - 4), *ends]
    seeds = ", ".join(f"{mean:+.2f}" for mean in row["means"])
    low, high = row["error_range"]
    return [
        row["problem"], f"{row['events']:,}", f"{row['mean']:+.2f} [{seeds}]",
        ", ".join(f"{mean:+.2f}" for mean in row["finite"]) or "-", f"{row['spread']:.2f}", f"{row['worst']:.2f}",
        f"{row['error']:.3f} ({low:.2f} to {high:.2f})", f"{row['total']:.2f}",
        f"{row['shape']:+.2f}, {row['shape_worst']:.2f}", f"{row['sd_r'][1]:.3f}", f"{row['sd_g'][1]:.3f}",
        f"{row['stated']:.2f}, {100 * row['covers']:.0f} %", f"{row['halves']:.2f}, {row['single']:.1f}",
        f"{row['back'][0]:.2f} to {row['back'][1]:.2f}", ", ".join(f"{mu:.2f}" for mu in row["asimov"]), *ends,
    ]  # fmt: skip


def markdown(rows: Sequence[Mapping[str, Any]], settings: Sequence[str], data: int) -> str:
    """Write the table."""
    how = "default settings" if not settings else f"`{'`, `'.join(settings)}`"
    said = (
        f"Learned minus exact, {data} data sets, {how}. Shifts of mu in exact errors, and those of exact ratios with the "
        "run's finite simulation; the smallest error with what is stated for networks and simulation; shifts of the shape "
        "nuisance in its sigma; the largest sd of a ratio about the exact one; the error stated for networks and "
        "simulation, in exact errors, and how often it covers the shift; the largest distance of a parameter in the mean of "
        "both halves, and in one; what has come back of one sigma."
    )
    lines = [said, "", "| " + " | ".join(HEADER) + " |", "|" + "---|" * len(HEADER)]
    return "\n".join([*lines, *("| " + " | ".join(cells_of(row)) + " |" for row in rows), ""])


def limits(rows: Sequence[Mapping[str, Any]]) -> dict[str, tuple[float, float, str]]:
    """Give the worst of each size, with what is wanted and where it was."""
    found = {}
    for events in dict.fromkeys(row["events"] for row in rows):
        own = [row for row in rows if row["events"] == events]
        known = [row for row in own if "mean" in row]
        none = sum(len(row["failed"]) + row["lost"] for row in own)
        found[f"without_result_{events}"] = (float(none), 0.0, "runs and fits")
        if known:
            far = max(known, key=lambda row: abs(row["mean"]))
            broad = max(known, key=lambda row: row["spread"])
            wrong = max(known, key=lambda row: abs(np.log(row["error"])))
            found[f"mean_shift_{events}"] = (round(float(far["mean"]), 3), 0.15, f"sigma of mu, {far['problem']}")
            found[f"spread_{events}"] = (round(float(broad["spread"]), 3), 0.3, f"sigma of mu, {broad['problem']}")
            found[f"error_{events}"] = (
                round(float(wrong["error"]), 3), 1.0, f"exact error, 0.95 to 1.10, {wrong['problem']}",
            )  # fmt: skip
            pulls = np.array([pull for row in known for pull in row["pulls"]])
            covers = 100 * float((np.abs(pulls) < 1).mean())
            scatter = np.sqrt(68 * 32 / len(pulls))
            found[f"covers_{events}"] = (round(covers), 68.0, f"% of {len(pulls)} runs, +- {scatter:.0f}")
            found[f"pull_{events}"] = (round(float(np.sqrt((pulls**2).mean())), 2), 1.0, "root mean square")
    return found


def misses(rows: Sequence[Row]) -> list[Miss]:
    """List what is not as it is wanted, of each problem the worst of each kind; what is not known misses nothing."""
    found = []
    for row in (row for row in rows if "mean" in row):
        for target in OF_MANY if row["events"] >= MANY else OF_FEW:
            own = [Miss(row["problem"], row["events"], target, value) for value in target.of(row)]
            found.append(max(own, key=lambda miss: miss.by))
    for events in {row["events"] for row in rows if "mean" in row and row["events"] < MANY}:
        covers = np.mean([row["covers"] for row in rows if "mean" in row and row["events"] == events])
        found.append(Miss("all", events, COVERED, float(covers)))
    return [miss for miss in found if miss.by > 0]


def missed(rows: Sequence[Row]) -> str:
    """Write what is not as it is wanted, and what has no result."""
    lost = [f"{row['problem']} ({row['events']:,})" for row in rows if row["failed"] or row["lost"]]
    head = ["problem", "events", "what", "wanted", "found", "missed by"]
    lines = [
        f"Without a result, or with fits that did not converge: {', '.join(lost) or 'none'}.", "",
        "| " + " | ".join(head) + " |", "|" + "---|" * len(head),
    ]  # fmt: skip
    found = misses(rows)
    return (
        "\n".join([*lines, *(miss.line() for miss in found), ""]) if found else lines[0] + " All is as it is wanted.\n"
    )


def parsed() -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="gaussian and student, 5,000 events, one seed, ten data sets"
    )
    parser.add_argument("--problems", help=f"of {', '.join(PROBLEMS)}; all if left out")
    parser.add_argument("--sizes", help="simulated events of each process (200000,5000)")
    parser.add_argument("--seeds", help="of the networks (1,2,3)")
    parser.add_argument("--data", type=int, help="data sets (20)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override a key of the analyses"
    )
    parser.add_argument("--resample", action="store_true", help="simulate anew for every seed")
    parser.add_argument("--table", action="store_true", help="measure nothing: make the table of what --out has kept")
    parser.add_argument("--processes", type=int, default=2, help="problems side by side")
    parser.add_argument(
        "--out",
        type=Path,
        help="a folder for the table, the numbers, events and runs; else a temporary one, and no files",
    )
    options = parser.parse_args()
    small = options.quick
    options.problems = (options.problems or ("gaussian,student" if small else ",".join(PROBLEMS))).split(",")
    options.sizes = [int(size) for size in (options.sizes or ("5000" if small else "200000,5000")).split(",")]
    options.seeds = tuple(int(seed) for seed in (options.seeds or ("1" if small else "1,2,3")).split(","))
    options.data = options.data or (10 if small else 20)
    if unknown := [name for name in options.problems if name not in PROBLEMS]:
        parser.error(f"--problems {unknown[0]}: there is no such problem; there are {', '.join(PROBLEMS)}")
    if options.table and not options.out:
        parser.error("--table: say by --out where cells are kept")
    return options


def measured(options: argparse.Namespace, folder: Path) -> list[list[dict[str, Any]]]:
    """Measure all problems, the large ones first."""
    tasks = [
        Task(name, events, options.seeds, tuple(options.set), options.data, options.resample)
        for events in sorted(options.sizes, reverse=True)
        for name in options.problems
    ]
    if options.table:
        return [cells for task in tasks if (cells := known(task, folder))]
    with ThreadPoolExecutor(options.processes) as pool:
        return list(pool.map(lambda task: unit(task, folder), tasks))


def known(task: Task, folder: Path) -> list[dict[str, Any]]:
    """Read what has been kept of a problem at one size, whatever its seeds."""
    found = [read(task, seed, folder) for seed in all_seeds(replace(task, seeds=()), folder)]
    return [cell for cell in found if cell]


def main() -> None:
    """Measure, write the files, and print the table and one line of JSON."""
    options = parsed()
    began = time.time()
    with tempfile.TemporaryDirectory() as temporary:
        found = measured(options, (options.out or Path(temporary)) / "work")
    rows = [summary(cells) for cells in found]
    minutes = sum(sum(cell["cpu"].values()) for cells in found for cell in cells) / 60
    spent = f"{minutes:.0f} CPU minutes, {sum(map(len, found))} runs."
    text = "\n".join([markdown(rows, options.set, options.data), spent, "", missed(rows)])
    if options.out:
        (options.out / "accuracy.md").write_text(text, encoding="utf-8")
        (options.out / "accuracy.json").write_text(json.dumps(found, default=float, indent=1), encoding="utf-8")
    print(text, file=sys.stderr)
    raw = {"settings": options.set, "seconds": round(time.time() - began), "rows": rows}
    plain = json.loads(json.dumps(raw, default=float))
    print(measuring.line("accuracy", ["numpy", "torch", "iminuit"], limits(rows), plain))


if __name__ == "__main__":
    main()
