"""Passwords and keys in addresses are read and never written down, and no library tells anybody of a run."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import h5py
import numpy as np
import planting
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from needle_parsl import addresses
from needle_parsl.errors import InputError, Problem, legible
from needle_parsl.nsbi.data.readers import open_file, source

SECRET = "http://alice:S3CRET@{}/b.h5?token=S3CRET&X-Amz-Signature=S3CRET#S3CRET"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("http://a:S3CRET@h/b.h5?t=S3CRET&x=.h5", "http://h/b.h5"),
        ('files = ["https://h/b.h5?sig=S3CRET", "s3://k:S3CRET@bucket/x.root"]', 'files = ["https://h/b.h5", "s3://bucket/x.root"]'),
        ("https://h/b.h5?t=S3CRET: sample b: is damaged", "https://h/b.h5: sample b: is damaged"),
        ("root://u:S3CR'ET@h:1094//eos/x.root: no", "root://h:1094//eos/x.root: no"),
        ("see https://h/d#S3CRET, or mail a@b.c", "see https://h/d, or mail a@b.c"),
        ("http://h/x\n  at http://h:S3CRET@h/y", "http://h/x\n  at http://h/y"),
        ("C:/no/address?x=1", "C:/no/address?x=1"),
        ("https://S3CRET@h/", "https://h/"),
        ("zip://x.root::http://a:S3CRET@h/a.zip?sig=S3CRET", "zip://x.root::http://h/a.zip"),
        ("tar://x::zip://y::s3://k:S3CRET@b/a.zip: no", "tar://x::zip://y::s3://b/a.zip: no"),
        ("HTTPS://u:S3CRET@h/a*.root?S3CRET", "HTTPS://h/a*.root"),
        ("'https://h/a.h5?sig=S3'CRET&x=1' and 'https://h/b.h5'", "'https://h/a.h5' and 'https://h/b.h5'"),
        ("https://h/d;token=S3CRET/a.h5: no", "https://h/d: no"),
        ("https://u:S3C/RET@h/a.h5: no", "https://h/a.h5: no"),
        ("https://u:S3C?RET@h.ch/a.h5", "https://h.ch/a.h5"),
        ("https://u:S3CRET@h.ch/me@cern.ch/a.h5", "https://h.ch/me@cern.ch/a.h5"),
        (r"https:\/\/u:S3CRET@h\/a.h5, and", r"https:\/\/h\/a.h5, and"),
        ("https%3A%2F%2Fu%3AS3CRET%40h%2Fa.h5, and", "https%3A%2F%2Fh%2Fa.h5, and"),
        ("https%3A%2F%2Fh%2Fa.h5%3Ftoken%3DS3CRET and", "https%3A%2F%2Fh%2Fa.h5 and"),
        ("https:%2F%2Fu:S3CRET@h/a.h5", "https%3A%2F%2Fh%2Fa.h5"),
    ],
)  # fmt: skip
def test_addresses_are_shown_without_secrets(text: str, clean: str) -> None:
    assert addresses.shown(text) == clean
    assert str(InputError(text)) == clean
    assert str(Problem(text)) == clean
    assert legible(text) == clean
    assert addresses.cleaned({text: [text, 1]}) == {clean: [clean, 1]}


HOSTS = ("host", "dav.host.ch", "host.ch:8443", "10.0.0.1", "localhost:80", "[::1]:80")
WRITTEN: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "upper case": lambda url: url.replace("https", "HTTPS"),
    "slashes escaped": lambda url: url.replace("/", "\\/"),
    "slashes escaped twice": lambda url: url.replace("/", "\\\\/"),
    "encoded": lambda url: quote(url, safe=""),
    "encoded in small letters": lambda url: (
        quote(url, safe="").replace("%2F", "%2f").replace("%3A", "%3a").replace("%40", "%40")
    ),
    "encoded but the slashes": quote,
    "encoded twice": lambda url: quote(quote(url, safe=""), safe=""),
    "encoded three times": lambda url: quote(quote(quote(url, safe=""), safe=""), safe=""),
    "in JSON": lambda url: json.dumps({"url": url, "mail": "a@b.ch"}),
    "in JSON, escaped": lambda url: json.dumps({"url": url}).replace("/", "\\/"),
    "as Python has it": lambda url: repr({"url": url, "more": [url]}),
    "in the query of another": lambda url: f"https://proxy/get?url={quote(url, safe='')}&x=1",
    "in the path of another": lambda url: f"https://proxy/{quote(url, safe='')}",
    "chained": lambda url: f"zip://a.root::{url}",
    "cached": lambda url: f"simplecache::{url}: is damaged",
    "assigned": lambda url: f"export_URL={url}; echo mail a@b.ch",
    "behind a word": lambda url: f"my_{url}",
    "behind an encoded sign": lambda url: f"redirect%3D{quote(url, safe='')}%26x%3D1",
    "in a sentence": lambda url: f"see {url}, or ({url}), or ask me@host.ch: it works at 12:30.",
}
"""How an address may stand in a text."""
PASSWORDS = st.text("aZ09/?#:@+=&%!$*~,;._-|^()[]{}\\", min_size=1, max_size=12).filter(
    lambda password: not re.search(r":\\*/\\*/|@[\w-]+\.[\w.-]+[/?#\\]", password)
)


@pytest.mark.slow
@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    password=PASSWORDS,
    host=st.sampled_from(HOSTS),
    path=st.sampled_from(["", "/x.h5", "/a/b?t=1#2"]),
    user=st.sampled_from(["u", "key", "me-too_1", "first.last", "me@cern.ch", ""]),
)
@pytest.mark.parametrize("how", WRITTEN)
def test_no_password_is_shown_however_an_address_is_written(
    how: str, user: str, password: str, host: str, path: str
) -> None:
    """Whatever may stand in a password, properly encoded or not; what looks like another address ("://") or server ("@cern.ch/") in one is taken for that."""
    for inner in (f"S3CR{password}ET9", quote(f"S3CR{password}ET9", safe="")):
        clean = addresses.shown(WRITTEN[how](f"https://{user}:{inner}@{host}{path}"))
        assert "S3CR" not in clean, clean
        assert "ET9" not in clean, clean


HARMLESS = [
    "https://host/files/me@cern.ch/x.root", "https://dav.host.ch:8443/me@cern.ch/x.root", "https://host.ch/pkg@v1.2/x", "root://eos.cern.ch:1094//eos/user/a/a@b/x.root",
    "see https://host.ch: or mail a@b.ch", "{'url': 'https://h:80/x', 'mail': 'a@b.ch'}", "{'url':'https://h:80/x','mail':'a@b.ch'}", '{"a":"https://h:80/x","m":"a@b.ch"}',
    "/data/run:1/a@b/x.root", "C:/data/a@b.root", "a@b.ch: wrote to me@host.ch at 12:30", "mail a@b.ch:80/x", "user:group@host is no address", "ratio 3:4 // a comment: x@y",
    "https%3A%2F%2Fhost%2Fx.root", "50%3A50 and 100%2F2", "https://[::1]:80/x@y", "zip://a.root::https://h.ch/a.zip", "http:/one/slash:a@b", "a:b@c", "file:///data/a@b.root",
    '<a href="https://h.ch:80/x">a@b.ch</a>', "physics.py:18: f: KeyError", "s3://bucket/a:b.root", "https://h:8080, and then a@b", "https:\\/\\/host\\/a.root",
]  # fmt: skip


@pytest.mark.parametrize("text", HARMLESS)
def test_what_holds_no_password_stays(text: str) -> None:
    assert addresses.shown(text) == text


@pytest.mark.parametrize(
    "text",
    ["a.b" * 100_000, "https://" * 40_000, "https://a:" * 40_000 + "@", "https://a" + ":a" * 200_000, "%25" * 100_000 + "3A", "https%3A%2F%2F" * 20_000, "a" * 300_000 + "://b", "https:" + "\\" * 200_000],
    ids=lambda text: text[:12],
)  # fmt: skip
def test_long_texts_take_no_time(text: str) -> None:
    began = time.perf_counter()
    addresses.shown(text)
    assert time.perf_counter() - began < 5


def test_what_identifies_a_file_is_kept() -> None:
    same = (
        "https://h/f?id=3&X-Amz-Date=1&X-Amz-Signature=a",
        "https://u:p@h/f?sig=q&id=3",
        "https://h/f?id=3&Expires=7&access_token=z",
    )
    assert len({addresses.identity(url) for url in same}) == 1
    assert addresses.identity(same[0]) != addresses.identity("https://h/f?id=4&sig=q")
    assert addresses.name("https://h/b.h5?token=x.root") == "/b.h5"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """A server whose files need a key in the address."""
    pytest.importorskip("aiohttp")
    (tmp_path / "www").mkdir()
    rng = np.random.default_rng(1)
    for name in ("signal", "b"):
        with h5py.File(tmp_path / "www" / f"{name}.h5", "w") as file:
            file["x1"], file["x2"], file["weight"] = rng.normal(size=3000), rng.normal(size=3000), np.ones(3000)

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(tmp_path / "www"))

        def log_message(self, *_: object) -> None:
            """Stay quiet."""

        def do_GET(self) -> None:
            if "token=S3CRET" in self.path and self.headers.get("Authorization", "").startswith("Basic "):
                super().do_GET()
            else:
                self.send_error(403)

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{http.server_port}"
    http.shutdown()
    http.server_close()


def test_a_signed_address_is_read_and_the_key_is_nowhere(
    served: str, tmp_path: Path, needle: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "PAUSES", ())
    monkeypatch.setenv("NEEDLE_CACHE", str(tmp_path / "copies"))  # this server knows no ranges
    url = SECRET.format(served)
    shutil.copy(tmp_path / "www" / "signal.h5", tmp_path)
    text = planting.ANALYSIS.format(top="", features="", training="members = 1\nepochs = 1")
    text = text.replace("background.parquet", url).replace("signal.parquet", "signal.h5")
    (tmp_path / "analysis.toml").write_text(text + "[split]\nmin_events = 10\n")
    ended = [
        needle("check", "analysis.toml", "--json"),
        needle("run", "analysis.toml", "--until", "convert", "--out", "run"),
    ]
    ended.append(needle("plan", "analysis.toml", "--out", "run", "--set", f'samples.signal.files=["{url}"]'))
    ended.append(
        needle("check", "analysis.toml", "--set", f'samples.signal.files=["{url.replace("b.h5", "none.h5")}"]')
    )
    assert [one.code for one in ended[:2]] == [0, 0], ended
    assert "S3CRET" not in "".join(one.out + one.err for one in ended)
    found = [path for path in (tmp_path / "run").rglob("*") if path.is_file() and b"S3CRET" in path.read_bytes()]
    assert found == []
    assert (
        json.loads((tmp_path / "run" / "run.json").read_text())["inputs"]["files"][f"http://{served}/b.h5"]["size"] > 0
    )
    again = needle(
        "plan",
        "analysis.toml",
        "--out",
        "run",
        "--until",
        "convert",
        "--set",
        f'samples.background.files=["{url}&Expires=99"]',
    )
    assert "up to date" in again.out, again
    with pytest.raises(InputError) as raised:
        open_file(url.replace("b.h5", "gone.h5"))
    assert "S3CRET" not in str(raised.value)


LOADED = """
import sys
from onnx import helper
value = lambda name: helper.make_tensor_value_info(name, 1, ["n", 4])
graph = helper.make_graph([helper.make_node("Add", ["features", "features"], ["log_ratio"])], "g", [value("features")], [value("log_ratio")])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
model.ir_version = 8
helper.set_model_props(model, {"features": '["a", "b", "c", "d"]', "ratios": '["s"]'})
if sys.argv[1] == "needle":
    from needle_parsl.nsbi.estimators.exporting.runtime import Session
    import awkward, fsspec, h5py, iminuit, lightning, matplotlib, parsl, pyarrow, torch, uproot
    Session(model.SerializeToString())
else:
    import onnxruntime
    onnxruntime.InferenceSession(model.SerializeToString())
"""


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("strace"), reason="strace, which watches for look-ups, is not installed")
def test_no_library_stores_or_sends_anything(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    made = {}
    for who in ("needle", "plain"):
        home = tmp_path / who
        (home / "tmp").mkdir(parents=True)
        env = {
            "HOME": str(home),
            "TMPDIR": str(home / "tmp"),
            "PATH": "/usr/bin:/bin",
            "MPLCONFIGDIR": str(home / "tmp"),
        }
        command = ["strace", "-f", "-e", "trace=connect", "-o", str(home / "calls"), sys.executable, "-c", LOADED, who]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        files = [path.relative_to(home) for path in home.rglob("*") if path.is_file()]
        made[who] = {
            str(path)
            for path in files
            if path.name in (".ses", "deviceid", "onnxruntime.db") or "Microsoft" in path.parts
        }
        calls = (home / "calls").read_text()
        assert who == "plain" or "AF_INET" not in calls, calls
    assert made["needle"] == set()
    assert (
        made["plain"] or "1.31" not in __import__("onnxruntime").__version__
    )  # so the test can fail: this version has telemetry
