"""Values that stand for nothing measured: kept, found, offered; and what features cannot bear, before anything runs."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from needle_parsl.errors import InputError
from needle_parsl.nsbi.data import conversion, placeholders
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.data.particles import ParticleRecipe
from needle_parsl.nsbi.data.placeholders import FeatureFacts
from needle_parsl.nsbi.data.recipes import FileRange, InputFile, Recipe
from needle_parsl.nsbi.transforms.wanted import STORED, Wanted

N = 4000
RANDOM = np.random.default_rng(5)
NAMES = ("pt", "pt2", "eta2", "n")


def features(share: float = 0.4, value: float = -25.0, n: int = N) -> np.ndarray:
    """pt is always there; pt2 and eta2 go missing together; n counts."""
    there = RANDOM.random(n) >= share
    pair = [np.where(there, column, value) for column in (15 + RANDOM.exponential(20, n), RANDOM.normal(0, 1.5, n))]
    return np.column_stack([20 + RANDOM.exponential(30, n), *pair, RANDOM.poisson(2, n)]).astype(np.float32)


def seen(sample: str, x: np.ndarray, wanted: Wanted | None = None, complete: bool = True) -> FeatureFacts:
    events = Events(names=NAMES[: x.shape[1]], x=x, weight=np.ones(len(x)), id=np.arange(len(x), dtype=np.uint64))
    return placeholders.see(sample, events, wanted or Wanted(), complete=complete)


@pytest.mark.parametrize("value", [-25.0, -999.0, 9999.0])
def test_a_value_that_repeats_far_away_is_offered_once_with_all_its_columns(value: float) -> None:
    wanted = Wanted.of((-1.5, "nan"))
    both = [seen("signal", features(0.3, value), wanted), seen("background", features(0.5, value), wanted)]
    (note,) = placeholders.notes(both, wanted)
    assert note.startswith(f'features "pt2", "eta2" are {value:g} in up to 3')
    assert "% of signal, " in note
    assert note.endswith(f'if it stands for nothing measured, say missing = [-1.5, {value}, "nan"] in [features]')
    assert not placeholders.notes(both[:1], Wanted.of((value,)))


@pytest.mark.parametrize(
    "column",
    [
        RANDOM.normal(size=N),
        RANDOM.standard_cauchy(N),
        RANDOM.exponential(size=N),
        RANDOM.poisson(2, N),
        RANDOM.random(N) < 0.03,
        np.where(RANDOM.random(N) < 0.6, 0, RANDOM.exponential(30, N)),
        np.where(RANDOM.random(N) < 0.6, 0, 20 + RANDOM.exponential(30, N)),
        np.clip(RANDOM.normal(size=N), -1, 1),
        RANDOM.choice([11.0, 13.0, -11.0, -13.0], N),
        np.where(np.arange(N) < 3, -999, RANDOM.normal(size=N)),
    ],
    ids=["gauss", "cauchy", "exponential", "count", "flag", "zeros", "threshold", "clipped", "codes", "three"],
)
def test_nothing_is_offered_where_values_belong_together(column: np.ndarray) -> None:
    x = column.astype(np.float32)[:, None]
    assert placeholders.notes([seen("signal", x)], Wanted()) == []


def test_what_is_missing_in_one_sample_alone_is_said_with_its_share() -> None:
    wanted = Wanted.of((-25.0,))
    (note,) = placeholders.notes([seen("signal", features(0.25), wanted), seen("b", features(0), wanted)], wanted)
    assert note.startswith('features "pt2", "eta2" are missing in 2')
    assert "% of the events of signal, and in none of b; networks tell samples apart by that alone" in note
    assert not placeholders.notes([seen(s, features(0.25), wanted) for s in "ab"], wanted)


def test_a_feature_that_never_varies_is_said() -> None:
    x = features(0)
    x[:, 0] = 7
    found = placeholders.notes([seen("a", x), seen("b", x)], Wanted())
    assert found == [
        'feature "pt" is 7 in all events; nothing can be learned from it, so leave it out of features.names'
    ]
    x[:, 0] = -25
    wanted = Wanted.of((-25.0,))
    assert placeholders.notes([seen("a", x, wanted)], wanted) == [
        'feature "pt" is missing in all events; leave it out of features.names'
    ]


def test_features_that_never_vary_at_all_are_refused() -> None:
    x, one = np.ones((500, 1), np.float32), features(0)
    ((key, message),) = placeholders.problems([seen("a", x), seen("b", x)], Wanted())
    assert key == "features.names"
    assert message.startswith("feature ")
    assert "is the same in all simulated events, so that nothing can be learned; name features that vary, or" in message
    one[:, 0] = 7
    assert not placeholders.problems([seen("a", one)], Wanted())


def test_a_category_of_data_alone_is_refused_where_all_simulated_events_are_known() -> None:
    wanted = Wanted.of((), {"n": "onehot"})
    simulated, data = features(0), features(0, n=50)
    simulated[:, 3], data[:, 3] = np.arange(N) % 5, np.arange(50) % 5
    data[:3, 3] = 40
    parts = [seen("a", simulated, wanted), seen("observed", data, wanted)]
    ((key, message),) = placeholders.problems(parts, wanted)
    assert key == "features.transform.n"
    assert message.startswith('sample observed: feature "n" is 40 in 3 events, and in no simulated event')
    assert not placeholders.problems([seen("a", simulated, wanted, complete=False), parts[1]], wanted)
    assert not placeholders.problems([parts[0], seen("observed", simulated, wanted)], wanted)


@pytest.mark.parametrize(
    ("kind", "column", "message"),
    [
        ("log", 2, 'sample a: feature "eta2" has values down to'),
        ("onehot", 0, "and categories are whole numbers"),
        ("cyclic", 0, "which is no angle of one turn"),
    ],
)
def test_a_transform_that_a_column_cannot_bear_is_refused(kind: str, column: int, message: str) -> None:
    wanted = Wanted.of((-25.0,), {NAMES[column]: kind})
    ((key, found),) = placeholders.problems([seen("a", features(), wanted)], wanted)
    assert key == f"features.transform.{NAMES[column]}"
    assert message in found
    assert not placeholders.problems([seen("a", features(), Wanted.of((-25.0,), {"pt2": "log"}))], Wanted.of((-25.0,), {"pt2": "log"}))  # fmt: skip


def test_one_bad_event_among_very_many_is_found() -> None:
    x = np.abs(features(0, n=300_000)) + 1
    x[177_777, 0] = -3
    wanted = Wanted.of((), {"pt": "log"})
    ((_, message),) = placeholders.problems([seen("a", x, wanted)], wanted)
    assert "has values down to -3, 0 or less in 1 of" in message


def written(path: Path, **columns: np.ndarray) -> FileRange:
    parquet.write_table(pa.table(columns), path)
    return FileRange(InputFile(path=str(path), tree="", label="label"))


@pytest.mark.parametrize(("missing", "stored"), [((-25.0, "nan"), -25.0), (("nan",), STORED), (("nan", -7.0), -7.0)])
def test_nan_is_kept_as_a_number_where_it_is_listed(
    tmp_path: Path, missing: tuple[float | str, ...], stored: float
) -> None:
    x = RANDOM.normal(size=N)
    x[::5] = np.nan
    piece = written(tmp_path / "a.parquet", x=x, y=np.arange(N))
    wanted = Wanted.of(missing)
    found = conversion.convert(
        piece, Recipe(sample="s", features=("x", "y"), weight=1.0, selections=(), id=(), nan=wanted.stored)
    )
    np.testing.assert_array_equal(found.x[:, 0], np.where(np.isnan(x), stored, x).astype(np.float32))
    assert stored in wanted.placeholders
    with pytest.raises(
        InputError, match=rf'column "x" is NaN or infinite in {N // 5} of {N} events; .*missing = \["nan"\]'
    ):
        conversion.convert(piece, Recipe(sample="s", features=("x", "y"), weight=1.0, selections=(), id=()))


@pytest.mark.parametrize("nan", [None, -25.0])
def test_infinities_are_refused_whatever_is_missing(tmp_path: Path, nan: float | None) -> None:
    x = RANDOM.normal(size=N)
    x[17], x[18] = np.inf, -np.inf
    if nan:
        x[19] = np.nan
    with pytest.raises(InputError) as caught:
        conversion.convert(
            written(tmp_path / "a.parquet", x=x),
            Recipe(sample="s", features=("x",), weight=1.0, selections=(), id=(), nan=nan),
        )
    assert f'a.parquet: sample s: column "x" is {"" if nan else "NaN or "}infinite in 2 of {N} events' in str(
        caught.value
    )


def test_nan_of_a_particle_is_kept_where_it_is_listed(tmp_path: Path) -> None:
    jets = [[1.0, float("nan")], [], [3.0]]
    piece = written(tmp_path / "a.parquet", x=np.arange(3.0), pt=jets)
    recipe = Recipe(
        sample="s",
        features=("x",),
        weight=1.0,
        selections=(),
        id=(),
        particles=ParticleRecipe(("pt",), "", 4),
        nan=-9.0,
    )
    found = conversion.convert(piece, recipe).particles
    assert found is not None
    np.testing.assert_array_equal(found.values[:, 0], [1, -9, 3])


def test_columns_of_networks_are_counted() -> None:
    wanted = Wanted.of((-25.0,), {"n": "onehot"})
    x = features()
    assert placeholders.columns([seen("a", x, wanted)], wanted) == (3 + len(np.unique(x[:, 3])) + 1, 0)
