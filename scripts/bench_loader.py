"""Time the loading of shuffled batches beside the usual ways; one line of JSON.

python scripts/bench_loader.py             # 4 M events x 30 features, and a store of 2 GB, about 10 minutes
python scripts/bench_loader.py --quick     # a tenth of it, about a minute
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from measuring import (  # type: ignore[import-not-found]  # scripts find what stands beside them
    alternate,
    line,
    peak_mb,
    ratio,
)

FEATURES = tuple(f"f{i:02d}" for i in range(30))
SECONDS = 4.0
"""CPU time after which a slow loader is stopped; what it did until then gives its rate."""
ALLOWED = 200 * 2**20
"""Bytes of address space beyond the imports."""
Numbers = dict[str, Any]


def make(path: Path, events: int) -> None:
    """Write a store, part by part."""
    from needle_parsl.nsbi.data import store
    from needle_parsl.nsbi.data.events import Events
    from needle_parsl.nsbi.data.store import Schema

    schema, parts = Schema(FEATURES, (), 7), []
    bits = max(0, (events // 250_000 - 1)).bit_length()
    for first in range(0, events, 250_000):
        n = min(250_000, events - first)
        x = np.random.default_rng(first).normal(size=(n, 30)).astype(np.float32)
        x[:, 0] = np.arange(first, first + n)  # the number of the event; exact up to 2^24
        found = Events(names=FEATURES, x=x, weight=np.ones(n), id=np.arange(first, first + n, dtype=np.uint64))
        parts.append(path.with_suffix(f".{first}"))
        store.write(parts[-1], found, schema, bits)
    store.merge(parts, path, 64 * 2**20)
    for part in parts:
        part.unlink()


def make_parquet(path: Path, events: int) -> None:
    """Write the same kind of events as 16 Parquet files for dask."""
    import pyarrow as pa
    from pyarrow import parquet

    path.mkdir()
    for number in range(16):
        n = events // 16
        columns = {
            name: np.random.default_rng([number, i]).normal(size=n).astype(np.float32)
            for i, name in enumerate(FEATURES)
        }
        table = pa.table({**columns, "label": np.zeros(n, np.float32), "weight": np.ones(n, np.float32)})
        parquet.write_table(table, path / f"{number:02d}.parquet", compression="zstd", row_group_size=50_000)


def timed(batches: Iterable[Any]) -> Numbers:
    """Count events and CPU time of an epoch, or of as much of it as fits into some seconds."""
    started, events, sink = time.process_time(), 0, 0.0
    for x, label, _weight in batches:
        events += len(label)
        sink += float(x[0, 0])
        if time.process_time() - started > SECONDS:
            break
    spent = time.process_time() - started
    return {"events": events, "cpu_s": spent, "events_per_s": events / spent, "peak_mb": peak_mb()}


def tensordataset(folder: str, batch: int) -> Numbers:
    """Load with the usual DataLoader of a TensorDataset in memory."""
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    from needle_parsl.nsbi.data import store

    found = store.read(Path(folder) / "store.h5")
    weight = torch.from_numpy(found.weight.astype(np.float32))
    data = TensorDataset(torch.from_numpy(found.x), torch.ones(len(found)), weight)
    return timed(DataLoader(data, batch, shuffle=True))


def streamed(folder: str, batch: int) -> Numbers:
    """Load windows of bounded memory; two epochs, the second counts."""
    from needle_parsl.nsbi.data.loading.batches import Streamed
    from needle_parsl.nsbi.data.loading.stretches import stretches

    batches = Streamed(stretches({Path(folder) / "store.h5": 1.0}), batch, prefetch=False)
    timed(batches)
    return timed(batches)


def memory(folder: str, batch: int) -> Numbers:
    """Load from memory."""
    from needle_parsl.nsbi.data.loading.batches import InMemory
    from needle_parsl.nsbi.data.loading.stretches import stretches

    batches = InMemory(stretches({Path(folder) / "store.h5": 1.0}), batch)
    timed(batches)
    return timed(batches)


def partitions(folder: str, batch: int) -> Numbers:
    """Load dask-awkward partitions one by one, shuffled inside."""
    import awkward as ak
    import dask_awkward
    import torch

    def batches() -> Iterable[Any]:
        array = dask_awkward.from_parquet(f"{folder}/parquet")
        for number in np.random.default_rng(0).permutation(array.npartitions).tolist():
            part = array.partitions[number].compute(scheduler="sync")
            x = torch.from_numpy(np.stack([ak.to_numpy(part[name]) for name in FEATURES], axis=1))
            label, weight = (torch.from_numpy(ak.to_numpy(part[name]).copy()) for name in ("label", "weight"))
            order = torch.randperm(len(label))
            for start in range(0, len(order), batch):
                rows = order[start : start + batch]
                yield x[rows], label[rows], weight[rows]

    return timed(batches())


def limited(folder: str, batch: int) -> Numbers:
    """Load a large store with little address space, and check that every event comes once."""
    import torch

    from needle_parsl.nsbi.data.loading.batches import Streamed
    from needle_parsl.nsbi.data.loading.stretches import stretches
    from needle_parsl.nsbi.data.loading.windows import Loading

    seen = np.zeros(int((Path(folder) / "large.txt").read_text()), np.uint8)
    torch.split(torch.ones(4), 2)
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123  a file of the kernel
        size = int(file.read().split()[0]) * resource.getpagesize() + ALLOWED
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    batches = Streamed(stretches({Path(folder) / "large.h5": 1.0}), batch, Loading(memory=100 * 2**20), prefetch=False)
    started, spent = time.process_time(), 0.0
    for x, *_ in batches:
        spent -= time.process_time()  # the check is none of the loader's work
        np.add.at(seen, x[:, 0].numpy().astype(np.int64), 1)
        spent += time.process_time()
    cpu = time.process_time() - started - spent
    return {
        "events": len(seen),
        "cpu_s": cpu,
        "events_per_s": len(seen) / cpu,
        "every_event_once": bool((seen == 1).all()),
    }


def poisson(_folder: str, _batch: int) -> Numbers:
    """Draw bootstrap weights by hash and with NumPy."""
    from needle_parsl.nsbi.data import hashing

    ids, generator = np.arange(4_000_000, dtype=np.uint64), np.random.default_rng(1)
    ours, theirs = [], []
    for salt in range(9):
        started = time.process_time()
        hashing.poisson(ids, salt)
        between = time.process_time()
        generator.poisson(1, len(ids))
        ours.append((between - started) * 250)
        theirs.append((time.process_time() - between) * 250)
    return {"hash_ms_per_M": float(np.median(ours)), "numpy_ms_per_M": float(np.median(theirs))}


def deepset(_folder: str, batch: int) -> Numbers:
    """Take a step of a deep set on packed and on padded particles."""
    import torch

    from needle_parsl.nsbi.data.jagged import Jagged, ends
    from needle_parsl.nsbi.data.loading.particles import Packed
    from needle_parsl.nsbi.training.particles import DeepSet

    torch.set_num_threads(1)
    generator = np.random.default_rng(1)
    counts = generator.integers(0, 13, batch)
    packed = Packed.of(Jagged(generator.normal(size=(counts.sum(), 5)).astype(np.float32), ends(counts)))
    x, network = torch.zeros(batch, 4), DeepSet(4, 5, 2, 64)
    spent = dict.fromkeys(("packed", "padded"), 0.0)
    for step in range(31):
        for name in spent:
            form = packed if name == "packed" else packed.padded()
            started = time.process_time()
            torch.autograd.backward(network(x, form).square().mean())
            spent[name] += (time.process_time() - started) * (step > 0)
    return {f"{name}_ms": total / 30 * 1e3 for name, total in spent.items()}


ARMS: dict[str, Callable[[str, int], Numbers]] = {
    "tensordataset": tensordataset, "streamed": streamed, "memory": memory, "partitions": partitions, "limited": limited,
    "poisson": poisson, "deepset": deepset,
}  # fmt: skip
NAMES = (
    "tensordataset.128", "streamed.128", "tensordataset.1024", "streamed.1024", "partitions.1024", "poisson.0", "deepset.1024",
    "memory.1024", "limited.1024",
)  # fmt: skip


def main() -> None:
    """Run one arm, or all of them in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--arm")
    parser.add_argument("--folder")
    options = parser.parse_args()
    if options.arm:
        name, batch = options.arm.split(".")
        print(json.dumps(ARMS[name](options.folder, int(batch))))
        return
    events, large, rounds = (400_000, 1_600_000, 2) if options.quick else (4_000_000, 16_000_000, 5)
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder) / "store.h5", events)
        make(Path(folder) / "large.h5", large)
        make_parquet(Path(folder) / "parquet", events)
        (Path(folder) / "large.txt").write_text(str(large))
        raw = alternate(__file__, NAMES, options.rounds or rounds, "--folder", folder)

    def rate(name: str) -> list[float]:
        return [sample["events_per_s"] for sample in raw[name]]

    draws, sets = raw["poisson.0"], raw["deepset.1024"]
    ratios = {
        "D3.b128": (
            ratio(rate("streamed.128"), rate("tensordataset.128")),
            25.0,
            "DataLoader(TensorDataset); at least",
        ),
        "D3.b1024": (
            ratio(rate("streamed.1024"), rate("tensordataset.1024")),
            50.0,
            "DataLoader(TensorDataset); at least",
        ),
        "D4.b1024": (ratio(rate("streamed.1024"), rate("partitions.1024")), 8.0, "dask partitions; at least"),
        "D5.every_event_once": (
            float(all(sample["every_event_once"] for sample in raw["limited.1024"])),
            1.0,
            f"{large} events, 200 MB of address space; all",
        ),
        "D5.rate": (ratio(rate("limited.1024"), rate("memory.1024")), 0.7, "in-memory rate; at least"),
        "D6.poisson": (
            ratio([d["numpy_ms_per_M"] for d in draws], [d["hash_ms_per_M"] for d in draws]),
            3.0,
            "NumPy; at least",
        ),
        "deepset": (
            ratio([s["padded_ms"] for s in sets], [s["packed_ms"] for s in sets]),
            1.7,
            "padded over packed; at least",
        ),
    }
    print(line("loader", ["numpy", "torch", "dask-awkward", "pyarrow", "h5py"], ratios, {"events": events, **raw}))


if __name__ == "__main__":
    main()
