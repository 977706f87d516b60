"""Fixtures: the small run to disturb, once left in peace and once for each test."""

from __future__ import annotations

from pathlib import Path

import pytest
from frail import Run, make


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run of the small analysis."""
    run = make(tmp_path_factory.mktemp("undisturbed"))
    ended = run.finish()
    assert ended.returncode == 0, ended.stderr
    return run


@pytest.fixture
def frail(tmp_path: Path) -> Run:
    """The small analysis in an empty folder with a space in its name."""
    return make(tmp_path / "a frail run")
