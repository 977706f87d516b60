"""Conversion as a run does it: pieces, merges, equal bits, what is left out, and files that change under its hands."""

from __future__ import annotations

import json
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import uproot

Needle = Callable[..., Any]
ANALYSIS = """
name = "cut"
[features]
names = ["x", "y", "z"]
selection = "x > -1"
[samples.s]
files = ["s*.root"]
weight = "w"
[samples.b]
files = ["b.root"]
weight = "w"
[ratios]
reference = ["b"]
targets = ["s"]
[split]
id = ["event"]
[training]
layers = 1
nodes = 4
epochs = 1
members = 1
[model]
parameters.mu = {}
processes.s = "mu"
processes.b = "1"
"""
N = 12_000


def columns(start: int, stop: int, seed: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    whole = {name: generator.normal(size=N).astype(np.float32) for name in ("x", "y", "z")}
    whole |= {"w": generator.normal(1, 0.3, N), "event": generator.permutation(N)}
    return {name: column[start:stop] for name, column in whole.items()}


def write(path: Path, start: int, stop: int, seed: int = 1, step: int = 1500) -> None:
    with uproot.recreate(path) as file:
        file.mktree("events", {k: v.dtype for k, v in columns(0, 1, seed).items()})
        for first in range(start, stop, step):
            file["events"].extend(columns(first, min(first + step, stop), seed))


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The store of sample `s`, made of one file by one task."""
    from needle_parsl.nsbi.data import conversion, recipes, store
    from needle_parsl.salts import key

    path = tmp_path_factory.mktemp("reference")
    write(path / "s.root", 0, N)
    recipe = recipes.Recipe(sample="s", features=("x", "y", "z"), weight="w", selections=("x > -1",), id=("event",))
    events = conversion.convert(
        recipes.FileRange(recipes.InputFile(path=str(path / "s.root"), tree="", label="")), recipe
    )
    store.write(path / "s.h5", events, store.Schema(("x", "y", "z"), (), key(1, "split")))
    return payload(path / "s.h5")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An analysis in a folder of its own, with its sample `s` in one file."""
    path = tmp_path / "analysis"
    path.mkdir()
    (path / "analysis.toml").write_text(ANALYSIS)
    write(path / "s0.root", 0, N)
    write(path / "b.root", 0, N, seed=2)
    return path


def site(tmp_path: Path, workers: int, memory_mib: int) -> Path:
    path = tmp_path / f"site{workers}_{memory_mib}.toml"
    path.write_text(f'description = "t"\nworkers_per_node = {workers}\nmemory_mib = {memory_mib}\n')
    return path


def payload(path: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    with h5py.File(path) as file:
        file.visititems(lambda k, v: found.update({k: v[...].tobytes()}) if isinstance(v, h5py.Dataset) else None)
        found |= {k: str(v).encode() for k, v in file.attrs.items()}
    return {name: content for name, content in found.items() if name != "sources"}


@pytest.mark.parametrize(
    ("files", "workers", "memory_mib"),
    [(1, 4, 1), *(pytest.param(*cut, marks=pytest.mark.campaign) for cut in ((4, 2, 1), (16, 1, 4))), (16, 3, 1024)],
)
def test_equal_bits_whatever_the_files_workers_and_memory(
    folder: Path, tmp_path: Path, needle: Needle, reference: dict[str, bytes], files: int, workers: int, memory_mib: int
) -> None:
    (folder / "s0.root").unlink()
    for number in range(files):
        write(folder / f"s{number:02d}.root", number * N // files, (number + 1) * N // files)
    ended = needle(
        "run", folder, "--until", "convert", "--out", "out", "--json", "--site", site(tmp_path, workers, memory_mib)
    )
    assert ended.code == 0, ended.err
    told = ended.json()["conversion"]
    assert told["events"] == 2 * N
    assert told["events_per_s"] > 0
    assert told["store_bytes"] > 2 * 28 * 0.5 * N
    assert (ended.json()["done"] > 2) == (memory_mib < 1000)  # it was cut
    found = payload(tmp_path / "out" / "events" / "s.h5")
    assert {"x", "weight", "id", "cells/mean"} <= found.keys()
    assert [name for name in reference if reference[name] != found[name]] == []
    assert not (tmp_path / "out" / "events" / "parts").exists()


def test_second_run_and_another_cut_do_nothing(folder: Path, tmp_path: Path, needle: Needle) -> None:
    """Parts are gone, and nobody misses them; a store is named by its files, not by the tasks that made it."""
    fine, coarse = site(tmp_path, 2, 1), site(tmp_path, 2, 1024)
    first = needle("run", folder, "--until", "convert", "--json", "--site", fine)
    assert first.code == 0, first.err
    again = needle("run", folder, "--until", "convert", "--json", "--site", fine).json()
    assert (again["done"], again["reused"]) == (0, 2)
    assert needle("run", folder, "--until", "convert", "--json", "--site", coarse).json()["done"] == 0
    plan = needle("plan", folder, "--json", "--site", fine).json()["stages"]
    assert plan["train"]["to_do"] == 1


def test_what_was_read_before_a_stop_is_not_read_again(folder: Path, tmp_path: Path, needle: Needle) -> None:
    fine = site(tmp_path, 2, 1)
    reads = needle("run", folder, "--until", "read", "--json", "--site", fine).json()["done"]
    assert reads >= 10
    rest = needle("run", folder, "--until", "convert", "--json", "--site", fine).json()
    assert (rest["reused"], rest["failed"]) == (reads, [])


def damage(path: Path) -> None:
    """Flip bytes in the middle of a file; its baskets are compressed with zlib, which notices."""
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 64] = bytes(64)
    path.write_bytes(data)


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("memory_mib", [1, 1024])
def test_bad_file_is_skipped_as_a_whole_and_reported(
    folder: Path, tmp_path: Path, inside: Needle, needle: Needle, memory_mib: int
) -> None:
    write(folder / "s1.root", 0, N, seed=3)
    damage(folder / "s1.root")
    options = ("--set", "split.id=[]", "--site", site(tmp_path, 2, memory_mib))
    stopped = inside("check", folder, "--set", "split.id=[]")
    assert stopped.code == 2
    assert "s1.root: is damaged" in stopped.err
    skip = ("--set", "samples.s.on_bad_file='skip'")
    checked = inside("check", folder, "--set", "split.id=[]", *skip)
    assert checked.code == 0
    assert "(the file will be left out)" in " ".join(checked.out.split())
    until = () if memory_mib == 1 else ("--until", "convert")
    ended = needle("run", folder, *options, *skip, *until, "--json")
    assert ended.code == 0, ended.err
    with h5py.File(tmp_path / "runs" / "cut" / "events" / "s.h5") as file:
        assert len(file["x"]) == int((columns(0, N, 1)["x"] > -1).sum())
    if until:
        return
    (line,) = [f["sentence"] for f in ended.json()["results"]["findings"] if "left out of s" in f["sentence"]]
    assert "by their size about 0.5 of its sum of weights" in line
    assert "s1.root: is damaged" in line


@pytest.mark.slow
def test_file_replaced_between_look_and_run(folder: Path, tmp_path: Path) -> None:
    from needle_parsl.analysis import load
    from needle_parsl.site import Site
    from needle_parsl.workflow import prepared_run, run

    prepared = prepared_run.prepare(
        tmp_path / "run", load(folder), Site(description="t", workers_per_node=1), "convert"
    )
    write(folder / "s0.root", 0, N, seed=9)
    outcome = run.run(prepared, lambda *_: None)
    assert outcome.wrong_input
    (failed,) = outcome.failed
    assert failed.reason.endswith("s0.root: has changed since it was looked at; run the same command again")
    assert not list((tmp_path / "run").rglob("*.tmp"))


def test_file_copied_between_look_and_run_is_the_same(folder: Path, tmp_path: Path) -> None:
    from needle_parsl.analysis import load
    from needle_parsl.site import Site
    from needle_parsl.workflow import prepared_run, run

    prepared = prepared_run.prepare(
        tmp_path / "run", load(folder), Site(description="t", workers_per_node=1), "convert"
    )
    shutil.copy(folder / "s0.root", folder / "copy")
    (folder / "copy").replace(folder / "s0.root")
    assert not run.run(prepared, lambda *_: None).failed


@pytest.mark.slow
def test_full_disk_is_a_sentence_and_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    """A limit on the size of files fails like a full disk, in the middle of a write."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    ended = subprocess.run(
        [sys.executable, "-m", "needle_parsl", "run", str(folder), "--until", "convert"],
        cwd=tmp_path, capture_output=True, text=True, check=False, preexec_fn=limit,
    )  # fmt: skip
    assert ended.returncode == 1
    assert "cannot be written: File too large" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not list((tmp_path / "runs" / "cut" / "events").iterdir())


def test_clashes_between_files(folder: Path, inside: Needle) -> None:
    def other(kind: str, **changed: np.ndarray) -> Any:
        with uproot.recreate(folder / "s1.root") as file:
            new = {**columns(0, 3000, 5), **changed}
            if kind == "missing":
                del new["y"]
            file.mktree("events", {k: v.dtype for k, v in new.items()})
            file["events"].extend(new)
        return inside("check", folder, "--json", "--set", "split.id=[]").json()

    missing = other("missing")
    assert not missing["ok"]
    assert 's1.root: has no column "y"' in missing["problems"][0]["message"]
    double = other("double", y=np.ones(3000))
    assert double["ok"]
    assert "is float64, and float32 in" in double["notes"][0]


def test_a_file_without_events_is_noted(folder: Path, inside: Needle) -> None:
    write(folder / "s1.root", 0, 0)
    found = inside("check", folder, "--json").json()
    assert found["ok"]
    assert json.dumps(found["notes"]).count("s1.root: sample s: has no events") == 1
