"""Blinding: data are left alone by default, and who looks at them is written down."""

from __future__ import annotations

import getpass
import json
import re
import shutil
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from needle_parsl.analysis import load
from needle_parsl.analysis.tables import Fit
from needle_parsl.site import Site
from needle_parsl.workflow import prepared_run


def unblinded(folder: Path, root: Path, *settings: str, unblind: bool = False) -> list[dict[str, str]]:
    loaded = load(folder, list(settings))
    return list(prepared_run.prepare(root, loaded, Site(description="t"), unblind=unblind).unblinded)


@pytest.mark.slow
def test_analysis_is_blind_by_default_and_a_look_is_recorded(small_inputs: Path, tmp_path: Path) -> None:
    assert Fit().blind
    root = tmp_path / "run"
    assert unblinded(small_inputs, root, "fit.blind=true") == []
    before = datetime.now(UTC).replace(microsecond=0)
    (entry,) = unblinded(small_inputs, root, unblind=True)
    assert entry["who"] == getpass.getuser()
    assert entry["how"] == "--unblind"
    assert before <= datetime.fromisoformat(entry["when"]) <= datetime.now(UTC)
    assert unblinded(small_inputs, root)[0]["how"] == "fit.blind = false"


def test_record_is_kept_and_the_flag_opens_the_data(
    small_inputs: Path, needle: Callable[..., Any], tmp_path: Path
) -> None:
    folder = shutil.copytree(small_inputs, tmp_path / "analysis")
    text = (folder / "analysis.toml").read_text().replace("blind = false\n", "")
    (folder / "analysis.toml").write_text(text)
    assert needle("run", folder, "--until", "convert").code == 0
    state = tmp_path / "runs/small/run.json"
    assert json.loads(state.read_text())["unblinded"] == []
    assert not (tmp_path / "runs/small/events/observed.h5").exists()
    assert needle("run", folder, "--until", "convert", "--unblind").code == 0
    assert (tmp_path / "runs/small/events/observed.h5").exists()
    assert needle("run", folder, "--until", "convert").code == 0
    (entry,) = json.loads(state.read_text())["unblinded"]
    assert entry["how"] == "--unblind"


OFFSET = ("fit.blind=offset", "training.members=1", "fit.limit=0.95", "intervals.level=[0.68]")
NUMBER = re.compile(rb"-?\d+\.\d{4,}(?:e[-+]?\d+)?")
CLOSE = 1e-4
"""In expected errors: closer than all but one in a thousand of the other numbers come by chance."""


def numbers(folder: Path) -> Iterator[tuple[Path, float]]:
    """List all numbers of at least four decimals in texts and figures, and all in HDF5 files."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if path.suffix == ".h5":
            yield from ((path, value) for value in stored(path))
        else:
            content = path.read_bytes()
            streams = re.findall(rb"stream\r?\n(.*?)endstream", content, re.DOTALL) if path.suffix == ".pdf" else []
            texts = [content if path.suffix not in (".pdf", ".png") else b"", *map(inflated, streams)]
            yield from ((path, float(found)) for text in texts for found in NUMBER.findall(text))


def inflated(stream: bytes) -> bytes:
    try:
        return zlib.decompress(stream)
    except zlib.error:
        return b""


def stored(path: Path) -> Iterator[float]:
    values: list[float] = []

    def keep(_: str, item: h5py.Dataset | h5py.Group) -> None:
        found = [item[()]] if isinstance(item, h5py.Dataset) else []
        for array in map(np.asarray, [*found, *item.attrs.values()]):
            if array.dtype.kind == "f":
                values.extend(array.ravel().tolist())

    with h5py.File(path) as file:
        file.visititems(keep)
    yield from values


def secrets(run: Path) -> dict[str, float]:
    """List what an unblinded run says of mu that a blind one must not."""
    fit, scan = (json.loads((run / f"fits/{name}.json").read_text()) for name in ("observed", "scan"))
    fitted = fit["parameters"]["mu"]
    ends = [
        *(fitted["minos"] or []),
        *(end for pieces in scan["intervals"].values() for piece in pieces for end in piece),
    ]
    return {"best": fitted["value"], "scan": scan["best"], **{f"end {number}": end for number, end in enumerate(ends)}}


def found_in(run: Path, hidden: dict[str, float], error: float) -> set[str]:
    """List the files that hold what is hidden; events, ratios and weights hold thousands of numbers, some of which are as near by chance."""
    near = {
        path.relative_to(run)
        for path, value in numbers(run)
        for secret in hidden.values()
        if abs(value - secret) < CLOSE * error
    }
    return {
        path.as_posix()
        for path in near
        if path.parts[0] not in ("events", "ratios", "packs", "estimators", "generated")
    }


def test_a_hidden_offset_hides_everywhere_and_unblinding_is_cheap(
    small_inputs: Path, needle: Callable[..., Any], tmp_path: Path
) -> None:
    folder, run = shutil.copytree(small_inputs, tmp_path / "analysis"), tmp_path / "run"
    settings = [word for choice in OFFSET for word in ("--set", choice)]
    ended = needle("run", folder, "--out", run, *settings)
    assert ended.code == 0, ended.err
    assert json.loads((run / "run.json").read_text())["unblinded"] == []
    shown = needle("report", run)
    assert "shifted by a hidden offset: mu" in shown.out
    blind, before = shutil.copytree(run, tmp_path / "blind"), json.loads((run / "fits/observed.json").read_text())
    (blind / "terminal.txt").write_text(ended.out + ended.err + shown.out + needle("status", run).out)
    (blind / "summary.txt").write_text(needle("report", run, "--json").out)

    ended = needle("run", folder, "--out", run, *settings, "--set", "fit.blind=false")
    assert ended.code == 0, ended.err
    lines = (run / "ledger.jsonl").read_text().removeprefix((blind / "ledger.jsonl").read_text()).splitlines()
    assert {json.loads(line)["stage"] for line in lines} == {"fit", "interval", "breakdown", "precision", "report"}
    after = json.loads((run / "fits/observed.json").read_text())
    (entry,) = json.loads((run / "run.json").read_text())["unblinded"]
    assert entry["how"] == "fit.blind = false"

    assert after["parameters"]["jes"] == before["parameters"]["jes"]
    assert after["covariance"] == before["covariance"]
    error = after["parameters"]["mu"]["error"]
    assert before["parameters"]["mu"]["value"] != pytest.approx(after["parameters"]["mu"]["value"], abs=CLOSE * error)
    hidden = secrets(run)
    assert {"fits/observed.json", "fits/scan.json", "report/summary.json"} <= found_in(run, hidden, error)
    assert not found_in(blind, hidden, error)
    plain = f"{after['parameters']['mu']['value']:.2f} ± {error:.2f}"
    assert plain not in (blind / "terminal.txt").read_text()
    assert plain not in (blind / "report/index.html").read_text()
