"""Fixtures: the small run to disturb, once left in peace and once for each test."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest
from frail import Run, make


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, matplotlib_hidden: Path) -> Run:
    """A finished run of the small analysis, one for all processes of a suite that runs in parallel."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "undisturbed"
    with folder.with_suffix(".lock").open("w") as lock, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(matplotlib_hidden), prepend=os.pathsep)
        fcntl.flock(lock, fcntl.LOCK_EX)
        run = Run(folder) if folder.exists() else make(folder)
        ended = run.finish()
    assert ended.returncode == 0, ended.stderr
    return run


@pytest.fixture
def frail(tmp_path: Path) -> Run:
    """The small analysis in an empty folder with a space in its name."""
    return make(tmp_path / "a frail run")
