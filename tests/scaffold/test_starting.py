"""New analyses: of an app, and of data files; each passes `needle check`, and nothing is overwritten."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from needle_parsl import scaffold
from needle_parsl.analysis import load
from needle_parsl.errors import InputError
from needle_parsl.workflow import probe

Needle = Callable[..., Any]
REAL = [
    "cms_open_data/Run2012BC_DoubleMuParked_Muons_1000evts_rntuple_v1-0-0-0.root",
    "cms_open_data/nanoAOD_2015_CMS_Open_Data_ttbar.root",
    "cms_open_data/nano_dy.parquet",
    "cms_open_data/nano_dy.root",
    "cms_open_data/nano_dy_rntuple.root",
    "cms_open_data/uproot-HZZ.root",
    "fair_universe/FAIR_Universe_HiggsML_data.parquet",
]


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_analysis_of_a_real_file_has_no_mistakes(sample_data: Path, tmp_path: Path, name: str) -> None:
    if not (sample_data / name).exists():
        pytest.skip(f"{name} is not among the sample data")
    assert scaffold.from_data(tmp_path / "new", [sample_data / name]) == [tmp_path / "new" / "analysis.toml"]
    loaded = load(tmp_path / "new")
    assert loaded.analysis.features.names
    assert not loaded.warnings
    probe.probe(loaded)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nano_dy_empty.root", "holds no events"),
        ("nano_dy_malformed.parquet", "is no readable Parquet file"),
        ("bad_delphes.root", "contains no tree"),
        ("nothing.root", "no such file"),
    ],
)
def test_file_that_holds_no_events_is_refused(sample_data: Path, tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        scaffold.from_data(tmp_path / "new", [sample_data / "faulty" / name])
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_names_of_files_tell_samples_and_variations(small_inputs: Path, inside: Needle, tmp_path: Path) -> None:
    files = sorted(path for path in small_inputs.glob("*.root"))
    ended = inside("init", "new", "--data", *files, "--json")
    assert ended.code == 0, ended.err
    assert ended.json() == {"written": ["new/analysis.toml"], "problems": []}
    table = tomllib.loads((tmp_path / "new" / "analysis.toml").read_text())
    assert set(table["samples"]) == {"signal", "background"}
    assert [Path(f).name for f in table["samples"]["signal"]["files"]] == ["signal_1.root", "signal_2.root"]
    assert set(table["samples"]["background"]["variations"]["jes"]) == {"up", "down"}
    assert table["features"]["names"] == ["x1", "x2", "x3", "x4"]
    assert table["model"]["processes"] == {"signal": "mu", "background": "1"}
    assert table["ratios"]["reference"] == ["background"]
    assert inside("plan", "new", "--json").json()["networks"] == 3 * 10


def test_labels_in_a_single_file_tell_samples(sample_data: Path, tmp_path: Path) -> None:
    scaffold.from_data(tmp_path, [sample_data / REAL[-1]])
    analysis = load(tmp_path).analysis
    assert analysis.samples["htautau"].selection == "detailed_labels == 'htautau'"
    assert analysis.model.processes == {"ztautau": "1", "htautau": "mu"}
    assert analysis.samples["ztautau"].weight == "weights"


def test_files_below_the_folder_are_named_relative_to_it(sample_data: Path, tmp_path: Path) -> None:
    (tmp_path / "inputs").mkdir()
    (tmp_path / "inputs" / "a.root").write_bytes((sample_data / "cms_open_data/uproot-HZZ.root").read_bytes())
    scaffold.from_data(tmp_path, [tmp_path / "inputs" / "a.root"])
    assert load(tmp_path).analysis.samples["a"].files == ("inputs/a.root",)


@pytest.mark.slow
def test_app_is_copied_and_has_no_mistakes(inside: Needle, tmp_path: Path) -> None:
    ended = inside("init", "mine", "--from", "gaussian")
    assert ended.code == 0, ended.err
    wanted = {"analysis.toml", "analysis_interference.toml", "physics.py", "README.md"}
    assert {p.name for p in (tmp_path / "mine").iterdir()} == wanted
    assert inside("check", "mine").code == 0
    assert inside("init", "yours", "--from", "mine").code == 0


@pytest.mark.parametrize("how", [["--from", "gaussian"], ["--data", "analysis.toml"]])
def test_nothing_is_overwritten(inside: Needle, tmp_path: Path, how: list[str]) -> None:
    (tmp_path / "analysis.toml").write_text("precious")
    ended = inside("init", ".", *how)
    assert ended.code == 2
    assert "has analysis.toml already, which is not overwritten; name another folder" in ended.err
    assert [p.name for p in tmp_path.iterdir()] == ["analysis.toml"]
    assert (tmp_path / "analysis.toml").read_text() == "precious"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["new"], "say either --data FILE... or --from APP; the apps are channels"),
        (["new", "--from", "gausian"], 'there is no app "gausian"'),
        (["new", "a.root"], "say either --data"),
        (["new", "--from", "gaussian", "--data", "a.root"], "say either --data"),
    ],
)
def test_what_cannot_be_started(inside: Needle, tmp_path: Path, arguments: list[str], said: str) -> None:
    ended = inside("init", *arguments)
    assert ended.code == 2
    assert said in ended.err
    assert not list(tmp_path.iterdir())
