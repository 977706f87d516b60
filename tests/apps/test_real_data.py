"""The whole line on real simulated collisions: few events, wide intervals, and a report that says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

FAIR = """
name = "fair"
seed = 7
[features]
names = ["PRI_lep_pt", "PRI_had_pt", "PRI_met", "DER_mass_vis", "DER_mass_transverse_met_lep", "DER_deltar_had_lep", "PRI_jet_leading_pt"]
[samples.htautau]
files     = ["{file}"]
selection = "detailed_labels == 'htautau'"
weight    = "weights"
yield     = 50.0
[samples.ztautau]
files     = ["{file}"]
selection = "detailed_labels == 'ztautau'"
weight    = "weights"
yield     = 50_000.0
[split]
train      = 0.5
combine    = 0.2
test       = 0.3
min_events = 20
[ratios]
reference = ["ztautau"]
targets   = ["htautau", "ztautau"]
[training]
layers        = 2
nodes         = 16
learning_rate = 3e-3
batch_size    = 64
epochs        = 20
members       = 2
[model]
parameters.mu      = {{ nominal = 1.0, bounds = [0.0, 40.0] }}
processes.htautau  = "mu"
processes.ztautau  = "1"
nuisances.norm     = {{ rate = {{ ztautau = [1.05, 0.95] }} }}
"""

HZZ = """
name = "hzz"
[features]
names     = ["NJet", "NMuon", "MET_px", "MET_py", "NPrimaryVertices"]
selection = "NMuon >= 1"
[samples.busy]
files     = ["{file}"]
tree      = "events"
selection = "NJet >= 1"
weight    = "EventWeight"
[samples.quiet]
files     = ["{file}"]
tree      = "events"
selection = "NJet == 0"
weight    = "EventWeight"
[split]
min_events = 30
[ratios]
reference = ["quiet"]
targets   = ["busy", "quiet"]
[training]
layers  = 1
nodes   = 8
epochs  = 3
members = 2
[model]
parameters.mu   = {{}}
processes.busy  = "mu"
processes.quiet = "1"
"""


@pytest.mark.usefixtures("no_figures")
def test_fair_universe_from_parquet_to_interval_and_report(
    sample_data: Path, tmp_path: Path, needle: Callable[..., Any]
) -> None:
    file = sample_data / "fair_universe" / "FAIR_Universe_HiggsML_data.parquet"
    (tmp_path / "analysis.toml").write_text(FAIR.format(file=file))
    ended = needle("run", "analysis.toml", "--json")
    assert ended.code == 0, ended.err
    results = ended.json()["results"]
    assert results["dataset"] == "asimov"
    assert results["converged"]
    ((low, high),) = results["intervals"]["0.68"]
    assert 0 <= low < high <= 40
    assert np.isfinite([low, high]).all()
    fit = json.loads((tmp_path / "runs" / "fair" / "fits" / "asimov.json").read_text())["parameters"]["mu"]
    assert fit["simulation_error"] > 10 * fit["error"]  # 50,000 expected events stand on 300 simulated ones
    page = Path(tmp_path / results["report"]).read_text()
    assert "Only 70 effective events of htautau are in the part" in page
    assert "(336 events in all)" in page


def test_default_split_refuses_so_few_events(sample_data: Path, tmp_path: Path, inside: Callable[..., Any]) -> None:
    file = sample_data / "fair_universe" / "FAIR_Universe_HiggsML_data.parquet"
    (tmp_path / "analysis.toml").write_text(FAIR.format(file=file))
    ended = inside("check", "analysis.toml", "--set", "split.min_events=1000")
    assert ended.code == 2
    assert "sample htautau: has too few effective events" in ended.err
    assert "set split.min_events lower" in ended.err


def test_hzz_from_ttree_to_a_short_training(sample_data: Path, tmp_path: Path, needle: Callable[..., Any]) -> None:
    file = sample_data / "cms_open_data" / "uproot-HZZ.root"
    (tmp_path / "analysis.toml").write_text(HZZ.format(file=file))
    ended = needle("run", "analysis.toml", "--until", "diagnose", "--json")
    assert ended.code == 0, ended.err
    found = json.loads((tmp_path / "runs" / "hzz" / "estimators" / "busy" / "diagnostics.json").read_text())
    assert found["members"] == 2 * 10  # two without each tenth of the events
    assert np.isfinite(found["normalisation"]["value"])


def test_jagged_column_is_named(sample_data: Path, tmp_path: Path, inside: Callable[..., Any]) -> None:
    file = sample_data / "cms_open_data" / "uproot-HZZ.root"
    (tmp_path / "analysis.toml").write_text(HZZ.format(file=file))
    ended = inside("check", "analysis.toml", "--set", "features.names=['Jet_Px']")
    assert ended.code == 2
    assert 'column "Jet_Px" is not flat (jagged float32)' in ended.err
