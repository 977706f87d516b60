"""Against a real Slurm on this machine: whole runs, losses, refusals, walltimes, and the nodes' own set-up."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import sysconfig
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import on_node
import psutil
import pytest
from looking import jobs, until
from slow_analysis import analysis

from needle_parsl import site as sites

pytestmark = pytest.mark.slurm
ROOT = Path(__file__).parent.parent.parent
Queue = Callable[[Path], dict[str, str]]
GPU = """
description    = "GPU nodes of the tests"
scheduler      = "slurm"
executor       = "htex"
account        = "needle_g"
qos            = "regular"
constraint     = "gpu"
walltime       = "00:10:00"
cores_per_node = 128
gpus_per_node  = 4
nodes          = 2
launcher       = "srun"
poll           = 2
setup          = "export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK"
"""
CPU = """
description      = "CPU nodes of the tests"
scheduler        = "slurm"
executor         = "htex"
account          = "needle"
constraint       = "cpu"
walltime         = "00:10:00"
cores_per_node   = 256
workers_per_node = 1
launcher         = "srun"
poll             = 2
"""
TO_FITS = ("--until", "fit")
"""Where what comes after is not the point."""
LATE = '''

def signal(generator, events, _quick=signal):
    """Outlive the first block."""
    import os, pathlib, time
    marker = pathlib.Path("MARKER")
    if "SLURM_JOB_ID" in os.environ and not marker.exists():
        marker.touch()
        time.sleep(1000)
    return _quick(generator, events)
'''


def machine(folder: Path, text: str, *changes: str) -> Path:
    """Write a site file; each change takes the place of the line with its key."""
    keys = {line.partition("=")[0].strip() for line in changes}
    kept = [line for line in text.splitlines() if line.partition("=")[0].strip() not in keys]
    (folder / "mine.toml").write_text("\n".join([*kept, *changes, ""]))
    return folder / "mine.toml"


def start(*arguments: object, cwd: Path, env: dict[str, str]) -> subprocess.Popen[str]:
    """Start needle in the background."""
    command = [sys.executable, "-m", "needle_parsl", *map(str, arguments)]
    with (cwd / "driver.log").open("a") as log:
        return subprocess.Popen(command, cwd=cwd, env={**os.environ, **env}, stdout=log, stderr=log, text=True)


def ledger(root: Path) -> list[dict[str, Any]]:
    path = root / "ledger.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def is_wanted(request: pytest.FixtureRequest, test: Callable[..., None]) -> bool:
    return any(item.name == test.__name__ for item in request.session.items)


@pytest.fixture(scope="module", autouse=True)
def driven(
    slurm: dict[str, str], tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[tuple[Path, subprocess.Popen[str]] | None]:
    """A run whose driver is a job, and lasts longer than the minute that a driver has in a walltime of two; beside all other tests."""
    if not is_wanted(request, test_a_driver_in_a_job_goes_on_in_a_next_one):
        yield None
        return
    folder = tmp_path_factory.mktemp("driven")
    mine = machine(folder, CPU, 'walltime = "00:02:00"', 'driver = "job"')
    began = start("run", analysis(folder, 110), "--site", mine, "--out", "run", *TO_FITS, cwd=folder, env=slurm)
    assert began.wait(120) == 0, (folder / "driver.log").read_text()
    attached = start("attach", "run", cwd=folder, env=slurm)
    yield folder, attached
    if attached.poll() is None:
        start("cancel", "run", cwd=folder, env=slurm).wait(60)
        attached.wait(60)


@pytest.fixture(scope="module", autouse=True)
def outliving(
    slurm: dict[str, str], tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[tuple[Path, subprocess.Popen[str]] | None]:
    """A run of more than two walltimes of a minute, which goes on beside all other tests, if its own is among them."""
    if not is_wanted(request, test_a_run_outlives_its_walltimes):
        yield None
        return
    folder = tmp_path_factory.mktemp("late")
    slow = analysis(folder, 60, LATE.replace("MARKER", str(folder / "marker")))
    driver = start("run", slow, "--site", machine(folder, CPU, 'walltime = "00:01:00"', "drain = 20", "pack = 1"), "--out", "run", *TO_FITS, "--set", "training.members=2", cwd=folder, env=slurm)  # fmt: skip
    yield folder, driver
    if driver.poll() is None:
        driver.terminate()
        driver.wait(60)


def test_gaussian_on_two_nodes_of_four_gpus(slurm: dict[str, str], needle: Callable[..., Any], tmp_path: Path, queue: Queue) -> None:  # fmt: skip
    settings = {"training.members": 2, "training.epochs": 5, "split.cross": 2, "samples.signal.events": 18_000, "samples.background.events": 18_000}  # fmt: skip
    options = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    mine = machine(tmp_path, GPU, "pack = 1")
    ended = needle(
        "run", ROOT / "apps" / "gaussian", "--site", mine, "--out", "run", *options, "--until", "interval", env=slurm
    )
    assert ended.code == 0, ended.err
    root = tmp_path / "run"
    assert (root / "fits" / "asimov.json").exists()
    workers = {tuple(line["worker"].rpartition(":gpu")[::2]) for line in ledger(root)}
    assert len(dict(workers)) == len(workers)  # a worker has one device
    nodes = Counter(name.split(":")[0] for name, _ in workers)
    assert len(nodes) == 2
    for node in nodes:
        devices = [gpu for name, gpu in workers if name.startswith(f"{node}:")]
        assert sorted(devices) == sorted(set(devices))
        assert set(devices) <= {"0", "1", "2", "3"}
    assert len(workers) >= 6  # nearly all of the 8 had something to do
    assert [job["state"] for job in jobs(root).values()] == ["CANCELLED"]
    until(lambda: not queue(root), 30)
    assert root.stat().st_mode & 0o777 == 0o700
    assert list((root / "logs" / "parsl").glob("*/tasks/certificates"))  # encrypted


STAGES = """
name = "stages"
physics = "physics.py"
[stages.fill]
function = "physics.py:fill"
over = { k = [0, 1, 2, 3, 4, 5] }
outputs = { spectrum = "hist" }
merge = "sum"
[stages.host]
command = "hostname > {name}; echo $SLURM_JOB_ID {k} >> {name}"
over = { k = [0, 1] }
outputs = { name = ".txt" }
[stages.page]
function = "physics.py:page"
after = ["fill", "host"]
outputs = { page = "section" }
"""
STAGES_CODE = """
import hist
import numpy as np
from needle_parsl.nsbi.report.sections import Section, check


def fill(k):
    made = hist.Hist(hist.axis.Regular(10, -2, 2), storage=hist.storage.Weight())
    rng = np.random.default_rng(k)
    return made.fill(rng.normal(size=500), weight=rng.exponential(size=500))


def page(fill, host):
    return Section("Hosts", " ".join(open(path).read() for path in host.values()), checks=(check(fill.sum().value, 1, 0, "Filled."),))
"""


def test_stages_of_the_user_run_on_nodes(slurm: dict[str, str], needle: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "analysis.toml").write_text(STAGES)
    (tmp_path / "physics.py").write_text(STAGES_CODE)
    site = machine(tmp_path, CPU, "workers_per_node = 2", 'scratch = "."')
    ended = needle("run", tmp_path, "--site", site, "--out", tmp_path / "there", "--json", env=slurm)
    assert ended.code == 0, ended
    assert ended.json()["done"] == 6 + 1 + 2 + 1 + 1
    jobs_seen = {path.read_text().split()[1] for path in (tmp_path / "there" / "stages" / "host").rglob("name.txt")}
    assert all(job.isdecimal() for job in jobs_seen)
    here = needle("run", tmp_path, "--out", tmp_path / "here", "--json")
    assert here.code == 0, here
    merged = Path("stages", "fill", "merged", "spectrum.json")
    assert (tmp_path / "there" / merged).read_bytes() == (tmp_path / "here" / merged).read_bytes()


@pytest.mark.usefixtures("on_slurm")
def test_each_device_twice_per_node_and_a_marker_on_each_node(tmp_path: Path) -> None:
    from parsl import python_app

    from needle_parsl.workflow import executors

    notes = tmp_path / "notes"
    notes.mkdir()
    mine = machine(
        tmp_path, GPU, "workers_per_gpu = 2",
        f'node_setup = "echo $(hostname) >> {notes}/setup; export HELD={notes}/held.$(hostname); touch $HELD"',
        f'node_end = "rm $HELD; echo $(hostname) >> {notes}/end"',
    )  # fmt: skip

    (tmp_path / "run" / "logs").mkdir(parents=True)
    with executors.started(sites.load(str(mine)), tmp_path / "run" / "logs") as found:
        app = python_app(on_node.device, data_flow_kernel=found.kernel, executors=[found.labels["gpu"]])
        seen: set[tuple[str, int, str, bool]] = set()
        ends = time.monotonic() + 240
        while len(seen) < 16 and time.monotonic() < ends:
            seen |= {future.result(240) for future in [app() for _ in range(32)]}
        assert sorted(path.name for path in notes.glob("held.*")) == [
            f"held.{node}" for node in sorted({s[0] for s in seen})
        ]
    counts = Counter((node, gpu) for node, _, gpu, _ in seen)
    assert len(counts) == 8
    assert set(counts.values()) == {2}
    assert not any(torch for *_, torch in seen)
    until(lambda: (notes / "end").exists() and len((notes / "end").read_text().split()) == 2, 30)
    assert sorted((notes / "setup").read_text().split()) == sorted((notes / "end").read_text().split())
    assert not list(notes.glob("held.*"))


def test_scancel_in_the_middle_goes_on_to_the_same_bytes(slurm: dict[str, str], tmp_path: Path, queue: Queue) -> None:
    root = tmp_path / "run"
    file = analysis(tmp_path / "app", 24)  # a state is written after 10 s, and 7 s are left
    (here := tmp_path / "here").mkdir()
    undisturbed = start("run", file, "--site", "local-htex", "--out", "run", *TO_FITS, cwd=here, env=slurm)
    driver = start("run", file, "--site", machine(tmp_path, CPU), "--out", "run", *TO_FITS, cwd=tmp_path, env=slurm)
    until(lambda: list(root.glob("packs/states/*/*.h5")) or driver.poll() is not None, 300)
    (job,) = queue(root)
    subprocess.run(["scancel", job], check=True)
    began = time.monotonic()
    until(lambda: len(jobs(root)) == 2 or driver.poll() is not None, 180)
    submitted = time.monotonic() - began
    assert driver.wait(400) == 0, (tmp_path / "driver.log").read_text()
    assert f"job {job} has ended (cancelled)" in (tmp_path / "driver.log").read_text()
    assert submitted < 15
    assert [job["state"] for job in jobs(root).values()] == ["CANCELLED", "CANCELLED"]  # the second by us, at the end
    assert len({line["key"] for line in ledger(root)}) == len(ledger(root))
    assert undisturbed.wait(400) == 0, (here / "driver.log").read_text()
    assert (root / "fits" / "asimov.json").read_bytes() == (here / "run" / "fits" / "asimov.json").read_bytes()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ('queue = "nowhere"', "Invalid partition name specified"),
        ('account = "needle"', "Account needle is no GPU allocation: its name must end in _g."),
        pytest.param('constraint = "gpu&h100"', "Invalid feature specification", marks=pytest.mark.campaign),
        pytest.param('walltime = "96:00:00"', "QOS regular allows at most 2880 minutes.", marks=pytest.mark.campaign),
    ],
)
def test_a_refusal_is_said_once_and_soon(slurm: dict[str, str], needle: Callable[..., Any], tmp_path: Path, change: str, words: str) -> None:  # fmt: skip
    file = analysis(tmp_path / "app")
    ended = needle("run", file, "--site", machine(tmp_path, GPU, change), "--out", "run", env=slurm)
    now = time.time()
    assert ended.code == 1, ended.err
    assert ended.err.count(words) == 1, ended.err
    assert "Traceback" not in ended.err
    assert len(ended.err.splitlines()) == 1, ended.err
    tried = [
        path
        for path in (tmp_path / "run").glob("logs/parsl/*/submit_scripts/needle-*")
        if not path.suffix.startswith(".std")
    ]
    assert len(tried) == 1
    assert now - tried[0].stat().st_mtime < 15
    assert ledger(tmp_path / "run") == []
    assert jobs(tmp_path / "run") == {}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ('setup = "module load nowhere"', "module: command not found"),
        (
            'node_setup = "no_such_program"',
            "no_such_program: command not found; needle: node_setup has failed on nid00",
        ),
        ('environment = { kind = "venv", path = "BARE" }', "No module named"),
        pytest.param(
            'environment = { kind = "venv", path = "/nowhere" }',
            "/nowhere/bin/python: No such file or directory",
            marks=pytest.mark.campaign,  # as the one before
        ),
        ('node_setup = "export NEEDLE_VERSION=0.0.1"', "and the run was started with 0.0.1; install the same at both"),
        ('launcher = "jsrun"', "jsrun: command not found"),
    ],
)
def test_workers_that_cannot_start_say_why(slurm: dict[str, str], needle: Callable[..., Any], tmp_path: Path, change: str, words: str) -> None:  # fmt: skip
    (tmp_path / "bare" / "bin").mkdir(parents=True)
    (tmp_path / "bare" / "bin" / "python").write_text(
        '#!/bin/sh\nunset PYTHONPATH; cd /; exec /usr/bin/env -i python3 -S "$@"\n'
    )
    (tmp_path / "bare" / "bin" / "python").chmod(0o755)
    mine = machine(tmp_path, GPU, "nodes = 1", "poll = 1", change.replace("BARE", str(tmp_path / "bare")))
    ended = needle("run", analysis(tmp_path / "app"), "--site", mine, "--out", "run", env=slurm)
    assert ended.code == 1, ended.err
    assert words in ended.err.splitlines()[-1], ended.err
    assert len(jobs(tmp_path / "run")) == 3


def test_a_block_that_never_starts_is_told_of_and_goes_with_the_run(slurm: dict[str, str], tmp_path: Path, queue: Queue) -> None:  # fmt: skip
    """A job that is held, and one of more nodes than there are, which Slurm takes, too."""
    started = {}
    for reason, change in (("JobHeldUser", 'options = ["--hold"]'), ("PartitionConfig", "nodes = 99")):
        place = tmp_path / reason
        file = analysis(place / "app")
        driver = start("run", file, "--site", machine(place, GPU, change), "--out", "run", cwd=place, env=slurm)
        started[reason] = place, driver
    for reason, (place, driver) in started.items():
        until(lambda: f"waits in the queue: {reason}" in (place / "driver.log").read_text(), 240)  # noqa: B023  it is called at once
        assert list(queue(place / "run").values()) == ["PD"]
        driver.send_signal(signal.SIGINT)
    for place, driver in started.values():
        assert driver.wait(90) == 130
        assert queue(place / "run") == {}


def test_a_killed_driver_is_followed_by_one_that_ends_its_jobs(slurm: dict[str, str], needle: Callable[..., Any], tmp_path: Path, queue: Queue) -> None:  # fmt: skip
    root, mine, file = tmp_path / "run", machine(tmp_path, CPU), analysis(tmp_path / "app", 2)
    driver = start("run", file, "--site", mine, "--out", "run", *TO_FITS, cwd=tmp_path, env=slurm)
    until(lambda: "R" in queue(root).values(), 240)
    (old,) = queue(root)
    driver.kill()
    driver.wait()
    ended = needle("run", file, "--site", mine, "--out", "run", *TO_FITS, env=slurm)
    assert ended.code == 0, ended.err
    assert f"ending jobs of an earlier driver of this run: {old}" in ended.err
    first, second = jobs(root).values()
    assert first["ended"] <= second["submitted"] + 1
    assert len({line["key"] for line in ledger(root)}) == len(ledger(root))


@pytest.mark.usefixtures("on_slurm")
def test_blocks_come_with_work_and_go_without(tmp_path: Path, queue: Queue) -> None:
    from parsl import python_app

    from needle_parsl.workflow import executors

    mine = machine(tmp_path, CPU, "max_blocks = 2", "idle = 2", "poll = 1")
    root = tmp_path / "run"
    (root / "logs").mkdir(parents=True)
    with executors.started(sites.load(str(mine)), root / "logs") as found:
        app = python_app(on_node.sleep, data_flow_kernel=found.kernel, executors=[found.labels["cpu"]])
        assert queue(root) == {}
        short = [app(1) for _ in range(8)]
        until(lambda: len(queue(root)) == 2, 60)
        assert len({future.result(240) for future in short}) == 2
        last = app(15)
        until(lambda: len(queue(root)) == 1, 20)  # the idle one went, the busy one stayed
        assert not last.done()
        last.result(30)
    until(lambda: not queue(root), 20)
    assert len(jobs(root)) == 2


@pytest.mark.usefixtures("on_slurm")
def test_a_lost_node_costs_its_tasks_only(tmp_path: Path) -> None:
    """The pool on one node of two is killed with its workers; the job goes on with the other, which does the work of both."""
    from parsl import python_app

    from needle_parsl.workflow import executors

    (tmp_path / "logs").mkdir()
    mine = machine(tmp_path, CPU, "nodes = 2")
    with executors.started(sites.load(str(mine)), tmp_path / "logs") as found:
        app = python_app(on_node.sleep, data_flow_kernel=found.kernel, executors=[found.labels["cpu"]])
        ends = time.monotonic() + 240
        nodes: set[str] = set()
        while len(nodes) < 2 and time.monotonic() < ends:
            nodes |= {future.result(240) for future in [app(1), app(1)]}
        both = [app(4), app(4)]
        time.sleep(1)
        lost, pools, alone = _a_pool(tmp_path, nodes)
        for lost_with_it in [each for pool in pools for each in (*pool.children(recursive=True), pool)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                lost_with_it.kill()
        done = {future.result(120) for future in both}
        assert alone or nodes - {lost} & done
        assert {app(0).result(60) for _ in range(2)} <= nodes  # the node's own may have been replaced


def _a_pool(folder: Path, nodes: set[str]) -> tuple[str, list[psutil.Process], bool]:
    """Find a pool on one of the nodes, and say whether the others have none: a pool may end by itself, and another begin."""
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        found = {node: [p for p in psutil.process_iter() if _is_pool(p, folder, node)] for node in sorted(nodes)}
        if living := [node for node, pools in found.items() if pools]:
            return living[0], found[living[0]], len(living) == 1
        time.sleep(0.2)
    raise AssertionError("no pool of workers came")


def _is_pool(process: psutil.Process, folder: Path, node: str) -> bool:
    try:
        ours = "needle_parsl.workflow.executors.process_pool" in process.cmdline() and str(folder) in " ".join(
            process.cmdline()
        )
        return ours and process.environ().get("SLURMD_NODENAME") == node
    except psutil.Error:
        return False


@pytest.mark.parametrize("kind", ["venv", "packed"])
@pytest.mark.usefixtures("on_slurm")
def test_an_environment_of_its_own_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Workers run the Python of a venv, which finds this needle by a `.pth` file; `packed` unpacks it to the node, and takes it away."""
    from parsl import python_app

    from needle_parsl.workflow import executors

    monkeypatch.delenv("PYTHONPATH")
    made = tmp_path / "made"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", made], check=True)
    (packages,) = made.glob("lib/python*/site-packages")
    (packages / "here.pth").write_text(
        "\n".join([str(ROOT), str(Path(__file__).parent), sysconfig.get_path("purelib")])
    )
    if kind == "packed":
        subprocess.run(["tar", "-C", made, "-czf", tmp_path / "made.tar.gz", "."], check=True)
    path = made if kind == "venv" else tmp_path / "made.tar.gz"
    mine = machine(tmp_path, CPU, f'environment = {{ kind = "{kind}", path = "{path}", local = "{tmp_path}/disk" }}')
    (tmp_path / "logs").mkdir()
    with executors.started(sites.load(str(mine)), tmp_path / "logs") as found:
        app = python_app(on_node.prefix, data_flow_kernel=found.kernel, executors=[found.labels["cpu"]])
        prefix = Path(app().result(240))
        assert prefix == made if kind == "venv" else prefix.parent == tmp_path / "disk"
        assert prefix.exists()
    if kind == "packed":
        until(lambda: not prefix.exists(), 30)


def test_budget_stops_submission(slurm: dict[str, str], needle: Callable[..., Any], tmp_path: Path) -> None:
    mine = machine(tmp_path, GPU, 'budget = "0.2 node-hours"')
    ended = needle("run", analysis(tmp_path / "app"), "--site", mine, "--out", "run", env=slurm)
    assert ended.code == 1
    assert ended.err.count("the budget of 0.2 node-hours has no room for one more job of 0.333 (0 are spent)") == 1, (
        ended.err
    )
    assert jobs(tmp_path / "run") == {}


@pytest.mark.usefixtures("on_slurm")
def test_mpi_shape_runs_programs_on_two_nodes(tmp_path: Path) -> None:
    from parsl import bash_app

    from needle_parsl.workflow import executors

    text = CPU.replace("workers_per_node = 1", "") + "\nworkers_per_node = 1\n[mpi]\nnodes = 2\n"
    (tmp_path / "mine.toml").write_text(text)
    (tmp_path / "logs").mkdir()
    with executors.started(sites.load(str(tmp_path / "mine.toml")), tmp_path / "logs") as found:
        assert found.labels["mpi"] == "mpi"
        app = bash_app(on_node.hello, data_flow_kernel=found.kernel, executors=["mpi"])
        app(str(tmp_path / "said"), parsl_resource_specification={"num_nodes": 2, "ranks_per_node": 2}).result(240)
    ranks = [line.split() for line in (tmp_path / "said").read_text().splitlines()]
    assert sorted(rank[0] for rank in ranks) == ["0", "1", "2", "3"]
    assert {rank[1] for rank in ranks} == {"4"}
    assert len({rank[2] for rank in ranks}) == 2


def test_a_run_outlives_its_walltimes(outliving: tuple[Path, subprocess.Popen[str]]) -> None:
    folder, driver = outliving
    assert driver.wait(400) == 0, (folder / "driver.log").read_text()
    root = folder / "run"
    said = (folder / "driver.log").read_text()
    states = [job["state"] for job in jobs(root).values()]
    assert states[0] == "TIMEOUT"  # its generator did not heed the end
    assert "has ended (timeout)" in said
    assert "COMPLETED" in states[1:]  # its training stopped itself, and its workers left
    assert len({line["key"] for line in ledger(root)}) == len(ledger(root))
    assert not any(line["reason"] for line in ledger(root))


def test_a_driver_in_a_job_goes_on_in_a_next_one(driven: tuple[Path, subprocess.Popen[str]]) -> None:
    folder, attached = driven
    assert attached.wait(900) == 0, (folder / "driver.log").read_text()
    root, said = folder / "run", (folder / "driver.log").read_text()
    first, last = re.search(r"started as job (\d+)", said), json.loads((root / "driver.json").read_text())
    assert first is not None
    assert int(last["job"]) > int(first[1])  # the note names the latest
    assert "interrupted" in said
    assert len({line["key"] for line in ledger(root)}) == len(ledger(root))
    assert not any(line["reason"] for line in ledger(root))
    assert json.loads((root / "run.json").read_text())["status"] == "done"
