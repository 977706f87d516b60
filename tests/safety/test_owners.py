"""What needle keeps is the user's alone: anything else is refused, and what is made is private."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import planting
import pytest

from needle_parsl import files, ownership, refs, rundir
from needle_parsl.cli import drivers, preparation
from needle_parsl.errors import InputError
from needle_parsl.nsbi.data.readers import source
from needle_parsl.site import NodeShape, Site
from needle_parsl.workflow import driver, lock, worker

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user: needs root")
NOBODY = 65534


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@as_root
@pytest.mark.parametrize("how", ["planted", "link", "empty"])
def test_a_run_directory_of_somebody_else_is_refused(how: str, tmp_path: Path) -> None:
    root, real = tmp_path / "run", tmp_path / "real"
    (real if how == "link" else root).mkdir(mode=0o777)
    if how == "planted":
        (root / "run.json").write_text("{}")
    if how == "link":
        root.symlink_to(real)
    os.chown(root, NOBODY, NOBODY, follow_symlinks=how != "link")
    for act in (rundir.check, rundir.create):
        with pytest.raises(InputError, match="choose another --out"):
            act(root)
    assert not (root / "logs").exists()


@pytest.mark.parametrize("open_to", [0o777, 0o770, 0o702])
def test_a_run_directory_that_others_may_write_to_is_refused(open_to: int, tmp_path: Path) -> None:
    root = planting.run(tmp_path)
    root.chmod(open_to)
    with pytest.raises(InputError, match=f"may be written to by others \\(mode {open_to:04o}\\)"):
        rundir.check(root)
    rundir.check(root, shared=True)
    assert "others may read" in Site(description="s", shared=True).notes()[0]


@pytest.mark.parametrize("how", ["somebody else's", "open", "link", "pipe", "in the place of a folder"])
def test_what_run_refuses_can_be_read(how: str, tmp_path: Path, inside: Callable[..., Any]) -> None:
    """As SECURITY.md says: the commands that only read a run do so, and leave it as it is."""
    root = planting.reported(tmp_path)
    (tmp_path / "analysis.toml").write_text(planting.ANALYSIS.format(top="", features="", training=""))
    events = planting.events(tmp_path)
    for name in ("signal", "background"):
        shutil.copy(events, tmp_path / f"{name}.parquet")
    if how == "somebody else's" and os.geteuid() != 0:
        pytest.skip("gives files to another user: needs root")
    if how == "somebody else's":
        os.chown(root, NOBODY, NOBODY)
    elif how == "open":
        root.chmod(0o777)
    elif how == "link":
        (root / "report").rename(tmp_path / "elsewhere")
        (root / "report").symlink_to(tmp_path / "elsewhere")
    else:
        os.mkfifo(root / ("ledger.jsonl" if how == "pipe" else "events"))
    before = {path: (path.lstat().st_mtime_ns, path.lstat().st_mode) for path in (root, *root.rglob("*"))}
    for command in ("plan", "run"):
        assert inside(command, "analysis.toml", "--out", root).code == 2
    assert inside("status", root).out.startswith("planted: done; all 16 checks pass")
    assert inside("report", root).out.startswith("all 16 checks pass")
    assert inside("logs", root).out == "a word\n"
    assert "has no estimators yet" in inside("export", root).err  # it was looked at, and nothing else was wrong
    assert inside("evaluate", root, "--events", events, "-o", "out.parquet").code == 0
    assert before == {path: (path.lstat().st_mtime_ns, path.lstat().st_mode) for path in (root, *root.rglob("*"))}


def test_refused_by_every_command_that_goes_on_in_it(
    tmp_path: Path, small_inputs: Path, inside: Callable[..., Any]
) -> None:
    root = planting.run(tmp_path)
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    root.chmod(0o777)
    for command in ("run", "plan"):
        ended = inside(command, small_inputs, "--out", root)
        assert ended.code == 2
        assert "may be written to by others" in ended.err
    assert before == {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("umask", [0, 0o002, 0o022, 0o077])
def test_private_whatever_the_umask(umask: int, tmp_path: Path) -> None:
    with ownership.under(umask):
        rundir.create(tmp_path / "run")
        ownership.private(tmp_path / "a" / "b")
        with ownership.under(ownership.PRIVATE):
            shutil.rmtree(tmp_path / "run")
            files.write_text(tmp_path / "run" / "fits" / "x.json", "{}")
        files.write_text(tmp_path / "o.json", "{}")
    assert {mode(tmp_path / name) for name in ("run", "run/fits", "a", "a/b")} == {0o700}
    assert mode(tmp_path / "run/fits/x.json") == 0o600
    assert mode(tmp_path / "o.json") == 0o666 & ~umask  # what the user asked for is theirs to show


@pytest.mark.parametrize(("kept", "made"), [(0o700, 0o600), (None, 0o600), (0o750, 0o644)])
def test_a_worker_keeps_what_its_run_directory_is(kept: int | None, made: int, tmp_path: Path) -> None:
    root = tmp_path / "run"
    if kept is not None:
        root.mkdir(mode=kept)
    with ownership.under(0o022):
        worker._keep_private(root)
        files.write_text(root / "f", "")
    assert mode(root / "f") == made


@as_root
def test_caches_of_somebody_else_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    from needle_parsl.nsbi import compilation

    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    place = compilation.folder(Path(compilation.__file__).parent)
    with ownership.under(0):
        assert compilation._writable(place)
    assert mode(place) == 0o700
    for change in (lambda: place.chmod(0o770), lambda: (place.chmod(0o700), os.chown(place, NOBODY, NOBODY))):
        change()
        with pytest.warns(UserWarning, match="compiled code is not kept"):
            assert not compilation._writable(place)
    copies = tmp_path / "copies"
    copies.mkdir()
    os.chown(copies, NOBODY, NOBODY)
    monkeypatch.setattr(source, "digest", lambda _: "0")
    with pytest.raises(InputError, match="set NEEDLE_CACHE"):
        source._copied("http://127.0.0.1/x.h5", str(copies))


@as_root
def test_bytecode_of_somebody_else_is_not_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    cache = tmp_path / "__pycache__"
    cache.mkdir(mode=0o755)
    refs._reach(str(tmp_path / "physics.py"))
    sys.path.remove(str(tmp_path))
    os.chown(cache, NOBODY, NOBODY)
    with pytest.raises(InputError, match="belongs to somebody else"):
        refs._reach(str(tmp_path / "physics.py"))
    os.chown(cache, 0, 0)
    cache.chmod(0o777)
    with pytest.raises(InputError, match="may be written to by others"):
        refs._reach(str(tmp_path / "physics.py"))
    tmp_path.chmod(0o777)  # then the code itself is as open
    refs._reach(str(tmp_path / "physics.py"))


def test_a_folder_of_temporary_files_that_others_empty_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o777)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(InputError, match="set TMPDIR"), ownership.temporary():
        pass
    tmp_path.chmod(0o1777)
    with ownership.temporary() as folder:
        assert mode(folder) == 0o700


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / "lock").symlink_to(precious)
    with pytest.raises(InputError, match="cannot be written to"), lock.held(tmp_path):
        pass
    assert precious.read_text() == "mine"
    assert json.dumps(lock.holder(tmp_path)) == "null"


@pytest.mark.parametrize("thing", planting.THINGS)
@pytest.mark.parametrize("name", ["ledger.jsonl", "lock", "logs/driver.log", "events/signal.h5", "packs/states/a/0.h5"])
def test_what_is_no_file_is_refused_in_a_run_directory_and_not_waited_for(
    name: str, thing: str, tmp_path: Path
) -> None:
    root = planting.run(tmp_path)
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    planting.put(root / name, thing)
    with pytest.raises(InputError, match=rf"{root / name}: is a {thing}, and no file; remove it"):
        rundir.check(root)


@pytest.mark.parametrize("thing", ["file", *planting.THINGS])
@pytest.mark.parametrize("name", sorted(rundir.FOLDERS - {".", "estimators"}))
def test_what_stands_in_the_place_of_a_folder_of_a_run_is_refused(
    name: str, thing: str, tmp_path: Path, inside: Callable[..., Any]
) -> None:
    (tmp_path / "analysis.toml").write_text(planting.ANALYSIS.format(top="", features="", training=""))
    for file in ("signal.parquet", "background.parquet"):
        shutil.copy(planting.events(tmp_path), tmp_path / file)
    root = planting.run(tmp_path)
    (root / name).parent.mkdir(exist_ok=True)
    planting.put(root / name, thing)
    for command in ("plan", "run"):
        ended = inside(command, "analysis.toml", "--out", root)
        assert (ended.code, ended.out) == (2, "")
        assert (
            ended.err == f"{root / name}: is a {thing} in the place of a folder; remove it, or choose another --out\n"
        )


@pytest.mark.parametrize("thing", ["file", *planting.THINGS])
@pytest.mark.parametrize("name", ["estimators/signal", "packs/states/signal.0000", "toys/coverage", "events/parts/a"])
def test_what_stands_in_the_place_of_a_folder_of_an_output_is_refused(name: str, thing: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(parents=True)
    planting.put(tmp_path / name, thing)
    with pytest.raises(InputError, match=rf"{name}: is a {thing} in the place of a folder; remove it"):
        rundir.insist_on_places(tmp_path, ["fits/asimov.json", f"{name}/of/output.h5"])


@pytest.mark.slow
def test_the_places_of_all_tasks_are_looked_at(small_inputs: Path, tmp_path: Path, inside: Callable[..., Any]) -> None:
    root = planting.run(tmp_path)
    shutil.rmtree(root / "estimators" / "signal")
    for name in ("estimators/signal", "packs/states/signal.0000"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("a file")
        ended = inside("plan", small_inputs, "--out", root)
        assert (ended.code, ended.out) == (2, "")
        assert ended.err == f"{root / name}: is a file in the place of a folder; remove it, or choose another --out\n"
        (root / name).unlink()
    assert inside("plan", small_inputs, "--out", root).code == 0


def test_a_pipe_that_is_hidden_is_the_users(tmp_path: Path) -> None:
    root = planting.run(tmp_path)
    (root / ".git").mkdir()
    for name in (".git/fsmonitor", ".mine"):
        os.mkfifo(root / name)
    rundir.check(root)


@pytest.mark.parametrize(
    "name", ["ledger.jsonl", "lock", "logs", "logs/driver.log", "events", "estimators/signal", "packs/states"]
)
def test_a_link_that_leads_out_of_a_run_directory_is_refused(name: str, tmp_path: Path) -> None:
    """An archive of a run that was unpacked belongs to whoever unpacked it, with all its links."""
    root, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    (root / name).parent.mkdir(parents=True)
    elsewhere.mkdir()
    (root / "run.json").write_text('{"status": "done", "tasks": {}, "stages": {}}')
    (root / name).symlink_to(elsewhere / "profile" if "." in name or name == "lock" else elsewhere)
    (elsewhere / "profile").write_text("mine")
    with pytest.raises(InputError, match="is a link, and needle would write where it leads"):
        rundir.check(root)
    (root / name).unlink()
    (root / "kept").mkdir()
    (root / "again").symlink_to("kept")  # within the directory
    rundir.check(root)


def test_what_a_detached_driver_is_told_is_for_its_user_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["needle", "run", "a.toml", "--detach", "--set", "secret=1"])
    monkeypatch.setattr(driver.shutil, "which", lambda name: name)
    monkeypatch.setattr(driver.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0, "77\n", ""))
    before = os.umask(0o022)
    try:
        drivers.detach(
            tmp_path / "run", Site(description="s", scheduler="slurm", driver="job", cpu=NodeShape(walltime="01:00:00"))
        )
    finally:
        os.umask(before)
    for name in ("driver.json", "logs/driver.sh"):
        assert stat.S_IMODE((tmp_path / "run" / name).stat().st_mode) == 0o600, name


def test_verify_reads_all_again(tmp_path: Path, inside: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def prepare(*_: Any, afresh: bool, **__: Any) -> None:
        asked.append(afresh)
        raise InputError("enough")

    monkeypatch.setattr(preparation, "prepare", prepare)
    for command in ("plan", "run"):
        for more in ((), ("--verify",)):
            assert inside(command, tmp_path / "analysis.toml", *more).code == 2
    assert asked == [False, True, False, True]
