"""What people get wrong: each is answered in a sentence, with exit code 2, and leaves nothing behind."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot

Needle = Callable[..., Any]


def refused(inside: Needle, folder: Path, *arguments: str, env: dict[str, str] | None = None) -> str:
    """Run, and insist on a clean refusal."""
    before = {p for p in folder.parent.rglob("*") if "__pycache__" not in p.parts}
    ended = inside("run", folder / "analysis.toml", *arguments, env=env)
    assert ended.code == 2, ended
    assert "Traceback" not in ended.err
    assert ended.out == ""
    assert {p for p in folder.parent.rglob("*") if "__pycache__" not in p.parts} == before
    return str(ended.err)


@pytest.fixture
def analysis(small_inputs: Path, tmp_path: Path) -> Path:
    return shutil.copytree(small_inputs, tmp_path / "analysis")


def rewrite(path: Path, **columns: np.ndarray) -> None:
    """Write a sample's file again, with other columns."""
    with uproot.open(path) as file:
        old = file["events"].arrays(library="np")
    new = {**old, **columns}
    with uproot.recreate(path) as file:
        file.mktree("events", {key: column.dtype for key, column in new.items()})
        file["events"].extend(new)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("training.membrs=3", 'training.membrs: unknown key; did you mean "members"?'),
        ("training.members=many", 'training.members: found "many", expected a whole number'),
        ("samples.signal.files=['no.root']", 'samples.signal.files: "no.root": no such file'),
        ("samples.signal.tree=evnts", 'signal_1.root (and 1 more file): has no tree "evnts"; did you mean "events"?'),
        ("features.names=['x1', 'x22']", 'signal_1.root (and 5 more files): has no column "x22"; did you mean "x2"?'),
        ("samples.signal.selection='x1 > 1e6'", 'after the selection "x1 > 1e6" and "x1 > -10"'),
        ("samples.signal.weight='0 * weight'", "sample signal: the weights add up to 0; expected more than 0"),
        ("model.processes.top='1'", 'model.processes.top: "top" is no sample'),
        ("split.min_events=100000", "sample signal: has too few effective events: "),
        ("physics='analysis.toml'", "cannot be imported"),
    ],
)  # fmt: skip
def test_mistake_in_the_analysis(inside: Needle, analysis: Path, setting: str, said: str) -> None:
    found = refused(inside, analysis, "--set", setting)
    assert said in found
    assert "--set " in found or "analysis.toml:" in found


def test_nan_in_a_feature(inside: Needle, analysis: Path) -> None:
    x1 = np.full(3000, 0.5)
    x1[17] = np.nan
    rewrite(analysis / "background.root", x1=x1)
    found = refused(inside, analysis, "--set", "features.selection=''")
    assert 'background.root: sample background: column "x1" is NaN or infinite in 1 of 3000 events' in found


def test_empty_file(inside: Needle, analysis: Path) -> None:
    (analysis / "background.root").write_bytes(b"")
    assert "background.root: is empty (0 bytes)" in refused(inside, analysis)


def test_file_without_events(inside: Needle, analysis: Path) -> None:
    with uproot.recreate(analysis / "background.root") as file:
        file.mktree("events", dict.fromkeys(("x1", "x2", "x3", "x4", "weight"), "f8"))
    assert "sample background: no event is left" in refused(inside, analysis)


def test_mistakes_of_several_files_are_reported_together(inside: Needle, analysis: Path) -> None:
    rewrite(analysis / "background.root", weight=np.zeros(3000))
    rewrite(analysis / "signal_2.root", x2=np.full(1500, np.nan))
    found = refused(inside, analysis)
    assert "sample background: the weights add up to 0" in found
    assert 'sample signal: column "x2" is NaN' in found


def test_mistakes_in_keys_columns_and_files_are_reported_together(inside: Needle, analysis: Path) -> None:
    (analysis / "background.root").write_bytes(b"")
    text = (analysis / "analysis.toml").read_text()
    (analysis / "analysis.toml").write_text(text.replace('"x4"', '"x5"').replace("members", "membrs"))
    found = refused(inside, analysis).splitlines()
    assert len(found) == 3
    assert "analysis.toml:7: features.names[3]: sample signal: " in found[0]
    assert "analysis.toml:14: samples.background: sample background: " in found[1]
    assert 'analysis.toml:32: training.membrs: unknown key; did you mean "members"?' in found[2]


def test_mistakes_in_analysis_and_site_are_reported_together(inside: Needle, analysis: Path) -> None:
    found = refused(inside, analysis, "--set", "training.membrs=3", "--site", "perlmuter")
    assert "training.membrs: unknown key" in found
    assert 'there is no site "perlmuter"' in found


def test_unset_variable_in_a_site_file(inside: Needle, analysis: Path) -> None:
    (analysis / "my.toml").write_text('description = "x"\nscratch = "$NEEDLE_NOT_SET/x"\n')
    found = refused(inside, analysis, "--site", str(analysis / "my.toml"))
    assert "scratch: needs the environment variable NEEDLE_NOT_SET, which is not set" in found


def test_no_toml_at_all(inside: Needle, analysis: Path) -> None:
    (analysis / "analysis.toml").write_text("name = ")
    assert "is not valid TOML" in refused(inside, analysis)


def test_run_directory_that_is_somebody_elses(inside: Needle, analysis: Path) -> None:
    (analysis / "thesis").mkdir()
    (analysis / "thesis" / "thesis.tex").touch()
    assert "holds files that are no needle run" in refused(inside, analysis, "--out", str(analysis / "thesis"))


@pytest.mark.slow
def test_check_gives_the_problems_as_json(inside: Needle, analysis: Path) -> None:
    ended = inside("check", analysis, "--json", "--set", "training.membrs=3", "--set", "training.epochs=x")
    assert ended.code == 2
    assert ended.json()["ok"] is False
    assert len(ended.json()["problems"]) == 2
    assert inside("check", analysis, "--json").json()["ok"] is True


@pytest.mark.parametrize(
    "arguments", [["status", "nothing"], ["report", "nothing"], ["sites", "show", "locl"], ["run"], ["rnu"]]
)
def test_commands_without_their_object(inside: Needle, arguments: list[str]) -> None:
    ended = inside(*arguments)
    assert ended.code == 2
    assert "Traceback" not in ended.err
    assert ended.err
