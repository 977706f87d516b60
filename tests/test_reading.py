from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from needle_parsl import reading
from needle_parsl.errors import InputError


@dataclass(frozen=True)
class Inner:
    width: float = field(default=1.0, metadata=reading.within(0.0, above=True))
    pair: tuple[float, float] = (0.0, 1.0)


@dataclass(frozen=True)
class Outer:
    name: str
    yield_: float | None = None
    weight: str | float = 1.0
    kind: Literal["mlp", "flow"] = "mlp"
    files: tuple[str, ...] = ()
    inner: Inner = field(default_factory=Inner)
    many: dict[str, Inner] = field(default_factory=dict)
    flag: bool = False
    count: int = field(default=1, metadata=reading.within(1, 10))


def read(table: dict[str, object]) -> Outer:
    reader = reading.Reader("a.toml")
    found = reader.table(Outer, table)
    reader.finish()
    return found


def test_good_table() -> None:
    found = read({"name": "n", "yield": 3, "weight": "w", "many": {"a": {"width": 2}}, "inner": {"pair": [1, 2.5]}})
    assert found == Outer("n", 3.0, "w", inner=Inner(pair=(1.0, 2.5)), many={"a": Inner(2.0)})


def test_defaults() -> None:
    assert read({"name": "n"}) == Outer("n")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"nam": "n", "name": "n"}, 'a.toml: nam: unknown key; did you mean "name"?'),
        ({}, "a.toml: name: is missing; expected text"),
        ({"name": 3}, "a.toml: name: found 3, expected text"),
        ({"name": "n", "flag": 1}, "a.toml: flag: found 1, expected true or false"),
        ({"name": "n", "count": True}, "a.toml: count: found true, expected a whole number"),
        ({"name": "n", "count": 11}, "a.toml: count: found 11, expected a number from 1 to 10"),
        ({"name": "n", "kind": "mpl"}, 'a.toml: kind: found "mpl", expected "mlp" or "flow"; did you mean "mlp"?'),
        ({"name": "n", "files": "a"}, 'a.toml: files: found "a", expected a list of texts'),
        ({"name": "n", "files": ["a", 1]}, "a.toml: files[1]: found 1, expected text"),
        ({"name": "n", "inner": {"width": 0}}, "a.toml: inner.width: found 0.0, expected a number above 0"),
        ({"name": "n", "inner": {"pair": [1]}}, "a.toml: inner.pair: found 1 values, expected 2"),
        ({"name": "n", "inner": 3}, "a.toml: inner: found 3, expected a table"),
        ({"name": "n", "many": {"b": {"wdth": 1}}}, 'a.toml: many.b.wdth: unknown key; did you mean "width"?'),
        ({"name": "n", "weight": []}, "a.toml: weight: found a list, expected text or a number"),
        ({"name": "n", "yield": float("nan")}, "a.toml: yield: found nan, expected a number"),
    ],
)
def test_mistake_is_said_with_file_key_and_closest_name(table: dict[str, object], said: str) -> None:
    with pytest.raises(InputError) as caught:
        read(table)
    assert str(caught.value) == said


def test_all_mistakes_at_once() -> None:
    with pytest.raises(InputError) as caught:
        read({"nmae": 1, "count": "x", "inner": {"pair": 1}, "many": {"a": 1}})
    assert [line.split(": ")[1] for line in str(caught.value).splitlines()] == [
        "nmae", "name", "inner.pair", "many.a", "count",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"a = ", "is not valid TOML"), (b"\xff\xfe", "cannot be read as text"), (b"a = 1\nb = @", "line 2")],
)
def test_broken_file(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.toml").write_bytes(content)
    with pytest.raises(InputError, match=said):
        reading.load(tmp_path / "a.toml")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        reading.load(tmp_path / "a.toml")
    with pytest.raises(InputError, match="cannot be read"):
        reading.load(tmp_path)


def test_override_is_typed_like_the_file() -> None:
    table: dict[str, object] = {"training": {"members": 10}}
    reading.override(table, ["training.members=50", "name=abc", "fit.blind = false", "f.names=['a', 'b']", "x=a b"])
    assert table == {
        "training": {"members": 50}, "name": "abc", "fit": {"blind": False}, "f": {"names": ["a", "b"]}, "x": "a b",
    }  # fmt: skip


@pytest.mark.parametrize("setting", ["members", "=3", "a..b=1", "name.x=1"])
def test_override_that_cannot_be_meant(setting: str) -> None:
    with pytest.raises(InputError, match="--set"):
        reading.override({"name": "n"}, [setting])


def test_dump_reads_back(tmp_path: Path) -> None:
    table = {"a": 1, "b": {"c d": [1.5, "x\ny"], "e": {"f": True}}, "none": None}
    (tmp_path / "a.toml").write_text(reading.dump(table))
    assert reading.load(tmp_path / "a.toml") == {"a": 1, "b": {"c d": [1.5, "x\ny"], "e": {"f": True}}}
