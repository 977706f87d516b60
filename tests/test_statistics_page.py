"""The examples of docs/statistics.md, added to a small analysis."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from needle_parsl.analysis import load
from needle_parsl.plan.inference import learned_crosses

PAGE = (Path(__file__).parent.parent / "docs" / "statistics.md").read_text(encoding="utf-8")


def example(heading: str) -> str:
    """Give the TOML of a section."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    return "".join(re.findall(r"```toml\n(.*?)```", section, flags=re.DOTALL))


def test_groups_of_the_page(small_inputs: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(small_inputs, tmp_path / "analysis")
    text = (folder / "analysis.toml").read_text()
    text = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("nuisances."))
    (folder / "analysis.toml").write_text(text + example("Groups of systematics"))
    loaded = load(folder)
    assert loaded.problems == ()
    assert loaded.analysis.model.groups() == {"jet": ("jes", "jer"), "other": ("lumi",)}


def test_offset_of_the_page(small_inputs: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(small_inputs, tmp_path / "analysis")
    text = (folder / "analysis.toml").read_text().split("[fit]")[0]
    (folder / "analysis.toml").write_text(text + example("Blinding with a hidden offset"))
    loaded = load(folder)
    assert loaded.problems == ()
    assert loaded.analysis.offset
    assert loaded.analysis.data() is not None


GENERATED = """
name = "page"
physics = "physics.py"
[samples.background]
generate = "physics.py:background"
yield = 700.0
[samples.background.variations.width]
up = { generate = "physics.py:wider" }
one_sided = "mirror"
[ratios]
reference = ["background"]
targets = ["signal", "background"]
[model]
parameters.mu = { bounds = [0.0, 4.0] }
"""


def written(tmp_path: Path, text: str) -> Path:
    (tmp_path / "analysis.toml").write_text(text)
    (tmp_path / "physics.py").write_text("")
    (tmp_path / "signal_1.root").write_bytes(b"")
    return tmp_path


def test_regions_of_the_page(tmp_path: Path) -> None:
    rest = """
[samples.signal]
generate = "physics.py:signal"
[model.processes]
signal = "mu"
background = "1"
"""
    loaded = load(written(tmp_path, GENERATED + rest + example("Several unbinned regions")))
    assert (loaded.analysis.region, list(loaded.regions)) == ("no_jet", ["one_jet"])
    assert loaded.regions["one_jet"].training.nodes == 64
    assert list(loaded.analysis.model.regions) == ["control"]


def test_parameter_of_the_simulation_of_the_page(tmp_path: Path) -> None:
    head, _, rest = GENERATED.partition("[samples.background.variations.width]")
    plain = head + rest[rest.index("[ratios]") :]
    loaded = load(written(tmp_path, plain + example("Parameters of the simulation")))
    assert loaded.analysis.simulated == ("mass",)
    assert loaded.analysis.model.parameters["mass"].knots() == (120.0, 122.5, 125.0, 127.5, 130.0)


def test_small_simulations_of_the_page(small_inputs: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(small_inputs, tmp_path / "analysis")
    text = (folder / "analysis.toml").read_text()
    text = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("nuisances."))
    own = example("Variations of small simulations").replace("smooth = true", "rate = { signal = [1.1, 0.9] }")
    (folder / "analysis.toml").write_text(text + own)
    assert load(folder).analysis.model.nuisances["jes"].symmetrise


def test_joint_variations_of_the_page(tmp_path: Path) -> None:
    head, _, rest = GENERATED.partition("[samples.background.variations.width]")
    processes = (
        'processes.signal = "mu"\nprocesses.background = "1"\n[samples.signal]\ngenerate = "physics.py:signal"\n'
    )
    text = (
        head + rest[rest.index("[ratios]") :] + processes + '[features]\nnames = ["x"]\n' + example("Joint variations")
    )
    loaded = load(written(tmp_path, text))
    assert loaded.analysis.samples["background"].crossed() == ("jes", "met")
    (cross,) = learned_crosses(loaded.analysis)
    assert (cross.ratio, cross.at) == ("background.jes=1,met=1", (1.0, 1.0))


def test_two_parameters_of_the_page(small_inputs: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(small_inputs, tmp_path / "analysis")
    text = (folder / "analysis.toml").read_text().split("[model]")[0]
    (folder / "analysis.toml").write_text(text + example("Several parameters of interest"))
    loaded = load(folder)
    assert loaded.problems == ()
    assert loaded.analysis.pois() == ("mu", "k")
    assert {name: len(values) for name, values in loaded.analysis.grid_of_two().items()} == {"mu": 9, "k": 9}


def small(small_inputs: Path, tmp_path: Path, text: str, *, fitted: bool = True) -> Path:
    """Add an example to the small analysis, which selects x1 >= -1; its table [fit] is left out where the example has one."""
    folder = shutil.copytree(small_inputs, tmp_path / "analysis")
    own = (folder / "analysis.toml").read_text().replace('"x1 > -10"', '"x1 >= -1"')
    (folder / "analysis.toml").write_text((own if fitted else own.split("[fit]")[0]) + text)
    return folder


def test_goodness_of_the_page(small_inputs: Path, tmp_path: Path) -> None:
    loaded = load(small(small_inputs, tmp_path, example("Goodness of fit"), fitted=False))
    assert loaded.problems == ()
    assert loaded.analysis.fit.goodness == 500


def test_validation_region_of_the_page(small_inputs: Path, tmp_path: Path) -> None:
    loaded = load(small(small_inputs, tmp_path, example("Validation regions")))
    assert loaded.problems == ()
    assert loaded.analysis.model.validations() == ("validation",)
    assert loaded.analysis.model.fitted().regions == {}


def test_statistics_of_the_simulation_of_the_page(small_inputs: Path, tmp_path: Path) -> None:
    loaded = load(small(small_inputs, tmp_path, example("Statistics of the simulation"), fitted=False))
    assert loaded.problems == ()
    assert loaded.analysis.model.regions["control"].shapesys == ("background",)
    assert loaded.analysis.fit.simulation_error == "add"
