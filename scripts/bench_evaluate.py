"""Measure how fast exported estimators are evaluated, and the fit of wifi weights: `bench_evaluate.py [--quick]`, one JSON line.

`E1.vs_torch_loop`: 5 ratios of 20 networks, 16-4x100-1, in one ONNX file over a plain loop over the same networks in torch, events
per CPU second, both on one thread, each in the chunk that suits it best. `E1.share_of_gemm`: the same over what the machine's
largest rate of float32 matrix products would allow. Memory is compared between 10^5 and 10^7 events (5 networks), and
`needle evaluate` is run on two workers. The fit of wifi weights has 32 members and 10^6 events in each class.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import measuring  # type: ignore[import-not-found]  # scripts find what stands beside them
import numpy as np

from needle_parsl.nsbi.estimators.estimator import Estimator

FEATURES, LAYERS, NODES = 16, 4, 100
RATIOS, MEMBERS = 5, 20
FLOP = 2 * (FEATURES * NODES + (LAYERS - 1) * NODES**2 + NODES)
"""Of one network and event."""
CHUNKS = (256, 1024, 2048, 4096)
PACKAGES = ("numpy", "onnx", "onnxruntime", "torch", "scipy")


def estimators(ratios: int, members: int) -> dict[str, Estimator]:
    """Make estimators of random networks with outputs of order one."""
    from needle_parsl.nsbi.estimators.ensembles import equal
    from needle_parsl.nsbi.training import networks
    from needle_parsl.nsbi.transforms.transform import Column, Transform

    shape = networks.NetworkShape(network="mlp", features=FEATURES, layers=LAYERS, nodes=NODES)
    features = tuple(f"x{k}" for k in range(FEATURES))
    transform = Transform(tuple(Column(name=name, kind="robust") for name in features))

    def one(ratio: int) -> Estimator:
        weights = [networks.vector(networks.build(shape, 1000 * ratio + m)).numpy() for m in range(members)]
        return Estimator(
            ratio=f"r{ratio}",
            features=features,
            shape=shape,
            transform=transform,
            weights=np.stack(weights),
            combine="mean_ratio",
            log_norm=0.0,
            coefficients=equal(members),
        )

    return {f"r{ratio}": one(ratio) for ratio in range(ratios)}


def events(count: int) -> Any:
    """Draw features."""
    return np.random.default_rng(0).normal(size=(count, FEATURES)).astype(np.float32)


def exported(folder: Path, ratios: int, members: int) -> Path:
    """Write one ONNX file of everything."""
    from needle_parsl.nsbi.estimators.exporting import onnx_file

    path = folder / "all.onnx"
    onnx_file.write(path, estimators(ratios, members), events(512), onnx_file.FileFacts("bench", {}))
    return path


def onnx_arm(count: int) -> dict[str, Any]:
    """Evaluate the exported file, chunk size by chunk size."""
    from needle_parsl.nsbi.estimators.exporting import runtime

    with tempfile.TemporaryDirectory() as folder:
        session, x = runtime.Session(exported(Path(folder), RATIOS, MEMBERS)), events(count)
        rates = {}
        for chunk in CHUNKS:
            runtime.CHUNK = chunk
            session.evaluate(x[:chunk])
            rates[chunk] = _rate(lambda: session.evaluate(x), count)
    return {"events_per_cpu_s": rates}


def torch_arm(count: int) -> dict[str, Any]:
    """Loop over the networks in torch, as one writes it down."""
    import torch

    torch.set_num_threads(1)
    from torch import nn

    from needle_parsl.nsbi.training import networks

    found = []
    for one in estimators(RATIOS, MEMBERS).values():
        for weights in one.weights:
            network = networks.empty(one.shape).eval()
            nn.utils.vector_to_parameters(torch.from_numpy(weights.copy()), network.parameters())
            found.append(network)
    x, rates = torch.from_numpy(events(count)), {}

    def loop(chunk: int) -> None:
        with torch.no_grad():
            for part in torch.split(x, chunk):
                outputs = torch.stack([network(part) for network in found])
                outputs.view(RATIOS, MEMBERS, -1).exp().mean(dim=1).log()

    for chunk in CHUNKS:
        loop(count)
        rates[chunk] = _rate(lambda chunk=chunk: loop(chunk), count)
    return {"events_per_cpu_s": rates}


def gemm_arm(_: int) -> dict[str, Any]:
    """Find the largest rate of float32 matrix products, and the events per second that it would allow."""
    a, b = (np.random.default_rng(k).normal(size=(1024, 1024)).astype(np.float32) for k in range(2))
    best = 0.0
    for _ in range(12):
        start = time.process_time()
        for _ in range(8):
            a @ b
        best = max(best, 8 * 2 * 1024**3 / (time.process_time() - start))
    return {"gflops": best / 1e9, "events_per_cpu_s": {1024: best / (FLOP * RATIOS * MEMBERS)}}


def _rate(work: Any, count: int) -> float:
    start = time.process_time()
    work()
    return count / (time.process_time() - start)


def memory_arm(count: int) -> dict[str, Any]:
    """Evaluate events of a file with 5 networks, and look at the memory."""
    import pyarrow as pa
    from pyarrow import parquet

    from needle_parsl.nsbi.data.recipes import FileRange, InputFile, Recipe
    from needle_parsl.nsbi.estimators import application
    from needle_parsl.nsbi.estimators.opening import RatioSource

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file, x = folder / "e.parquet", events(50_000)
        columns = {f"x{k}": x[:, k] for k in range(FEATURES)}
        with parquet.ParquetWriter(file, pa.table(columns).schema) as writer:
            for _ in range(max(count // len(x), 1)):
                writer.write_table(pa.table(columns))
        source = RatioSource(str(exported(folder, 1, 5)), {}, ("r0",))
        recipe = Recipe(sample="events", features=tuple(columns), weight=1.0, selections=(), id=())
        before, parts = measuring.resident_mb(), []
        for number, start in enumerate(range(0, count, 100_000)):
            piece = FileRange(InputFile(path=str(file), tree="", label=str(file)), start, min(start + 100_000, count))
            parts.append(str(folder / f"{number}.parquet"))
            application.apply(source, piece, recipe, parts[-1])
        application.join(parts, str(folder / "out.parquet"), ("r0",), {})
        return {"events": count, "before_mb": before, "peak_mb": measuring.peak_mb()}


def wifi_arm(count: int) -> dict[str, Any]:
    """Fit the weights of 32 members with 10^6 events in each class: all independent, or of rank 9, or nearly so."""
    from needle_parsl.nsbi.estimators import wifi

    members, rng, found = 32, np.random.default_rng(3), {}
    mean = np.array([0.25, 0.15, -0.1, 0.05])
    slope, bend = 2 * mean + rng.normal(0, 0.01, (members, 4)), rng.normal(0, 0.01, (members, 4))
    own = rng.normal(size=(members, 4))
    for name, wiggle in (("full", 1e-2), ("near", 1e-5), ("rank_9", 0.0)):
        classes, key = [], 0
        for side in (1, -1):
            x = rng.standard_normal((count, 4)) + side * mean
            f = np.empty((members, count), np.float32 if wiggle else np.float64)
            for m in range(members):
                f[m] = x @ slope[m] + (x**2 - 1) @ bend[m] + wiggle * np.tanh(x @ own[m])
            classes.append(wifi.ClassEvents(f, np.ones(count), np.arange(key, key + count, dtype=np.uint64)))
            key += count
        before, start = measuring.resident_mb(), time.process_time()
        fitted = wifi.fit(*classes)
        found[name] = {
            "cpu_s": time.process_time() - start, "design_mb": before, "peak_mb": measuring.peak_mb(),
            "dropped": len(fitted.dropped), "condition": fitted.condition, "design_condition": fitted.design_condition,
        }  # fmt: skip
        del classes
    return found


def command_arm(count: int) -> dict[str, Any]:
    """Run `needle evaluate` on two workers over 100 networks."""
    import pyarrow as pa
    from pyarrow import parquet

    from needle_parsl.files import digest, write_json, write_text
    from needle_parsl.nsbi.estimators import files
    from needle_parsl.site import Site
    from needle_parsl.workflow import evaluate

    with tempfile.TemporaryDirectory() as name:
        root, output = Path(name) / "run", Path(name) / "out.parquet"
        (root / "estimators").mkdir(parents=True)
        for ratio, one in estimators(RATIOS, MEMBERS).items():
            (root / "estimators" / ratio).mkdir()
            files.write(root / "estimators" / ratio / "estimator.h5", one)
        path = exported(root / "estimators", RATIOS, MEMBERS)
        note = {"file": "estimators/all.onnx", "exported": True, "reason": "", "digest": digest(path)}
        said = {"bytes": path.stat().st_size, "largest_difference": 0.0}
        write_json(root / "estimators" / "all.json", note | said)
        names = json.dumps([f"x{k}" for k in range(FEATURES)])
        write_text(root / "analysis.toml", f'name = "bench"\n[features]\nnames = {names}\n')
        x = events(count)
        parquet.write_table(
            pa.table({f"x{k}": x[:, k] for k in range(FEATURES)}), root / "e.parquet", row_group_size=50_000
        )
        request = evaluate.Request(root=root, files=(str(root / "e.parquet"),), output=output, tree="", ratios=())
        site, start = Site(description="bench", executor="htex", workers_per_node=2), time.perf_counter()
        facts = evaluate.evaluate(request, site, lambda *_: None)
    return {"events": facts["events"], "engine": facts["engine"], "wall_s": time.perf_counter() - start}


ARMS = {
    "onnx": onnx_arm, "torch": torch_arm, "gemm": gemm_arm, "memory": memory_arm, "wifi": wifi_arm, "command": command_arm,
}  # fmt: skip


def main() -> None:
    """Print one line."""
    if "--arm" in sys.argv:
        place = sys.argv.index("--arm")
        print(json.dumps(ARMS[sys.argv[place + 1]](int(sys.argv[place + 2]))))
        return
    quick = "--quick" in sys.argv
    rounds, count = (1, 4096) if quick else (7, 8192)
    raw: dict[str, Any] = measuring.alternate(__file__, ("onnx", "torch", "gemm"), rounds, str(count))
    best = {name: [max(row["events_per_cpu_s"].values()) for row in rows] for name, rows in raw.items()}
    sizes = (50_000, 200_000) if quick else (100_000, 10_000_000)
    raw["memory"] = [measuring.arm(__file__, "memory", str(size)) for size in sizes]
    raw["wifi"] = measuring.arm(__file__, "wifi", "50000" if quick else "1000000")
    raw["command"] = measuring.arm(__file__, "command", "10000" if quick else "1000000")
    rate, bound = raw["command"]["events"] / raw["command"]["wall_s"], float(np.median(best["gemm"]))
    grown = raw["memory"][1]["peak_mb"] - raw["memory"][0]["peak_mb"]
    wifi = raw["wifi"]["full"]
    ratios = {
        "E1.vs_torch_loop": (measuring.ratio(best["onnx"], best["torch"]), 1.0, "the plain torch loop"),
        "E1.share_of_gemm": (measuring.ratio(best["onnx"], best["gemm"]), 0.65, "float32 matrix products"),
        "E1.memory_growth_mb": (round(grown, 1), 50.0, "MB more for 100 times the events, 5 networks"),
        "E1.command_share_of_gemm": (
            round(rate / (2 * bound), 3),
            0.5,
            "wall of needle evaluate on 2 workers, start included",
        ),
        "E1.wifi_cpu_s": (round(wifi["cpu_s"], 2), 15.0, "CPU s, 32 members, 10^6 events a class"),
        "E1.wifi_peak_mb": (round(wifi["peak_mb"], 0), 1000.0, "MB, the design included"),
    }
    print(measuring.line("evaluate", PACKAGES, ratios, raw))


if __name__ == "__main__":
    main()
