"""What every shipped site would submit is what is stored; no scheduler is needed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from needle_parsl.site import Site
from needle_parsl.workflow import driver
from needle_parsl.workflow.executors import preview

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_submit_texts", ROOT / "scripts" / "write_submit_texts.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", [path.stem for path in sorted((ROOT / "site_configs").glob("*.toml"))])
def test_submit_text_is_the_stored_one(script: ModuleType, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (*script.SETTINGS, *script.UNSET):  # it sets them, and they are as before after the test
        monkeypatch.setenv(variable, "")
    stored = ROOT / "tests" / "sites" / "texts" / f"{name}.txt"
    assert script.text(name) == (stored.read_text() if stored.exists() else ""), "run scripts/write_submit_texts.py"


def test_command_prints_it(needle: Callable[..., Any]) -> None:
    ended = needle("sites", "show", "perlmutter", "--submit-script", env={"NEEDLE_ACCOUNT": "m1"})
    assert ended.code == 0, ended.err
    for line in (
        "#SBATCH --account=m1_g",
        "#SBATCH --account=m1",
        "#SBATCH --constraint=gpu",
        "export SRUN_CPUS_PER_TASK=",
    ):
        assert line in ended.out
    ended = needle("sites", "show", "local", "--submit-script")
    assert (ended.code, ended.err.strip()) == (2, "this site submits no jobs that could be shown")


ASKED = {
    "slurm": ("--account=m1", "--partition=q", "--qos=r", "--constraint=cpu", "--mail-user=a@b.c"),
    "pbs": ("-A m1", "-q q", "--mail-user=a@b.c"),
}


@pytest.mark.parametrize("scheduler", ASKED)
def test_a_drivers_job_asks_for_what_blocks_ask_for(scheduler: Any, tmp_path: Path) -> None:
    """Account, queue, qos, constraint, and the site's further options."""
    asked = {"account": "m1", "queue": "q", "options": ("--mail-user=a@b.c",)}
    asked |= {"qos": "r", "constraint": "cpu"} if scheduler == "slurm" else {}
    here = Site(
        description="t",
        scheduler=scheduler,
        executor="htex",
        walltime="02:00:00",
        workers_per_node=4,
        driver="job",
        **asked,
    )
    texts = [
        *preview.scripts(here, tmp_path / "logs").values(),
        driver.script(["run", "an app"], tmp_path, tmp_path, here),
    ]
    for text in (texts[0], texts[-1]):
        for option in ASKED[scheduler]:
            assert option in text
