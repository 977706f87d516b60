"""From the laptop to a site and back, through the real client, broker and endpoint of Globus Compute."""

from __future__ import annotations

import signal
import time
import uuid
from pathlib import Path

import generated
import numpy as np
import pyarrow as pa
import pytest
from laptop import Laptop, submitted, until
from pyarrow import parquet
from site_here import IDENTITY, LocalSite

pytestmark = pytest.mark.remote


@pytest.fixture
def analysis(tmp_path: Path) -> Path:
    return generated.write(tmp_path / "an analysis")


def test_submit_watch_and_fetch(far: LocalSite, endpoint: str, laptop: Laptop, analysis: Path, tmp_path: Path) -> None:
    run = submitted(laptop, endpoint, analysis)
    assert submitted(laptop, endpoint, analysis, "--run", run) == run  # the answer might have been lost
    ended = until(laptop, run, lambda facts: not facts["alive"])
    assert ended["state"]["status"] == "done", laptop("logs", run).out
    assert (far.remote / run / "driver.log").read_text().count("tasks done") == 1
    assert "tasks done" in laptop("logs", run).out
    fetched = laptop("fetch", run)
    assert fetched.code == 0, fetched.err
    there = far.remote / run / "run"
    for name in ("report/index.html", "report/summary.json", "fits/asimov.json", "estimators/signal/estimator.h5"):
        assert (tmp_path / "runs" / run / name).read_bytes() == (there / name).read_bytes()
    assert laptop("report", run).code == 0
    assert laptop("fetch", run, "--json").json()["files"] == []
    (tmp_path / "runs" / run / "fits" / "asimov.json").write_text("{}")
    assert laptop("fetch", run, "--json").json()["files"] == ["fits/asimov.json"]


def test_cancel_ends_the_driver(endpoint: str, laptop: Laptop, analysis: Path) -> None:
    run = submitted(laptop, endpoint, analysis, "--set", "training.epochs=100000", "--set", "training.patience=100000")
    until(laptop, run, lambda facts: "state" in facts)
    ended = laptop("cancel", run, "--json").json()
    assert not ended["alive"]
    assert ended["state"]["status"] == "interrupted"


def test_what_goes_wrong_is_a_sentence(endpoint: str, laptop: Laptop, analysis: Path) -> None:
    def says(
        code: int, *words: str, to: str = endpoint, site: str = "local", more: tuple[str, ...] = (), **env: str
    ) -> None:
        ended = laptop("submit", "--site", site, "--endpoint", to, analysis, *more, **env)
        assert ended.code == code, ended
        assert len(ended.err.strip().splitlines()) == 1, ended.err
        assert all(word in ended.err for word in words), ended.err

    says(2, "is no endpoint id", to="perlmutter")
    says(2, "there is no endpoint", to=str(uuid.uuid4()))
    says(2, "log in with", GLOBUS_COMPUTE_CLIENT_ID="", GLOBUS_COMPUTE_CLIENT_SECRET="")
    says(2, "at the site", 'no site "locl"', site="locl")
    says(2, "at the site", "training.epochs", more=("--set", "training.epochs=-1"))
    assert laptop("submit", "--site", "local", analysis).err.count("--endpoint UUID") == 1
    assert 'no remote run "nobody"' in laptop("fetch", "nobody").err
    (analysis.parent / "large.py").write_bytes(b"#" * 7_100_000)
    says(2, "large.py", "absolute path")


@pytest.mark.parametrize(("access", "valid"), [("local.me", -60), ("revoked", 3600)])
def test_a_login_that_has_expired_is_a_sentence(endpoint: str, laptop: Laptop, analysis: Path, tmp_path: Path, access: str, valid: int) -> None:  # fmt: skip
    """The user's own login, with tokens that the service takes no longer; the real SDK would ask for a code."""
    from globus_sdk.token_storage import SQLiteTokenStorage, TokenStorageData

    tokens = {
        "funcx_service": "https://auth.globus.org/scopes/facd7ccc-c5f4-42aa-916b-a0e270e2c2a9/all",
        "auth.globus.org": "openid manage_projects",
    }
    (tmp_path / "login").mkdir()
    store = SQLiteTokenStorage(tmp_path / "login" / "storage.db", namespace="user/local")
    ends = int(time.time()) + valid
    store.store_token_data_by_resource_server({
        server: TokenStorageData(server, IDENTITY, scope, access, "old", ends, "Bearer") for server, scope in tokens.items()
    })  # fmt: skip
    store.close()
    user = {"GLOBUS_COMPUTE_CLIENT_ID": "", "GLOBUS_COMPUTE_CLIENT_SECRET": "", "GLOBUS_COMPUTE_USER_DIR": str(tmp_path / "login")}  # fmt: skip
    ended = laptop("submit", "--site", "local", "--endpoint", endpoint, analysis, **user)
    assert (ended.code, ended.err.count("has expired")) == (2, 1), ended
    assert len(ended.err.strip().splitlines()) == 1
    assert ended.out == ""


def test_a_site_of_another_version_is_refused(far: LocalSite, endpoint: str, monkeypatch: pytest.MonkeyPatch, analysis: Path, tmp_path: Path) -> None:  # fmt: skip
    from needle_parsl.errors import InputError
    from needle_parsl.workflow.executors import wire
    from needle_parsl.workflow.remote import asking

    for name, value in far.env(tmp_path).items():
        monkeypatch.setenv(name, value)
    other = wire.versions() | {"Python": "3.10"}
    monkeypatch.setattr(wire, "versions", lambda: other)
    with pytest.raises(InputError, match=r"the site has Python .* \(here 3.10\)"):
        asking.submit(analysis, "local", endpoint, [])


def test_a_site_without_needle(far: LocalSite, laptop: Laptop, analysis: Path) -> None:
    far.configure("bare", needle=False)
    to = far.start("bare")
    ended = laptop("submit", "--site", "local", "--endpoint", to, analysis)
    assert (ended.code, ended.err.count("finds no needle")) == (1, 1), ended.err
    far.stop("bare")
    ended = laptop("submit", "--site", "local", "--endpoint", to, analysis)
    assert (ended.code, ended.err.count("is offline")) == (1, 1), ended.err


def test_an_endpoint_that_is_killed_in_mid_call(far: LocalSite, endpoint: str, monkeypatch: pytest.MonkeyPatch, laptop: Laptop, analysis: Path, tmp_path: Path) -> None:  # fmt: skip
    from needle_parsl.errors import TaskError
    from needle_parsl.workflow.remote import service

    run = submitted(laptop, endpoint, analysis)
    for name, value in far.env(tmp_path).items():
        monkeypatch.setenv(name, value)
    children = far.children("site")
    for child in children:
        child.send_signal(signal.SIGSTOP)
    with pytest.raises(TaskError, match="within 6 s"):
        service.ask(endpoint, {"what": "status", "run": run}, 6)
    for child in children:
        child.kill()
    ended = until(laptop, run, lambda facts: not facts["alive"])  # a new one answers; the run went on
    assert ended["state"]["status"] == "done"


STAGES = """
name = "stages"
[stages.preselection]
analysis = "first/preselection.toml"
[stages.words]
command = "cat words.txt {file} | wc -w > {number}"
over = { file = "raw/*.txt" }
outputs = { number = ".txt" }
[stages.sum]
function = "counting:total"
after = ["words", "preselection"]
[stages.page]
function = "counting:page"
after = ["sum"]
outputs = { page = "section" }
"""
COUNTING = """
from needle_parsl.nsbi.report.sections import Section

def total(words, preselection):
    return {"words": sum(int(open(path).read()) for path in words.values()), "ratios": sorted(preselection)}

def page(sum):
    return Section(f"{sum['words']} words, {sum['ratios']}")
"""
PRESELECTION = """
name = "preselection"
[features]
names = ["x"]
[samples.signal]
files = ["signal.parquet"]
[samples.background]
files = ["background.parquet"]
[ratios]
reference = ["background"]
targets = ["signal"]
[split]
min_events = 10
[training]
members = 1
layers = 1
nodes = 4
epochs = 1
"""


def test_stages_travel_with_the_files_that_they_name(endpoint: str, laptop: Laptop, tmp_path: Path) -> None:
    folder = tmp_path / "an analysis"
    (folder / "first").mkdir(parents=True)
    (folder / "raw").mkdir()
    for name, text in (("analysis.toml", STAGES), ("counting.py", COUNTING), ("words.txt", "a b c\n"), ("raw/a.txt", "d e"), ("raw/b.txt", "f"), ("first/preselection.toml", PRESELECTION)):  # fmt: skip
        (folder / name).write_text(text)
    for seed, name in enumerate(("signal", "background")):
        x = np.random.default_rng(seed).normal(seed, 1.0, 900)
        parquet.write_table(pa.table({"x": x}), folder / "first" / f"{name}.parquet")
    run = submitted(laptop, endpoint, folder)
    ended = until(laptop, run, lambda facts: not facts["alive"])
    assert ended["state"]["status"] == "done", laptop("logs", run).out
    assert laptop("fetch", run).code == 0
    page = (tmp_path / "runs" / run / "report" / "index.html").read_text()
    assert "9 words, [&#39;signal&#39;]</h2>" in page
