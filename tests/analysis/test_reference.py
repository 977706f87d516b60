"""The reference page: current, complete, and with examples that the reader takes."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from needle_parsl import reading
from needle_parsl.analysis import Analysis
from needle_parsl.reading.schema import Key, describe
from needle_parsl.site import Site

ROOT = Path(__file__).parents[2]
KEYS = [*reading.keys(Analysis), *reading.keys(Site)]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_reference", ROOT / "scripts" / "write_reference.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_page_is_current() -> None:
    ended = subprocess.run(
        [sys.executable, "scripts/write_reference.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr


def test_every_key_is_on_the_page() -> None:
    sections: dict[str, str] = {}
    for section in (ROOT / "docs" / "reference.md").read_text().split("\n## "):
        title, _, rows = section.partition("\n")
        sections[title] = sections.get(title, "") + rows  # both kinds of file have keys at the top
    for key in KEYS:
        assert f"| `{key.name}` |" in sections[f"`[{key.table}]`" if key.table else "At the top of the file"], key.path


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.path)
def test_example_of_a_key_is_one(script: ModuleType, key: Key) -> None:
    text = script.example(key)
    if not text:
        return  # a table with a section of its own
    reader = reading.TableReader(reading.Places("page"))
    value = reader.value(key.kind, tomllib.loads(f"x = {text}")["x"], key.path)
    if "low" in key.field.metadata:
        reader.bounds(value, key.field.metadata, key.path)
    reader.finish()


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.path)
def test_number_has_a_unit(script: ModuleType, key: Key) -> None:
    numeric = "number" in describe(key.kind) and "text" not in describe(key.kind)
    assert script.unit(key) or not numeric, f'{key.path}: end its docstring with "Unit: events." or the like'
