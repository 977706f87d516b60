"""Time the conversion of events to a training store beside bare decompression and dask; one line of JSON.

python scripts/bench_convert.py            # 4 M events x 30 features in 16 files, about 10 minutes
python scripts/bench_convert.py --quick    # 400,000 events, under a minute
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from glob import glob
from pathlib import Path
from typing import Any

import numpy as np
from measuring import (  # type: ignore[import-not-found]  # scripts find what stands beside them
    alternate,
    line,
    peak_mb,
    ratio,
    resident_mb,
)

FEATURES = [f"f{i:02d}" for i in range(30)]
COLUMNS = [*FEATURES, "weight", "event_id"]
STEP = 50_000
"""Rows of a basket, cluster or row group."""
Numbers = dict[str, Any]


def block(first: int, n: int) -> dict[str, np.ndarray[Any, Any]]:
    """Make events that mimic momenta, angles, missing values, cut mantissas and small numbers; 5 % negative weights."""
    generator = np.random.default_rng([1, first])
    missing = np.where(generator.random(n) < 0.3, -25, generator.exponential(60.0, n) + 30)
    short = (generator.gamma(2.0, 30.0, n).astype(np.float32).view(np.uint32) & 0xFFFFF800).view(np.float32)
    kinds = [
        generator.exponential(40.0, n) + 20, generator.normal(0, 1.4, n), generator.uniform(-np.pi, np.pi, n), missing, short,
        generator.poisson(1.5, n),
    ]  # fmt: skip
    columns = {name: generator.permutation(kinds[i % 6]).astype(np.float32) for i, name in enumerate(FEATURES)}
    weight = generator.lognormal(-2, 0.5, n).astype(np.float32)
    return {**columns, "weight": weight * np.where(generator.random(n) < 0.05, -1, 1).astype(np.float32),
            "event_id": np.arange(first, first + n, dtype=np.int64)}  # fmt: skip


def make(folder: Path, events: int, files: int) -> None:
    """Write the inputs: TTree (zstd), RNTuple (zstd) and Parquet (zstd)."""
    import pyarrow as pa
    import uproot
    from pyarrow import parquet

    for kind in ("ttree", "rntuple", "parquet"):
        (folder / kind).mkdir(parents=True)
    per = events // files
    for number in range(files):
        data = block(number * per, per)
        parts = [{k: v[a : a + STEP] for k, v in data.items()} for a in range(0, per, STEP)]
        with uproot.recreate(folder / "ttree" / f"{number:03d}.root", compression=uproot.ZSTD(5)) as file:
            file.mktree("events", {k: v.dtype for k, v in data.items()})
            for part in parts:
                file["events"].extend(part)
        with uproot.recreate(folder / "rntuple" / f"{number:03d}.root", compression=uproot.ZSTD(5)) as file:
            ntuple = file.mkrntuple("events", parts[0])
            for part in parts[1:]:
                ntuple.extend(part)
        path = folder / "parquet" / f"{number:03d}.parquet"
        parquet.write_table(pa.table(data), path, compression="zstd", row_group_size=STEP)


def files_of(folder: str, kind: str) -> list[str]:
    """List the inputs of a format."""
    return sorted(glob(f"{folder}/{kind}/*"))  # noqa: PTH207  strings are what the libraries take


def bare(folder: str, kind: str) -> Numbers:
    """Read and decompress, and for Parquet decode; nothing else."""
    import uproot
    from pyarrow import parquet

    base = resident_mb()
    started, n = time.process_time(), 0
    for path in files_of(folder, kind):
        if kind == "parquet":
            n += sum(len(b) for b in parquet.ParquetFile(path).iter_batches(batch_size=100_000, columns=COLUMNS))
        else:
            with uproot.open(path) as file:
                tree = file["events"]
                for name in COLUMNS:
                    for basket in range(tree[name].num_baskets):
                        _ = tree[name].basket(basket).data
                n += tree.num_entries
    return {"events": n, "cpu_s": time.process_time() - started, "extra_mb": peak_mb() - base}


def converted(folder: str, kind: str) -> Numbers:
    """Convert as the tasks of a run do: cut, read to parts, merge to a store."""
    import awkward  # noqa: F401  imports are no part of the work
    import uproot  # noqa: F401
    from pyarrow import parquet  # noqa: F401

    from needle_parsl.nsbi.data import conversion, readers, store
    from needle_parsl.nsbi.data.events import Events
    from needle_parsl.nsbi.data.recipes import FileRange, InputFile, Recipe
    from needle_parsl.nsbi.data.store import Schema
    from needle_parsl.plan.events import SHARE, cut
    from needle_parsl.plan.specs import File

    recipe, schema = (
        Recipe(sample="s", features=tuple(FEATURES), weight="weight", selections=(), id=("event_id",)),
        Schema(tuple(FEATURES), (), 7),
    )
    base, started, clock = resident_mb(), time.perf_counter(), time.process_time
    known = []
    for path in files_of(folder, kind):
        with readers.open_file(path) as reader:
            known.append(
                File(path=path, digest="", borders=tuple(reader.borders(COLUMNS)), size=Path(path).stat().st_size)
            )
    made_by = cut(tuple(known), schema.row_bytes(), 2**30)
    spent = {"read": 0.0, "order": 0.0, "merge": 0.0}

    def counted(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            begun = clock()
            result = method(*arguments)
            spent["order"] += clock() - begun
            return result

        return call

    Events.order, Events.take = counted(Events.order), counted(Events.take)  # type: ignore[method-assign]
    extra = []
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        parts = []
        for number, group in enumerate(made_by.groups):
            a, order = clock(), spent["order"]
            pieces = [FileRange(InputFile(path=p.file.path, tree="", label=""), p.start, p.stop) for p in group]
            events = Events.join([conversion.convert(p, recipe) for p in pieces], recipe.features)
            parts.append(Path(scratch) / f"{number}.h5")
            store.write(parts[-1], events, schema, made_by.bits)
            spent["read"] += clock() - a - (spent["order"] - order)
            del events
            extra.append(peak_mb() - base)
        a, order = clock(), spent["order"]
        store.merge(parts, Path(scratch) / "store.h5", 2**30 // SHARE)
        spent["merge"] = clock() - a - (spent["order"] - order)
        with store.Store(Path(scratch) / "store.h5") as made:
            n = len(made)
    return {"events": n, "tasks": len(made_by.groups), "read_cpu_s": spent["read"], "order_cpu_s": spent["order"] + spent["merge"],
            "cpu_s": sum(spent.values()), "wall_s": time.perf_counter() - started, "first_task_extra_mb": extra[0],
            "extra_mb": peak_mb() - base}  # fmt: skip


def dask(folder: str, kind: str) -> Numbers:
    """Convert as one does with dask: compute the whole array, then write it."""
    import awkward as ak
    import dask_awkward
    import h5py
    import uproot

    base, started = resident_mb(), time.process_time()
    paths = files_of(folder, kind)
    array = dask_awkward.from_parquet(paths) if kind == "parquet" else uproot.dask([f"{path}:events" for path in paths])
    found = array[COLUMNS].compute(scheduler="sync")
    with tempfile.TemporaryDirectory(dir=folder) as scratch, h5py.File(Path(scratch) / "store.h5", "w") as file:
        file["X"] = np.stack([ak.to_numpy(found[name]) for name in FEATURES], axis=1)
        for name in COLUMNS[30:]:
            file[name] = ak.to_numpy(found[name])
    return {"events": len(found), "cpu_s": time.process_time() - started, "extra_mb": peak_mb() - base}


ARMS: dict[str, Callable[[str, str], Numbers]] = {"bare": bare, "needle": converted, "dask": dask}


def side_by_side(folder: str, files: int) -> Numbers:
    """Compare the wall time of one process with that of two that share the files; on busy cores only their CPU time tells."""
    halves = []
    for number in range(2):
        half = Path(folder) / f"half{number}"
        (half / "ttree").mkdir(parents=True, exist_ok=True)
        for path in files_of(folder, "ttree")[number * files // 2 : (number + 1) * files // 2]:
            (half / "ttree" / Path(path).name).symlink_to(path)
        halves.append(str(half))

    def timed(folders: list[str]) -> tuple[float, list[float]]:
        command = [sys.executable, __file__, "--arm", "needle.ttree", "--folder"]
        started = [subprocess.Popen([*command, f], stdout=subprocess.PIPE, text=True) for f in folders]
        told = [json.loads(p.communicate()[0].splitlines()[-1]) for p in started]
        return max(found["wall_s"] for found in told), [found["cpu_s"] for found in told]

    (one, alone), (two, shared) = timed([folder]), timed(halves)
    return {"one_worker_s": one, "two_workers_s": two, "ratio": round(one / two, 3), "load": os.getloadavg()[0],
            "cpu_s": [alone, shared], "cpu_ratio": round(alone[0] / max(shared), 3)}  # fmt: skip


def main() -> None:
    """Run one arm, or all of them in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--arm")
    parser.add_argument("--folder")
    options = parser.parse_args()
    if options.arm:
        name, kind = options.arm.split(".")
        print(json.dumps(ARMS[name](options.folder, kind)))
        return
    events, files, rounds = (400_000, 4, 2) if options.quick else (4_000_000, 16, 5)
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), events, files)
        names = [f"{a}.{k}" for k in ("ttree", "parquet") for a in ARMS] + ["needle.rntuple"]
        raw = alternate(__file__, names, options.rounds or rounds, "--folder", folder)
        workers = side_by_side(folder, files)

    def column(name: str, what: str) -> list[float]:
        return [sample[what] for sample in raw[name]]

    def per_million(name: str, what: str) -> float:
        return round(float(np.median(column(name, what))) / events * 1e6, 3)

    ratios = {}
    for kind, most, least in (("ttree", 2.5, 1.4), ("parquet", 1.8, 3.5)):
        ours, theirs = f"needle.{kind}", f"dask.{kind}"
        read = column(ours, "read_cpu_s")
        limit = "bare read and decompress" if kind == "ttree" else "bare decode"
        ratios[f"D1.{kind}"] = (ratio(read, column(f"bare.{kind}", "cpu_s")), most, f"{limit}; at most")
        ratios[f"D2.{kind}"] = (ratio(column(theirs, "cpu_s"), read), least, "dask compute over read to part; at least")
        ratios[f"D2.{kind}_whole"] = (
            ratio(column(theirs, "cpu_s"), column(ours, "cpu_s")),
            0.0,
            "dask compute over all; stated",
        )
        ratios[f"D1.{kind}_order_s_per_M"] = (per_million(ours, "order_cpu_s"), 1.0, "CPU s per M events; at most")
        ratios[f"D1.{kind}_task_mb"] = (round(max(column(ours, "extra_mb"))), 150.0, "MB above imports; at most")
        ratios[f"D1.{kind}_dask_mb"] = (round(max(column(theirs, "extra_mb"))), 0.0, "MB above imports; stated")
    ratios["D1.rntuple_s_per_M"] = (per_million("needle.rntuple", "read_cpu_s"), 0.0, "CPU s per M events; stated")
    ratios["two_workers"] = (workers["ratio"], 1.7, "wall of one over two, on idle cores; at least")
    ratios["two_workers_cpu"] = (workers["cpu_ratio"], 0.0, "CPU time of one over the larger of two; stated")
    packages = ["numpy", "uproot", "awkward", "dask-awkward", "pyarrow", "h5py"]
    print(line("convert", packages, ratios, {"events": events, **raw, "workers": workers}))


if __name__ == "__main__":
    main()
