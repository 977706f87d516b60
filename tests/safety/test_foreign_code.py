"""Reading what somebody else has made executes nothing of theirs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import planting
import pytest

import needle_parsl
from needle_parsl import refs, site
from needle_parsl.analysis import read
from needle_parsl.cli import commands
from needle_parsl.errors import InputError, TaskError
from needle_parsl.nsbi.estimators import files
from needle_parsl.nsbi.training import networks, packs
from needle_parsl.nsbi.training.packs import Pack, Trained
from needle_parsl.processes import python, supervised
from needle_parsl.workflow import driver as detached
from needle_parsl.workflow import mpi, trust
from needle_parsl.workflow.executors import node_script

NETWORK = """
import pathlib
import torch
pathlib.Path(__file__).with_name("executed").touch()
class Net(torch.nn.Module):
    def __init__(self, features):
        super().__init__()
        self.layer = torch.nn.Linear(features, 1)
    def forward(self, x):
        return self.layer(x).squeeze(-1)
def column(events):
    return events["x1"] * 2
"""


COMBINER = """
import pathlib
import numpy as np
pathlib.Path(__file__).with_name("executed").touch()
def middle(log_ratios):
    return np.median(log_ratios, axis=0)
"""


@pytest.mark.parametrize(
    ("network", "arguments"),
    [
        ("subprocess:check_output", {"args": "touch TOUCHED", "shell": True}),
        ("os:system", {"command": "touch TOUCHED"}),
        ("posix:system", {"command": "touch TOUCHED"}),
        ("builtins:exec", {"source": "open('TOUCHED', 'w')"}),
        ("planted_module:anything", {}),
        ("planted_module.inner:anything", {}),
        ("torch.hub:load", {"repo_or_dir": "a/b", "model": "c"}),
        ("", {}),
        ("mlp:", {}),
        ("needle_parsl.nsbi.training.networks:MLP", {}),
    ],
)
def test_an_estimator_names_no_code(
    network: str, arguments: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touched = tmp_path / "executed"
    (tmp_path / "planted_module.py").write_text(f"open({str(touched)!r}, 'w')\nanything = dict\n")
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "e.h5"
    files.write(path, planting.estimator())
    told = json.dumps(arguments).replace("TOUCHED", str(touched))
    planting.attribute(path, "shape", lambda shape: {**shape, "network": network, "arguments": told})
    with pytest.raises(InputError, match="which is code, and not of the analysis"):
        files.read(path).log_ratio(np.zeros((3, 2), np.float32))
    assert not touched.exists()
    assert "planted_module" not in sys.modules


@pytest.mark.parametrize("name", ["os:system", "subprocess:getoutput", "planted_module:anything", "numpy:median"])
def test_an_estimator_is_combined_by_no_code(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touched = tmp_path / "executed"
    (tmp_path / "planted_module.py").write_text(f"open({str(touched)!r}, 'w')\nanything = dict\n")
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "e.h5"
    files.write(path, replace(planting.estimator(), combine=name))
    with pytest.raises(InputError, match="which is code, and not of the analysis"):
        files.read(path).log_ratio(np.zeros((3, 2), np.float32))
    assert not touched.exists()
    assert "planted_module" not in sys.modules


@pytest.mark.parametrize(
    "change",
    [
        {"layers": "3"}, {"layers": 2.5}, {"nodes": 10**12}, {"nodes": -1}, {"features": 7}, {"particles": 3}, {"arguments": "[1]"}, {"arguments": "{"},
        {"arguments": '{"outputs": "x"}'}, {"arguments": '{"hook": 1}'}, {"head": "{"}, {"head": '{"classes": 3}'}, {"more": 1}, {"network": None}, {"nodes": 5},
        {"nodes": 9_999_999, "layers": 2},
    ],
)  # fmt: skip
def test_attributes_are_read_against_a_schema(change: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "e.h5"
    files.write(path, planting.estimator())
    planting.attribute(path, "shape", lambda shape: {**shape, **change})
    with pytest.raises((InputError, TaskError)):
        files.read(path).log_ratio(np.zeros((3, 2), np.float32))


@pytest.mark.parametrize("how", ["external", "virtual", "link", "soft", "claim"])
def test_an_estimator_holds_its_own_data(how: str, tmp_path: Path) -> None:
    path, secret = tmp_path / "e.h5", tmp_path / "secret"
    secret.write_bytes(b"\0" * 16)
    files.write(path, planting.estimator())
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["x"] = np.zeros(2)
    with h5py.File(path, "r+") as file:
        del file["coefficients"]
        if how == "external":
            file.create_dataset("coefficients", (2,), "f8", external=[(str(secret), 0, 16)])
        elif how == "virtual":
            layout = h5py.VirtualLayout((2,), "f8")
            layout[:] = h5py.VirtualSource("other.h5", "x", (2,))
            file.create_virtual_dataset("coefficients", layout)
        elif how == "claim":
            file.create_dataset("coefficients", (10**11,), "f8", chunks=(2**20,))
        else:
            file["coefficients"] = (
                h5py.ExternalLink("other.h5", "/x") if how == "link" else h5py.SoftLink("/coefficients")
            )
    with pytest.raises(InputError, match=str(path)):
        files.read(path)


def test_a_pack_names_no_code(tmp_path: Path) -> None:
    shape = networks.NetworkShape(network="mlp", features=2, layers=1, nodes=4)
    made = planting.estimator(shape)
    member = Trained(
        member=0, fold=0, seed=1, weights=made.weights[0], history=np.zeros((1, 2)), best_epoch=0, reason=""
    )
    packs.write(tmp_path / "p.h5", Pack(shape, made.transform, (member,)))
    planting.attribute(tmp_path / "p.h5", "shape", lambda shape: {**shape, "network": "os:getcwd"})
    with pytest.raises(InputError, match="which is code"):
        networks.empty(packs.read(tmp_path / "p.h5").shape)


def own(folder: Path) -> Path:
    """A run whose network and one of whose columns are somebody's code."""
    source = folder / "analysis"
    source.mkdir()
    (source / "physics.py").write_text(NETWORK)
    name = refs.located("physics.py:Net", NETWORK, str(source / "physics.py"))
    made = planting.estimator(networks.NetworkShape(network=name, features=2, layers=1, nodes=4))
    refs._GRANTED.clear()
    return planting.run(folder, made, NETWORK, top='physics = "physics.py"', training='network = "physics.py:Net"')


def test_a_run_of_somebody_else_is_evaluated_with_trust_only(
    tmp_path: Path, needle: Callable[..., Any], private_state: Path
) -> None:
    root, new = own(tmp_path), planting.events(tmp_path)
    ended = needle("evaluate", root, "--events", new, "-o", "o.parquet")
    assert ended.code == 2, ended
    assert "code that you have not run" in ended.err
    assert not (root / "executed").exists()
    assert needle("export", root, "--to", tmp_path / "to", "--format", "pt2").code == 2
    assert not (root / "executed").exists()
    ended = needle("evaluate", root, "--events", new, "-o", "o.parquet", "--trust", "--json")
    assert ended.code == 0, ended.err
    assert "--trust: executing" in ended.err
    assert str(root / "physics.py") in ended.json()["trusted"]
    last = json.loads((private_state / "needle" / "trusted.jsonl").read_text().splitlines()[-1])
    assert (last["path"], last["code"]) == (str(root / "physics.py"), ["physics.py:Net"])


def test_what_the_user_has_run_is_known_again_and_nothing_else(tmp_path: Path) -> None:
    root = own(tmp_path)
    loaded = read(root / "analysis.toml")
    trust.remember(loaded)
    found = trust.code(root, loaded, networks=True, trust=False, say=print)
    assert (found.names, found.source) == (("physics.py:Net",), NETWORK)
    for name, change in {
        "physics.py": ("events[", "  events["), "analysis.toml": ('"physics.py:Net"', '"os:system"'),
    }.items():  # fmt: skip
        other = shutil.copytree(root, tmp_path / name)
        (other / name).write_text((other / name).read_text().replace(*change))
        with pytest.raises(InputError, match="not run with needle here"):
            trust.code(other, read(other / "analysis.toml"), networks=True, trust=False, say=print)


def test_what_combines_members_is_executed_with_trust_only(
    tmp_path: Path, needle: Callable[..., Any], private_state: Path
) -> None:
    source = tmp_path / "analysis"
    source.mkdir()
    (source / "physics.py").write_text(COMBINER)
    name = refs.located("physics.py:middle", COMBINER, str(source / "physics.py"))
    (source / "executed").unlink()
    refs._GRANTED.clear()
    root = planting.run(
        tmp_path, replace(planting.estimator(), combine=name), COMBINER,
        top='physics = "physics.py"', training='[ensemble]\ncombine = "physics.py:middle"',
    )  # fmt: skip
    new = planting.events(tmp_path)
    ended = needle("evaluate", root, "--events", new, "-o", "o.parquet")
    assert (ended.code, "physics.py:middle; nothing of it was executed" in ended.err) == (2, True), ended
    assert not (root / "executed").exists()
    ended = needle("evaluate", root, "--events", new, "-o", "o.parquet", "--trust")
    assert ended.code == 0, ended.err
    last = json.loads((private_state / "needle" / "trusted.jsonl").read_text().splitlines()[-1])
    assert last["code"] == ["physics.py:middle"]


def test_functions_that_make_columns_are_code_too(tmp_path: Path) -> None:
    column = '[features.computed.y]\nfunction = "os:system"\ncolumns = ["x1"]'
    root = planting.run(tmp_path, features=column)
    with pytest.raises(InputError, match="os:system"):
        trust.code(root, read(root / "analysis.toml"), networks=False, trust=False, say=print)


def test_the_copy_in_the_run_directory_is_executed_as_it_was_written(tmp_path: Path) -> None:
    from needle_parsl.nsbi.data import generation

    (tmp_path / "physics.py").write_text("1 / 0\n")
    with pytest.raises(SystemExit, match="nothing of it was executed"):
        generation.main(
            ["physics.py:f", str(tmp_path / "physics.py"), refs.digest("x = 1\n"), "", "1", "1", str(tmp_path / "o")]
        )


def test_an_onnx_file_holds_its_own_data() -> None:
    onnx = pytest.importorskip("onnx")
    from needle_parsl.serving import onnx_contents

    def made(tensor: Any, node: Any = None) -> bytes:
        value = onnx.helper.make_tensor_value_info
        nodes = [node or onnx.helper.make_node("Add", ["x", "w"], ["y"])]
        graph = onnx.helper.make_graph(
            nodes, "g", [value("x", 1, [4])], [value("y", 1, [4])], [tensor] if tensor else []
        )
        return bytes(onnx.helper.make_model(graph).SerializeToString())

    tensor = onnx.numpy_helper.from_array(np.zeros(4, np.float32), "w")
    assert onnx_contents.whole(made(tensor), "m") == made(tensor)
    outside = onnx.TensorProto(name="w", data_type=1, dims=[4], data_location=onnx.TensorProto.EXTERNAL)
    outside.external_data.add(key="location", value="/etc/passwd")
    within = onnx.helper.make_node("Constant", [], ["y"], value=outside)
    branch = onnx.helper.make_graph([within], "b", [], [onnx.helper.make_tensor_value_info("y", 1, [4])])
    deep = onnx.helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)
    for content in (made(outside), made(None, within), made(None, deep)):
        with pytest.raises(InputError, match="another file"):
            onnx_contents.whole(content, "m")
    with pytest.raises(InputError, match="no ONNX file"):
        onnx_contents.whole(made(tensor)[:-3], "m")


def test_children_do_not_look_into_the_current_folder() -> None:
    driver = detached.script(["run"], Path("/x"), Path("/y"), site.load(str(Path(__file__).parents[2] / "site_configs" / "slurm.toml"))) if "NEEDLE_ACCOUNT" in os.environ else ""  # fmt: skip
    assert driver == "" or " -P -m needle_parsl" in driver
    assert python.module("m", "a") == [sys.executable, "-P", "-m", "m", "a"]
    assert node_script._pool(Path("/r/logs"))[:2] == ["-P", "-m"]
    assert supervised.command(1, "-", ["x"])[1:3] == ["-P", "-m"]
    source = "\n".join(path.read_text() for path in Path(needle_parsl.__file__).parent.rglob("*.py"))
    assert '"-m"' not in source.replace('"-P", "-m"', "")  # every program is started by `python.module`
    assert mpi.program("/r", "n", "d", None, None, None, None).count(" -P -m ") == 2


@pytest.mark.parametrize("name", ["json", "numpy", "signal", "queue", "random", "types", "statistics"])
def test_a_module_of_the_folder_is_not_taken_for_pythons(name: str, tmp_path: Path) -> None:
    (tmp_path / f"{name}.py").write_text("open('executed', 'w')\n")
    command = python.module("needle_parsl.nsbi.programs.inspect_inputs", str(tmp_path / "answer.json"))
    done = subprocess.run(
        command, cwd=tmp_path, input='{"columns": [], "looks": []}', capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "executed").exists()


def test_a_site_that_takes_a_shipped_name_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert site.origin("local", site.load("local")) == []
    (tmp_path / "site_configs").mkdir()
    (tmp_path / "evil.py").write_text("")
    path = tmp_path / "site_configs" / "local.toml"
    path.write_text('description = "mine"\nfactory = "evil.py:config"\n')
    said = " ".join(site.origin("local", site.load("local")))
    assert "not the one that comes with needle" in said
    assert "evil.py:config is executed" in said
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
        with pytest.raises(InputError, match="belongs to somebody else"):
            site.origin("local", site.load("local"))
        assert site.origin("site_configs/local.toml", site.load("site_configs/local.toml"))


def test_check_says_what_it_executes_in_a_folder_of_somebody_else(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("gives a file to another user: needs root")
    root = planting.run(tmp_path, physics="x = 1\n", top='physics = "physics.py"')
    assert trust.foreign(read(root)) == []
    os.chown(root / "physics.py", 65534, 65534)
    assert "physics.py in a folder of nobody's" in trust.foreign(read(root))[0]
    (root / "physics.py").unlink()
    os.chown(root / "analysis.toml", 65534, 65534)
    lines = 'loss = "theirs:tilted"\n[ensemble]\ncombine = "theirs:middle"'
    (root / "analysis.toml").write_text(planting.ANALYSIS.format(top="", features="", training=lines))
    assert "executing theirs:tilted, theirs:middle in a folder of nobody's" in trust.foreign(read(root))[0]


def test_an_onnx_file_brings_no_operators_and_none_that_fails_is_a_traceback() -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from needle_parsl.nsbi.estimators.exporting import runtime

    def made(node: Any) -> bytes:
        value = onnx.helper.make_tensor_value_info
        seven = [onnx.numpy_helper.from_array(np.array([7]), "seven")]
        inputs, outputs = [value("features", 1, ["n", 2])], [value("log_ratio", 1, None)]
        graph = onnx.helper.make_graph([node], "g", inputs, outputs, seven)
        imports = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("evil", 1)]
        model = onnx.helper.make_model(graph, opset_imports=imports, ir_version=8)
        onnx.helper.set_model_props(model, {"features": '["x1", "x2"]', "ratios": '["signal"]'})
        return bytes(model.SerializeToString())

    with pytest.raises(InputError, match="is no exported estimator"):
        runtime.Session(made(onnx.helper.make_node("Shell", ["features"], ["log_ratio"], domain="evil")))
    session = runtime.Session(made(onnx.helper.make_node("Reshape", ["features", "seven"], ["log_ratio"])))
    with pytest.raises(InputError, match="cannot be evaluated"):
        session.evaluate(np.zeros((3, 2), np.float32))


def test_programs_of_needles_run_nothing_that_python_would_start_with(tmp_path: Path) -> None:
    for name in ("sitecustomize", "usercustomize", "startup"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'a').write('{name}')")
    environment = {**os.environ, "PYTHONSTARTUP": str(tmp_path / "startup.py")}
    command = python.module("needle_parsl.nsbi.data.generation", "os:system", "", refs.digest(""), "", "1", "1", "x")
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "os:system failed" in done.stderr
    assert not (tmp_path / "executed").exists()


def test_an_empty_entry_of_pythonpath_is_not_the_current_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", "/there", "", "/too"]))
    commands._named_folders_alone()
    assert os.environ["PYTHONPATH"] == os.pathsep.join(["/there", "/too"])
