"""Plain Parsl, showing each fault that `workflow/executors/patches/` mends: a test that fails here says that a patch is not needed any more."""

from __future__ import annotations

import inspect
import multiprocessing
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from parsl import Config
from parsl.dataflow.dflow import DataFlowKernel
from parsl.executors import HighThroughputExecutor, MPIExecutor, ThreadPoolExecutor
from parsl.executors.high_throughput import mpi_resource_management, process_worker_pool
from parsl.executors.high_throughput.errors import ManagerLost
from parsl.executors.high_throughput.mpi_resource_management import MPITaskScheduler, TaskScheduler
from parsl.jobs.states import JobState, JobStatus
from parsl.providers import LocalProvider, SlurmProvider
from parsl.providers.errors import SubmitException

from needle_parsl.workflow.executors.patches import (
    held_locks,
    launch_command,
    lost_blocks,
    lost_tasks,
    mpi_nodes,
    no_more_blocks,
    own_executors,
    spared_workers,
    supervised_interchange,
)
from needle_parsl.workflow.executors.patches.ended_jobs import EndedJobs
from needle_parsl.workflow.executors.patches.forgotten_jobs import ForgottenJobs
from needle_parsl.workflow.executors.patches.idle_blocks import PatchedHtex
from needle_parsl.workflow.executors.patches.local_blocks import LocalBlocks
from needle_parsl.workflow.executors.patches.mpi_executor import PatchedMpiExecutor
from needle_parsl.workflow.executors.patches.polling import Polling
from needle_parsl.workflow.executors.patches.refusals import Refusals, RefusedJobError

both = pytest.mark.parametrize("plain", [True, False], ids=["plain Parsl", "patched"])
FOLDER = Path(__file__).parent.parent.parent / "needle_parsl" / "workflow" / "executors" / "patches"
ALONE = 3.0
"""Seconds after which a process that ends with its owner has ended."""


@pytest.mark.parametrize("path", sorted(FOLDER.glob("[!_]*.py")), ids=lambda path: path.stem)
def test_a_patch_says_when_it_is_not_needed_any_more(path: Path) -> None:
    words = inspect.cleandoc(path.read_text().split('"""')[1])
    for part in ("Parsl: 2026", "Without it: ", "Upstream: ", "Not needed any more when "):
        assert f"\n{part}" in words
    named = [word.strip("`") for word in words.split() if word.startswith("`test_")]
    assert named
    assert set(named) <= globals().keys()


def executor(kind: type[HighThroughputExecutor], **settings: Any) -> Any:
    return kind(label="tasks", address="127.0.0.1", encrypted=False, **settings)


@both
def test_plain_parsl_gives_back_a_block_that_has_not_started(plain: bool) -> None:
    made = executor(HighThroughputExecutor if plain else PatchedHtex)
    made._status, made.connected_managers = {"0": JobStatus(JobState.PENDING)}, list
    made.blocks_to_job_id, made.job_ids_to_block = {"0": "job"}, {"job": "0"}
    made.provider.cancel = lambda jobs: [True for _ in jobs]
    assert made.scale_in(0, max_idletime=60.0) == (["0"] if plain else [])


def test_plain_parsl_wants_one_word_for_the_interchange_of_mpi_programs(tmp_path: Path) -> None:
    settings: Any = {
        "provider": LocalBlocks(tmp_path),
        "interchange_launch_cmd": ["python", "-m"],
        "max_workers_per_block": 1,
    }
    with pytest.raises(Exception, match="interchange_launch_cmd"):
        executor(MPIExecutor, **settings)
    assert executor(PatchedMpiExecutor, **settings).interchange_launch_cmd == ["python", "-m"]


def test_plain_parsl_runs_no_mpi_programs_without_a_scheduler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("SLURM_NODELIST", "PBS_NODEFILE"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(RuntimeError, match="does not support scheduler"):
        MPITaskScheduler(None, None)  # type: ignore[arg-type]
    for variable, value in mpi_nodes.variables(tmp_path).items():
        monkeypatch.setenv(variable, *shlex.split(value))
    assert MPITaskScheduler(None, None).available_nodes == ["localhost"]  # type: ignore[arg-type]


@both
def test_plain_parsl_does_not_quote_folders(plain: bool) -> None:
    made = executor(HighThroughputExecutor, **({} if plain else {"launch_cmd": launch_command.launched_by("a_pool")}))
    words = shlex.split(launch_command.of_block(made, Path("/my runs"), 54321))
    assert ("--logdir=/my runs/tasks" in words) is not plain
    assert words[0] == ("process_worker_pool.py" if plain else "a_pool")


def test_plain_parsl_gives_no_launch_command_before_it_starts() -> None:
    with pytest.raises((KeyError, AttributeError)):
        executor(HighThroughputExecutor)._get_launch_command("0")


def lives_alone(code: str, folder: Path) -> bool:
    """Run a program that prints the number of a process of its own, kill the program, and see whether that process lives on."""
    (folder / "owner.py").write_text(code)
    with subprocess.Popen([sys.executable, "owner.py"], cwd=folder, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        child = psutil.Process(int(owner.stdout.readline()))
        owner.kill()
    with suppress(psutil.TimeoutExpired):
        child.wait(ALONE)
    with suppress(psutil.NoSuchProcess):
        if child.status() != psutil.STATUS_ZOMBIE:
            for process in (child, *child.children(recursive=True)):
                process.kill()
            return True
    return False


@pytest.mark.slow
@both
def test_plain_parsl_leaves_its_interchange_behind(plain: bool, tmp_path: Path) -> None:
    command = [sys.executable, "-m", supervised_interchange.INTERCHANGE]
    told = command if plain else "supervised_interchange.command(Path('log'))"
    code = (
        "import time\nfrom pathlib import Path\nfrom parsl.executors import HighThroughputExecutor\n"
        "from needle_parsl.workflow.executors.patches import supervised_interchange\n"
        f"made = HighThroughputExecutor(address='127.0.0.1', encrypted=False, interchange_launch_cmd={told})\n"
        "made.run_id, made.run_dir = 'a', 'logs'\nPath('logs/HighThroughputExecutor').mkdir(parents=True)\nmade.start()\n"
        "print(made.interchange_proc.pid, flush=True)\ntime.sleep(60)\n"
    )
    assert lives_alone(code, tmp_path) is plain


@pytest.mark.slow
@both
def test_plain_parsl_leaves_blocks_behind(plain: bool, tmp_path: Path) -> None:
    provider = "LocalProvider()" if plain else "LocalBlocks(Path())"
    code = (
        "import time\nfrom pathlib import Path\nfrom parsl.providers import LocalProvider\n"
        "from needle_parsl.workflow.executors.patches.local_blocks import LocalBlocks\n"
        f"made = {provider}\nmade.script_dir = '.'\nprint(made.submit('sleep 60', 1), flush=True)\ntime.sleep(60)\n"
    )
    assert lives_alone(code, tmp_path) is plain


@both
def test_plain_parsl_cannot_start_blocks_in_a_folder_with_a_space(plain: bool, tmp_path: Path) -> None:
    folder = tmp_path / "my runs"
    folder.mkdir()
    made: Any = LocalProvider() if plain else LocalBlocks(folder)
    made.script_dir = str(folder)

    def start() -> Any:
        job = made.submit("sleep 60", 1)
        return job, made.status([job])[0].state

    if plain:
        with pytest.raises((SubmitException, OSError)):
            start()
        return
    job, state = start()
    made.cancel([job])
    assert state == JobState.RUNNING


@both
def test_plain_parsl_fails_all_tasks_where_it_stops_asking_for_blocks(plain: bool) -> None:
    made, waiting = executor(HighThroughputExecutor), Future[None]()
    made.tasks[1] = waiting
    if plain:
        made.set_bad_state_and_fail_all(RuntimeError("no workers"))
    else:
        no_more_blocks.stop(made)
    assert made.bad_state_is_set
    assert waiting.done() is plain


def test_plain_parsl_does_not_say_which_block_was_lost(tmp_path: Path) -> None:
    lost = ManagerLost(b"m1", "a node")
    assert not [name for name in vars(lost) if "block" in name]
    (tmp_path / "block-3" / "m1").mkdir(parents=True)
    for state, ended in ((JobState.RUNNING, False), (JobState.TIMEOUT, True)):
        provider = SimpleNamespace(status=lambda jobs, state=state: [JobStatus(state) for _ in jobs])
        made = SimpleNamespace(worker_logdir=str(tmp_path), blocks_to_job_id={"3": "job"}, provider=provider)
        record = {"dfk": SimpleNamespace(executors={"tasks": made}), "executor": "tasks"}
        assert lost_blocks.ended(lost, record) is ended


def test_plain_parsl_lists_its_own_executor_among_the_users(tmp_path: Path) -> None:
    setting = Config(executors=[ThreadPoolExecutor(label="tasks")], run_dir=str(tmp_path), initialize_logging=False)
    kernel = DataFlowKernel(setting)
    try:
        assert set(kernel.executors) > set(own_executors.of(kernel)) == {"tasks"}
    finally:
        kernel.cleanup()


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("globus_compute_sdk"), reason="the extra `remote` is not installed")
@both
def test_plain_parsl_imports_what_nobody_wants(plain: bool) -> None:
    code = (
        "import parsl"
        if plain
        else "from needle_parsl.workflow.executors.patches import spared_imports\nspared_imports.import_parsl()"
    )
    script = f"import sys\n{code}\nprint(*filter(sys.modules.get, ('globus_compute_sdk', 'sqlalchemy')))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == (["globus_compute_sdk", "sqlalchemy"] if plain else [])


@pytest.mark.slow
@both
def test_plain_parsl_begins_its_workers_with_all_of_it(plain: bool) -> None:
    """Patched, the helper has nothing of it, and a worker finds its function."""
    told = "print('parsl' in sys.modules, flush=True); print(sys.modules['__main__'].worker.__module__, bool(sys.modules.get('sqlalchemy')))"
    code = (
        "import importlib.util, multiprocessing, sys\n"
        "from needle_parsl.workflow.executors.patches import spared_workers\n"
        "sys.modules['__main__'].__spec__ = importlib.util.find_spec(spared_workers.POOL)\n"
        f"{'' if plain else 'spared_workers.begin_here()'}\n"
        f"process = multiprocessing.get_context('spawn').Process(target=exec, args=({'import sys; ' + told!r},))\n"
        "process.start()\nprocess.join()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    began, worker, databases = done.stdout.split()
    assert (began, worker) == ("True", "__mp_main__") if plain else ("False", spared_workers.POOL)
    assert plain or databases == "False"


def slurm(mended: type, states: dict[str, JobState], folder: Path) -> Any:
    """Make Parsl's provider with a patch, or without, that knows of some jobs."""
    made: Any = type("Provider", (SlurmProvider,) if mended is SlurmProvider else (mended, SlurmProvider), {})()
    files = {"job_stdout_path": None, "job_stderr_path": None}
    made.script_dir, made.resources = (
        str(folder),
        {job: {"status": JobStatus(state), **files} for job, state in states.items()},
    )
    return made


@both
def test_plain_parsl_submits_at_once_again_what_was_refused(plain: bool, scheduler: Any, tmp_path: Path) -> None:
    scheduler.answers["sbatch"] = (1, "", "sbatch: error: Invalid account\n")
    made = slurm(SlurmProvider if plain else Refusals, {}, tmp_path)
    for _ in range(3):
        with pytest.raises((SubmitException, RefusedJobError)) as refusal:
            made.submit("true", 1, "a job")
        assert (str(refusal.value) == "Invalid account") is not plain
    assert scheduler.asked.count("sbatch") == (3 if plain else 1)


@both
def test_plain_parsl_asks_the_scheduler_once_a_minute(plain: bool, scheduler: Any, tmp_path: Path) -> None:
    scheduler.answers["squeue"] = (0, "1 R\n", "")
    made = slurm(SlurmProvider if plain else Polling, {"1": JobState.RUNNING}, tmp_path)
    if not plain:
        made.interval = 10
    assert made.status_polling_interval == (60 if plain else 10)
    for _ in range(3):
        made.status(["1"])
    assert scheduler.asked.count("squeue") == (3 if plain else 1)


@both
def test_plain_parsl_forgets_how_a_job_has_ended(plain: bool, scheduler: Any, tmp_path: Path) -> None:
    scheduler.answers |= {"squeue": (0, "2 R\n", ""), "scancel": (0, "", "")}
    made = slurm(SlurmProvider if plain else EndedJobs, {"1": JobState.TIMEOUT, "2": JobState.RUNNING}, tmp_path)
    first, second = made.status(["1", "2"])
    assert (first.state, second.state) == (JobState.COMPLETED if plain else JobState.TIMEOUT, JobState.RUNNING)
    assert made.cancel(["1", "2"]) == [True, True]
    assert made.resources["1"]["status"].state == (JobState.CANCELLED if plain else JobState.TIMEOUT)


@both
def test_plain_parsl_waits_for_a_job_that_slurm_has_forgotten(plain: bool, scheduler: Any, tmp_path: Path) -> None:
    scheduler.answers["squeue"] = (1, "", "slurm_load_jobs error: Invalid job id specified\n")
    made = slurm(SlurmProvider if plain else ForgottenJobs, {"1": JobState.RUNNING}, tmp_path)
    assert made.status(["1"])[0].state == (JobState.RUNNING if plain else JobState.COMPLETED)


def test_plain_parsl_counts_no_tasks() -> None:
    assert vars(TaskScheduler(None, None)).keys() == {"pending_task_q", "pending_result_q"}  # type: ignore[arg-type]
    assert "TaskScheduler(\n" in inspect.getsource(process_worker_pool.Manager.__init__)
    tasks, results = multiprocessing.get_context("spawn").Queue(), multiprocessing.get_context("spawn").Queue()
    counted = lost_tasks.CountedTasks(tasks, results)
    manager = SimpleNamespace(task_scheduler=counted, pending_task_queue=tasks, _tasks_in_progress={})
    counted.put_task("a")
    assert not lost_tasks.lost(manager)
    assert tasks.get(timeout=10) == "a"
    assert lost_tasks.lost(manager)
    manager._tasks_in_progress[0] = "a"
    assert not lost_tasks.lost(manager)
    results.put("done")
    assert counted.get_result() == "done"
    del manager._tasks_in_progress[0]
    assert not lost_tasks.lost(manager)


def test_what_is_counted_is_what_parsl_will_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mpi_resource_management, "TaskScheduler", TaskScheduler)  # it is put back at the end
    lost_tasks.count()
    assert mpi_resource_management.TaskScheduler is lost_tasks.CountedTasks


def until(true: Callable[[], bool]) -> None:
    ends = time.monotonic() + 60
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.02)


def test_plain_queue_stays_locked_by_a_killed_reader() -> None:
    context = multiprocessing.get_context("spawn")
    tasks, results = context.Queue(), context.Queue()
    lock: Any = tasks._rlock  # type: ignore[attr-defined]

    def held() -> bool:
        free = lock.acquire(timeout=0.1)
        if free:
            lock.release()
        return not free

    worker = context.Process(target=tasks.get)
    worker.start()
    until(held)
    os.kill(worker.pid or 0, signal.SIGKILL)
    worker.join()
    assert held()
    held_locks.give_back(SimpleNamespace(pending_task_queue=tasks, pending_result_queue=results), 0.1)
    assert not held()


def test_plain_parsl_does_not_watch_the_helper_of_a_pool() -> None:
    watch = inspect.getsource(process_worker_pool.Manager.worker_watchdog)
    assert "_mp_manager" not in watch
    assert "_tasks_in_progress" in watch
    made = inspect.getsource(process_worker_pool.Manager.__init__)
    for name in ("_mp_manager", "_tasks_in_progress", "_stop_event", "pending_task_queue", "pending_result_queue"):
        assert f"self.{name} = " in made, "what the patches read is not there any more"


def test_plain_python_opens_no_socket_in_a_long_folder(tmp_path: Path) -> None:
    folder = tmp_path / ("t" * 60) / ("u" * 60)
    folder.mkdir(parents=True)
    code = "from multiprocessing.connection import Listener\nListener(family='AF_UNIX').close()"
    ours = "from needle_parsl.workflow.executors.patches import short_sockets\nassert not short_sockets.shorten()\n"
    for text, words in ((code, "AF_UNIX path too long"), (f"{ours}{code}", "")):
        env = {**os.environ, "TMPDIR": str(folder)}
        done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, env=env, check=False)
        assert words in done.stderr
        assert (done.returncode == 0) is (words == "")
    assert "SpawnContext.Manager()" in inspect.getsource(process_worker_pool.Manager.__init__)
