"""Small things of files and terminals: marks of byte order, brackets, names that are not UTF-8, terminals of other encodings or no width."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import planting
import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from needle_parsl.analysis.file import match
from needle_parsl.nsbi.data import conversion, readers
from needle_parsl.nsbi.data.recipes import FileRange, InputFile, Recipe

Needle = Callable[..., Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    for name in ("signal", "background"):
        columns = {"x1": rng.normal(size=3000), "x2": rng.normal(size=3000)}
        parquet.write_table(pa.table(columns), tmp_path / f"{name}.parquet")
    text = planting.ANALYSIS.format(top="", features="", training="") + "[split]\nmin_events = 10\n"
    (tmp_path / "analysis.toml").write_text(text)
    return tmp_path


@pytest.mark.slow
def test_a_mark_of_byte_order(folder: Path, inside: Needle) -> None:
    path = folder / "analysis.toml"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    ended = inside("check", path)
    assert (ended.code, "no mistakes found" in ended.out) == (0, True), ended
    path.write_bytes(path.read_bytes() + b"[feature]\n")
    assert f":{path.read_text().count(chr(10))}: " in inside("check", path).err  # lines are counted as before


@pytest.mark.parametrize("width", ["0", "-1", "", "wide", "80"])
def test_a_terminal_without_width(width: str, folder: Path, needle: Needle) -> None:
    ended = needle("check", "analysis.toml", env={"COLUMNS": width, "PYTHONIOENCODING": "ascii"}, cwd=folder)
    assert (ended.code, "no mistakes found" in ended.out) == (0, True), ended


def test_a_terminal_that_is_not_utf_8(folder: Path, needle: Needle) -> None:
    (folder / "analysis.toml").write_text((folder / "analysis.toml").read_text().replace('"x2"]', '"x±"]'))
    ended = needle("check", "analysis.toml", env={"PYTHONIOENCODING": "ascii"}, cwd=folder)
    assert ended.code == 2
    assert re.search(
        r'has no column "x(\\xb1|±)"', ended.err
    )  # escaped, where Python takes the encoding from the environment


@pytest.mark.parametrize("name", ["signal[1].parquet", "a*b.parquet", "what?.parquet", "[x].parquet"])
def test_names_that_look_like_patterns(name: str, tmp_path: Path) -> None:
    for one in (name, "signal1.parquet", "axxb.parquet"):
        (tmp_path / one).write_bytes(b"x")
    assert match(tmp_path / "analysis.toml", (name,)) == [str(tmp_path / name)]
    if "[" in name:
        assert str(tmp_path / name) in match(tmp_path / "analysis.toml", (name.replace("parquet", "*"),))


@pytest.mark.parametrize("ending", ["parquet", "csv", "h5"])
def test_names_that_are_not_utf_8(ending: str, tmp_path: Path) -> None:
    import h5py

    path = tmp_path / f"plain.{ending}"
    table = pa.table({"x1": np.arange(50.0), "x2": np.ones(50)})
    if ending == "h5":
        with h5py.File(path, "w") as file:
            file["x1"], file["x2"] = np.arange(50.0), np.ones(50)
    else:
        (csv.write_csv if ending == "csv" else parquet.write_table)(table, path)
    strange = os.fsencode(str(tmp_path)) + b"/sig\xff." + ending.encode()
    path.rename(os.fsdecode(strange))
    (name,) = match(tmp_path / "analysis.toml", (f"sig*.{ending}",))
    events = conversion.convert(
        FileRange(InputFile(path=name, tree="", label="l")),
        Recipe(sample="s", features=("x1",), weight=1.0, selections=(), id=()),
    )
    assert len(events) == 50
    with readers.open_file(name) as reader:
        assert reader.path.isprintable()
