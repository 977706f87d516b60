"""The whole line on small files: a run, a second run, a changed key, equal bits, failures, and wrong input."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

Needle = Callable[..., Any]


@pytest.fixture(scope="module")
def finished(small_inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a finished run."""
    import subprocess
    import sys

    folder = tmp_path_factory.mktemp("finished")
    subprocess.run(
        [sys.executable, "-m", "needle_parsl", "run", str(small_inputs)], cwd=folder, check=True, timeout=300
    )
    return folder / "runs" / "small"


def copied(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "runs" / "small")


def test_run_directory_has_its_contract(finished: Path) -> None:
    names = {str(p.relative_to(finished)) for p in finished.rglob("*") if p.is_file() and "logs" not in p.parts}
    assert {
        "run.json", "analysis.toml", "site.toml", "ledger.jsonl", "events/signal.h5", "events/background.jes.up.h5",
        "packs/signal.0000.h5", "estimators/signal/estimator.h5", "estimators/signal/diagnostics.json",
        "fits/asimov.json", "fits/observed.json", "fits/scan.json", "fits/exact.json", "fits/scan_exact.json", "report/index.html",
        "report/summary.json", "report/likelihood.png", "report/likelihood.pdf",
    } <= names  # fmt: skip
    assert not [name for name in names if name.endswith(".tmp")]
    assert finished.stat().st_mode & 0o777 == 0o700


def test_fit_and_scan_have_their_contract(finished: Path) -> None:
    fit = json.loads((finished / "fits" / "asimov.json").read_text())
    assert {"converged", "nll", "parameters", "covariance", "at_bound", "floored_events"} <= set(fit)
    assert list(fit["parameters"]) == ["mu", "jes", "lumi"]
    assert set(fit["parameters"]["mu"]) == {
        "value",
        "nominal",
        "error",
        "minos",
        "statistical_error",
        "ensemble_error",
        "ensemble_inflation",
        "total_error",
        "simulation_error",
    }
    assert np.array(fit["covariance"]).shape == (3, 3)
    scan = json.loads((finished / "fits" / "scan.json").read_text())
    assert scan["parameter"] == "mu"
    assert scan["dataset"] == "observed"
    assert {"mu", "t", "converged"} == set(scan["points"][0])
    assert set(scan["intervals"]) == {"0.68", "0.95"}


def test_pack_and_store_are_plain_hdf5(finished: Path) -> None:
    with h5py.File(finished / "packs" / "signal.0000.h5") as file:
        assert file["weights"].shape == (6, 8 * 4 + 8 + 8 + 1)
        assert file["member"][...].tolist() == [0, 0, 1, 1, 2, 2]
        assert file["fold"][...].tolist() == [0, 1, 0, 1, 0, 1]
    with h5py.File(finished / "events" / "signal.h5") as file:
        assert file["x"].shape == (3000, 4)
        assert json.loads(file.attrs["features"]) == ["x1", "x2", "x3", "x4"]


def test_report_is_one_file_that_says_what_it_should(finished: Path) -> None:
    page = (finished / "report" / "index.html").read_text()
    assert "://" not in page.replace("http://www.w3.org", "")
    assert page.count("data:image/png;base64") >= 12
    for words in (
        "mu =",
        "68 % profile interval",
        "effective events of",
        "Learned against exact",
        "Provenance",
        "h5py",
    ):
        assert words in page


def test_second_run_does_nothing(finished: Path, small_inputs: Path, tmp_path: Path, needle: Needle) -> None:
    root = copied(finished, tmp_path)
    before = (root / "ledger.jsonl").read_bytes()
    logs = sorted((root / "logs").rglob("*"))
    again = needle("run", small_inputs, "--json")
    assert again.code == 0
    assert (again.json()["done"], again.json()["reused"]) == (
        0,
        json.loads((finished / "run.json").read_text())["tasks"]["total"],
    )
    assert (root / "ledger.jsonl").read_bytes() == before
    assert sorted((root / "logs").rglob("*")) == logs  # Parsl has not even been started


def test_touched_files_are_looked_at_again_and_nothing_is_redone(
    finished: Path, small_inputs: Path, tmp_path: Path, needle: Needle
) -> None:
    copied(finished, tmp_path)
    os.utime(small_inputs / "background.root")
    assert needle("run", small_inputs, "--json").json()["done"] == 0


def test_changed_key_redoes_only_what_depends_on_it(
    finished: Path, small_inputs: Path, tmp_path: Path, needle: Needle
) -> None:
    root = copied(finished, tmp_path)
    stages = needle("plan", small_inputs, "--json", "--set", "intervals.level=[0.9]").json()["stages"]
    assert {stage for stage, counts in stages.items() if counts["to_do"]} == {"interval", "report"}
    ended = needle("run", small_inputs, "--json", "--set", "intervals.level=[0.9]", "--until", "interval")
    assert ended.json()["done"] == 4
    assert set(json.loads((root / "fits" / "scan.json").read_text())["intervals"]) == {"0.9"}


TOYS = ("toys.generate=physics.py:pseudo_data", "toys.count=12", "toys.pool=1", "toys.at=[{mu=0.5}, {}]")
NEYMAN = ("intervals.method=neyman", "intervals.grid=[0.0, 1.0, 1.5, 2.0, 3.0]", "intervals.toys_per_point=12",
          "intervals.background=0.0", "intervals.rounds=1")  # fmt: skip


@pytest.mark.usefixtures("no_figures")
def test_toys_belt_and_coverage(finished: Path, small_inputs: Path, tmp_path: Path, needle: Needle) -> None:
    """All of it once in whole blocks and once cut otherwise: equal bits; the report shows it."""
    settings = [
        part for text in (*TOYS, *NEYMAN, "fit.plane={parameters=['mu', 'jes'], points=5}") for part in ("--set", text)
    ]
    found = []
    for block, last in ((12, "coverage"), (5, "report")):
        root = copied(finished, tmp_path / f"blocks of {block}")
        more = ("--set", f"toys.block={block}", "--out", root, "--until", last)
        ended = needle("run", small_inputs, "--json", *settings, *more)
        assert ended.code == 0, ended.err
        found.append([(root / "intervals" / name).read_bytes() for name in ("neyman.json", "coverage.json")])
    assert found[0] == found[1]
    belt, coverage = map(json.loads, found[0])
    assert [point["mu"] for point in belt["points"]] == [0, 1, 1.5, 2, 3]
    assert {
        "parameter",
        "statistic",
        "points",
        "intervals",
        "curves",
        "normalisation",
        "open",
        "asymptotic",
        "dataset",
        "discovery",
        "limits",
    } == set(belt)
    assert {point["toys"] + point["failed"] for point in belt["points"]} <= {12, 24}
    assert belt["discovery"]["toys"] <= 12
    assert len(belt["limits"]["points"]) == 5
    assert set(belt["intervals"]) == {"0.68", "0.95"}
    keys = {"mu", "level", "toys", "coverage", "error", "bias", "pull_mean", "pull_width"}
    assert all(keys <= set(point) for point in coverage["points"])
    assert {(p["mu"], p["method"]) for p in coverage["points"]} == {
        (mu, method) for mu in (0.5, 1.0) for method in ("profile", "neyman")
    }
    summary = json.loads((root / "report" / "summary.json").read_text())
    assert (summary["toys"], summary["neyman_intervals"]) == (24, belt["intervals"])
    page = (root / "report" / "index.html").read_text()
    assert "Every toy has events of its own" in page
    plane = json.loads((root / "fits" / "plane.json").read_text())
    assert len(plane["points"]) == 25


def test_toys_of_too_few_events_are_refused(finished: Path, small_inputs: Path, tmp_path: Path, needle: Needle) -> None:
    root = copied(finished, tmp_path)
    ended = needle("run", small_inputs, "--set", "toys.count=4", "--set", "toys.pool=50")
    assert ended.code == 2
    assert "effective simulated events stand behind toys of 4" in ended.err
    assert "less than 50 for each" in ended.err
    assert "Traceback" not in ended.err
    mended = needle("run", small_inputs, "--set", "toys.count=4", "--set", "toys.pool=1", "--until", "coverage")
    assert mended.code == 0, mended.err
    points = json.loads((root / "intervals" / "coverage.json").read_text())["points"]
    assert {point["toys"] + point["failed"] for point in points} == {4}


def test_pilot_measures_what_the_whole_would_cost(small_inputs: Path, tmp_path: Path, needle: Needle) -> None:
    settings = (
        "--set",
        "toys.count=1000",
        "--set",
        "toys.pool=1",
        "--set",
        "training.members=100",
        "--until",
        "coverage",
    )
    ended = needle("run", small_inputs, "--pilot", "1%", "--json", *settings)
    assert ended.code == 0, ended.err
    assert not (tmp_path / "runs" / "small").exists()
    whole, own = ended.json()["whole"], json.loads((tmp_path / "runs" / "small-pilot" / "run.json").read_text())
    assert (own["units"]["train"], own["units"]["toys"]) == (3 * 2 * 2, 10)
    assert whole["not_measured"] == []
    toys, trainings = own["stages"]["toys"]["seconds"] / 10, own["stages"]["train"]["seconds"] / 12
    ratio = whole["node_hours"]["toys"] / whole["node_hours"]["train"]
    assert ratio == pytest.approx(1000 * toys / (600 * trainings), rel=0.01)
    assert whole["total_node_hours"] == pytest.approx(sum(whole["node_hours"].values()))
    planned = needle("plan", small_inputs, *settings, "--json").json()["cost"]
    assert planned["node_hours"]["train"] == pytest.approx(whole["node_hours"]["train"])


def test_belt_that_misses_the_data_is_refused(
    finished: Path, small_inputs: Path, tmp_path: Path, needle: Needle
) -> None:
    root = copied(finished, tmp_path)
    settings = ["--set", "intervals.method=neyman", "--set", "intervals.grid=[4.6, 4.8, 5.0]"]
    ended = needle("run", small_inputs, *settings, "--set", "intervals.toys_per_point=10", "--set", "toys.pool=0")
    assert ended.code == 2
    assert "intervals.grid: no value is accepted at level 0.68" in ended.err
    assert not list((root / "intervals").iterdir())


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return {'x1': g.normal(size=3)}", 'physics.py:throw makes no column "x2"'),
        ("raise ValueError('no phase space')", "physics.py:throw failed: ValueError: no phase space"),
        ("return parameters", "physics.py:throw returned columns of different shapes"),
    ],
)
def test_function_of_toys_is_tried_at_check(
    small_inputs: Path, tmp_path: Path, needle: Needle, body: str, said: str
) -> None:
    folder = shutil.copytree(small_inputs, tmp_path / "analysis")
    with (folder / "physics.py").open("a") as file:
        file.write(f"\n\ndef throw(g, parameters):\n    {body}\n")
    ended = needle("check", folder, "--set", "toys.generate=physics.py:throw")
    assert ended.code == 2
    assert said in ended.err


def content(dataset: h5py.Dataset) -> bytes:
    """The bytes of a dataset; of texts, whose arrays hold addresses, the texts."""
    return repr(dataset.asstr()[...]).encode() if h5py.check_string_dtype(dataset.dtype) else dataset[...].tobytes()


def payload(root: Path) -> dict[str, bytes]:
    """Everything that must not depend on how the work was spread; a member is found wherever it was packed."""
    from needle_parsl.nsbi.training import packs

    found = {p.name: p.read_bytes() for p in sorted((root / "fits").glob("*.json"))}
    for path in sorted(p for folder in ("events", "estimators", "ratios") for p in (root / folder).rglob("*.h5")):
        with h5py.File(path) as file:
            names: list[str] = []
            file.visit(names.append)
            found |= {f"{path}/{n}".removeprefix(str(root)): content(file[n]) for n in names if isinstance(file[n], h5py.Dataset)}  # fmt: skip
    for path in (root / "packs").glob("*.h5"):
        for m in packs.read(path).members:
            ratio = path.name.rsplit(".", 2)[0]
            found[f"{ratio}/{m.member}/{m.fold}"] = m.weights.tobytes() + m.history.tobytes()
    return found


@pytest.mark.parametrize(("threads", "pack"), [pytest.param(4, 3, marks=pytest.mark.campaign), (1, 3)])
def test_equal_bits_whatever_the_threads_and_packs(
    finished: Path, small_inputs: Path, tmp_path: Path, needle: Needle, threads: int, pack: int
) -> None:
    (tmp_path / "mine.toml").write_text(f'description = "t"\nworkers_per_node = {threads}\npack = {pack}\n')
    ended = needle("run", small_inputs, "--site", tmp_path / "mine.toml", "--out", "other", "--until", "precision")
    assert ended.code == 0, ended.err
    ours, theirs = payload(finished), payload(tmp_path / "other")
    assert len([name for name in ours if name.startswith("signal/")]) == 6
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []


def test_until_and_then_the_rest(small_inputs: Path, tmp_path: Path, needle: Needle) -> None:
    first = needle("run", small_inputs, "--until", "convert", "--json")
    assert (first.code, first.json()["done"]) == (0, 5)
    assert "results" not in first.json()
    assert not (tmp_path / "runs" / "small" / "packs").exists()
    state = needle("status", "small", "--json").json()
    assert (state["status"], state["stages"]["convert"]["done"]) == ("done", 5)
    rest = needle("run", small_inputs, "--until", "combine", "--json")
    assert (rest.code, rest.json()["reused"]) == (0, 5)


def test_failed_task_is_blamed_and_the_rest_goes_on(small_inputs: Path, needle: Needle) -> None:
    """A learning rate that makes every member diverge leaves the ensembles without quorum."""
    ended = needle("run", small_inputs, "--set", "training.learning_rate=1e30")
    assert ended.code == 1
    assert "ratio signal: 0 of 6 members have trained, the quorum is 0.8" in ended.err
    assert "diverged in epoch 1" in ended.err
    assert "Traceback" not in ended.err
    state = needle("status", "small", "--json").json()
    assert (state["status"], state["tasks"]["failed"]) == ("failed", 1)  # variations are normalised after it
    assert state["stages"]["convert"]["done"] == 5
    mended = needle("run", small_inputs, "--until", "combine", "--json")
    assert (mended.code, mended.json()["reused"]) == (0, 5)


def test_generator_that_fails_is_blamed_with_its_own_words(tmp_path: Path, needle: Needle) -> None:
    physics = (
        "import numpy as np\n"
        "def s(g, n):\n    if n > 100: raise RuntimeError('the generator is out of tape')\n    return {'x': g.normal(size=n)}\n"
        "def b(g, n): return {'x': g.normal(size=n)}\n"
    )
    (tmp_path / "physics.py").write_text(physics)
    (tmp_path / "analysis.toml").write_text(
        'name = "n"\nphysics = "physics.py"\n[features]\nnames = ["x"]\n'
        '[samples.s]\ngenerate = "physics.py:s"\n[samples.b]\ngenerate = "physics.py:b"\n'
        '[ratios]\nreference = ["b"]\ntargets = ["s"]\n[model]\nparameters.mu = {}\nprocesses = { s = "mu", b = 1.0 }\n'
    )
    ended = needle("run", "analysis.toml", "--until", "convert")
    assert ended.code == 1
    assert "generate s: physics.py:s failed: RuntimeError: the generator is out of tape" in ended.err
    assert "1 failed" in ended.out
    ledger = (tmp_path / "runs" / "n" / "ledger.jsonl").read_text()
    assert [json.loads(line)["reason"] != "" for line in ledger.splitlines()].count(True) == 1


@pytest.mark.usefixtures("no_figures")
def test_blind_by_default_once_data_is_given(
    finished: Path, small_inputs: Path, tmp_path: Path, needle: Needle
) -> None:
    root = copied(finished, tmp_path)
    assert needle("run", small_inputs, "--json", "--set", "fit.blind=true").code == 0
    assert json.loads((root / "fits" / "scan.json").read_text())["dataset"] == "asimov"
    assert "the analysis is blind" in (root / "report" / "index.html").read_text()


GENERATED = (
    'name = "n"\nphysics = "physics.py"\n[features]\nnames = ["x"]\n[split]\nmin_events = 10\n'
    '[samples.s]\ngenerate = "physics.py:s"\nevents = 500\n[samples.b]\ngenerate = "physics.py:b"\nevents = 500\n'
    '[ratios]\nreference = ["b"]\ntargets = ["s"]\n[training]\nmembers = 2\nepochs = 1\nlayers = 1\nnodes = 4\n'
    '[model]\nparameters.mu = {}\nprocesses = { s = "mu", b = 1.0 }\nnuisances.lumi = { rate = { s = [1.1, 0.9] } }\n'
)
PHYSICS = (
    "import numpy as np\nfrom helper_of_mine import SHIFT\nprint('hello from physics')\n"
    "def s(g, n): return {'x': g.normal(SHIFT, 1, size=n)}\ndef b(g, n): return {'x': g.normal(size=n)}\n"
)


@pytest.fixture
def generated(tmp_path: Path) -> Path:
    (tmp_path / "analysis.toml").write_text(GENERATED)
    (tmp_path / "physics.py").write_text(PHYSICS)
    (tmp_path / "helper_of_mine.py").write_text("SHIFT = 0.5\n")
    return tmp_path


def test_changed_helper_of_physics_is_seen(generated: Path, needle: Needle) -> None:
    first = needle("run", "analysis.toml", "--until", "convert", "--json")
    assert (first.code, first.json()["done"]) == (0, 4), first.err
    assert needle("run", "analysis.toml", "--until", "convert", "--json").json()["done"] == 0
    (generated / "helper_of_mine.py").write_text("SHIFT = 0.75\n")
    assert needle("run", "analysis.toml", "--until", "convert", "--json").json()["done"] == 4


def test_module_beside_the_analysis_is_found_from_anywhere(tmp_path: Path, needle: Needle) -> None:
    folder = tmp_path / "an analysis"
    folder.mkdir()
    (folder / "generators_of_mine.py").write_text(PHYSICS.replace("from helper_of_mine import SHIFT", "SHIFT = 1.0"))
    text = GENERATED.replace('physics = "physics.py"\n', "").replace("physics.py:", "generators_of_mine:")
    (folder / "analysis.toml").write_text(text)
    ended = needle("run", folder, "--until", "convert", "--json")
    assert (ended.code, ended.json()["done"]) == (0, 4), ended.err
    (folder / "generators_of_mine.py").write_text(PHYSICS.replace("from helper_of_mine import SHIFT", "SHIFT = 2.0"))
    assert needle("run", folder, "--until", "convert", "--json").json()["done"] == 4


def test_density_sees_the_nuisances_that_change_its_shape_and_no_others(generated: Path, needle: Needle) -> None:
    density = (
        "def log_density(p, x, a):\n    assert not a, a\n    return -0.5 * (x[:, 0] - (SHIFT if p == 's' else 0))**2\n"
    )
    (generated / "physics.py").write_text(PHYSICS + density)
    ended = needle("run", "analysis.toml", "--json", "--until", "fit")
    assert ended.json()["failed"] == [], ended.err  # and what physics.py prints is not on standard output
    assert json.loads((generated / "runs" / "n" / "fits" / "exact.json").read_text())["converged"]


def test_density_that_fails_is_named(generated: Path, needle: Needle) -> None:
    (generated / "physics.py").write_text(PHYSICS + "def log_density(p, x, a): return {}['b']\n")
    ended = needle("run", "analysis.toml")
    assert ended.code == 2
    assert 'log_density of "s" failed: KeyError' in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(("values", "said"), [(np.ones((3, 2)), "has shape"), (np.array([0.0, np.nan, 0.0]), "is NaN")])
def test_density_of_a_wrong_shape_or_without_value_is_named(values: Any, said: str) -> None:
    from needle_parsl.errors import InputError
    from needle_parsl.nsbi.estimators.exact import guarded

    with pytest.raises(InputError, match=f'log_density of "s" {said}'):
        guarded(lambda *_: values)("s", np.ones((3, 2)), {})


@pytest.mark.parametrize(
    "line", ["import sys; sys.exit(0)", "raise SystemExit('no')", "import nothing_of_that_name", "1/0"]
)
def test_physics_that_cannot_be_imported(generated: Path, needle: Needle, line: str) -> None:
    (generated / "physics.py").write_text(line + "\n")
    ended = needle("check", "analysis.toml")
    assert ended.code == 2
    assert "physics.py: cannot be imported" in ended.err
    assert "Traceback" not in ended.err


def test_silent_death_of_a_generator_is_said(generated: Path, needle: Needle) -> None:
    source = PHYSICS + "def s(g, n):\n    import os\n    if n > 100: os._exit(9)\n    return b(g, n)\n"
    (generated / "physics.py").write_text(source)
    ended = needle("run", "analysis.toml", "--until", "convert")
    assert ended.code == 1
    assert "generate s: its process ended with exit code 9" in ended.err


def test_report_of_another_configuration_is_not_shown(
    finished: Path, small_inputs: Path, tmp_path: Path, needle: Needle
) -> None:
    copied(finished, tmp_path)
    assert needle("report", "small", "--json").json()["parameter"] == "mu"
    assert needle("run", small_inputs, "--until", "convert").code == 0
    ended = needle("report", "small")
    assert ended.code == 2
    assert "has not come to a report" in ended.err


def test_diverged_member_within_the_quorum_leaves_a_report(finished: Path, tmp_path: Path) -> None:
    """One network of six is replaced by a diverged one; the figures and the page bear it."""
    from dataclasses import replace

    from needle_parsl import plan
    from needle_parsl.analysis import load
    from needle_parsl.nsbi.training import packs
    from needle_parsl.tasks import estimators, report
    from needle_parsl.workflow import probe

    root = copied(finished, tmp_path)
    path = root / "packs" / "signal.0000.h5"
    pack = packs.read(path)
    broken = replace(pack.members[0], history=np.full((1, 2), np.nan), reason="diverged in epoch 1")
    packs.write(path, replace(pack, members=(broken, *pack.members[1:])))
    loaded = load(Path(json.loads((root / "run.json").read_text())["analysis"]))
    inputs, _ = probe.probe(loaded, json.loads((root / "run.json").read_text())["inputs"])
    built = {t.name: t for t in plan.build(loaded.analysis, inputs, 8).tasks if t.stage.name in ("diagnose", "report")}
    estimators.diagnose(str(root), built["signal"])
    report.report(str(root), built["report"])
    assert "Not trained: signal, member 0, fold 0: diverged in epoch 1." in (root / "report" / "index.html").read_text()


def test_some_events_of_a_part_weigh_as_much_as_all(finished: Path) -> None:
    from needle_parsl import plan
    from needle_parsl.analysis import load
    from needle_parsl.plan import specs
    from needle_parsl.tasks import inputs
    from needle_parsl.workflow import probe

    loaded = load(Path(json.loads((finished / "run.json").read_text())["analysis"]))
    tasks = plan.build(loaded.analysis, probe.probe(loaded)[0], 8).tasks
    splitting = next(t.of(specs.Diagnose).splitting for t in tasks if isinstance(t.spec, specs.Diagnose))
    every, some = (inputs.part(str(finished), "background", splitting, "train", most) for most in (None, 400))
    assert len(some) == 400 < len(every)
    error = every.weight.std() / every.weight.mean() / np.sqrt(400)
    assert some.weight.sum() == pytest.approx(every.weight.sum(), rel=5 * error)


def test_report_without_matplotlib_says_so(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from needle_parsl import plan
    from needle_parsl.analysis import extras, load
    from needle_parsl.tasks import report
    from needle_parsl.workflow import probe

    root = copied(finished, tmp_path)
    state = json.loads((root / "run.json").read_text())
    loaded = load(Path(state["analysis"]))
    inputs, _ = probe.probe(loaded, state["inputs"])
    (task,) = (t for t in plan.build(loaded.analysis, inputs, 8).tasks if t.stage.name == "report")
    monkeypatch.setattr(extras, "here", lambda _: False)
    report.report(str(root), task)
    assert "install needle-parsl[plots]" in (root / "report" / "index.html").read_text()
    assert not list((root / "report").glob("*.png"))


def test_full_disk_while_a_task_is_noted_ends_the_run_as_failed(
    small_inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception in one of Parsl's threads would otherwise be lost, and the run be called done."""
    from needle_parsl.analysis import load
    from needle_parsl.errors import TaskError
    from needle_parsl.site import Site
    from needle_parsl.workflow import ledger, prepared_run, run, run_state

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "ledger.jsonl")

    monkeypatch.setattr(ledger, "append", full)
    prepared = prepared_run.prepare(
        tmp_path / "run", load(small_inputs), Site(description="t", workers_per_node=1), "convert"
    )
    with pytest.raises(TaskError, match="no space left on its disk; make some"):
        run.run(prepared, lambda *_: None)
    assert run_state.read(tmp_path / "run")["status"] == "interrupted"


@pytest.mark.parametrize(
    "content",
    ['{"status": "done"}', "[]", "{", '{"name": "x", "status": "done", "tasks": {}, "stages": {}, "inputs": 3}'],
)
def test_damaged_run_file_is_a_sentence(tmp_path: Path, needle: Needle, content: str) -> None:
    (tmp_path / "runs" / "x").mkdir(parents=True)
    (tmp_path / "runs" / "x" / "run.json").write_text(content)
    for command in ("status", "report"):
        ended = needle(command, "x")
        assert "Traceback" not in ended.err
        assert ended.code == 2
