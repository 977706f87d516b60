"""The house keeps its promises: what is imported where, and what a wheel holds."""

from __future__ import annotations

import ast
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


@pytest.mark.skipif(not find_spec("numba"), reason="without the extra `toys` torch's own optimiser steps, and loads it")
def test_training_and_diagnostics_load_neither_torchs_compiler_nor_scipys_statistics(tmp_path: Path) -> None:
    """Each takes most of a second of every worker's start."""
    code = (
        f"sys.path.insert(0, {str(ROOT / 'tests' / 'nsbi')!r})\n"
        "import numpy as np\nimport test_training as t\nfrom needle_parsl.nsbi.estimators.checks.twosample import two_sample\n"
        "(trained,) = t.train.train_pack(t.DATA, [t.member()], t.SETTINGS, t.state.State(), t.state.never)\nassert trained.engine == 'native'\n"
        "two_sample(t.gaussian(500, 0.5, 1), t.gaussian(500, 0, 2), np.ones(500), t.DATA.transform)\n"
        "assert 'torch' in sys.modules\nprint('torch._dynamo' in sys.modules, 'scipy.stats' in sys.modules)"
    )
    script = [sys.executable, "-c", f"import sys\n{code}"]
    assert (
        subprocess.run(script, capture_output=True, text=True, cwd=tmp_path, check=True).stdout.split() == ["False"] * 2
    )


def test_no_eval_and_no_pickle() -> None:
    """User text is never evaluated, and no file is unpickled; `exec` runs the user's own physics.py and nothing else."""
    calls = []
    for path in (ROOT / "needle_parsl").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("eval", "exec"):
                calls.append(path.name)
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = [a.name for a in node.names] + [getattr(node, "module", "") or ""]
                # A process and its own child, which have the same user and code, may speak in pickles; weights alone are read by torch, which raises its error.
                assert not {"pickle", "dill", "cloudpickle", "joblib"} & set(names) or path.name in (
                    "user_process.py",
                    "initial.py",
                ), path
    assert calls == ["refs.py"]


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


@pytest.mark.parametrize(
    ("task", "without"),
    [
        ("events", {"torch", "iminuit", "scipy.stats", "matplotlib"}),
        ("training", {"iminuit", "scipy.stats", "matplotlib"}),
        ("estimators", {"iminuit", "scipy.stats", "matplotlib"}),
        ("fits", {"torch", "matplotlib"}),
        ("toys", {"torch", "matplotlib"}),
    ],
)
def test_a_task_loads_no_library_that_only_others_need(task: str, without: set[str], tmp_path: Path) -> None:
    """Each takes a worker a second or more, and memory, before its first task."""
    code = f"import needle_parsl.tasks.{task}"
    assert not loaded_by(f"{code}\nprint(*sys.modules)", tmp_path) & without
