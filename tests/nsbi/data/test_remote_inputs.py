"""Inputs by address, against a server of our own: ranges, patterns, failures that pass, copies, and what is missing."""

from __future__ import annotations

import builtins
import re
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import uproot
from pyarrow import csv, parquet

from needle_parsl.errors import InputError
from needle_parsl.nsbi.data import readers, sample_look
from needle_parsl.nsbi.data.conversion import convert
from needle_parsl.nsbi.data.events import Fractions
from needle_parsl.nsbi.data.gathering import gather
from needle_parsl.nsbi.data.readers import source
from needle_parsl.nsbi.data.recipes import FileRange, InputFile, Recipe
from needle_parsl.nsbi.programs import inspect_inputs

COLUMNS = {"x": np.linspace(0, 1, 5000), "w": np.ones(5000), "event": np.arange(5000)}


class Server:
    """A web server with ranges, whose next answers may fail."""

    def __init__(self, folder: Path) -> None:  # noqa: C901  the methods of its handler count as its own
        self.failures, self.asked = 0, Counter[str]()
        served = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                """Stay quiet."""

            def do_HEAD(self) -> None:
                self.do_GET()

            def do_GET(self) -> None:
                served.asked[self.command] += 1
                path = folder / self.path.lstrip("/")
                if served.failures and self.command == "GET":
                    served.failures -= 1
                    self.send_error(503)
                    return
                if path.is_dir():
                    body = "".join(f'<a href="{p.name}">{p.name}</a>' for p in sorted(path.iterdir())).encode()
                    self.answer(200, body, {"Content-Type": "text/html"})
                elif not path.is_file():
                    self.send_error(404)
                else:
                    self.send_file(path)

            def send_file(self, path: Path) -> None:
                data = path.read_bytes()
                headers = {"Accept-Ranges": "bytes", "ETag": f'"{path.stat().st_mtime_ns}"'}
                if found := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
                    first, last = int(found[1]), min(int(found[2] or len(data)), len(data) - 1)
                    headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
                    self.answer(206, data[first : last + 1], headers)
                else:
                    self.answer(200, data, headers)

            def answer(self, code: int, body: bytes, headers: dict[str, str]) -> None:
                self.send_response(code)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    folder = tmp_path / "served"
    folder.mkdir()
    for number, rows in enumerate((slice(0, 3000), slice(3000, 5000))):
        part = {name: column[rows] for name, column in COLUMNS.items()}
        with uproot.recreate(folder / f"part{number}.root") as file:
            file.mktree("events", {k: v.dtype for k, v in part.items()})
            file["events"].extend(part)
    parquet.write_table(pa.table(COLUMNS), folder / "all.parquet")
    csv.write_csv(pa.table(COLUMNS), folder / "all.csv")
    monkeypatch.setattr(source, "PAUSES", (0.01, 0.01, 0.01))
    monkeypatch.delenv(source.CACHE, raising=False)
    found = Server(folder)
    yield found
    found.http.shutdown()
    found.http.server_close()


RECIPE = Recipe(sample="s", features=("x",), weight="w", selections=(), id=("event",))


def numbers(url: str) -> list[int]:
    return [int(i) for i in convert(FileRange(InputFile(path=url, tree="", label="")), RECIPE).id]


@pytest.mark.parametrize("name", ["part0.root", "all.parquet", "all.csv"])
def test_remote_file_is_like_a_local_one(server: Server, tmp_path: Path, name: str) -> None:
    assert numbers(f"{server.url}/{name}") == numbers(str(tmp_path / "served" / name))


def test_pattern_is_expanded_by_the_server(server: Server) -> None:
    assert source.expand(f"{server.url}/part*.root") == [f"{server.url}/part{i}.root" for i in (0, 1)]
    with pytest.raises(InputError, match="no file matches"):
        source.expand(f"{server.url}/nothing*.root")


def test_failures_pass_or_are_told(server: Server) -> None:
    server.failures = 2
    assert len(numbers(f"{server.url}/part0.root")) == 3000
    server.failures = 10**6
    with pytest.raises(InputError, match=r"part0.root.*(cannot be read|no readable).*503"):
        numbers(f"{server.url}/part0.root")


def test_missing_file(server: Server) -> None:
    with pytest.raises(InputError, match=r"nothing.root: no such file"):
        readers.open_file(f"{server.url}/nothing.root")


def test_copies_are_kept_and_renewed(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(source.CACHE, str(tmp_path / "cache"))
    first = numbers(f"{server.url}/part0.root")
    asked = server.asked["GET"]
    assert numbers(f"{server.url}/part0.root") == first
    assert server.asked["GET"] == asked  # only its state was asked for
    (tmp_path / "served" / "part1.root").replace(tmp_path / "served" / "part0.root")
    assert len(numbers(f"{server.url}/part0.root")) == 2000


def test_look_and_read_notice_a_replaced_file(server: Server, tmp_path: Path) -> None:
    url = f"{server.url}/part*.root"
    item = sample_look.Look(recipe=RECIPE, files=(url,), tree="", generate="", events=0)
    found = inspect_inputs.look([item], ("", ""), Fractions(0.6, 0.2, 0.2, 1), 100)
    assert found["problems"] == []
    assert list(found["samples"]["s"]) == [f"{server.url}/part{i}.root" for i in (0, 1)]
    state = found["files"][f"{server.url}/part0.root"]
    piece = FileRange(
        InputFile(path=f"{server.url}/part0.root", tree="", label=state["digest"], stamp=tuple(state["stamp"]))
    )
    assert len(gather([piece], RECIPE).events) == 3000
    (tmp_path / "served" / "part1.root").replace(tmp_path / "served" / "part0.root")
    with pytest.raises(InputError, match="has changed since it was looked at"):
        gather([piece], RECIPE)


def test_missing_extra_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    original: Any = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "fsspec":
            raise ImportError(name)
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r'needs more packages; pip install "needle-parsl\[urls\]"'):
        readers.open_file("https://host/a.root")
    with pytest.raises(InputError, match=r"needle-parsl\[xrootd\]"):
        readers.open_file("root://host/a.root")


def test_unknown_protocol() -> None:
    with pytest.raises(InputError, match='"gopher://" is no protocol'):
        readers.open_file("gopher://host/a.root")
