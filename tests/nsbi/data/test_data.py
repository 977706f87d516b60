"""From files to stores: equal columns from ROOT and Parquet, selections, ids, splits, and files that are bad."""

from __future__ import annotations

from pathlib import Path

import awkward as ak
import h5py
import numpy as np
import pyarrow as pa
import pytest
import uproot
from pyarrow import parquet

from needle_parsl.errors import InputError
from needle_parsl.nsbi.data import acceptance, conversion, generation, readers, sample_look, store
from needle_parsl.nsbi.data.events import Events, Fractions
from needle_parsl.nsbi.data.recipes import FileRange, InputFile, Recipe
from needle_parsl.nsbi.data.store import Schema
from needle_parsl.nsbi.programs import inspect_inputs

COLUMNS = {
    "pt": np.linspace(0, 100, 1000),
    "n": np.arange(1000, dtype=np.int32) % 7,
    "w": np.where(np.arange(1000) % 10 == 0, -0.5, 1.0),
    "event": np.arange(1000, dtype=np.int64),
}


def write(folder: Path, name: str, columns: dict[str, object], kind: str = "root") -> Path:
    path = folder / f"{name}.{kind}"
    if kind == "root":
        with uproot.recreate(path) as file:
            file.mktree("events", {k: np.asarray(v).dtype for k, v in columns.items()})
            file["events"].extend(columns)
    else:
        parquet.write_table(pa.table(columns), path)
    return path


def recipe(**changes: object) -> Recipe:
    fields = {"sample": "s", "features": ("pt", "n"), "weight": "w", "selections": ("pt > 20",), "id": ("event",)}
    return Recipe(**{**fields, **changes})


def convert(*paths: Path, **changes: object) -> Events:
    return converted(
        [InputFile(path=str(p), tree="", label=f"digest{i}") for i, p in enumerate(paths)], recipe(**changes)
    )


def converted(files: list[InputFile], wanted: Recipe) -> Events:
    """Convert files whole, and judge the sample, as the task does."""
    found = Events.join([conversion.convert(FileRange(file), wanted) for file in files], wanted.features)
    acceptance.judge(found, [file.path for file in files], wanted)
    return found


@pytest.mark.parametrize("kind", ["root", "parquet"])
def test_conversion_keeps_what_the_selection_keeps(tmp_path: Path, kind: str) -> None:
    found = convert(write(tmp_path, "a", COLUMNS, kind))
    keep = COLUMNS["pt"] > 20
    np.testing.assert_array_equal(found.x[:, 0], COLUMNS["pt"][keep].astype(np.float32))
    np.testing.assert_array_equal(found.x[:, 1], COLUMNS["n"][keep])
    np.testing.assert_array_equal(found.weight, COLUMNS["w"][keep])
    np.testing.assert_array_equal(found.id, COLUMNS["event"][keep])
    assert found.effective() == pytest.approx(found.weight.sum() ** 2 / (found.weight**2).sum())


@pytest.mark.parametrize("kind", ["root", "parquet"])
def test_derived_columns_serve_as_features_in_selections_and_weights(tmp_path: Path, kind: str) -> None:
    derived = (("root", "sqrt(pt - 50)"), ("both", "min(root, n)"))
    found = convert(
        write(tmp_path, "a", COLUMNS, kind), features=("both", "pt"), selections=("root > 1",), weight="w * root", derived=derived
    )  # fmt: skip
    with np.errstate(invalid="ignore"):
        root = np.sqrt(COLUMNS["pt"] - 50)  # NaN where the selection does not look
    keep = root > 1
    np.testing.assert_array_equal(found.x[:, 0], np.minimum(root, COLUMNS["n"])[keep].astype(np.float32))
    np.testing.assert_array_equal(found.weight, (COLUMNS["w"] * root)[keep])


@pytest.mark.parametrize(
    ("derived", "said"),
    [
        ((("both", "pt + nn"),), 'sample s: has no column "nn"; did you mean "n"?'),
        ((("pt", "n + w"),), 'has a column "pt" like the derived one; give the derived one another name'),
        ((("both", "log(pt - 50)"),), 'column "both" is NaN or infinite in '),
    ],
)
def test_derived_column_that_cannot_be_is_refused(tmp_path: Path, derived: object, said: str) -> None:
    with pytest.raises(InputError) as caught:
        convert(write(tmp_path, "a", COLUMNS), features=("both" if "both" in str(derived) else "pt",), derived=derived)
    assert said in str(caught.value)


def test_store_does_not_depend_on_how_the_files_are_cut(tmp_path: Path) -> None:
    whole = [write(tmp_path, "whole", COLUMNS)]
    pieces = [
        write(tmp_path, f"piece{i}", {k: v[i * 250 : (i + 1) * 250] for k, v in COLUMNS.items()}) for i in (2, 0, 3, 1)
    ]
    stores = []
    for number, paths in enumerate((whole, pieces)):
        store.write(tmp_path / f"{number}.h5", convert(*paths), Schema(("pt", "n"), (), salt=7))
        stores.append(store.read(tmp_path / f"{number}.h5"))
    for name in ("x", "weight", "id"):
        np.testing.assert_array_equal(getattr(stores[0], name), getattr(stores[1], name))
    with h5py.File(tmp_path / "0.h5") as file:
        assert file["x"].chunks is None
        assert file.attrs["negative_weights"] == int((convert(*whole).weight < 0).sum())
        assert file.attrs["sum_of_weights"] == pytest.approx(convert(*whole).weight.sum())


def test_parts_are_disjoint_complete_and_as_large_as_asked(tmp_path: Path) -> None:
    n = 20_000
    all_events = convert(
        write(tmp_path, "a", {"pt": np.ones(n), "n": np.ones(n), "w": np.ones(n), "event": np.arange(n)}), selections=()
    )
    fractions = Fractions(0.6, 0.15, 0.25, salt=3)
    parts = {name: all_events.part(name, fractions) for name in ("train", "combine", "test")}
    assert sorted(np.concatenate([p.id for p in parts.values()]).tolist()) == list(range(n))
    for name, part in parts.items():
        share = getattr(fractions, name)
        assert abs(len(part) - n * share) < 4 * np.sqrt(n * share * (1 - share))


def test_without_id_columns_rows_are_named_by_content_and_place(tmp_path: Path) -> None:
    path = write(tmp_path, "a", COLUMNS)
    found, again, other = convert(path, id=()), convert(path, id=()), converted(
        [InputFile(path=str(path), tree="", label="other")], recipe(id=())
    )  # fmt: skip
    np.testing.assert_array_equal(found.id, again.id)
    assert len(np.unique(np.concatenate([found.id, other.id]))) == 2 * len(found)


def test_weight_may_be_a_number_or_an_expression(tmp_path: Path) -> None:
    path = write(tmp_path, "a", COLUMNS)
    assert set(convert(path, weight=2.0).weight) == {2.0}
    np.testing.assert_allclose(convert(path, weight="2 * w").weight, 2 * convert(path).weight)


def test_chunks_do_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "a", COLUMNS)
    whole = convert(path, id=())
    monkeypatch.setattr(conversion, "STEP", 77)
    np.testing.assert_array_equal(convert(path, id=()).id, whole.id)


NAN = np.where(np.arange(1000) == 500, np.nan, COLUMNS["pt"])


@pytest.mark.parametrize("kind", ["root", "parquet"])
@pytest.mark.parametrize(
    ("columns", "changes", "said"),
    [
        ({"pt": NAN}, {"selections": ()}, 'sample s: column "pt" is NaN or infinite in 1 of'),
        ({"w": NAN}, {"selections": ("n < 100",)}, "sample s: the weight is NaN or infinite in 1 of 1000 events"),
        ({"w": np.zeros(1000)}, {}, "sample s: the weights add up to 0; expected more than 0"),
        ({}, {"selections": ("pt > 1000",)}, 'after the selection "pt > 1000"'),
        ({}, {"features": ("pt", "m")}, 'has no column "m"'),
        ({}, {"selections": ("ptt > 3",)}, 'has no column "ptt"; did you mean "pt"?'),
        ({"event": COLUMNS["pt"]}, {}, "an id column of ['event'] holds something else than whole numbers"),
    ],
)
def test_bad_content_is_named(
    tmp_path: Path, kind: str, columns: dict[str, object], changes: dict[str, object], said: str
) -> None:
    path = write(tmp_path, "a", {**COLUMNS, **columns}, kind)
    with pytest.raises(InputError) as caught:
        convert(path, **changes)
    assert said in str(caught.value)


def test_nan_may_be_selected_away(tmp_path: Path) -> None:
    assert len(convert(write(tmp_path, "a", {**COLUMNS, "pt": NAN}), selections=("pt > 20 and n < 100",))) > 700


def test_text_column_is_no_feature(tmp_path: Path) -> None:
    path = write(tmp_path, "a", {**COLUMNS, "label": ["a", "b"] * 500}, "parquet")
    assert len(convert(path, selections=("label == 'a'",))) == 500
    with pytest.raises(InputError, match='column "label" holds no numbers'):
        convert(path, features=("label",))
    with pytest.raises(InputError, match="cannot be computed"):
        convert(path, selections=("label + 1 > 2",))


def test_jagged_column_is_refused_by_name(tmp_path: Path) -> None:
    with uproot.recreate(tmp_path / "a.root") as file:
        file.mktree("events", {"pt": "var * float64"})
        file["events"].extend({"pt": ak.Array([[1.0, 2.0], [], [3.0]])})
    with pytest.raises(InputError, match='column "pt" is not flat'):
        convert(tmp_path / "a.root", features=("pt",), selections=(), weight=1.0, id=())


def test_bad_files(tmp_path: Path) -> None:
    good = write(tmp_path, "good", COLUMNS)
    (tmp_path / "empty.root").touch()
    (tmp_path / "noise.root").write_bytes(b"noise" * 100)
    (tmp_path / "noise.parquet").write_bytes(b"noise" * 100)
    (tmp_path / "short.root").write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    (tmp_path / "a.txt").touch()
    for name, tree, said in [
        ("no.root", "", "no such file"),
        ("empty.root", "", r"is empty \(0 bytes\)"),
        ("noise.root", "", "is no readable ROOT file"),
        ("noise.parquet", "", "is no readable Parquet file"),
        ("short.root", "", "truncated|damaged|no readable"),
        ("good.root", "evnts", 'has no tree "evnts"; did you mean "events"'),
        ("a.txt", "", '".txt" files are not read'),
    ]:
        with pytest.raises(InputError, match=said):
            readers.open_file(tmp_path / name, tree)


def test_two_trees_ask_which(tmp_path: Path) -> None:
    with uproot.recreate(tmp_path / "a.root") as file:
        for name in ("events", "runs"):
            file.mktree(name, {"x": "f8"})
            file[name].extend({"x": np.ones(3)})
    with pytest.raises(InputError, match=r"several trees \(events, runs\); say which"):
        readers.open_file(tmp_path / "a.root")
    assert readers.open_file(tmp_path / "a.root", "runs").entries == 3


@pytest.mark.slow
def test_the_same_events_from_ttree_rntuple_and_parquet(sample_data: Path) -> None:
    features = ("HTXS_Higgs_pt", "MET_pt", "nMuon", "PV_npvs")
    found = []
    for name, tree in (("nano_dy.root", "Events"), ("nano_dy_rntuple.root", "Events"), ("nano_dy.parquet", "")):
        path = sample_data / "cms_open_data" / name
        with readers.open_file(path, tree) as reader:
            names = [f for f in features if f in reader.names]
        file = [InputFile(path=str(path), tree=tree, label="same")]
        found.append(converted(file, recipe(features=tuple(names), weight=1.0, selections=(), id=("run", "event"))))
    shared = set.intersection(*({*f.names} for f in found))
    assert {"MET_pt", "PV_npvs"} <= shared
    for name in shared:
        columns = [f.x[:, f.names.index(name)] for f in found]
        np.testing.assert_array_equal(columns[0], columns[1])
        np.testing.assert_array_equal(columns[0], columns[2])
    np.testing.assert_array_equal(found[0].id, found[2].id)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nano_dy_empty.root", "sample s: no event is left in .*nano_dy_empty.root"),
        ("nano_dy_malformed.parquet", "is no readable Parquet file"),
        ("bad_delphes.root", "contains no tree"),
    ],
)
def test_faulty_sample_files(sample_data: Path, name: str, said: str) -> None:
    file = InputFile(
        path=str(sample_data / "faulty" / name), tree="Events" if name == "nano_dy_empty.root" else "", label="d"
    )
    with pytest.raises(InputError, match=said):
        converted([file], recipe(features=("MET_pt",), weight=1.0, selections=(), id=()))


def test_generator_is_held_to_its_contract() -> None:
    source = (
        "import numpy as np\n"
        "def good(generator, events): return {'x': generator.normal(size=events)}\n"
        "def ragged(generator, events): return {'x': np.ones(3), 'y': np.ones(4)}\n"
        "def fails(generator, events): raise RuntimeError('no luck')\n"
        "def nothing(generator, events): return None\n"
    )
    first, second = (generation.generate("physics.py:good", source, "physics.py", 5, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first["x"], second["x"])
    for name, said in [
        ("ragged", "different shapes"), ("fails", "RuntimeError: no luck"), ("nothing", "returned NoneType"), ("god", '"good"'),
    ]:  # fmt: skip
        with pytest.raises(InputError, match=said):
            generation.generate(f"physics.py:{name}", source, "physics.py", 5, seed=3)


def test_counters_do_not_wrap_around(tmp_path: Path) -> None:
    """Unsigned and small integers are widened before arithmetic."""
    n = np.arange(1000, dtype=np.uint32) % 5
    path = write(
        tmp_path, "a", {**COLUMNS, "a": n, "b": np.full(1000, 3, np.uint32), "w8": np.full(1000, 100, np.int8)}
    )
    assert len(convert(path, selections=("a - b >= 0",))) == int((n >= 3).sum())
    assert len(convert(path, selections=("-a < 0",))) == int((n > 0).sum())
    assert set(convert(path, weight="w8 + w8").weight) == {200.0}


def test_text_is_no_condition(tmp_path: Path) -> None:
    path = write(tmp_path, "a", {**COLUMNS, "label": ["a", "b"] * 500}, "parquet")
    for text in ("label", "'a'"):
        with pytest.raises(InputError, match="is no condition"):
            convert(path, selections=(text,))


@pytest.mark.parametrize("text", ["pt > 1/0", "pt > 10**400"])
def test_arithmetic_that_fails_is_a_sentence(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match="cannot be computed"):
        convert(write(tmp_path, "a", COLUMNS), selections=(text,))


def test_value_beyond_float32_is_refused(tmp_path: Path) -> None:
    large = np.where(np.arange(1000) == 7, 1e39, 1.0)
    with pytest.raises(InputError, match="largest float32"):
        convert(write(tmp_path, "a", {**COLUMNS, "pt": large}), selections=())


def test_repeated_ids_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "a", {**COLUMNS, "event": np.arange(1000) // 2})
    with pytest.raises(InputError, match="500 of 1000 events repeat the id"):
        convert(path, selections=())


def test_a_look_at_part_of_a_file_does_not_judge_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is sorted by process may have a sample's events at its end."""
    path = write(tmp_path, "a", COLUMNS)
    monkeypatch.setattr(conversion, "STEP", 100)
    monkeypatch.setattr(sample_look, "ROWS", 300)
    wanted = recipe(selections=("event >= 900",))
    look = sample_look.Look(recipe=wanted, files=(str(path),), tree="", generate="", events=0)
    assert inspect_inputs.look([look], ("", ""), Fractions(0.6, 0.2, 0.2, 1), 50)["problems"] == []
    assert len(convert(path, selections=("event >= 900",))) == 100


def test_look_reports_every_sample_and_the_modules_behind_physics(tmp_path: Path) -> None:
    (tmp_path / "shift_of_mine.py").write_text("SHIFT = 1.0\n")
    source = "import shift_of_mine\nprint('hello')\ndef s(g, n): return {'pt': g.normal(size=n)}\ndef log_density(p, x, a): ...\n"
    looks = [
        sample_look.Look(
            recipe=recipe(features=("pt",), weight=1.0, selections=(), id=()),
            files=(),
            tree="",
            generate="physics.py:s",
            events=100,
        ),
        sample_look.Look(
            recipe=recipe(features=("mass",), weight=1.0, selections=(), id=(), sample="t"),
            files=(),
            tree="",
            generate="physics.py:s",
            events=10**6,
        ),
    ]
    found = inspect_inputs.look(looks, (source, str(tmp_path / "physics.py")), Fractions(0.6, 0.2, 0.2, 1), 1000)
    assert found["exact"] is True
    assert [Path(p).name for p in found["code"]] == ["shift_of_mine.py"]
    assert any("sample s: 100 generated events leave about 20 effective ones" in p for _, p in found["problems"])
    assert any('sample t: physics.py:s makes no column "mass"' in p for _, p in found["problems"])
