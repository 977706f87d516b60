"""Blinding: data are left alone by default, and who looks at them is written down."""

from __future__ import annotations

import getpass
import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

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
