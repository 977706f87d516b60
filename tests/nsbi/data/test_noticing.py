"""What has changed is noticed: input files whose size and time are as before, and all that the user's code is made of."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from needle_parsl import stamps
from needle_parsl.nsbi.data import files, own_code, sample_look
from needle_parsl.nsbi.data.events import Fractions
from needle_parsl.nsbi.data.recipes import Recipe
from needle_parsl.nsbi.programs import inspect_inputs


def aged(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an hour go by."""
    later = time.time_ns() + 3_600 * 10**9
    monkeypatch.setattr(stamps.time, "time_ns", lambda: later)
    assert path.exists()


@pytest.mark.parametrize("how", ["written", "renamed", "copied back"])
def test_other_content_of_the_same_size_and_time(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"a" * 1000)
    before = path.stat()
    aged(path, monkeypatch)
    known = {str(path): vars(files.states([str(path)], {})[str(path)])}
    assert vars(files.states([str(path)], known)[str(path)]) == known[str(path)]
    new = tmp_path / "b"
    new.write_bytes(b"b" * 1000)
    os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
    if how == "renamed":
        new.replace(path)
    else:
        path.write_bytes(new.read_bytes())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert files.states([str(path)], known)[str(path)].digest != known[str(path)]["digest"]  # type: ignore[union-attr]


def test_a_file_younger_than_the_look_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.write_text("x")
    assert stamps.of(path.stat()) != stamps.of(path.stat())
    aged(path, monkeypatch)
    assert stamps.of(path.stat()) == stamps.of(path.stat())


PHYSICS = """import json, pathlib, sys
import numpy as np
HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "src"))
from ana_of_mine.cfg import SHIFT
NORM = json.loads((HERE / "sf.json").read_text())["norm"]
def signal(generator, events):
    with open(HERE / "late.txt") as file:
        SCALE = float(file.read())
    (HERE / "written.txt").write_text("x")
    (HERE / "written.txt").read_text()
    return {"x1": generator.normal(SHIFT, SCALE, events), "weight": np.full(events, NORM / events)}
"""


def test_what_the_users_code_is_made_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    for folder in ("run", "src/ana_of_mine"):
        (tmp_path / folder).mkdir(parents=True)
    for name, text in {
        "src/ana_of_mine/__init__.py": "", "src/ana_of_mine/cfg.py": "SHIFT = 0.8\n", "run/sf.json": '{"norm": 80}', "run/late.txt": "1.0", "run/named.h5": "h",
    }.items():  # fmt: skip
        (tmp_path / name).write_text(text)
        os.utime(tmp_path / name)
    time.sleep(0.01)
    recipe = Recipe(sample="s", features=("x1",), weight="weight", selections=(), id=())
    item = sample_look.Look(recipe=recipe, files=(), tree="", generate="physics.py:signal", events=10_000)

    def look() -> dict[str, str]:
        for name in [name for name in sys.modules if name.startswith(("ana_of_mine", "physics_"))]:
            del sys.modules[name]
        found = inspect_inputs.look(
            [item], (PHYSICS, str(tmp_path / "run" / "physics.py")), Fractions(0.6, 0.2, 0.2, 1), 10, resources=(str(tmp_path / "run" / "named.h5"),)
        )  # fmt: skip
        assert found["problems"] == []
        assert len(found["notes"]) == 2, found["notes"]
        return {str(Path(path).relative_to(tmp_path)): digest for path, digest in found["code"].items()}

    first = look()
    assert set(first) == {
        "src/ana_of_mine/__init__.py",
        "src/ana_of_mine/cfg.py",
        "run/sf.json",
        "run/late.txt",
        "run/named.h5",
    }
    for name in ("src/ana_of_mine/cfg.py", "run/sf.json", "run/late.txt", "run/named.h5"):
        kept = (tmp_path / name).read_text()
        (tmp_path / name).write_text(
            {"cfg.py": "SHIFT = 2.8\n", "sf.json": '{"norm": 160}'}.get(Path(name).name, "2.5")
        )
        time.sleep(0.01)
        assert {path for path, digest in look().items() if digest != first[path]} == {name}
        (tmp_path / name).write_text(kept)
        time.sleep(0.01)


def test_installed_packages_are_not_the_users() -> None:
    import json

    import numpy as np

    for path in (
        json.__file__,
        np.__file__,
        own_code.__file__,
        "<string>",
        "",
        "/opt/x/lib/python3.11/dist-packages/a.py",
    ):
        assert not own_code.own(str(path))
    assert own_code.own("/home/me/ana/src/ana/cfg.py")


LOADED = """import importlib.util, pathlib, runpy
HERE = pathlib.Path(__file__).parent
exec((HERE / "cuts.py").read_text())
SPEC = importlib.util.spec_from_file_location("other", HERE / "other.py")
SPEC.loader.exec_module(importlib.util.module_from_spec(SPEC))
runpy.run_path(str(HERE / "third.py"))
WEIGHTS = (HERE / "net.pth").read_bytes()
def signal(generator, events):
    return {"x1": generator.normal(0, 1, events), "weight": generator.uniform(1, 2, events)}
"""


def test_code_and_weights_that_are_read_as_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    names = {"cuts.py", "other.py", "third.py", "net.pth"}
    for name in names:
        (tmp_path / name).write_text("X = 1")
    time.sleep(0.01)
    item = sample_look.Look(
        recipe=Recipe(sample="s", features=("x1",), weight="weight", selections=(), id=()),
        files=(),
        tree="",
        generate="physics.py:signal",
        events=10_000,
    )
    for _ in range(2):  # from sources, then from compiled files
        found = inspect_inputs.look([item], (LOADED, str(tmp_path / "physics.py")), Fractions(0.6, 0.2, 0.2, 1), 10)
        assert {Path(path).name for path in found["code"]} == names
        for name in [name for name in sys.modules if name.startswith("physics_")]:
            del sys.modules[name]


def test_a_cache_that_a_library_reads_as_it_is_imported_is_not_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / "site-packages"
    library.mkdir()
    (library / "library_of_others.py").write_text(
        "from pathlib import Path\n"
        f"Path({str(tmp_path / 'fonts.json')!r}).read_text()\n"
        "def load(path):\n    return Path(path).read_text()\n"
    )
    for name in ("fonts.json", "cuts.json"):
        (tmp_path / name).write_text("{}")
    monkeypatch.syspath_prepend(library)
    time.sleep(0.01)
    text = f"import library_of_others\nlibrary_of_others.load({str(tmp_path / 'cuts.json')!r})\n"
    with own_code.watching() as opened:
        exec(compile(text, str(tmp_path / "physics.py"), "exec"), {})
    assert opened == {str(tmp_path / "cuts.json")}
