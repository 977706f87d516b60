"""A run directory that is damaged, planted, newer, another analysis', read-only, full, or somebody else's."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest
from frail import PATIENCE, Run, cast, family, make

from needle_parsl.workflow import lock

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system, or becomes another user: needs root")
NOBODY = 65534


def copied(undisturbed: Run, folder: Path) -> Run:
    """A finished run in another place; its analysis moves with it."""
    run = make(folder)
    shutil.copytree(undisturbed.root, run.root)
    return run


def mount(*arguments: str | Path) -> None:
    """Mount something, or skip the test: root in a container often may not."""
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def test_flipped_bits_are_found_said_and_mended(undisturbed: Run, tmp_path: Path) -> None:
    run = copied(undisturbed, tmp_path)
    names = ("events/signal.h5", "packs/@classes.0000.h5", "fits/asimov.json")
    for name in names:
        flip(run.root / name)
    ended = run.finish("local", "--json")
    assert ended.returncode == 0, ended.stderr
    for name in names:
        assert f"{name}: is not what was recorded; it is made again" in ended.stderr
        # HDF5 notes when it wrote a data set, so that equal packs may differ there.
        assert name.endswith(".h5") or (run.root / name).read_bytes() == (undisturbed.root / name).read_bytes()
    assert json.loads(ended.stdout)["done"] == 3


def test_planted_pickles_are_never_opened(undisturbed: Run, tmp_path: Path) -> None:
    run = copied(undisturbed, tmp_path)
    touched = tmp_path / "opened"
    pickled = f"cos\nsystem\n(S'touch {touched}'\ntR.".encode()
    for name in (
        "lock",
        "packs/states/@classes.0000/0.0-4.h5",
        "logs/lost/x.0.json",
        "logs/parsl/000/log_config.pkl",
        "packs/a.pkl",
    ):
        (run.root / name).parent.mkdir(parents=True, exist_ok=True)
        (run.root / name).write_bytes(pickled)
    (run.root / "packs" / "@classes.0000.h5").write_bytes(pickled)
    with (run.root / "ledger.jsonl").open("ab") as file:
        file.write(pickled)
    ended = run.finish("local", "--json")
    assert ended.returncode == 0, ended.stderr
    assert not touched.exists()
    assert run.fits() == undisturbed.fits()


def test_newer_run_is_left_alone(undisturbed: Run, tmp_path: Path) -> None:
    run = copied(undisturbed, tmp_path)
    state = json.loads((run.root / "run.json").read_text())
    (run.root / "run.json").write_text(json.dumps({**state, "schema": 99, "needle": "7.0"}))
    ended = run.finish()
    assert ended.returncode == 2
    assert "was written by needle 7.0, which is newer than this one" in ended.stderr


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_damaged_run_file_costs_nothing(undisturbed: Run, tmp_path: Path, content: str) -> None:
    run = copied(undisturbed, tmp_path)
    (run.root / "run.json").write_text(content)
    assert json.loads(run.finish("local", "--json").stdout)["done"] == 0


@pytest.mark.campaign
def test_changed_configuration_is_explained_and_another_analysis_refused(undisturbed: Run, tmp_path: Path) -> None:
    run = copied(undisturbed, tmp_path)
    assert run.finish("local", "--json").returncode == 0  # moved, with nothing changed
    changed = run.finish("local", "--set", "intervals.level=[0.9]", "--json")
    assert changed.returncode == 0
    assert "analysis.toml: intervals.level: not given -> [0.9]" in changed.stderr
    assert "will be recomputed (overwrites): 3 interval, 1 report" in changed.stderr
    other = make(tmp_path / "other", "training.epochs=9")
    ended = other.finish("local", "--out", str(run.root))
    assert ended.returncode == 2
    assert f"holds the run of another analysis, {run.folder / 'analysis.toml'}" in ended.stderr
    assert "training.epochs: 8 -> 9" in ended.stderr
    assert "would be recomputed (overwrites): 3 train, 3 combine" in ended.stderr
    assert (run.root / "fits" / "scan.json").exists()
    forced = other.finish("local", "--out", str(run.root), "--force", "--until", "convert")
    assert forced.returncode == 0, forced.stderr


def held(run: Run) -> bool:
    """Whether its lock says whose it is, and `run.json` that it goes on."""
    return bool(lock.holder(run.root)) and (run.root / "run.json").exists()


@pytest.mark.campaign
def test_second_run_is_refused_while_the_first_goes_on(frail: Run) -> None:
    first = frail.start("local")
    frail.until(first, held)
    second = frail.finish()
    status = subprocess.run(
        [sys.executable, "-m", "needle_parsl", "status", "frail"], cwd=frail.folder, capture_output=True, text=True, check=True
    )  # fmt: skip
    first.communicate(timeout=PATIENCE)
    assert first.returncode == 0
    assert second.returncode == 2
    assert f"another run is going on here (process {first.pid} on {socket.gethostname()}, since 20" in second.stderr
    assert f"frail: running (process {first.pid} on" in status.stdout


def test_killed_run_is_called_killed(frail: Run) -> None:
    process = frail.start("local")
    frail.until(process, held)
    process.kill()
    process.communicate()
    status = subprocess.run(
        [sys.executable, "-m", "needle_parsl", "status", "frail"], cwd=frail.folder, capture_output=True, text=True, check=True
    )  # fmt: skip
    assert "frail: killed" in status.stdout


@as_root
@pytest.mark.campaign
def test_read_only_mount_is_a_sentence_and_can_be_looked_at(undisturbed: Run, tmp_path: Path) -> None:
    run = copied(undisturbed, tmp_path)
    mount("--bind", run.root, run.root)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", run.root], check=True)
        ended = run.finish("local")
        assert ended.returncode == 2
        assert "runs/frail: cannot be written to (Read-only file system); choose another --out" in ended.stderr
        looked = [sys.executable, "-m", "needle_parsl", "report", "frail", "--json"]
        assert (
            json.loads(subprocess.run(looked, cwd=run.folder, capture_output=True, check=True).stdout)["parameter"]
            == "mu"
        )
    finally:
        subprocess.run(["umount", run.root], check=True)


@as_root
@pytest.mark.campaign
@pytest.mark.parametrize("stage", ["convert", "train", "fit", "report"])
def test_full_disk_is_a_sentence_and_the_next_run_goes_on(undisturbed: Run, tmp_path: Path, stage: str) -> None:
    """The disk fills up as soon as the stage before is done; the file that fills it is then removed."""
    before = {"convert": "generate", "train": "convert", "fit": "evaluate", "report": "fit"}[stage]
    run = make(tmp_path)
    (tmp_path / "runs").mkdir()
    mount("-t", "tmpfs", "-o", "size=64m", "none", tmp_path / "runs")
    try:
        process = run.start("local")
        while before not in {entry["stage"] for entry in run.ledger()} and process.poll() is None:
            time.sleep(0.005)
        with (tmp_path / "runs" / "ballast").open("wb", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(b"x" * 4096)
            except OSError:
                pass  # full, as it should be
        _, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == 1, errors
        assert "no space left on its disk" in errors
        assert "Traceback" not in errors
        (tmp_path / "runs" / "ballast").unlink()
        again = run.finish()
        assert again.returncode == 0, again.stderr
        assert run.fits() == undisturbed.fits()
        assert run.repeated() == []
    finally:
        subprocess.run(["umount", "--lazy", tmp_path / "runs"], check=True)


PROBE = """
import os, pickle, sys, zmq, zmq.auth
user, port, certificates = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
if user:
    os.setgroups([]); os.setgid(user); os.setuid(user)
socket = zmq.Context().socket(zmq.DEALER)
socket.setsockopt(zmq.LINGER, 0)
if certificates:
    public, secret = zmq.auth.load_certificate(f"{certificates[0]}/client.key_secret")
    socket.curve_publickey, socket.curve_secretkey = public, secret
    socket.curve_serverkey, _ = zmq.auth.load_certificate(f"{certificates[0]}/server.key")
socket.connect(f"tcp://127.0.0.1:{port}")
socket.send(pickle.dumps({"type": "connection_probe"}))
print("answered" if socket.poll(2000) else "silent")
"""


@as_root
@pytest.mark.campaign
def test_another_user_neither_reads_the_run_nor_reaches_its_interchange() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        run = make(folder, "training.epochs=5000")
        process = run.start("local-htex")
        try:
            _judge_privacy(run, process)
        finally:
            process.kill()
            process.communicate()


def _judge_privacy(run: Run, process: subprocess.Popen[str]) -> None:
    run.until(process, lambda run: run.ledger() and len(cast(family(process))["worker"]) >= 2)
    listening = [
        (member, connection.laddr)
        for members in cast(family(process)).values()
        for member in members
        for connection in member.net_connections(kind="tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert {address.ip for _, address in listening} <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    (interchange,) = cast(family(process))["interchange"]
    (port,) = [str(address.port) for member, address in listening if member == interchange]
    (certificates,) = run.root.glob("logs/parsl/*/tasks/certificates")

    def ask(user: int, *more: str | Path) -> str:
        asked = [sys.executable, "-c", PROBE, str(user), port, *map(str, more)]
        done = subprocess.run(asked, cwd="/", capture_output=True, text=True, check=False)
        return done.stdout.strip() or done.stderr.strip().splitlines()[-1].split(":")[0]

    assert ask(0, certificates) == "answered"
    assert ask(NOBODY) == "silent"
    assert ask(NOBODY, certificates) in ("PermissionError", "OSError")  # cannot read them
    assert run.root.stat().st_mode & 0o777 == 0o700
