"""Drivers that outlive the terminal: found, shown, ended."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from looking import until
from slow_analysis import analysis

from needle_parsl import rundir
from needle_parsl.site import Site
from needle_parsl.workflow import driver

Needle = Callable[..., Any]


def test_a_detached_run_is_found_and_shown(needle: Needle, tmp_path: Path) -> None:
    here = {"PYTHONPATH": f"{Path(__file__).parent.parent.parent}:{Path(__file__).parent}"}
    file = analysis(tmp_path / "app", 2)
    ended = needle("run", file, "--site", "local-htex", "--out", "run", "--until", "fit", "--detach", env=here)
    assert ended.code == 0, ended.err
    assert "started as process" in ended.out
    again = needle("run", file, "--site", "local-htex", "--out", "run", "--detach", env=here)
    assert again.code == 2
    attached = needle("attach", "run", env=here)
    assert attached.code == 0, attached.err
    assert "tasks done" in attached.out
    assert needle("logs", "run").out == attached.out
    assert "done" in needle("status", "run").out
    assert needle("cancel", "run").err.strip() == "run: is not running"


def test_a_detached_run_is_cancelled(needle: Needle, tmp_path: Path) -> None:
    here = {"PYTHONPATH": f"{Path(__file__).parent.parent.parent}:{Path(__file__).parent}"}
    assert (
        needle(
            "run", analysis(tmp_path / "app", 500), "--site", "local-htex", "--out", "run", "--detach", env=here
        ).code
        == 0
    )
    until(lambda: "running" in needle("status", "run").out, 60)
    ended = needle("cancel", "run")
    assert ended.code == 0, ended.err
    assert "interrupted" in ended.out
    attached = needle("attach", "run")
    assert (attached.code, "interrupted" in attached.err) == (1, True)


@pytest.mark.parametrize(("scheduler", "sign"), [("slurm", "#SBATCH --account=m1"), ("pbs", "#PBS -A m1")])
def test_job_of_a_driver_is_a_script_that_goes_on_in_a_next_one(tmp_path: Path, scheduler: Any, sign: str) -> None:
    site = Site(
        description="t",
        scheduler=scheduler,
        executor="htex",
        account="m1",
        walltime="02:00:00",
        workers_per_node=4,
        driver="job",
    )
    text = driver.script(["run", "an app", "--site", "x"], tmp_path, tmp_path / "run", site)
    assert sign in text
    assert "timeout --signal=TERM --kill-after=60 6900 " in text  # 300 s before its end
    assert "run 'an app' --site x" in text
    assert subprocess.run(["bash", "-n"], input=text, text=True, check=False).returncode == 0
    # Where the time runs out, the script submits itself again and notes the next job; else it ends as needle does.
    (tmp_path / "run").mkdir()
    fake = text.replace(sys.executable, "sleep 5 #").replace(
        "timeout --signal=TERM --kill-after=60 6900", "timeout 0.1"
    )
    fake = fake.replace("sbatch --parsable", "printf 4711%.0s").replace("qsub", "printf 4711%.0s")
    ended = subprocess.run(["bash"], input=fake, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    next_one = driver.read(tmp_path / "run" / rundir.DRIVER)
    assert next_one is not None
    assert next_one.job.startswith("4711")
    fake = fake.replace("sleep 5 #", "false #").replace("timeout 0.1", "timeout 60")
    ended = subprocess.run(["bash"], input=fake, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
