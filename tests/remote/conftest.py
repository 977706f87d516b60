"""Fixtures: a site behind a Globus Compute endpoint, and needle on a laptop that knows it."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from site_here import LocalSite, install


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory, matplotlib_hidden: Path) -> Iterator[LocalSite]:
    """The service, without endpoints yet; its port is fixed, so that one process of the tests at a time has it."""
    with (Path(tempfile.gettempdir()) / f"needle-remote-{os.getuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if why := install():
            (pytest.fail if "remote" in os.environ.get("NEEDLE_REQUIRE", "").split(",") else pytest.skip)(why)
        site = LocalSite(tmp_path_factory.mktemp("far"), matplotlib_hidden)
        try:
            site.start_service()
            yield site
        finally:
            for name in reversed(list(site.processes)):
                site.stop(name)


@pytest.fixture(scope="module")
def endpoint(far: LocalSite) -> str:
    """The id of a running endpoint."""
    far.configure("site")
    return far.start("site")


@pytest.fixture
def laptop(far: LocalSite, tmp_path: Path, needle: Callable[..., object]) -> Callable[..., object]:
    """Call needle with its own home."""
    return lambda *arguments, **env: needle(*arguments, env={**far.env(tmp_path), **env})
