"""What tests do from the laptop: submit a run, and ask for its status until it is so."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

Laptop = Callable[..., Any]
PATIENCE = 300.0


def until(laptop: Laptop, run: str, there: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Ask for the status until it is so."""
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends:
        ended = laptop("status", run, "--json")
        again = ended.code == 1 and "ask again" in ended.err  # the killed endpoint may have taken the question with it
        assert again or ended.code == 0, ended.err
        if not again and there(facts := ended.json()):
            return facts
        time.sleep(1)
    pytest.fail("it did not come")


def submitted(laptop: Laptop, endpoint: str, *more: object, site: str = "local") -> str:
    ended = laptop("submit", "--site", site, "--endpoint", endpoint, "--json", *more)
    assert ended.code == 0, ended.err
    return str(ended.json()["run"])
