"""The line of every key: against a file by hand, and against what tomllib reads of any table."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from needle_parsl.reading.positions import Places, lines

TEXT = '''# a comment with [brackets] and = signs
name = "a # b"
a.b = 1.5
[features]
names = [
    "pt",   # first
    "eta",
]
text = """
[not.a.table]
x = 1
"""
[samples."the signal".variations.jes]
up = { files = ["a.root", "b.root"], weight = 2 }
down = { }
[[list]]
x = 1
[[list]]
x = [[1, 2], [
  3]]
[list.inner]
y = 1979-05-27 07:32:00
'''


def test_lines_of_a_file_by_hand() -> None:
    found = lines(TEXT)
    assert found == {
        "name": 2, "a": 3, "a.b": 3, "features": 4, "features.names": 5, "features.names[0]": 6, "features.names[1]": 7,
        "features.text": 9, "samples": 13, "samples.the signal": 13, "samples.the signal.variations": 13,
        "samples.the signal.variations.jes": 13, "samples.the signal.variations.jes.up": 14,
        "samples.the signal.variations.jes.up.files": 14, "samples.the signal.variations.jes.up.files[0]": 14,
        "samples.the signal.variations.jes.up.files[1]": 14, "samples.the signal.variations.jes.up.weight": 14,
        "samples.the signal.variations.jes.down": 15, "list": 16, "list[0]": 16, "list[0].x": 17, "list[1]": 18,
        "list[1].x": 19, "list[1].x[0]": 19, "list[1].x[0][0]": 19, "list[1].x[0][1]": 19, "list[1].x[1]": 19,
        "list[1].x[1][0]": 20, "list[1].inner": 21, "list[1].inner.y": 22,
    }  # fmt: skip


def test_a_missing_key_is_placed_at_its_table(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(TEXT)
    places = Places(tmp_path / "a.toml", ["training.members=3", "a = {b=1}"])
    assert places.find("features.selection") == (str(tmp_path / "a.toml"), 4)
    assert places.find("features.names[7]")[1] == 5
    assert places.find("model.parameters")[1] is None
    assert places.find("training.members") == ("--set", None)
    assert places.find("a.b") == ("--set", None)
    assert Places(tmp_path / "gone.toml").find("a.b") == (str(tmp_path / "gone.toml"), None)


NAME = st.text("abcxyz_-09 é\"'#={}\\", min_size=1, max_size=6)
LEAF = st.booleans() | st.integers(-99, 99) | st.floats(allow_nan=False) | st.text("ab#[]{}=,.\"'\n\\", max_size=9)
VALUE = st.recursive(LEAF, lambda v: st.lists(v, max_size=3) | st.dictionaries(NAME, v, max_size=3), max_leaves=9)


def every_key(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """All keys below a value, with the name or element that each ends with."""
    pairs = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for name, item in pairs:
        inner = f"{key}[{name}]" if isinstance(name, int) else f"{key}.{name}" if key else name
        yield inner, str(name) if isinstance(name, str) else ""
        yield from every_key(item, inner)


@pytest.mark.slow
@pytest.mark.parametrize("multiline", [False, True])
@settings(max_examples=1000, deadline=None)
@given(table=st.dictionaries(NAME, VALUE, max_size=4))
def test_every_key_that_tomllib_reads_has_a_line_that_shows_it(multiline: bool, table: dict[str, Any]) -> None:
    text = tomli_w.dumps(table, multiline_strings=multiline)
    read = tomllib.loads(text)
    found, rows = lines(text), text.split("\n")
    for key, name in every_key(read):
        assert key in found
        assert name.replace("\\", "\\\\").replace('"', '\\"') in rows[found[key] - 1]
    assert len(found) <= len(list(every_key(read)))
