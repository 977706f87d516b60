"""Nothing waits for ever, and code of the user's neither ends nor changes the driver."""

from __future__ import annotations

import contextlib
import copyreg
import math
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import planting
import psutil
import pytest
from tblib import pickling_support

from needle_parsl import site
from needle_parsl.analysis.tables.limits import TimeLimits
from needle_parsl.errors import CrashError, InputError, NeedleError, TaskError, said
from needle_parsl.plan import specs
from needle_parsl.plan.stages import STAGES
from needle_parsl.processes import logs, supervised, time_limit
from needle_parsl.tasks import checkpoint
from needle_parsl.workflow import user_process, worker
from needle_parsl.workflow.executors import config
from needle_parsl.workflow.executors.jobs import Jobs
from needle_parsl.workflow.executors.providers import SLURMS_END


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    user_process.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        ("import os; os._exit(0)", InputError, "ended its process with exit code 0"),
        ("import os; os._exit(3)", InputError, "ended its process with exit code 3"),
        ("import os, signal; os.kill(os.getpid(), 11)", CrashError, "killed by signal 11"),
        ("import os; os.closerange(3, 400)", InputError, "closed the files"),
        ("while True: pass", user_process.LongError, "longer than 2 s, as limits.toys allows"),
        ("import signal, time\nfor s in (1, 2, 15): signal.signal(s, signal.SIG_IGN)\nwhile True: time.sleep(.1)", user_process.LongError, "longer than 2 s"),
    ],
    ids=["exit 0", "exit 3", "segv", "closed", "loop", "deaf"],
)  # fmt: skip
def test_what_the_users_code_does_to_its_process(code: str, kind: type[TaskError], words: str) -> None:
    limit = 2.0 if kind is user_process.LongError else math.inf
    with pytest.raises(kind, match=words):
        user_process.call(exec, code, limit=limit, said="limits.toys")
    assert user_process.call(os.getpid) != os.getpid()  # the next task has a new one


def test_the_driver_is_not_changed() -> None:
    before = Path.cwd(), signal.getsignal(signal.SIGINT), dict(os.environ)
    threads = "import threading, time; threading.Thread(target=time.sleep, args=(1000,)).start()"
    for code in (
        "import os; os.chdir('/')",
        "import signal; signal.signal(2, 1)",
        threads,
        "print('x' * 100_000)",
        "import atexit, time; atexit.register(time.sleep, 99)",
    ):
        user_process.call(exec, code)
    assert user_process.call(os.getcwd) == str(before[0])
    assert (Path.cwd(), signal.getsignal(signal.SIGINT), dict(os.environ)) == before
    child = user_process._OWN.child
    started = time.monotonic()
    user_process.close()
    assert child.poll() is not None
    assert time.monotonic() - started < 5


def test_every_task_that_calls_code_of_the_users_runs_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    physics = specs.Physics("", "p.py")
    plain = specs.Task(stage=STAGES["fit"], name="a", key="k", spec=specs.Merge((), (0, 1), 1), after=())  # type: ignore[arg-type]
    owned = specs.Task(stage=STAGES["train"], name="a", key="k", spec=plain.spec, after=(), code=physics, limit=7.0)
    assert [specs.own_code(task) for task in (plain, owned)] == [False, True]
    seen: list[Any] = []
    monkeypatch.setattr(user_process, "call", lambda *arguments, **how: seen.append((arguments, how)))
    worker.call("train", "/r", owned)
    assert seen == [((worker.call, "train", "/r", owned), {"limit": 7.0, "said": "limits.train"})]


def test_an_exit_code_of_0_means_done(tmp_path: Path, needle: Callable[..., Any]) -> None:
    import shutil

    import numpy as np
    import pyarrow as pa
    from pyarrow import parquet

    rng = np.random.default_rng(1)
    for name in ("signal", "background"):
        parquet.write_table(
            pa.table({"x1": rng.normal(size=3000), "x2": rng.normal(size=3000)}), tmp_path / f"{name}.parquet"
        )
    (tmp_path / "physics.py").write_text(
        "import os, sys\ndef y(events):\n    if 'inspect_inputs' not in sys.argv[0]: os._exit(0)\n    return events['x1'] * 2\n"
    )
    column = '[features.computed.y]\nfunction = "physics.py:y"\ncolumns = ["x1"]'
    text = planting.ANALYSIS.format(top='physics = "physics.py"', features=column, training="").replace(
        '"x2"]', '"x2", "y"]', 1
    )
    (tmp_path / "analysis.toml").write_text(text + "[split]\nmin_events = 10\n")
    ended = needle("run", "analysis.toml", "--until", "convert")
    assert ended.code == 2, ended
    assert "the user's code ended its process with exit code 0" in ended.err
    (tmp_path / "physics.py").write_text("import os\nos._exit(0)\n")
    shutil.rmtree(tmp_path / "runs")
    ended = needle("check", "analysis.toml")
    assert ended.code == 2
    assert 'analysis.toml:3: physics: "physics.py" ended the process with exit code 0' in ended.err
    (tmp_path / "physics.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(1000,)).start()\ndef y(events): return events['x1']\n"
    )
    assert needle("check", "analysis.toml").code == 0
    (tmp_path / "physics.py").write_text("while True: pass\n")
    ended = needle("check", "analysis.toml", "--set", "limits.check=4s")
    assert (ended.code, "as limits.check allows" in ended.err) == (1, True)


CALLED = {
    "physics": 'physics = "physics.py"',
    "features.computed.y.function": '[features.computed.y]\nfunction = "physics.py:y"\ncolumns = ["x1"]',
    "samples.signal.generate": 'generate = "physics.py:y"',
    "training.network": 'network = "physics.py:Y"',
}
"""Where an analysis names code that is called while it is checked."""
ENDINGS = {
    "os._exit(3)": (2, "ended the process with exit code 3"),
    "os._exit(0)": (2, "ended the process with exit code 0"),
    "os.kill(os.getpid(), 11)": (1, "was killed by signal 11"),
    "os.kill(os.getpid(), 9)": (1, "was killed by signal 9"),
    "import time; time.sleep(600)": (1, "has taken longer than 20 s, as limits.check allows"),
    "sys.exit(3)": (2, "SystemExit: 3"),
}
"""How it ends the process that checks it."""


@pytest.mark.slow
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("key", CALLED)
def test_code_that_ends_the_check_is_named_with_its_key(key: str, ending: str, tmp_path: Path, inside: Any) -> None:
    from needle_parsl.reading import positions

    text = planting.ANALYSIS.format(
        top='physics = "physics.py"',
        features=CALLED[key] if "computed" in key else "",
        training=CALLED[key] if "network" in key else "",
    )
    text = text.replace('"x2"]', '"x2", "y"]', 1) if "computed" in key else text
    text = text.replace('files = ["signal.parquet"]', CALLED[key] + "\nevents = 9000") if "generate" in key else text
    text = text.replace("nodes = 4\nnetwork", "network").replace("layers = 1\nnetwork", "network")
    for name in ("signal", "background"):
        planting.events(tmp_path).replace(tmp_path / f"{name}.parquet")
    (tmp_path / "analysis.toml").write_text(text + "[split]\nmin_events = 1\n")
    code = f"import os, sys\ndef y(*_):\n    {ending}\nclass Y:\n    def __init__(self, *_, **__):\n        {ending}\n    def forward(self, x): return x\n"
    (tmp_path / "physics.py").write_text(f"import os, sys\n{ending}\n" if key == "physics" else code)
    limit = "20s" if "20 s" in ENDINGS[ending][1] else "5min"  # of a busy machine
    ended = inside("check", "analysis.toml", "--set", f"limits.check={limit}")
    line = positions.lines(text)[key]
    said = {"physics": "physics.py", "training.network": "physics.py:Y"}.get(key, "physics.py:y")
    assert ended.code == ENDINGS[ending][0], ended
    assert ENDINGS[ending][1] in ended.err
    assert said in ended.err or "physics.py:6: Y.__init__" in ended.err
    if "SystemExit" not in ENDINGS[ending][1]:
        assert f'analysis.toml:{line}: {key}: "{said}" {ENDINGS[ending][1]}' in ended.err
    assert len(ended.err.splitlines()) == (
        2 if ("SystemExit" in ended.err and "computed" in key) else 1
    )  # both samples


@pytest.mark.slow
def test_a_program_is_bounded_in_time_and_output(tmp_path: Path) -> None:
    def run(code: str, seconds: float, size: float) -> subprocess.CompletedProcess[str]:
        bounds = supervised.bounded(seconds, size, "limits.generate")
        command = supervised.command(os.getpid(), supervised.INHERIT, [sys.executable, "-c", code], bounds)
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=600)

    ended = run("import sys\nfor _ in range(100): sys.stdout.write('x' * 100_000)\nsys.stderr.write('end')", 600, 1e6)
    assert ended.returncode == 0
    assert len(ended.stdout) < 1.1e6
    assert "beyond 1000000 bytes is left out" in ended.stdout
    assert ended.stderr == "end"
    ended = run(
        "import signal, time\nsignal.signal(15, signal.SIG_IGN)\nprint('begun', flush=True)\ntime.sleep(1000)", 10, 1e6
    )
    assert (ended.returncode, ended.stdout) == (1, "begun\n")
    assert "longer than 10 s, as limits.generate allows" in ended.stderr


def _endless() -> None:
    with time_limit.limited(0.3, "limits.fit"):
        while True:
            time.sleep(0.01)


def test_python_code_of_a_worker_is_ended_by_an_exception() -> None:
    with pytest.raises(time_limit.LimitError, match=r"longer than 0.3 s, as limits\.fit allows"):
        _endless()
    with time_limit.limited(100, "limits.fit"):
        pass


@pytest.mark.parametrize(
    ("end", "inside", "stops"),
    [
        ("1000", True, False),
        ("N/A", True, False),
        ("", True, False),
        ("inf", True, False),
        ("later", True, True),
        ("later", False, False),
    ],
)
def test_the_end_of_a_job_counts_within_that_job_alone(
    end: str, inside: bool, stops: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = time.time() + 1000
    monkeypatch.delenv("NEEDLE_STOP", raising=False)
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(later)) if end == "later" else end)
    monkeypatch.setattr(checkpoint, "_inside_job", lambda: inside)
    assert (checkpoint._deadline() < math.inf) == stops
    line = f"NEEDLE_JOB_END=7\n{SLURMS_END}\necho $NEEDLE_JOB_END"
    told = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True).stdout.strip()
    assert told == (str(int(later)) if end == "later" else "7")


def test_variables_of_a_job_alone_are_no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    assert not checkpoint._inside_job()


@pytest.mark.parametrize("name", ["r[ab]", "r*", "r?", "r{x}", "r'"])
def test_folders_in_which_no_key_would_be_found_are_refused(name: str, tmp_path: Path) -> None:
    logs = tmp_path / name / "logs"
    with pytest.raises(InputError, match="choose another --out"):
        config.htex(site.load("local-htex"), "tasks", logs, Jobs(tmp_path))


POOL = """
import multiprocessing, os, signal, sys, threading, time
from pathlib import Path
from needle_parsl.workflow.executors import process_pool
from needle_parsl.workflow.executors.patches import short_sockets
if __name__ == "__main__":
    short_sockets.shorten()
    manager = multiprocessing.get_context("spawn").Manager()
    shared = manager.dict()
    threading.Thread(target=process_pool.watched, args=(Path("lost"),), daemon=True).start()
    time.sleep(1)
    manager._stop_event = threading.Event()
    if sys.argv[1] == "kill":
        os.kill(manager._process.pid, signal.SIGKILL)
        time.sleep(60)
    if sys.argv[1] == "break":
        process_pool.memory.kills = None
        multiprocessing.active_children = None
        time.sleep(60)
    if sys.argv[1] == "end":  # as Parsl ends a pool
        worker = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,), name="HTEX-Worker-0")
        worker.start()
        time.sleep(1)
        manager._stop_event.set()
        worker.terminate()
        worker.join()
        worker.close()
        time.sleep(1)
        shared = []
        manager.shutdown()  # as Python does at its end, while the watch is still there
        time.sleep(1)
    print(len(shared))
    manager._stop_event.set()  # Parsl does, before Python ends the manager
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "code", "words"),
    [
        ("live", 0, ""),
        ("end", 0, ""),
        ("kill", 1, "which holds Parsl's list of tasks, has gone"),
        ("break", 1, "the watch over its workers has failed"),
    ],
)
def test_a_pool_ends_when_a_helper_does(what: str, code: int, words: str, tmp_path: Path) -> None:
    folder = tmp_path / ("t" * 60) / ("u" * 60)  # longer than a path of a socket may be
    folder.mkdir(parents=True)
    (tmp_path / "a_pool.py").write_text(POOL)
    env = {**os.environ, "TMPDIR": str(folder)}
    started = time.monotonic()
    command = [sys.executable, "a_pool.py", what]
    with subprocess.Popen(
        command, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as ended:
        try:
            assert ended.wait(280) == code
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(ended.pid, signal.SIGKILL)  # as the program that holds the pool does
        assert ended.stderr is not None
        assert words in ended.stderr.read()
    assert time.monotonic() - started < 300


def test_messages_are_bounded() -> None:
    class WeirdError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no str")

    assert len(str(TaskError("z" * 50_000_000))) < 5000
    assert len(str(TaskError("z\n" * 1_000_000))) < 10_000
    assert "cannot be read" in said(WeirdError())
    assert "cannot be read" in str(worker.foreseen(WeirdError(), "/r"))
    assert len(str(worker.foreseen(ValueError("z" * 10_000_000), "/r"))) < 5000


def test_limits_are_read() -> None:
    found = TimeLimits(train="2h", toys="1.5 min", output="3kB")
    assert (found.of("train"), found.of("toys"), found.of("neyman")) == (7200.0, 90.0, math.inf)


def test_a_log_that_grows_without_end_is_cut(tmp_path: Path) -> None:
    (tmp_path / "parsl").mkdir()
    (tmp_path / "small.log").write_text("small\n")
    (tmp_path / "away.log").symlink_to(tmp_path / "data")
    (tmp_path / "data").write_bytes(b"x" * 4_000_000)
    endless = "import itertools, sys\nfor k in itertools.count(): print(k, 'z' * 1000); sys.stdout.flush()"
    with logs.bounded(tmp_path, 3_000_000, 100_000, 0.05), (tmp_path / "parsl" / "manager.log").open("ab") as log:
        writer = subprocess.Popen([sys.executable, "-c", endless], stdout=log)
        ends, written = time.monotonic() + 20, 0.0
        while written < 20e6 and time.monotonic() < ends:
            time.sleep(0.05)
            written = psutil.Process(writer.pid).io_counters().write_chars
        writer.kill()
        writer.wait()
        time.sleep(0.5)
    kept = (tmp_path / "parsl" / "manager.log").read_text()
    assert len(kept) < 3_100_000
    assert kept.startswith("0 zzz")  # how it began
    assert "a part of this log is left out" in kept
    assert (tmp_path / "small.log").read_text() == "small\n"
    assert (tmp_path / "data").stat().st_size == 4_000_000


def test_a_log_that_is_cut_keeps_its_end(tmp_path: Path) -> None:
    """A traceback is the last that a process writes, mostly within the second in which it dies."""
    path = tmp_path / "worker.log"
    path.write_text("begins\n" + "noise\n" * 400_000 + "MemoryError: the cause\n")
    for _ in range(2):
        logs.cut(tmp_path, 1_000_000, 100_000)
        text = path.read_text()
        assert text.startswith("begins\nnoise\n")
        assert text.endswith("\nnoise\nMemoryError: the cause\n")
        assert text.count("a part of this log is left out") == 1
        assert len(text) < 200_200
        with path.open("a") as log:
            log.write("noise\n" * 400_000 + "MemoryError: the cause\n")


class MineError(InputError):
    """A class of the user's own."""


class SilentError(InputError):
    """One that cannot say its message."""

    def __str__(self) -> str:
        raise RuntimeError


@pytest.fixture
def chains_are_pickled() -> Iterator[None]:
    """Exceptions are pickled with those they came from, as in a process that has imported `dask.multiprocessing`."""
    before = dict(copyreg.dispatch_table)
    pickling_support.install()
    yield
    copyreg.dispatch_table.clear()
    copyreg.dispatch_table.update(before)


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (lambda: setattr(error := ValueError("x"), "__notes__", 5) or error, "ValueError: x"),
        (lambda: setattr(error := ValueError("x"), "__notes__", [5, "z" * 10**7]) or error, "ValueError: x"),
        (lambda: OSError(5, "z" * 10**7), "characters"),
        (lambda: MineError("mine"), "mine"),
        (lambda: SilentError("mine"), "its message cannot be read (RuntimeError)"),
        (lambda: ExceptionGroup("many", [ValueError("z" * 10**6)] * 10), "many"),
    ],
)
@pytest.mark.usefixtures("chains_are_pickled")
def test_whatever_is_raised_comes_back_as_a_short_sentence(
    raised: Callable[[], BaseException], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise raised()

    monkeypatch.setattr(worker, "_done", fail)
    with pytest.raises(NeedleError) as caught:
        worker.call("fit", str(tmp_path), planting.task())
    assert words in str(caught.value)
    assert type(caught.value).__module__.startswith("needle_parsl.")
    assert len(pickle.dumps(caught.value)) < 10_000
    assert caught.value.__context__ is None
    assert all(path.stat().st_size < 100_000 for path in (tmp_path / "logs").glob("*"))


def test_a_fork_of_the_users_code_that_comes_back_is_ended() -> None:
    """Anywhere in a task, not where functions of physics.py are called alone: a network's forward may fork, too."""
    assert user_process.call(os.fork, limit=60.0) > 0
    assert user_process.call(os.fork, limit=60.0) > 0  # the child has not answered


def test_what_the_users_code_prints_beside_the_driver_is_bounded(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(user_process, "OUTPUT", 300_000)
    for _ in range(20):
        assert user_process.call(os.write, 1, b"x" * 99_999 + b"\n", limit=60.0) == 100_000
    user_process.close()
    time.sleep(0.5)
    said = capfd.readouterr().err
    assert 290_000 < said.count("x") < 310_000
    assert "what it printed beyond 300000 bytes is left out" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os, time\nif os.fork() == 0:\n    os.setsid(); time.sleep(20)\nos._exit(0)", "ended its process with exit code 0"),
        ("import os\nfor n in range(3, 64):\n    try: os.write(n, b'g' * 5000)\n    except OSError: pass", "or written to them"),
        ("import os, time\nfor n in range(3, 64):\n    try: os.write(n, b'g')\n    except OSError: pass\ntime.sleep(60)", "longer than 8 s"),
    ],
)  # fmt: skip
def test_an_answer_that_never_comes_is_not_waited_for(code: str, words: str) -> None:
    """What is left of a process may hold its files open, and what is written there may be no answer."""
    begun = time.monotonic()
    with pytest.raises(NeedleError, match=words):
        user_process.call(exec, code, limit=8.0, said="limits.toys")
    assert time.monotonic() - begun < 20
    assert user_process.call(os.getpid) != os.getpid()
