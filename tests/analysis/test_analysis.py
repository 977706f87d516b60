"""Mistakes in an analysis, each with the words that a newcomer needs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from needle_parsl.analysis import load, unused
from needle_parsl.analysis.file import match
from needle_parsl.errors import InputError


def problems(path: Path, *settings: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        load(path, list(settings))
    return [f"{problem.key}: {problem.message}" for problem in caught.value.problems]


def test_good_analysis(small_inputs: Path) -> None:
    loaded = load(small_inputs)
    assert loaded.analysis.poi() == "mu"
    assert loaded.analysis.reference_of("background")
    assert [name for name, *_ in loaded.analysis.varied()] == ["background", "background"]
    assert "log_density" in loaded.source


def test_blind_analysis_has_no_data(small_inputs: Path) -> None:
    assert load(small_inputs, ["fit.blind=true"]).analysis.data() is None
    assert load(small_inputs).analysis.data() is not None


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("training.membrs=3", 'training.membrs: unknown key; did you mean "members"?'),
        ("training.members='x'", 'training.members: found "x", expected a whole number'),
        ("samples.signal.files=['nothing_*.root']", 'samples.signal.files: "nothing_*.root": no file matches'),
        ("samples.signal.files=['no.root']", 'samples.signal.files: "no.root": no such file'),
        ("samples.signal.files=[]", "samples.signal.files: is missing; name files, or a function with generate"),
        ("samples.signal.generate='physics.py:signal'", "samples.signal: has both files and generate; leave one of them out"),
        ("samples.signal.selection='x1 >'", 'samples.signal.selection: cannot read "x1 >": the end was not expected here'),
        ("ratios.targets=['sinal', 'signal']", 'ratios.targets: "sinal" is no sample; did you mean "signal"?'),
        ("model.processes.sgnal='mu'", 'model.processes.sgnal: "sgnal" is no sample; did you mean "signal"?'),
        ("model.processes.signal='nu'", 'model.processes.signal: "nu" is no parameter of the model (known: mu)'),
        ("model.processes.signal='mu > 1'", 'model.processes.signal: ">" has no derivative; a multiplier is arithmetic in the parameters'),
        ("model.parameters.mu.nominal=7", "model.parameters.mu.nominal: 7 is outside [0, 5]"),
        ("model.parameters.mu.bounds=[3, 1]", "model.parameters.mu.bounds: found [3, 1], expected [smaller, larger]"),
        ("model.parameters.k={}", "model.parameters.k: no process depends on this parameter of interest"),
        ("model.nuisances.jer={}", "model.nuisances.jer: has no effect: no process has variations.jer, and there is no rate; did you mean \"jes\"?"),
        ("model.nuisances.jex={rate={backgrund=[1.1, 0.9]}}", 'model.nuisances.jex.rate: "backgrund" is no process of the model; did you mean "background"?'),
        ("model.nuisances.x={rate={signal=[1.1, 0.0]}}", "model.nuisances.x.rate.signal: found [1.1, 0.0], expected relative yields above 0"),
        ("split.train=0.9", "split: train, combine and test add up to 1.3; expected at most 1"),
        ("fit.scan={start=-1, stop=2}", "fit.scan: -1 leaves the bounds [0, 5] of mu"),
        ("fit.scan={start=2, stop=1}", "fit.scan: runs from 2 to 1; expected start below stop"),
        ("physics='no.py'", "physics: "),
        ("model.processes={signal='mu - 2', background=-1.0}", "model.processes: no multiplier is above 0 at the nominal parameters"),
        ("model.processes.signal='sqrt(mu - 1)'", "model.processes.signal: has no number as its value at mu = 0; change it, or the bounds of mu"),
        ("model.processes.signal='1 / mu'", "model.processes.signal: has no number as its value at mu = 0"),
        ("samples.observed.files=['background.root']", "samples.observed: is the name of the data that [fit] names"),
        ("intervals.level=[]", "intervals.level: is empty"),
        ("intervals.method='neyman'", 'intervals.grid: is missing; method = "neyman" needs values'),
        ("intervals={method='neyman', grid=[1.0, 1.0, 2.0]}", "intervals.grid: has 2 values; expected at least 3"),
        ("intervals={method='neyman', grid=[0.0, 1.0, 5.5]}", "intervals.grid: 5.5 leaves the bounds [0, 5] of mu"),
        ("intervals={method='neyman', grid={start=-1.0, stop=2.0}}", "intervals.grid: -1 leaves the bounds [0, 5] of mu"),
        ("intervals={method='neyman', grid={start=2.0, stop=1.0}}", "intervals.grid: runs from 2 to 1; expected start below stop"),
        ("intervals.parameter='nu'", 'intervals.parameter: "nu" is no parameter of the model (known: mu)'),
        ("fit.plane={parameters=['mu', 'jex']}", 'fit.plane.parameters: "jex" is no parameter of the model; did you mean "jes"?'),
        ("fit.plane={parameters=['mu', 'mu']}", 'fit.plane.parameters: names "mu" twice'),
        ("fit.plane={parameters=['mu', 'jes'], ranges=[[0, 1], [-7, 0]]}", "fit.plane.ranges: -7 leaves the bounds [-5, 5] of jes"),
        ("intervals.grid=[0.0, 1.0, 2.0]", 'intervals.grid: has no meaning with method = "profile"'),
        ("toys.at=[]", "toys.at: is empty"),
        ("toys.at=[{mu=1.0, m=2}]", 'toys.at[0].m: "m" is no parameter of the model'),
        ("toys.at=[{}, {mu=9}]", "toys.at[1].mu: 9 leaves the bounds [0, 5] of mu"),
        ("toys.at=[{jes=1}]", "toys.at[0].jes: is not 0, and simulated events have no shape in between"),
        ("toys.count=1", "toys.count: found 1, expected a number from 2"),
        ("toys.generate='signal'", 'toys.generate: "signal" is no reference'),
        ("toys={source='model', generate='physics.py:pseudo_data'}", "toys.generate: has no meaning with source"),
        ("fit.data=[]", "fit.data: is empty"),
        ("samples.signal.weight=''", "samples.signal.weight: cannot read"),
        ("samples.signal.files=['.']", 'samples.signal.files: ".": '),
        ("samples.signal.files=['~nobody-here/a.root']", 'samples.signal.files: "~nobody-here/a.root": cannot be opened'),
        ("features.names=['x1', 'x1']", 'features.names: "x1" stands there more than once'),
        ("features.derived.min='x1'", "features.derived.min: is no name"),
        ("features.derived.d='1 + 2'", "features.derived.d: uses no column"),
        ("features.derived.d='hypot(x1)'", 'features.derived.d: cannot read "hypot(x1)": found 1, expected 2 arguments of "hypot"'),
        ("features.derived={a='b + x1', b='a'}", "features.derived.a: needs itself: a uses b uses a; a derived column can only use others"),
        ("name='a/b'", 'name: "a/b" is no name; use letters, digits, "-", "_" and "+", and no "-" in front'),
        ("samples.background.variations.jes.one_sided='mirror'", "samples.background.variations.jes.one_sided: has no meaning where up and down are both given"),
    ],
)  # fmt: skip
def test_one_mistake_gives_one_sentence(small_inputs: Path, setting: str, said: str) -> None:
    found = problems(small_inputs, setting)
    assert any(line.startswith(said) for line in found), found


def test_scan_and_interval_are_of_one_parameter(small_inputs: Path) -> None:
    two = ("model.parameters.k={nominal=1.0, bounds=[0.5, 1.5], role='free'}", "model.processes.background='k'")
    scan = "fit.scan={parameter='k', start=0.6, stop=1.4}"
    assert load(small_inputs, [*two, scan]).analysis.poi() == "k"
    assert problems(small_inputs, *two, scan, "intervals.parameter='mu'")[0].startswith('fit.scan.parameter: is "k"')
    grid = "intervals={method='neyman', grid=[0.6, 1.0, 2.0]}"
    assert problems(small_inputs, *two, scan, grid) == ["intervals.grid: 2 leaves the bounds [0.5, 1.5] of k"]


def test_toys_of_interference_cannot_be_drawn_from_samples(small_inputs: Path) -> None:
    found = problems(small_inputs, "model.processes.signal='mu - sqrt(mu)'", "toys.at=[{mu=0.25}]")
    said = "toys.at[0]: gives signal the multiplier -0.25, and events cannot be drawn less than never; "
    assert found == [said + 'name a function in toys.generate, or set toys.source = "model"']


def test_mistakes_of_all_kinds_are_reported_together(small_inputs: Path) -> None:
    found = problems(
        small_inputs,
        "training.membrs=3",
        "training.epochs='x'",
        "samples.signal.files=['no.root']",
        "ratios.reference=['b']",
    )
    assert [line.split(":")[0] for line in found] == [
        "training.membrs", "training.epochs", "ratios.reference", "samples.signal.files",
    ]  # fmt: skip


def test_missing_table_is_one_mistake_not_many(small_inputs: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(small_inputs, tmp_path / "copy")
    text = (folder / "analysis.toml").read_text()
    start, stop = text.index("[model]"), text.index("[fit]")
    (folder / "analysis.toml").write_text(text[:start] + text[stop:])
    assert problems(folder) == ["model: is missing; expected a table"]


def test_one_sided_variation_must_say_what_the_other_side_is(small_inputs: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(small_inputs, tmp_path / "copy")
    text = (folder / "analysis.toml").read_text().replace('down = { files = ["background_jes_down.root"] }\n', "")
    (folder / "analysis.toml").write_text(text)
    assert problems(folder) == [
        'samples.background.variations.jes.down: is missing; add it, or say one_sided = "mirror" or "none"'
    ]
    assert load(folder, ["samples.background.variations.jes.one_sided='mirror'"])


def test_names_in_the_tables_are_those_of_the_registries() -> None:
    """The tables cannot import NumPy to ask; this keeps the two lists one."""
    from typing import get_args, get_type_hints

    from needle_parsl.analysis import Nuisance
    from needle_parsl.nsbi.statistics.model.interpolation import INTERPOLATIONS

    assert set(get_args(get_type_hints(Nuisance)["interpolation"])) == set(INTERPOLATIONS)


def test_brackets_in_the_folder_are_no_pattern(small_inputs: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(small_inputs, tmp_path / "run [v2] ?")
    assert load(folder).analysis.name == "small"


def test_one_file_by_two_names_is_one_file(small_inputs: Path) -> None:
    patterns = ("background.root", f"../{small_inputs.name}/background.root", "backg*d.root")
    assert match(small_inputs / "analysis.toml", patterns) == [str((small_inputs / "background.root").resolve())]


def test_independent_mistakes_of_one_sample_are_all_said(small_inputs: Path) -> None:
    found = problems(small_inputs, "samples.signal.generate='physics.py:signal'", "samples.signal.weight='w +'")
    assert [line.split(":")[0] for line in found] == ["samples.signal.weight", "samples.signal"]


@pytest.mark.parametrize("value", ["1" * 5000, "1" * 400, "[" * 3000, "2026-11-22", "0x" + "f" * 5000, "nan", "{a=1}"])
def test_odd_values_are_refused_cleanly(small_inputs: Path, value: str) -> None:
    found = problems(small_inputs, f"training.learning_rate={value}", f"training.epochs={value}")
    assert {line.split(":")[0] for line in found} == {"training.learning_rate", "training.epochs"}
    assert all(len(line) < 200 for line in found)


def test_nothing_to_fit_is_a_mistake(small_inputs: Path) -> None:
    assert problems(small_inputs, "fit.asimov=false", "fit.blind=true") == [
        "fit.asimov: is false and there is no data that may be looked at; nothing would be fitted"
    ]


BINNED = """
name = "counted"
[samples.signal]
files = ["signal_*.root"]
[samples.background]
files = ["background.root"]
[model]
parameters.mu = { bounds = [0.0, 5.0] }
processes.signal = "mu"
processes.background = "1"
nuisances.lumi = { rate = { signal = [1.02, 0.98] }, symmetrise = true }
regions.side = { binning = { column = "x2", edges = [-2.0, 0.0, 2.0] } }
[fit]
simulation_error = "add"
staterror = false
staterror_threshold = 0.1
[pruning]
prune = true
"""


def test_what_changes_nothing_in_bins_is_said(small_inputs: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(small_inputs, tmp_path / "analysis")
    (folder / "analysis.toml").write_text(BINNED)
    assert [key for key, _ in unused.found(load(folder).analysis, settled=True)] == [
        "fit.staterror_threshold",
        "model.nuisances.lumi.symmetrise",
        "fit.simulation_error",
        "pruning.prune",
    ]
