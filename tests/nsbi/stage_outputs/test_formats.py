"""Outputs of stages: each format gives back what was written, and refuses in a sentence what is not of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import awkward as ak
import hist
import numpy as np
import pytest
import uproot

from needle_parsl.analysis.tables.stages import FORMATS
from needle_parsl.errors import InputError
from needle_parsl.nsbi.report.sections import Section, SectionTable
from needle_parsl.nsbi.stage_outputs import formats

COLUMNS = {"pt": np.array([1.5, 2.5, 3.5]), "n": np.array([1, 2, 3])}
JAGGED = ak.Array([{"pt": [1.0, 2.0], "id": 1}, {"pt": [], "id": 2}])


def spectrum(storage: Any = None, **kinds: Any) -> hist.Hist:
    axes = hist.axis.Regular(4, 0, 4, name="x"), hist.axis.StrCategory(["a", "b"], name="c")
    return hist.Hist(*axes, storage=storage or hist.storage.Weight()).fill(
        x=[0.5, 1.5, 9.0], c=["a", "b", "a"], **kinds
    )


def back(folder: Path, kind: str, value: Any) -> Any:
    path = folder / f"out{FORMATS[kind]}"
    formats.write(path, kind, value, "f")
    formats.check(path, kind, "f")
    return formats.read(path, kind)


@pytest.mark.parametrize("value", [3, "text", [1.5, None], {"a": {"b": [1, 2]}}])
def test_json(tmp_path: Path, value: Any) -> None:
    assert back(tmp_path, "json", value) == value


def test_json_takes_numbers_and_arrays_of_numpy(tmp_path: Path) -> None:
    assert back(tmp_path, "json", {"mu": np.float64(0.5), "edges": np.arange(3)}) == {"mu": 0.5, "edges": [0, 1, 2]}


@pytest.mark.parametrize("storage", [hist.storage.Double(), hist.storage.Weight(), hist.storage.Int64()])
def test_histograms_of_all_storages(tmp_path: Path, storage: Any) -> None:
    made = spectrum(storage=storage)
    assert back(tmp_path, "hist", made) == made


def test_arrays_of_all_shapes(tmp_path: Path) -> None:
    given = {
        "one": np.arange(3.0),
        "two": np.ones((2, 3), "float32"),
        "none": np.array(4),
        "words": np.array(["a", "bé"]),
    }
    found = back(tmp_path, "arrays", given)
    assert list(found) == sorted(given)
    for name in ("one", "two", "none"):
        np.testing.assert_array_equal(found[name], given[name])
    assert found["words"].tolist() == ["a", "bé"]


@pytest.mark.parametrize("kind", ["table", "root", "rntuple"])
@pytest.mark.parametrize("value", [COLUMNS, JAGGED], ids=["flat", "nested"])
def test_tables(tmp_path: Path, kind: str, value: Any) -> None:
    found = back(tmp_path, kind, value)
    for name in value if isinstance(value, dict) else value.fields:
        assert found[name].tolist() == value[name].tolist()


def test_rntuple_is_one_and_a_tree_is_a_tree(tmp_path: Path) -> None:
    for kind, word in (("root", "TTree"), ("rntuple", "RNTuple")):
        formats.write(tmp_path / f"{kind}.root", kind, COLUMNS, "f")
        with uproot.open(tmp_path / f"{kind}.root") as file:
            assert word in next(iter(file.classnames().values()))


def test_section(tmp_path: Path) -> None:
    given = Section("Title", "text", (SectionTable(("a", "n"), (("x", 1), (None, 2.5))),))
    assert back(tmp_path, "section", given) == given


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        ("json", None, "found nothing, expected numbers, texts, lists and tables"),
        ("json", object(), "expected numbers"),
        ("json", float("nan"), "expected numbers"),
        ("json", {1, 2}, "set is no number"),
        ("hist", [1, 2], "found a value of the type list, expected a histogram"),
        ("hist", spectrum(storage=hist.storage.Mean(), sample=[1.0, 2.0, 3.0]), "loses the variances of means"),
        ("hist", None, "found nothing, expected a histogram"),
        ("arrays", [1, 2], "no arrays by name"),
        ("arrays", {"a": [object()]}, "a is no array"),
        ("arrays", {}, "no arrays by name"),
        ("arrays", {"a/b": [1.0]}, 'a/b is no name of an array; use no "/"'),
        ("arrays", {"a": np.ma.masked_array([1.0], [True])}, "a is masked"),
        ("json", {"a": {1: "x", "1": "y"}}, "the key 1 is no text"),
        ("json", [{"a": object()}], "expected numbers"),
        ("table", {"a": np.array([1j])}, "expected columns"),
        ("table", 3, "found a value of the type int, expected columns"),
        ("table", {"a": [1, 2], "b": [1]}, "expected columns of the same length"),
        ("root", None, "found nothing, expected columns"),
        ("rntuple", "text", "expected columns"),
        ("section", {"title": "t"}, "expected a Section"),
        (".pdf", b"x", "is written by the function itself"),
    ],
)
def test_what_is_not_of_a_format_is_refused_in_a_sentence(tmp_path: Path, kind: str, value: Any, words: str) -> None:
    with pytest.raises(InputError) as refused:
        formats.write(tmp_path / "out", kind, value, 'physics.py:f, output "x"')
    assert words in str(refused.value)
    assert str(refused.value).startswith('physics.py:f, output "x": ')
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("kind", [*FORMATS, ".csv"])
def test_an_output_that_is_missing_or_empty_is_said(tmp_path: Path, kind: str) -> None:
    with pytest.raises(InputError, match="was not written"):
        formats.check(tmp_path / "out", kind, "f")
    (tmp_path / "out").write_text("")
    with pytest.raises(InputError, match="is empty"):
        formats.check(tmp_path / "out", kind, "f")


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_of_another_format_is_said(tmp_path: Path, kind: str) -> None:
    (tmp_path / "out").write_bytes(b"\x00nothing of the kind")
    with pytest.raises(InputError, match=f"is no file of the format {kind}"):
        formats.check(tmp_path / "out", kind, "f")
    with pytest.raises(InputError, match="the next run makes it again"):
        formats.read(tmp_path / "out", kind)


def test_equal_values_have_equal_bytes(tmp_path: Path) -> None:
    for kind, value in (("json", {"a": 1}), ("arrays", COLUMNS), ("hist", spectrum()), ("table", COLUMNS)):
        for name in ("one", "two"):
            formats.write(tmp_path / name, kind, value, "f")
        assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes(), kind


@pytest.mark.parametrize("kind", ["table", "root", "rntuple"])
def test_columns_of_an_array_are_written(kind: str, tmp_path: Path) -> None:
    """They are no blocks of memory."""
    x = np.arange(12.0).reshape(4, 3)
    path = tmp_path / f"x{FORMATS[kind]}"
    formats.write(path, kind, {"a": x[:, 0], "b": x[:, 2]}, "f")
    assert formats.read(path, kind).b.tolist() == x[:, 2].tolist()
