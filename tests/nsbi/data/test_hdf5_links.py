"""HDF5 files whose data is elsewhere: refused with file and column; links within a file are followed."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from needle_parsl.errors import InputError
from needle_parsl.nsbi.data import columns, conversion, files, gathering, readers
from needle_parsl.nsbi.data.readers import links
from needle_parsl.nsbi.data.recipes import FileRange, InputFile, Recipe
from needle_parsl.nsbi.programs import survey

N = 400
RECIPE = Recipe(sample="s", features=("x1", "x2"), weight=1.0, selections=(), id=())


def base(path: Path) -> h5py.File:
    file = h5py.File(path, "w")
    file["x2"] = np.arange(float(N))
    return file


def plant(how: str, folder: Path) -> Path:
    (folder / "secret.txt").write_bytes(b"s" * N)
    with h5py.File(folder / "other.h5", "w") as other:
        other["x"] = np.zeros(N)
    with base(folder / "a.h5") as file:
        if how == "raw":
            file.create_dataset("x1", (N,), "u1", external=[(str(folder / "secret.txt"), 0, N)])
        elif how == "virtual":
            layout = h5py.VirtualLayout((N,), "f8")
            layout[:] = h5py.VirtualSource("other.h5", "x", (N,))
            file.create_virtual_dataset("x1", layout)
        elif how == "never written":
            file.create_dataset("x1", (N,), "f8", chunks=(N,), fillvalue=1.0)
        elif how == "through a soft link":
            file["group"] = h5py.ExternalLink("other.h5", "/")
            file["x1"] = h5py.SoftLink("/group/x")
        elif how == "pipe":
            os.mkfifo(folder / "pipe")
            file["x1"] = h5py.ExternalLink("pipe", "/x")
        else:
            file["x1"] = {
                "external": h5py.ExternalLink("other.h5", "/x"),
                "loop": h5py.SoftLink("/x1"),
                "dangling": h5py.SoftLink("/nowhere/x"),
            }[how]
    return folder / "a.h5"


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("external", "a link to another file, other.h5"), ("pipe", "a link to another file, pipe"), ("through a soft link", "a link to another file, other.h5"),
        ("raw", "its data lies in another file"), ("virtual", "its data lies in another file"), ("loop", "a link that leads nowhere"), ("dangling", "a link that leads nowhere"),
        ("never written", "its rows were never written"),
    ],
)  # fmt: skip
def test_data_that_lies_elsewhere_is_refused(how: str, why: str, tmp_path: Path) -> None:
    path = plant(how, tmp_path)
    with pytest.raises(InputError) as raised:
        conversion.convert(FileRange(InputFile(path=str(path), tree="", label="l")), RECIPE)
    assert str(raised.value).startswith(f'{path}: sample s: column "x1" has a type that cannot be used ({why}')
    source = columns.SampleFiles(
        store="s",
        key="samples.s",
        files=[str(path)],
        tree="",
        tree_key="samples.s.tree",
        names={"x1": "features.names", "x2": "features.names"},
        derived=(),
        lists={},
        skip=False,
    )
    ((key, said),) = columns.problems([source])
    assert (key, why in said) == ("features.names", True)
    assert survey.survey(path).features == ("x2",)  # `needle init` leaves it out
    assert (
        len(
            conversion.convert(
                FileRange(InputFile(path=str(path), tree="", label="l")),
                Recipe(sample="s", features=("x2",), weight=1.0, selections=(), id=()),
            )
        )
        == N
    )


def made(path: Path, write: Any) -> readers.Reader:
    with h5py.File(path, "w") as file:
        write(file)
    return readers.open_file(path)


def test_groups_beside_columns_are_none(tmp_path: Path) -> None:
    def write(file: h5py.File) -> None:
        file["events/x1"], file["events/x2"] = np.ones(N), np.zeros(N)
        file.create_group("events/meta").attrs["lumi"] = 3.0

    with made(tmp_path / "a.h5", write) as reader:
        assert (sorted(reader.names), reader.entries) == (["x1", "x2"], N)
    assert survey.survey(tmp_path / "a.h5").flat == ("x1", "x2")

    def at_root(file: h5py.File) -> None:
        file["x1"], file["meta/a"] = np.ones(N), np.ones(3)

    with h5py.File(tmp_path / "b.h5", "w") as file:
        at_root(file)
    with readers.open_file(tmp_path / "b.h5", "/") as reader:
        assert list(reader.names) == ["x1"]


def test_links_within_a_file_are_followed(tmp_path: Path) -> None:
    def write(file: h5py.File) -> None:
        file["data/x1"], file["data/x2"] = np.arange(float(N)), np.ones(N)
        file["data/again"] = h5py.SoftLink("x1")
        file["data/root"] = file["/"]  # a group that holds itself
        file["events"] = h5py.SoftLink("/data")

    with h5py.File(tmp_path / "a.h5", "w") as file:
        write(file)
    with readers.open_file(tmp_path / "a.h5", "events") as reader:
        (found,) = reader.iterate(["again"], 0, N, N)
        np.testing.assert_array_equal(found["again"], np.arange(float(N)))


@pytest.mark.parametrize("how", ["external", "raw", "virtual"])
def test_files_that_the_user_names_are_read_and_count(how: str, tmp_path: Path) -> None:
    path, other = plant(how, tmp_path), str(tmp_path / ("secret.txt" if how == "raw" else "other.h5"))
    found = files.states([str(path)], {}, [other, str(tmp_path / "not.h5")])[str(path)]
    assert isinstance(found, files.FileState)
    assert found.links == (other,)
    piece = FileRange(
        InputFile(path=str(path), tree="", label=found.digest, stamp=tuple(found.stamp), links=found.links)
    )
    events = gathering.gather([piece], RECIPE).events
    np.testing.assert_array_equal(events.x[:, 0], np.full(N, ord("s") if how == "raw" else 0.0, np.float32))
    assert files.states([str(path)], {str(path): asdict(found)}, [other])[str(path)].digest == found.digest  # type: ignore[union-attr]
    Path(other).write_bytes(b"t" * N if how == "raw" else Path(other).read_bytes() + b"\0")
    again = files.states([str(path)], {str(path): asdict(found)}, [other])[str(path)]
    assert again.digest != found.digest  # type: ignore[union-attr]
    with pytest.raises(InputError, match="has changed since"):
        gathering.gather([piece], RECIPE)


def test_no_other_file_is_reached_by_one_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "beside").mkdir()
    with h5py.File(tmp_path / "hidden.h5", "w") as file:
        file["x"] = np.zeros(N)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = h5py.ExternalLink("hidden.h5", "/x")
    layout = h5py.VirtualLayout((N,), "f8")
    layout[:] = h5py.VirtualSource("other.h5", "x", (N,))
    with base(tmp_path / "a.h5") as file:
        file.create_virtual_dataset("virtual", layout)
        file["linked"] = h5py.ExternalLink("other.h5", "/x")
        file["around"] = h5py.ExternalLink("beside/../hidden.h5", "/x")
    allowed = [str(tmp_path / "other.h5")]
    with readers.open_file(tmp_path / "a.h5", "", allowed) as reader:
        for name in ("virtual", "linked", "around"):
            assert "hidden.h5, which is not followed" in reader.kind(name)
    assert links.reached(str(tmp_path / "a.h5"), allowed) == allowed
    monkeypatch.setenv("HDF5_VDS_PREFIX", str(tmp_path / "beside"))  # HDF5 would look there first
    with readers.open_file(tmp_path / "a.h5", "", [*allowed, str(tmp_path / "hidden.h5")]) as reader:
        assert "not" in reader.kind("virtual")
