"""Fixtures: sample data, a small analysis on ROOT files of known densities, and the command line."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prepared import Preparations

ROOT = Path(__file__).parent.parent
SAMPLE_DATA = Path(os.environ.get("NEEDLE_SAMPLE_DATA", ROOT.parent / "shared" / "data"))


SLURM, SLURM_PORT = ROOT / "tests" / "services" / "slurm_cluster", "17817"


COMPILER = pytest.StashKey["subprocess.Popen[bytes]"]()
COMPILE = """
import sys
sys.path.insert(0, sys.argv[1])
import bench_toys
import numpy as np
from needle_parsl.nsbi.statistics.toys.compiled.engine import CompiledFits
from toy_problem import Problem
events, truth, draws = bench_toys.thrown(Problem(), 2)
CompiledFits.of(events).fit(draws, truth, "mu", [1.0], np.empty((0, len(truth))))
"""


@pytest.fixture(scope="session", autouse=True)
def private_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where needle remembers whose code was run: not the developer's own folder."""
    folder = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder))
        yield folder


def pytest_sessionstart(session: pytest.Session) -> None:
    """Begin to compile the fits of toys in the background, so that few tests have to wait for that."""
    if session.config.getoption("numprocesses", None) and find_spec("numba"):
        session.config.stash[COMPILER] = subprocess.Popen([sys.executable, "-c", COMPILE, ROOT / "scripts"])


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail where the fits of toys could not be compiled."""
    if COMPILER in session.config.stash and session.config.stash[COMPILER].wait():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


WAITING = ("test_slurm.py", "test_remote.py")
"""Files that mostly wait for services, for ten minutes: begun first, so that others compute meanwhile."""
SERVED = {"test_toys_through_globus.py": "apps", "test_chain.py": "reliability"}
"""Files that need the same services: the folders after which they come, so that no two of them wait for each other."""
LATE = ("sites", "apps", "workflow", "safety", "reliability", "remote", "modules", "nsbi")
SLOW_FOLDERS = {"sites", "apps", "reliability", "remote"}
WHOLE = {"needle", "slurm", "finished"}
"""Fixtures with which a test starts a program of needle's, or a run."""
SERVICES = {"slurm", "remote", "triton", "mlflow", "browser", "mpi", "gpu"}


@pytest.hookimpl(tryfirst=True)  # before pytest looks at marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what waits for services, then what fits no toys; end with short files.

    Mark what is quick: what needs no service, starts no run and is not marked as slow.
    """
    for item in items:
        slow = WHOLE & set(getattr(item, "fixturenames", ())) or any(
            mark.name in {"slow", *SERVICES} for mark in item.iter_markers()
        )
        if item.path.parent.name not in SLOW_FOLDERS and not slow:
            item.add_marker("quick")
    items.sort(key=lambda item: _place(item.path))


def _place(path: Path) -> float:
    """Say when a file has its turn."""
    if path.name in WAITING:
        return WAITING.index(path.name) - len(WAITING) - 1
    if path.name in SERVED:
        return LATE.index(SERVED[path.name]) + 0.5
    return LATE.index(name) if (name := _folder(path)) in LATE else -1


def _folder(path: Path) -> str:
    """Name the folder of tests that a file is in; the modules of others are one of their own."""
    return "modules" if path.parent.name == "modules" else path.relative_to(ROOT / "tests").parts[0]


@pytest.fixture(scope="module")
def slurm() -> Iterator[dict[str, str]]:
    """The environment in which its commands find it: 4 GPU nodes with 4 GPUs, 6 CPU nodes.

    Its ports are fixed: it belongs to one file of tests at a time, and others wait.
    """
    folder = Path(tempfile.gettempdir()) / f"needle-tests-slurm-{os.getuid()}"
    env = {**os.environ, "NEEDLE_SLURM_DIR": str(folder), "NEEDLE_SLURM_PORT": SLURM_PORT}
    with Path(f"{folder}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for command in (["install"], ["start", "--nodes", "4", "--cpu-nodes", "6"]):
            done = subprocess.run([SLURM, *command], env=env, capture_output=True, text=True, check=False, timeout=300)
            if done.returncode:
                required = "slurm" in os.environ.get("NEEDLE_REQUIRE", "").split(",")
                (pytest.fail if required else pytest.skip)(done.stderr.strip().splitlines()[-1])
        try:
            here = os.pathsep.join(
                [str(ROOT), str(ROOT / "tests" / "sites")]
            )  # workers find what the tests run on nodes
            yield {"SLURM_CONF": str(folder / "etc" / "slurm.conf"), "PYTHONPATH": here}
        finally:
            subprocess.run([SLURM, "stop"], env=env, capture_output=True, check=False, timeout=120)


@pytest.fixture(scope="session")
def sample_data() -> Path:
    """The folder of public sample files."""
    if not SAMPLE_DATA.is_dir():
        pytest.skip(f"sample data is not there: {SAMPLE_DATA} (set NEEDLE_SAMPLE_DATA)")
    return SAMPLE_DATA


@dataclass(frozen=True)
class Ended:
    """A finished command."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def needle(tmp_path: Path, preparations: Preparations) -> Callable[..., Ended]:
    """Run the command line as users do: in a process of its own, in an empty folder.

    Libraries are imported there already, unless a test changes the environment in which they are.
    """

    def call(*arguments: str | Path, env: dict[str, str] | None = None, cwd: Path = tmp_path) -> Ended:
        environment = {**os.environ, "COLUMNS": "200", **(env or {})}
        if prepared := preparations.of(environment):
            try:
                return Ended(*prepared.run([str(argument) for argument in arguments], cwd, environment))
            except BrokenPipeError:  # it has ended, and nothing was begun
                sys.stderr.write(f"a process with imported libraries has ended: {prepared.end()[-500:]}\n")
        return fresh(arguments, cwd, environment)

    return call


def fresh(arguments: Iterable[str | Path], cwd: Path, environment: Mapping[str, str]) -> Ended:
    """Run the command line in a new process."""
    ended = subprocess.run(
        [sys.executable, "-m", "needle_parsl", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment,
        check=False,
        timeout=900,
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)


@pytest.fixture(scope="session")
def preparations(private_state: Path, matplotlib_hidden: Path) -> Iterator[Preparations]:
    """Processes with imported libraries: one for most tests, and one for those without matplotlib."""
    del private_state  # is in the environment
    path = os.environ.get("PYTHONPATH", "")
    found = Preparations([os.environ, {**os.environ, "PYTHONPATH": joined(matplotlib_hidden, path)}])
    yield found
    found.end()


def joined(first: Path, path: str) -> str:
    """Put a folder before a path."""
    return os.pathsep.join([str(first), *([path] if path else [])])


@pytest.fixture(scope="session")
def matplotlib_hidden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH, with which Python finds no matplotlib."""
    folder = tmp_path_factory.mktemp("hidden")
    (folder / "sitecustomize.py").write_text("import sys\nsys.modules['matplotlib'] = None\n")
    return folder


@pytest.fixture
def no_figures(matplotlib_hidden: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs draw no figures, which takes more than half of the time of a small one: for tests of what else is in the report."""
    monkeypatch.setenv("PYTHONPATH", str(matplotlib_hidden), prepend=os.pathsep)


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Call the command line in this process: hundreds of new ones would take minutes. For commands that start no Parsl."""

    def call(*arguments: str | Path, env: dict[str, str] | None = None) -> Ended:
        from needle_parsl import cli

        with monkeypatch.context() as patch:
            patch.chdir(tmp_path)
            for name, value in {"COLUMNS": "200", **(env or {})}.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["needle", *map(str, arguments)])
            with pytest.raises(SystemExit) as ended:
                cli.main()
        return Ended(int(ended.value.code or 0), *capfd.readouterr())

    return call


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Let torch use one thread: small networks on several mostly wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


SMALL = """
name    = "small"
seed    = 5
physics = "physics.py"

[features]
names     = ["x1", "x2", "x3", "x4"]
selection = "x1 > -10"

[samples.signal]
files  = ["signal_*.root"]
weight = "weight"
yield  = 80.0
[samples.background]
files  = ["background.root"]
weight = "weight"
yield  = 400.0
[samples.background.variations.jes]
up   = { files = ["background_jes_up.root"] }
down = { files = ["background_jes_down.root"] }

[ratios]
reference = ["background"]
targets   = ["signal", "background"]

[training]
layers        = 1
nodes         = 8
learning_rate = 1e-2
batch_size    = 500
epochs        = 3
members       = 3
folds         = 2

[split]
min_events = 300

[model]
parameters.mu        = { nominal = 1.0, bounds = [0.0, 5.0], role = "poi" }
processes.signal     = "mu"
processes.background = "1"
nuisances.jes        = {}
nuisances.lumi       = { rate = { signal = [1.02, 0.98] } }

[fit]
data  = ["observed.parquet"]
blind = false
"""


@contextmanager
def same_bytes() -> Iterator[None]:
    """Write no times into ROOT files: events without an id column are named by the digest of their file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("uproot._util.datetime_to_code", lambda _: 0)
        yield


@pytest.fixture(scope="session")
def small_inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ROOT and Parquet files of the Gaussian app's processes, 3,000 events each, and an analysis of them."""
    import pyarrow as pa
    import uproot
    from pyarrow import parquet

    from needle_parsl import refs

    folder = tmp_path_factory.mktemp("small")
    source = (ROOT / "apps" / "gaussian" / "physics.py").read_text()
    physics = refs.load_source(source, str(ROOT / "apps" / "gaussian" / "physics.py"))
    generator = np.random.default_rng(1)
    names = {"signal_1": "signal", "signal_2": "signal"}
    for name in ("signal_1", "signal_2", "background", "background_jes_up", "background_jes_down"):
        columns = getattr(physics, names.get(name, name))(generator, 1500 if name in names else 3000)
        with same_bytes(), uproot.recreate(folder / f"{name}.root", uuid_function=lambda: uuid.UUID(int=1)) as file:
            file.mktree("events", {key: column.dtype for key, column in columns.items()})
            file["events"].extend(columns)
    parquet.write_table(pa.table(physics.observed(generator, 0)), folder / "observed.parquet")
    (folder / "physics.py").write_text(source)
    (folder / "analysis.toml").write_text(SMALL)
    return folder
