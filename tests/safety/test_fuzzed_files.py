"""Whatever stands in the files of a run, reading them executes nothing and ends in a sentence at worst."""

from __future__ import annotations

import contextlib
import json
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fuzzing
import h5py
import numpy as np
import planting
import pytest

from needle_parsl import records
from needle_parsl.cli import runs, terminal
from needle_parsl.errors import NeedleError
from needle_parsl.nsbi.estimators import files
from needle_parsl.nsbi.training import networks, packs
from needle_parsl.nsbi.training.packs import Pack, Trained
from needle_parsl.workflow import cost, driver, evaluate, ledger, lock, run_state
from needle_parsl.workflow.executors.jobs import Jobs

WATCHED = ("exec", "compile", "subprocess.Popen", "os.system", "os.exec", "os.fork", "os.posix_spawn", "ctypes.dlopen", "socket.connect", "marshal.loads", "pickle.find_class")  # fmt: skip
RUN = {
    "schema": 1, "name": "a", "status": "running", "analysis": "/a.toml", "seed": 1, "needle": "1.0", "versions": {"torch": "2"}, "started": 1.0, "seconds": 2.0,
    "tasks": {"total": 3, "done": 1, "failed": 0, "reused": 1}, "networks": 2, "units": {"train": 2}, "unblinded": [{"who": "a", "when": "b", "how": "c"}],
    "stages": {"train": {"tasks": 2, "done": 2, "seconds": 3.0}}, "inputs": {"signature": "s", "files": {}, "samples": {}, "notes": [], "exact": False, "code": {}},
}  # fmt: skip
LINE = {"key": "k", "stage": "fit", "what": "asimov", "worker": "h:1:t", "seconds": 1.0, "output": "fits/asimov.json", "digest": "d", "reason": "", "log": "logs/a"}  # fmt: skip
DRIVER = {"host": "h", "pid": 4_000_000, "born": 1.0, "job": "", "scheduler": ""}
LOCK = {"host": "h", "pid": 4_000_000, "born": 1.0, "since": "2026"}
JOBS = {
    "12": {
        "shape": "gpu",
        "nodes": 1,
        "walltime": 60,
        "submitted": 1.0,
        "started": 2.0,
        "ended": 0.0,
        "state": "RUNNING",
    }
}


EXPORTED = {
    "file": "estimators/all.onnx",
    "exported": True,
    "reason": "",
    "digest": "d",
    "bytes": 10,
    "largest_difference": 1e-6,
}
SUMMARY = {
    "verdict": "do not quote", "state": "fail", "dataset": "observed", "result": "mu = 1", "parameter": "mu", "quoted_intervals": {"0.95": {"profile": "[0, 1]"}}, "warnings": ["w"],
    "findings": [{"check": "c", "state": "fail", "sentence": "s", "effect": None}], "ratios": {"signal": {"state": "fail", "fail": ["c"]}},
}  # fmt: skip


WARM = 30
"""Mutations before one watches: libraries import some of their own modules when they first complain."""


KNOWN = {*sys.stdlib_module_names, "numpy", "h5py", "torch", "rich", "needle_parsl", "psutil"}
"""Whose modules may be imported late: a library's own need of its own parts."""


def _importing() -> bool:
    """Whether Python loads a module, whose name was judged."""
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False


class Audit:
    """Notes what would execute code while it is on; hooks cannot be taken away again."""

    on = False

    def __init__(self) -> None:
        self.seen: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event == "import":
            if arguments[0].partition(".")[0] not in KNOWN:
                self.seen.append(f"{event} {arguments!r}"[:200])
        elif event in WATCHED and not str(arguments[:2]).count("<string>") and not _importing():
            self.seen.append(f"{event} {arguments!r}"[:200])

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        self.on = True
        try:
            yield
        finally:
            self.on = False


@pytest.fixture(scope="module")
def watch() -> Audit:
    networks.empty(
        networks.NetworkShape(network="mlp", features=2, layers=1, nodes=4)
    )  # what is loaded on first use is loaded
    return Audit()


def refused_or_read(act: Callable[[], object]) -> None:
    with contextlib.suppress(NeedleError):
        act()


def read_state(root: Path) -> None:
    state = run_state.read(root)
    terminal.status(state)


def read_summary(root: Path) -> None:
    facts = {
        "tasks": {"total": 1, "done": 1, "failed": 0, "reused": 0},
        "stages": {"report": {"tasks": 1, "done": 1, "seconds": 1.0}},
    }
    (root / "run.json").write_text(json.dumps({"name": "a", "status": "done", **facts}))
    runs.report(str(root))


READERS: dict[str, tuple[Any, list[Callable[[Path], object]]]] = {
    "run.json": (RUN, [read_state, cost.measured]),
    "ledger.jsonl": (LINE, [lambda root: [records.holds(root, record) for record in ledger.lines(root)]]),
    "driver.json": (DRIVER, [lambda root: driver.read(root / "driver.json")]),
    "lock": (LOCK, [lock.holder]),
    "estimators/all.json": (EXPORTED, [lambda root: evaluate.exported(root / "estimators" / "all.json")]),
    "report/summary.json": (SUMMARY, [read_summary]),
    "jobs.json": (JOBS, [lambda root: Jobs(root).node_hours(at_most=True)]),
}


def fuzz_tables(name: str, tries: int, root: Path, watch: Audit) -> None:
    whole, readers = READERS[name]
    chance = random.Random(name)
    for number in range(-WARM, tries):
        content = fuzzing.text(whole, chance)
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(content)
        for reader in readers:
            with contextlib.nullcontext() if number < 0 else watch.watching():
                try:
                    refused_or_read(lambda read=reader: read(root))  # type: ignore[misc]
                except Exception as error:  # noqa: BLE001  whatever it is, it would be a traceback
                    pytest.fail(f"{name}, mutation {number}: {content[:500]!r} gives {type(error).__name__}: {error}")
    assert watch.seen == []


def fuzz_hdf5(
    write: Callable[[Path], None], read: Callable[[Path], object], tries: int, folder: Path, watch: Audit
) -> None:
    whole = folder / "whole.h5"
    write(whole)
    chance, content, path = random.Random(whole.name), whole.read_bytes(), folder / "mutated.h5"
    for number in range(-WARM, tries):
        path.write_bytes(content)
        _mutate(path, chance)
        with contextlib.nullcontext() if number < 0 else watch.watching():
            try:
                refused_or_read(lambda: read(path))
            except Exception as error:  # noqa: BLE001  whatever it is, it would be a traceback
                pytest.fail(f"mutation {number} gives {type(error).__name__}: {error}")
    assert watch.seen == []


def _mutate(path: Path, chance: random.Random) -> None:
    """Change an attribute or a data set of the file."""
    with h5py.File(path, "r+") as file:
        if chance.random() < 0.6:
            name = chance.choice(sorted(file.attrs))
            odd = chance.choice(fuzzing.ODD)
            old = file.attrs[name]
            with contextlib.suppress(ValueError):
                odd = (
                    fuzzing.text(json.loads(str(old)), chance).decode(errors="replace")
                    if chance.random() < 0.8
                    else odd
                )
            with contextlib.suppress(TypeError, ValueError, OverflowError, UnicodeEncodeError, OSError):
                file.attrs[name] = odd
            return
        name = chance.choice(sorted(file))
        del file[name]
        made: list[Any] = [
            None,
            np.zeros(0),
            np.zeros((2, 3, 4)),
            np.array([b"x"]),
            np.float32(1),
            "text",
            np.full(5, np.nan),
            np.array([2**62]),
            h5py.Empty("f8"),
        ]
        if (data := chance.choice(made)) is not None:
            file[name] = data


def write_pack(path: Path) -> None:
    shape = networks.NetworkShape(network="mlp", features=2, layers=1, nodes=4)
    made = planting.estimator(shape)
    packs.write(
        path,
        Pack(
            shape,
            made.transform,
            (
                Trained(
                    member=0,
                    fold=0,
                    seed=1,
                    weights=made.weights[0],
                    history=np.zeros((2, 2)),
                    best_epoch=0,
                    reason="",
                    engine="sequential",
                    metrics={"ece": np.zeros(2)},
                ),
            ),
        ),
    )


def read_estimator(path: Path) -> None:
    files.read(path).log_ratio(np.zeros((3, 2), np.float32))


def read_pack(path: Path) -> None:
    networks.empty(packs.read(path).shape)


TIMES = pytest.mark.parametrize("times", [1, pytest.param(40, marks=pytest.mark.campaign)])
"""A campaign makes more than a hundred thousand mutations."""


@pytest.mark.slow
@TIMES
@pytest.mark.parametrize("name", sorted(READERS))
def test_tables(name: str, times: int, tmp_path: Path, watch: Audit, capsys: pytest.CaptureFixture[str]) -> None:
    fuzz_tables(name, 400 * times, tmp_path, watch)
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.slow
@TIMES
@pytest.mark.parametrize(
    ("write", "read"), [(lambda path: files.write(path, planting.estimator()), read_estimator), (write_pack, read_pack)]
)
def test_hdf5(
    write: Callable[[Path], None], read: Callable[[Path], object], times: int, tmp_path: Path, watch: Audit
) -> None:
    fuzz_hdf5(write, read, 150 * times, tmp_path, watch)
