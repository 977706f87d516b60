"""The command line itself: completion, tracebacks on demand, looks that start afresh, structured problems."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from needle_parsl import rundir, shipped
from needle_parsl.plan.stages import STAGES

Needle = Callable[..., Any]


def completed(folder: Path, line: str) -> list[str]:
    """What bash is told to complete a line with."""
    words = line.split(" ")
    asked = {"_NEEDLE_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    ended = subprocess.run(
        [str(Path(sys.executable).parent / "needle")], env={**os.environ, **asked}, cwd=folder, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    return ended.stdout.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("needle run a.toml --site lo", ["local-htex", "local"]),
        ("needle sites show lo", ["local-htex", "local"]),
        ("needle status fi", ["first"]),
        ("needle run a.toml --until tr", ["trials", "train"]),
        ("needle init new --from gau", ["gaussian"]),
        ("needle run a.toml --set training.weight", ["training.weight_decay="]),
        ("needle sit", ["sites"]),
    ],
)
def test_shell_completes_names(tmp_path: Path, line: str, expected: list[str]) -> None:
    for name in ("first", "unfinished"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    (tmp_path / "runs" / "first" / rundir.RUN).touch()
    assert completed(tmp_path, line) == expected


def test_completion_loads_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom needle_parsl.cli import options\n"
        "for complete in (options.sites, options.runs, options.stages, options.apps, options.keys): complete('')\n"
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert not {"numpy", "torch", "uproot", "parsl"} & set(ended.stdout.split())


def test_stages_that_are_completed_are_those_of_the_plan() -> None:
    from needle_parsl.cli import options

    assert options.stages("") == list(STAGES)


def test_help_lists_the_commands_that_there_are_and_imports_none() -> None:
    from needle_parsl.cli.commands import COMMANDS

    found = {}
    for module in {module for module, _ in COMMANDS.values()}:
        group: Any = typer.main.get_command(importlib.import_module(f"needle_parsl.cli.{module}").app)
        found |= {name: (module, command.hidden) for name, command in group.commands.items()}
    assert found == {name: (module, not line) for name, (module, line) in COMMANDS.items()}
    code = "import sys\nfrom needle_parsl.cli.commands import app\napp(['--help'], standalone_mode=False)\nprint(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"needle_parsl.workflow", "needle_parsl.analysis", "rich"} & set(said.split())


def test_close_commands_are_named(needle: Needle) -> None:
    assert "Did you mean 'status'?" in needle("statsu", "x").err


def test_completion_can_be_installed(tmp_path: Path) -> None:
    program = str(Path(sys.executable).parent / "needle")
    ended = subprocess.run(  # the shell is found among the parents of the process
        ["bash", "-c", f"'{program}' --install-completion; exit $?"], env={**os.environ, "HOME": str(tmp_path)}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "_NEEDLE_COMPLETE" in (tmp_path / ".bash_completions" / "needle.sh").read_text()


@pytest.mark.parametrize("arguments", [["--debug", "check", "no.toml"], ["check", "no.toml", "--debug"]])
def test_traceback_is_shown_on_demand_in_any_place(needle: Needle, arguments: list[str]) -> None:
    ended = needle(*arguments)
    assert ended.code == 2
    assert "Traceback (most recent call last)" in ended.err
    assert ended.err.splitlines()[-1] == "no.toml: no such file"
    assert needle("check", "no.toml").err == "no.toml: no such file\n"


def test_problems_are_structured_in_json(needle: Needle, small_inputs: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(small_inputs, tmp_path / "analysis")
    text = (folder / "analysis.toml").read_text().replace('"x4"', '"x5"')
    (folder / "analysis.toml").write_text(text)
    ended = needle("check", folder, "--set", "training.membrs=3", "--json")
    assert ended.code == 2
    assert ended.err == ""
    found = ended.json()
    assert found["ok"] is False
    first, second = found["problems"]
    assert first == {
        "message": 'unknown key; did you mean "members"?', "file": "--set", "line": None, "key": "training.membrs",
    }  # fmt: skip
    assert (Path(second["file"]).name, second["line"], second["key"]) == ("analysis.toml", 7, "features.names[3]")
    assert 'has no column "x5"' in second["message"]


def test_warnings_of_check(needle: Needle, small_inputs: Path) -> None:
    settings = ("--set", "fit.blind=true", "--set", "features.derived={ unused = 'x1 + x2' }")
    ended = needle("check", small_inputs, *settings, "--json")
    assert ended.code == 0
    assert [warning["key"] for warning in ended.json()["warnings"]] == ["fit.data", "features.derived.unused"]
    told = needle("check", small_inputs, *settings)
    assert "warning: --set features.derived.unused: is not used" in told.err
    assert "no mistakes found" in told.out


@pytest.mark.parametrize(
    "analysis", sorted(shipped.folder("apps").glob("*/*.toml")), ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_every_app_can_be_planned(needle: Needle, analysis: Path) -> None:
    plan = needle("plan", analysis, "--json").json()
    # Where stages make the files of samples, the rest is planned behind them; an app of stages alone has no ratios.
    alone = plan["own"] and "convert" not in plan["stages"]
    assert plan["networks"] >= 30 or plan["more"] or alone


def test_plan_tells_packs_and_looks_afresh_on_demand(needle: Needle, small_inputs: Path, tmp_path: Path) -> None:
    facts = needle("plan", small_inputs, "--json").json()
    assert facts["engine"] == {"engine": "native", "reason": "", "speed_up": 12.0}
    assert facts["stages"]["train"] == {"tasks": 3, "to_do": 3, "networks": 18, "networks_to_do": 18, "largest_pack": 6}
    # What was remembered is believed without --probe, and not with it.
    root = tmp_path / "runs" / "small"
    done = needle("run", small_inputs, "--until", "convert", "--json")
    assert done.code == 0, done.err
    state = json.loads((root / rundir.RUN).read_text())
    files = state["inputs"]["files"]
    state["inputs"]["files"] = {path: {**file, "digest": "0" * 32} for path, file in files.items()}
    (root / rundir.RUN).write_text(json.dumps(state))
    assert needle("plan", small_inputs, "--json").json()["stages"]["convert"]["to_do"] == 5
    told = needle("plan", small_inputs, "--probe", "--set", "toys.count=10").out
    assert re.search(r"^convert +5 +5 +0 *$", told, re.MULTILINE)
    assert "18 networks in 3 packs of up to 6, 18 to train" in told
    assert " node-hours" in told
    assert "trainings as fast as on a core of this machine" in told
    assert "not measured: normalise, combine, compose" in told
