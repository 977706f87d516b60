"""The house keeps its promises: what is imported where, and what a wheel holds."""

from __future__ import annotations

import ast
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
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
    found = loaded_by("from needle_parsl.workflow import flow, executors, running\nimport parsl", tmp_path)
    assert not found & {"torch", "uproot", "h5py", "lightning"}


def test_no_eval_and_no_pickle() -> None:
    """User text is never evaluated, and nothing is unpickled; `exec` runs the user's own physics.py and nothing else."""
    calls = []
    for path in (ROOT / "needle_parsl").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("eval", "exec"):
                calls.append(path.name)
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = [a.name for a in node.names] + [getattr(node, "module", "") or ""]
                assert not {"pickle", "dill", "cloudpickle", "joblib"} & set(names), path
    assert calls == ["refs.py"]


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
