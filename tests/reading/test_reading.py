from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from needle_parsl import reading
from needle_parsl.errors import InputError, Problem


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
    reader = reading.TableReader(reading.Places("a.toml"))
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
        ({"nam": "n"}, 'a.toml: nam: unknown key; did you mean "name"?'),
        (
            {"name": "n", "wdth": 1},
            "a.toml: wdth: unknown key (known: name, yield, weight, kind, files, inner, many, flag, count)",
        ),
        ({"name": "n", "pair": 1}, 'a.toml: pair: unknown key; did you mean "inner.pair"?'),
        (
            {"name": "n", "inner": {"count": 1}},
            'a.toml: inner.count: unknown key; "count" stands at the top of the file, above the first [table]',
        ),
        ({}, "a.toml: name: is missing; expected text"),
        ({"name": 3}, "a.toml: name: found 3, expected text"),
        ({"name": "n", "flag": 1}, "a.toml: flag: found 1, expected true or false; write true"),
        (
            {"name": "n", "flag": "True"},
            'a.toml: flag: found "True", expected true or false; write true, without quotation marks',
        ),
        (
            {"name": "n", "count": "5"},
            'a.toml: count: found "5", expected a whole number; write 5, without quotation marks',
        ),
        ({"name": "n", "count": 5.0}, "a.toml: count: found 5.0, expected a whole number; write 5"),
        (
            {"name": "n", "yield": "1e3"},
            'a.toml: yield: found "1e3", expected a number; write 1e3, without quotation marks',
        ),
        ({"name": "n", "count": True}, "a.toml: count: found true, expected a whole number"),
        ({"name": "n", "count": 11}, "a.toml: count: found 11, expected a number from 1 to 10"),
        ({"name": "n", "kind": "mpl"}, 'a.toml: kind: found "mpl", expected "mlp" or "flow"; did you mean "mlp"?'),
        ({"name": "n", "files": "a"}, 'a.toml: files: found "a", expected a list of texts; write ["a"]'),
        ({"name": "n", "files": ["a", 1]}, "a.toml: files[1]: found 1, expected text"),
        ({"name": "n", "inner": {"width": 0}}, "a.toml: inner.width: found 0.0, expected a number above 0"),
        ({"name": "n", "inner": {"pair": [1]}}, "a.toml: inner.pair: found 1 value, expected 2"),
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


@dataclass(frozen=True)
class Named:
    loss: str | None = field(default=None, metadata=reading.among(["carl", "mlc"], own=True))
    schedule: str = field(default="cosine", metadata=reading.among(["constant", "cosine"]))
    metrics: tuple[str, ...] = field(default=(), metadata=reading.among(["ece", "mce"]))


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"loss": "mlc", "schedule": "constant", "metrics": ["mce", "ece"]}, []),
        ({"loss": "physics.py:f"}, []),
        (
            {"loss": "crl"},
            [
                'loss: found "crl", expected "carl" or "mlc" or a function of yours, "physics.py:name"; did you mean "carl"?'
            ],
        ),
        ({"loss": 3}, ['loss: found 3, expected "carl" or "mlc" or a function of yours, "physics.py:name"']),
        ({"schedule": "physics.py:f"}, ['schedule: found "physics.py:f", expected "constant" or "cosine"']),
        ({"metrics": ["ece", "mec"]}, ['metrics[1]: found "mec", expected "ece" or "mce"; did you mean "mce"?']),
    ],
)
def test_a_text_is_one_of_some_names_or_of_the_users(table: dict[str, object], said: list[str]) -> None:
    reader = reading.TableReader(reading.Places("a.toml"))
    found = reader.table(Named, table)
    assert [f"{problem.key}: {problem.message}" for problem in reader.problems] == said
    if not said:
        assert {
            name: list(v) if isinstance(v, tuple) else v for name, v in vars(found).items() if name in table
        } == table


def test_all_mistakes_at_once() -> None:
    with pytest.raises(InputError) as caught:
        read({"nmae": 1, "count": "x", "inner": {"pair": 1}, "many": {"a": 1}})
    assert [line.split(": ")[1] for line in str(caught.value).splitlines()] == [
        "nmae", "inner.pair", "many.a", "count",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a = ", "is not valid TOML"),
        (b"\xff\xfe", "cannot be read as text"),
        (b"a = 1\nb = @", 'a.toml:2: is not valid TOML: Invalid value in "b = @"$'),
        (b"a = True", "a.toml:1: .*; TOML writes true and false in small letters"),
        (b"a = x1.root", "; TOML puts texts in quotation marks"),
        (b"a = [1,", "a.toml: is not valid TOML: .*end of document"),
        (b"a: 1", '; TOML writes "key = value"'),
        (b"a = 0,5", "; TOML writes a decimal point"),
        (b"a = None", "; TOML has no None; leave the key out"),
        (b"#" * 11_000_000, "has 11000000 bytes"),
        (b"a = " + b"[" * 100_000, "is nested too deeply"),
    ],
)
def test_broken_file(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.toml").write_bytes(content)
    with pytest.raises(InputError, match=said):
        reading.load(tmp_path / "a.toml")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        reading.load(tmp_path / "a.toml")
    with pytest.raises(InputError, match="is a folder; expected a file in TOML"):
        reading.load(tmp_path)


def test_misspelt_file_is_recognised(tmp_path: Path) -> None:
    (tmp_path / "analysis.toml").touch()
    with pytest.raises(InputError, match=r'anlysis\.toml: no such file; did you mean ".*analysis\.toml"'):
        reading.load(tmp_path / "anlysis.toml")


def overridden(table: dict[str, object], *settings: str) -> dict[str, object]:
    reader = reading.TableReader(reading.Places("a.toml", settings))
    reading.override(table, list(settings), Outer, reader)
    reader.finish()
    return table


def test_override_is_typed_like_the_file() -> None:
    found = overridden(
        {"inner": {"width": 10}}, "inner.width=50", "name=2024", "flag = false", "files=['a', 'b']", "kind=a b", "many.x.width=1", "weight=3"
    )  # fmt: skip
    assert found == {
        "inner": {"width": 50}, "name": "2024", "flag": False, "files": ["a", "b"], "kind": "a b", "many": {"x": {"width": 1}},
        "weight": 3,
    }  # fmt: skip


@pytest.mark.parametrize("setting", ["members", "=3", "a..b=1", "name.x=1", "name.x.y=1"])
def test_override_that_cannot_be_meant(setting: str) -> None:
    with pytest.raises(InputError, match="--set"):
        overridden({"name": "n"}, setting)


def test_problem_has_file_line_key_and_message(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('# first\nname = 3\n[inner]\nwidth = "x"\n')
    reader = reading.TableReader(reading.Places(tmp_path / "a.toml", ["count=x"]))
    table = reading.load(tmp_path / "a.toml")
    reading.override(table, ["count=x"], Outer, reader)
    reader.table(Outer, table)
    assert [(Path(p.file).name, p.line, p.key) for p in reader.problems] == [
        ("a.toml", 2, "name"), ("a.toml", 4, "inner.width"), ("--set", None, "count"),
    ]  # fmt: skip
    assert str(reader.problems[1]) == f'{tmp_path / "a.toml"}:4: inner.width: found "x", expected a number'
    assert str(reader.problems[2]) == '--set count: found "x", expected a whole number'


def test_errors_survive_the_way_back_from_a_worker() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(InputError.of([Problem("is wrong", "a.toml", 3, "name")])))
    assert str(error) == "a.toml:3: name: is wrong"
    assert error.listed() == (Problem("is wrong", "a.toml", 3, "name"),)
    assert InputError("one\ntwo").listed() == (Problem("one"), Problem("two"))


def test_dump_reads_back(tmp_path: Path) -> None:
    table = {"a": 1, "b": {"c d": [1.5, "x\ny"], "e": {"f": True}}, "none": None}
    (tmp_path / "a.toml").write_text(reading.dump(table))
    assert reading.load(tmp_path / "a.toml") == {"a": 1, "b": {"c d": [1.5, "x\ny"], "e": {"f": True}}}


def test_what_stands_at_a_path_is_named(tmp_path: Path) -> None:
    from needle_parsl import kinds

    (tmp_path / "file").touch()
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    (tmp_path / "dead").symlink_to(tmp_path / "none")
    found = {
        name: kinds.kind(tmp_path / name)
        for name in ("file", ".", "none", "file/x", "circle", "dead", "x" * 300, "a\0b")
    }
    assert found == {"file": kinds.FILE, ".": kinds.FOLDER, "none": "", "file/x": "", "circle": kinds.NOWHERE, "dead": kinds.NOWHERE, "x" * 300: "", "a\0b": ""}  # fmt: skip
