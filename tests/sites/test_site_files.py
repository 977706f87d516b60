from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from needle_parsl import shipped, site
from needle_parsl.errors import InputError

SHIPPED = sorted(path.stem for path in shipped.folder("site_configs").glob("*.toml"))


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_site_can_be_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEEDLE_ACCOUNT", "m1234")
    assert site.load(name).description


def test_local_is_shipped() -> None:
    assert "local" in SHIPPED


def test_the_users_own_file_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "site_configs").mkdir()
    (tmp_path / "site_configs" / "local.toml").write_text('description = "mine"\nworkers_per_node = 3\n')
    assert site.load("local").workers() == 3


def test_folder_in_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.toml").write_text('description = "mine"\nscratch = "${PLACE}/x"\n')
    monkeypatch.setenv("NEEDLE_SITES", str(tmp_path))
    monkeypatch.setenv("PLACE", "/scratch")
    assert site.load("mine").scratch == "/scratch/x"


def test_unset_variable_and_unknown_key_are_said_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.toml").write_text('description = "mine"\nscratch = "$NEEDLE_NOWHERE/x"\nworkers = 3\n')
    monkeypatch.delenv("NEEDLE_NOWHERE", raising=False)
    with pytest.raises(InputError) as caught:
        site.load(str(tmp_path / "mine.toml"))
    first, second = str(caught.value).splitlines()
    assert "scratch: needs the environment variable NEEDLE_NOWHERE, which is not set" in first
    assert "workers: unknown key" in second


def test_unknown_site_names_the_closest() -> None:
    with pytest.raises(InputError, match='there is no site "locl"; did you mean "local"'):
        site.load("locl")


BATCH = """
description   = "mine"
scheduler     = "slurm"
executor      = "htex"
walltime      = "00:30:00"
launcher      = "srun"
gpus_per_node = 4
"""


def complaints(tmp_path: Path, text: str) -> list[str]:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(InputError) as caught:
        site.load(str(tmp_path / "mine.toml"))
    return [line.removeprefix(f"{tmp_path}/mine.toml") for line in str(caught.value).splitlines()]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("walltime      = \"00:30:00\"", "walltime = \"30 minutes\""), ":5: walltime: found \"30 minutes\", expected HH:MM:SS"),
        (("walltime      = \"00:30:00\"", "walltime = \"00:00:30\""), ":5: walltime: found \"00:00:30\", expected at least"),
        (("\"slurm\"", "\"slrum\""), ":3: scheduler: found \"slrum\", expected \"local\" or \"slurm\" or \"pbs\"; did you mean \"slurm\"?"),
        (("\"srun\"", "\"single\"\nnodes = 2"), ":6: launcher: \"single\" starts workers on one node of 2"),
        (("gpus_per_node = 4", "nodes = 0\nworkers_per_node = 1"), ":7: nodes: found 0, expected a number from 1"),
        (("gpus_per_node = 4", "gpus_per_node = 4\nworkers_per_node = 6"), ":8: workers_per_node: 6 workers cannot share 4 GPUs evenly"),
        (("gpus_per_node = 4", "workers_per_gpu = 2\nworkers_per_node = 2"), ":7: workers_per_gpu: is 2, but gpus_per_node is 0"),
        (("gpus_per_node = 4", ""), "workers_per_node: how many tasks a node runs at a time cannot be seen from here"),
        (("gpus_per_node = 4", "gpus_per_node = 4\nmin_blocks = 3"), ":8: min_blocks: is 3, more than max_blocks, 1"),
        (("gpus_per_node = 4", "gpus_per_node = 4\ndrain = 1800"), ":8: drain: 1800 s before the end of a walltime of 1800 s"),
        (("gpus_per_node = 4", "gpus_per_node = 4\nbudget = \"many\""), ":8: budget: found \"many\", expected node-hours"),
        (("gpus_per_node = 4", "gpus_per_node = 4\ninterface = \"all\""), ":8: interface: \"all\" would listen to everybody"),
        (("gpus_per_node = 4", "gpus_per_node = 4\nselect = \"ngpus=4\""), ":8: select: has no meaning with scheduler = \"slurm\""),
        (("gpus_per_node = 4", "gpus_per_node = 4\noptions = [\"mail\"]"), ":8: options: each must be one option"),
        (("\"htex\"", "\"threads\""), ":4: executor: a scheduler needs executor = \"htex\""),
        (("gpus_per_node = 4", "gpus_per_node = 4\npartition = \"debug\""), ":8: partition: unknown key"),
        (("gpus_per_node = 4", "gpus_per_node = 4\n[serving]"), "serving.host: workers on other nodes reach no socket of this one"),
        (("gpus_per_node = 4", "gpus_per_node = 4\n[serving]\nhost = \"0.0.0.0\""), ":9: serving.host: \"0.0.0.0\" would listen to everybody"),
        (("gpus_per_node = 4", "gpus_per_node = 4\n[serving]\nwhere = \"node\""), ":9: serving.where: found \"node\", expected \"driver\" or \"gpu\""),
        (("gpus_per_node = 4", "gpus_per_node = 4\n[serving]\nwhere = \"gpu\"\nserver = \"built-in\"\ntritonserver = \"x\""), ":11: serving.tritonserver: has no meaning with server"),
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_said(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    (line,) = complaints(tmp_path, BATCH.replace(*change))
    assert words in line


def test_a_shape_takes_from_the_top_what_it_does_not_say(tmp_path: Path) -> None:
    text = BATCH.replace(
        "gpus_per_node = 4", 'account = "top"\n[gpu]\ngpus_per_node = 4\n[cpu]\nworkers_per_node = 16\naccount = "own"'
    )
    (tmp_path / "mine.toml").write_text(text)
    found = site.load(str(tmp_path / "mine.toml"))
    assert found.gpu
    assert found.cpu
    assert (found.gpu.account, found.gpu.workers(), found.gpu.launcher) == ("top", 4, "srun")
    assert (found.cpu.account, found.cpu.workers(), found.cpu.gpus_per_node) == ("own", 16, 0)
    assert {need: found.shape_for(need) for need in site.NEEDS} == {
        "gpu": "gpu",
        "cpu": "cpu",
        "io": "cpu",
        "mpi": "cpu",
    }
    assert found.notes() == ["the site has no [io]; such tasks go to [cpu]"]


def test_a_mistake_in_a_shape_is_said_at_its_own_line(tmp_path: Path) -> None:
    (line,) = complaints(tmp_path, BATCH + '[cpu]\nworkers_per_node = 16\ngpus_per_node = 0\nwalltime = "1h"\n')
    assert ':11: cpu.walltime: found "1h"' in line


def test_the_shells_own_variables_stay(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(BATCH + 'setup = "export A=$SLURM_JOB_ID"\nqos = "${NEEDLE_NOWHERE:-debug}"\n')
    found = site.load(str(tmp_path / "mine.toml"))
    assert (found.setup, found.qos) == ("export A=$SLURM_JOB_ID", "debug")


def test_unset_account_is_one_sentence(needle: Callable[..., Any]) -> None:
    ended = needle("sites", "show", "polaris", env={"NEEDLE_ACCOUNT": ""})
    assert ended.code == 2
    assert (
        "account: needs the environment variable NEEDLE_ACCOUNT, which is not set; export NEEDLE_ACCOUNT=... first"
        in ended.err
    )
