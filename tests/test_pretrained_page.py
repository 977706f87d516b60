"""The example of docs/pretrained.md: its files as they stand, checked, planned and run with fewer events."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest

from needle_parsl.nsbi import compilation

PAGE = Path(__file__).parent.parent / "docs" / "pretrained.md"
EVENTS = 3000
SHORT = ("training.members=2", "split.cross=2", "training.epochs=10", "training.batch_size=256")


@pytest.fixture
def written(tmp_path: Path) -> Path:
    blocks = re.findall(r"```(?:python|toml)\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    for name, text in zip(("make.py", "published.py", "physics.py", "analysis.toml"), blocks, strict=True):
        (tmp_path / name).write_text(text)
    subprocess.run([sys.executable, "make.py", str(EVENTS)], cwd=tmp_path, check=True)
    return tmp_path


def test_example_of_the_page_runs(needle: Callable[..., Any], written: Path) -> None:
    checked = needle("check", "analysis.toml")
    assert checked.code == 0, checked.err
    taken = '8 of 12 parameters and buffers are taken, as its part "backbone.model"; not in it, and starting at random: head.0.weight'
    assert taken in checked.out + checked.err
    choices = [word for choice in SHORT for word in ("--set", choice)]
    ended = needle("run", "--site", "local", *choices, "--until", "fit", "analysis.toml")
    assert ended.code == 0, ended.err
    planned = needle("plan", "--json", *choices, "analysis.toml")  # which remembers the look of the run
    engine = json.loads(planned.out)["engine"]
    assert engine["engine"] == ("native" if compilation.AVAILABLE else "sequential")
    assert engine["reason"] == "what backbone gives is computed once, and the rest is trained on it"
    run = written / "runs" / "pretrained"
    assert len(list((run / "events" / "embeddings").iterdir())) == 1
    with h5py.File(run / "packs" / "signal.0000.h5") as pack:
        assert pack["weights"].shape[1] == sum(
            (4 * 256, 257 * 256, 2 * 256, 257 * 64, 66 * 32, 33)
        )  # of the model, and of the head
        assert not any(pack["reason"][...])
    mu = json.loads((run / "fits" / "asimov.json").read_text())["parameters"]["mu"]
    assert mu["value"] == pytest.approx(1.0, abs=0.3 * mu["error"])
