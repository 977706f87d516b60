from __future__ import annotations

import os
from pathlib import Path

import pytest

from needle_parsl import files, rundir
from needle_parsl.errors import InputError, TaskError


def test_a_file_has_its_name_only_if_all_went_well(tmp_path: Path) -> None:
    def fails(path: Path) -> None:
        with files.atomic(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    (tmp_path / "a").write_text("old")
    with pytest.raises(RuntimeError):
        fails(tmp_path / "a")
    assert (tmp_path / "a").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    for content in ("first", "second"):
        with files.atomic(tmp_path / "f") as temporary:
            temporary.mkdir()
            (temporary / content).write_text(content)
    assert [p.name for p in (tmp_path / "f").iterdir()] == ["second"]
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_digest_sees_content_and_names(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text("1")
    assert files.digest(tmp_path / "a") == files.digest(tmp_path / "b")
    (tmp_path / "b" / "x").rename(tmp_path / "b" / "y")
    assert files.digest(tmp_path / "a") != files.digest(tmp_path / "b")


def test_run_directory_is_private_and_refuses_other_peoples_files(tmp_path: Path) -> None:
    rundir.create(tmp_path / "run")
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    with pytest.raises(InputError, match="no needle run"):
        rundir.check(tmp_path / "other")
    with pytest.raises(InputError, match="is a file"):
        rundir.check(tmp_path / "other" / "thesis.tex")
    rundir.check(tmp_path / "new")


def test_shared_run_directory_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        rundir.create(tmp_path / "run", shared=True)
    finally:
        os.umask(before)
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o750


def test_json_never_holds_what_other_readers_refuse(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"a\.json: fit\.1\.x is nan; no file was written"):
        files.write_json(tmp_path / "a.json", {"fit": [1, {"x": float("nan")}]})
    assert not list(tmp_path.iterdir())
