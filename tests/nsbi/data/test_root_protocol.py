"""Inputs by root://, from an XRootD server on this machine. Needs `xrootd` (Debian: xrootd-server) and the extra `xrootd`."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import uproot

from needle_parsl.errors import InputError
from needle_parsl.nsbi.data import readers
from needle_parsl.nsbi.data.readers import source

X = np.random.default_rng(1).normal(size=5000)
CONFIGURATION = "all.export /\noss.localroot {0}/data\nall.adminpath {0}/run\nall.pidpath {0}/run\nxrd.port {1}\n"


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Path, str]]:
    """A folder, and the address under which it can be read."""
    program = shutil.which("xrootd")
    if program is None:
        pytest.skip("no xrootd on the PATH")
    pytest.importorskip("fsspec_xrootd")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="xrd"))  # the path of its socket must be short
    folder.chmod(0o755)
    for name in ("data", "run"):
        (folder / name).mkdir(parents=True)
        (folder / name).chmod(0o777)
    (folder / "x.cfg").write_text(CONFIGURATION.format(folder, port))
    user = ["-R", "nobody"] if os.getuid() == 0 else []  # it refuses to serve as root
    started = subprocess.Popen([program, "-c", "x.cfg", "-l", "run/log", *user], cwd=folder)
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield folder / "data", f"root://127.0.0.1:{port}//in/"
    finally:
        started.terminate()
        started.wait()
        shutil.rmtree(folder)


def write(folder: Path, x: np.ndarray) -> None:
    (folder / "in").mkdir(exist_ok=True)
    with uproot.recreate(folder / "in" / "a.root") as file:
        file.mktree("events", {"x": "float64"})
        file["events"].extend({"x": x})


def test_a_file_is_read_found_copied_and_told_from_another(
    server: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, address = server
    write(folder, X)
    for cache in ("", str(tmp_path)):
        monkeypatch.setenv(source.CACHE, cache)
        with readers.open_file(f"{address}a.root") as reader:
            (chunk,) = reader.iterate(["x"], 100, 4000, 5000)
        np.testing.assert_array_equal(chunk["x"], X[100:4000])
    assert source.expand(f"{address}*.root") == [f"{address}a.root"]
    before = source.digest(f"{address}a.root")
    write(folder, X[:4000])
    assert source.digest(f"{address}a.root") != before


def test_missing_file_is_a_sentence(server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "PAUSES", (0.1,))
    with pytest.raises(InputError, match=r"in/b.root: cannot be read: .*; is it there, and may you read it\?"):
        readers.open_file(f"{server[1]}b.root")
