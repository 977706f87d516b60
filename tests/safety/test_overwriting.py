"""Nothing of the user's is overwritten, unless they say so; an input never is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import planting
import pyarrow as pa
import pytest
from pyarrow import parquet

from needle_parsl import rundir
from needle_parsl.errors import InputError
from needle_parsl.workflow import export, overwrite

Needle = Callable[..., Any]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A run with two inputs, one of which is remote."""
    root = planting.run(tmp_path)
    parquet.write_table(pa.table({"x1": [1.0], "precious": [7.0]}), tmp_path / "signal.parquet")
    state = json.loads((root / "run.json").read_text())
    state["inputs"] = {"files": {str(tmp_path / "signal.parquet"): {}, "https://h/b.h5": {}}}
    (root / "run.json").write_text(json.dumps(state))
    return root


def test_evaluate_keeps_inputs_and_files_of_others(root: Path, tmp_path: Path, inside: Needle) -> None:
    new = planting.events(tmp_path)
    (tmp_path / "other.parquet").write_text("a letter")
    (tmp_path / "link.parquet").symlink_to(new)
    kept = {path: path.read_bytes() for path in (new, tmp_path / "signal.parquet", tmp_path / "other.parquet")}
    for output, force, words in (
        ("new.parquet", [], "is an input, and would be lost"),
        ("./new.parquet", ["--force"], "is an input, and would be lost"),
        ("link.parquet", ["--force"], "is an input, and would be lost"),
        ("signal.parquet", ["--force"], "is an input, and would be lost"),
        ("other.parquet", [], "is there, and needle did not write it"),
        ("run/packs/x.parquet", ["--force"], "lies in the run directory"),
        ("run/../run/x.parquet", [], "lies in the run directory"),
    ):
        ended = inside("evaluate", root, "--events", "new.parquet", "-o", output, *force)
        assert (ended.code, words in ended.err) == (2, True), ended
    assert kept == {path: path.read_bytes() for path in kept}


def test_what_needle_has_written_is_replaced(root: Path, tmp_path: Path) -> None:
    parquet.write_table(pa.table({"a": [1]}), tmp_path / "ours.parquet")
    overwrite.note(tmp_path, [tmp_path / "ours.parquet"])
    (tmp_path / "theirs.parquet").write_text("x")
    overwrite.refuse(tmp_path / "ours.parquet", [], root, force=False)
    with pytest.raises(InputError, match="needle did not write it"):
        overwrite.refuse(tmp_path / "theirs.parquet", [], root, force=False)
    overwrite.refuse(tmp_path / "theirs.parquet", [], root, force=True)
    overwrite.refuse(tmp_path / "none.parquet", overwrite.inputs(root), root, force=False)


def test_exports(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "to"
    folder.mkdir()
    (folder / "all.h5").write_text("mine")
    with pytest.raises(InputError, match=r"has all\.h5 already, and needle did not write it"):
        overwrite.into(folder, ["all.h5"], root, force=False)
    overwrite.into(folder, ["all.h5"], root, force=True)
    overwrite.note(folder, [folder / "all.h5"])
    overwrite.into(folder, ["all.h5", "new.h5"], root, force=False)
    (folder / "all.h5").write_text("changed by somebody")
    with pytest.raises(InputError, match="needle did not write it"):
        overwrite.into(folder, ["all.h5"], root, force=False)
    with pytest.raises(InputError, match="is an input"):
        overwrite.into(tmp_path, ["signal.parquet"], root, force=True)
    with pytest.raises(InputError, match="lies in the run directory"):
        overwrite.into(root / "estimators", ["all.h5"], root, force=True)


@pytest.mark.parametrize("thing", ["file", *planting.THINGS])
def test_exports_go_to_a_folder(thing: str, root: Path, tmp_path: Path) -> None:
    planting.put(tmp_path / "to", thing)
    with pytest.raises(InputError, match=f"--to .*/to: is a {thing} in the place of a folder; choose another folder"):
        overwrite.into(tmp_path / "to", ["all.h5"], root, force=True)


@pytest.mark.parametrize("how", ["named", "above", "linked"])
def test_nothing_but_files_of_the_run_is_exported(how: str, root: Path, tmp_path: Path) -> None:
    """What a run names or links may be a secret of whoever exports it."""
    (tmp_path / "secret").write_text("key")
    file = {"named": str(tmp_path / "secret"), "above": "../secret", "linked": "estimators/all.onnx"}[how]
    if how == "linked":
        (root / file).symlink_to(tmp_path / "secret")
    note = {"file": file, "exported": True, "reason": "", "digest": "", "bytes": 3, "largest_difference": 0.0}
    (root / "estimators" / "all.json").write_text(json.dumps(note))
    with pytest.raises(InputError, match="is no file of this run"):
        export.write(root, tmp_path / "to", ["onnx"])
    assert list((tmp_path / "to").iterdir()) == []


def test_init_keeps_what_is_there(tmp_path: Path, inside: Needle) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "analysis.toml").write_text("mine")
    for arguments in (("--from", "gaussian"), ("--data", planting.events(tmp_path))):
        ended = inside("init", tmp_path / "a", *arguments)
        assert ended.code == 2
        assert "is not overwritten" in ended.err
    assert (tmp_path / "a" / "analysis.toml").read_text() == "mine"


@pytest.mark.parametrize("name", ["run.json", "ledger.jsonl", "driver.json"])
def test_a_folder_with_a_file_of_another_program_is_no_run(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text('{"status": "done", "host": "h", "key": 1}')
    rundir.check(planting.run(tmp_path / "own"))
    (tmp_path / "report").mkdir()
    with pytest.raises(InputError, match="holds files that are no needle run"):
        rundir.check(tmp_path)


def test_temporary_files_of_the_users_stay(tmp_path: Path) -> None:
    own = [".draft.tmp", ".git/.x.0123abcd.tmp", ".a.b.tmp"]
    for name in (*own, "packs/.x.h5.0123abcd.tmp", "generated/.x.root.77.tmp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    rundir.sweep(tmp_path)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.tmp")) == sorted(own)


def test_ratios_to_which_the_user_has_added_a_column_are_kept(root: Path, tmp_path: Path, inside: Needle) -> None:
    planting.events(tmp_path)
    for _ in range(2):  # what needle has written is replaced
        assert inside("evaluate", root, "--events", "new.parquet", "-o", "out.parquet").code == 0
    table = parquet.read_table(tmp_path / "out.parquet")
    parquet.write_table(table.append_column("mine", table["row"]), tmp_path / "out.parquet")
    ended = inside("evaluate", root, "--events", "new.parquet", "-o", "out.parquet")
    assert (ended.code, "needle did not write it" in ended.err) == (2, True), ended
    assert "mine" in parquet.read_schema(tmp_path / "out.parquet").names
