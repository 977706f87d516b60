"""`needle serve` and `needle models`, as users call them."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from serving.conftest import Published

Needle = Callable[..., Any]


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], 60)
    return process.stdout.readline() if ready else ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_ends_cleanly(published: Published, tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "needle_parsl", "serve", str(published.folder), "--builtin"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert first_line(process) == "the built-in server serves gaussian 1/2, hits 1\n"
            found = json.loads((tmp_path / "endpoint.json").read_text())
            assert (found["server"], found["token"]) == ("built-in", "")
            second = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
            assert second.returncode == 2
            assert re.fullmatch(
                r"endpoint.json: a server runs already \(process \d+\); end it, or choose another --endpoint\n",
                second.stderr,
            )
            process.send_signal(number)
            _, said = process.communicate(timeout=40)
        finally:
            process.kill()
    assert (process.returncode, said) == (0, "the server has ended\n")
    assert not (tmp_path / "endpoint.json").exists()
    assert not Path(found["grpc"].removeprefix("unix:")).exists()
    assert (tmp_path / "endpoint.log").exists()
    with pytest.raises(ProcessLookupError):
        os.kill(found["pid"], 0)


def test_a_server_that_dies_is_said(published: Published, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "needle_parsl", "serve", str(published.folder), "--builtin", "--json"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert first_line(process)
            os.kill(json.loads((tmp_path / "endpoint.json").read_text())["pid"], signal.SIGTERM)
            _, said = process.communicate(timeout=40)
        finally:
            process.kill()
    assert process.returncode == 1
    assert said.startswith("the built-in server has ended: ")


def test_bad_input_is_a_sentence(published: Published, needle: Needle, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for arguments, message in (
            (("serve",), "DIR: name a model repository"),
            (("serve", tmp_path), f"{tmp_path}: holds no model of needle's"),
            (("serve", tmp_path / "none"), "is no folder of models"),
            (("serve", published.folder, "--tritonserver", "/nowhere"), "--tritonserver /nowhere: is no program"),
            (("serve", published.folder, "--port", "8000"), "--port 8000: is of an address; say --host 127.0.0.1, too"),
            (
                ("serve", published.folder, "--builtin", "--host", "0.0.0.0"),
                "--host 0.0.0.0: would listen to everybody",
            ),
            (
                ("serve", published.folder, "--builtin", "--host", "127.0.0.1", "--port", str(port)),
                f"port {port} of 127.0.0.1 cannot be had",
            ),
            (("models", published.folder, "--use", "gausian=1"), 'has no model "gausian"; did you mean "gaussian"?'),
            (("models", published.folder, "--use", "gaussian=9"), "has no version 9; there are 1, 2"),
        ):
            ended = needle(*arguments)
            assert ended.code == 2, (arguments, ended.err)
            assert message in ended.err
            assert len(ended.err.splitlines()) == 1, ended.err


def test_models_are_listed(published: Published, needle: Needle) -> None:
    ended = needle("models", published.folder)
    assert ended.code == 0, ended.err
    lines = [line.split() for line in ended.out.splitlines()]
    assert [(line[0], line[1], line[-1]) for line in lines] == [
        ("gaussian", "1", "/runs/0"),
        ("gaussian", "2", "latest"),
        ("hits", "1", "latest"),
    ]
    found = needle("models", published.folder, "--json").json()["models"]
    assert found[1]["ratios"] == {"signal": 5, "signal.jes.up": 1}
    assert 0 < found[1]["parity"]["largest_difference"] < 1e-5


def test_a_server_that_cannot_be_fetched_is_said(needle: Needle, tmp_path: Path) -> None:
    ended = needle("serve", "--fetch", env={"XDG_CACHE_HOME": str(tmp_path / "cache"), "PIP_NO_INDEX": "1"})
    assert ended.code == 1
    assert "nvidia-pytriton==0.7.0 cannot be fetched: " in ended.err
    assert not list((tmp_path / "cache" / "needle").iterdir())
