"""A process in which libraries are imported already is like a new one."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from prepared import Preparations


@pytest.mark.parametrize(
    ("arguments", "code"), [(["--version"], 0), (["check", "nowhere.toml"], 2), (["status", "no\nrun"], 2)]
)
def test_it_answers_as_a_new_one_does(
    needle: Callable[..., Any], preparations: Preparations, arguments: list[str], code: int
) -> None:
    new = {"OF_ITS_OWN": "an environment in which nothing is prepared"}
    assert preparations.of({**os.environ, **new}) is None
    found = needle(*arguments)
    assert (found, found.code) == (needle(*arguments, env=new), code)
