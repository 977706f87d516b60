"""The package layout: what is imported where, and what a wheel holds."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = ("needle_parsl", "scripts", "tests", "apps")
HEAVY = ("torch", "uproot", "h5py", "parsl", "lightning", "awkward", "pyarrow", "matplotlib", "globus_compute_sdk")


def loaded_by(code: str, cwd: Path) -> set[str]:
    """Packages that a fresh interpreter has loaded after some code."""
    script = f"import sys\n{code}\nprint('\\n'.join(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=cwd, check=True)
    return set(done.stdout.split())


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    code = "import needle_parsl.cli as c\nsys.argv = ['needle', '--help']\ntry:\n    c.main()\nexcept SystemExit:\n    pass"
    found = loaded_by(code, tmp_path)
    assert not found & {*HEAVY, "numpy", "scipy"}


@pytest.mark.slow
@pytest.mark.parametrize("command", ["check", "plan"])
def test_submitting_process_loads_neither_torch_nor_uproot_nor_parsl(
    command: str, small_inputs: Path, tmp_path: Path
) -> None:
    code = (
        "import needle_parsl.cli as c\n"
        f"sys.argv = ['needle', {command!r}, {str(small_inputs)!r}]\n"
        "try:\n    c.main()\nexcept SystemExit as e:\n    assert not e.code, e.code"
    )
    assert not loaded_by(code, tmp_path) & set(HEAVY)


def test_files_of_tests_have_names_of_their_own() -> None:
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names)), "a worker imports one module of a name, and fails with the second"


def test_flow_loads_parsl_but_no_torch(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    code = (
        "from pathlib import Path\nfrom needle_parsl import site\n"
        "from needle_parsl.workflow import flow, executors, run\n"
        "with executors.started(site.load('local'), Path('logs')):\n    pass"
    )
    found = loaded_by(code, tmp_path)
    assert "parsl" in found
    assert not found & {"torch", "uproot", "h5py", "lightning", "globus_compute_sdk"}


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("numba"), reason="without the extra `toys` torch's own optimiser steps, and loads it")
def test_training_and_diagnostics_load_neither_torchs_compiler_nor_scipys_statistics(tmp_path: Path) -> None:
    """Each takes most of a second of every worker's start."""
    code = (
        "import sys\nimport numpy as np\nimport small_training as t\n"
        "from needle_parsl.nsbi.estimators.checks.twosample import two_sample\n"
        "from needle_parsl.nsbi.training import state, train\n"
        "(trained,) = train.train_pack(t.DATA, [t.member()], t.SETTINGS, state.State(), state.never)\nassert trained.engine == 'native'\n"
        "two_sample(t.gaussian(500, 0.5, 1), t.gaussian(500, 0, 2), np.ones(500), t.DATA.transform)\n"
        "assert 'torch' in sys.modules\nprint('torch._dynamo' in sys.modules, 'scipy.stats' in sys.modules)"
    )
    path = os.pathsep.join(filter(None, [str(ROOT / "tests"), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True, env={**os.environ, "PYTHONPATH": path}
    )  # fmt: skip
    assert done.stdout.split() == ["False"] * 2


@pytest.mark.slow
def test_no_eval() -> None:
    """User text is never evaluated; `exec` runs the user's own physics.py and nothing else. That nothing is unpickled: `tests/safety/test_unpickling.py`."""
    paths = [(path, ast.parse(path.read_text())) for path in (ROOT / "needle_parsl").rglob("*.py")]
    calls = [(path, node.func) for path, tree in paths for node in ast.walk(tree) if isinstance(node, ast.Call)]
    named = [path.name for path, called in calls if isinstance(called, ast.Name) and called.id in ("eval", "exec")]
    assert named == ["refs.py"]


@pytest.mark.slow
def test_tests_take_nothing_from_each_other() -> None:
    """What several need stands in `tests/problems/` or beside them; pytest finds it without `sys.path`."""
    for path in (ROOT / "tests").rglob("test_*.py"):
        tree = ast.parse(path.read_text())
        modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        modules += [name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names]
        assert not [name for name in modules if name.rpartition(".")[2].startswith("test_")], path
        calls = [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
        assert not {"sys.path.insert", "sys.path.append"} & set(calls), path


def test_private_names_of_parsl_are_touched_in_its_patches_alone() -> None:
    """Ruff finds every other one (SLF001), unless a comment lets it stand."""
    folders = [ROOT / "needle_parsl" / name for name in ("workflow", "processes", "cli", "tasks", "plan")]
    found = [path for folder in folders for path in folder.rglob("*.py") if "SLF001" in path.read_text()]
    assert found
    assert {path.parent.name for path in found} == {"patches"}


def test_wheel_holds_apps_and_sites_and_is_pure(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)], cwd=ROOT, check=True, capture_output=True
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert wheel.name.endswith("py3-none-any.whl")
    assert "needle_parsl/site_configs/local.toml" in names
    assert {"analysis.toml", "physics.py", "README.md", "expected.json"} <= {
        Path(name).name for name in names if name.startswith("needle_parsl/apps/gaussian/")
    }
    assert "needle_parsl/nsbi/report/page.html" in names


PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))
    if path.name != "CHANGELOG.md"
)


@pytest.mark.parametrize("page", PAGES)
def test_modules_that_pages_name_are_there(page: str) -> None:
    """A name with folders is that of a place; one without, of a module somewhere. Those of users are not ours."""
    theirs = {"physics.py", "make.py", "published.py", "scripts/bench_NAME.py"}
    named = {
        name.partition(":")[0] for name in re.findall(r"`([\w/]+\.py)(?:[:`])", (ROOT / page).read_text())
    } - theirs
    ours = [path.relative_to(ROOT).as_posix() for folder in OURS for path in (ROOT / folder).rglob("*.py")]
    assert not [name for name in named if not any(f"/{path}".endswith(f"/{name}") for path in ours)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "without"),
    [
        ("events", {"torch", "iminuit", "scipy.stats", "matplotlib"}),
        ("training", {"iminuit", "scipy.stats", "matplotlib"}),
        ("estimators", {"iminuit", "scipy.stats", "matplotlib"}),
        ("fits", {"torch", "matplotlib"}),
        ("toys", {"torch", "matplotlib"}),
        ("report", {"torch", "iminuit", "scipy.stats", "matplotlib"}),
    ],
)
def test_a_task_loads_no_library_that_only_others_need(task: str, without: set[str], tmp_path: Path) -> None:
    """Each takes a worker a second or more, and memory, before its first task."""
    code = f"import needle_parsl.tasks.{task}"
    assert not loaded_by(f"{code}\nprint(*sys.modules)", tmp_path) & without
