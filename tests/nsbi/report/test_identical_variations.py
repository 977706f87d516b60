"""A variation is the nominal sample if its features are: numbers of events and sums of weights are the same for any change of shape."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from needle_parsl.nsbi.data import store
from needle_parsl.nsbi.data.events import Events, Fractions
from needle_parsl.nsbi.data.store import Schema
from needle_parsl.nsbi.report import gathering
from needle_parsl.nsbi.report.checks import samples


def row(path: Path, events: Events) -> gathering.SampleRow:
    store.write(path / "s.h5", events, Schema(events.names, (), 1))
    return gathering.sample("s", path / "s.h5", Fractions(0.5, 0.0, 0.5, 1))


def test_only_equal_features_make_a_variation_the_nominal_sample(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(500, 2)).astype(np.float32)
    events = Events(names=("a", "b"), x=x, weight=np.ones(500), id=np.arange(500, dtype=np.uint64))
    nominal = row(tmp_path, events)
    scaled = row(tmp_path, replace(events, x=x * np.float32(1.04)))
    turned = row(tmp_path, events.take(slice(None, None, -1)))
    assert not samples._identical(scaled, nominal)
    assert samples._identical(turned, nominal)


def test_events_that_serve_every_purpose_are_counted_once(tmp_path: Path) -> None:
    events = Events(
        names=("a",), x=np.zeros((30, 1), np.float32), weight=np.full(30, -2.0), id=np.arange(30).astype(np.uint64)
    )
    store.write(tmp_path / "s.h5", events, Schema(events.names, (), 1))
    crossed = gathering.sample("s", tmp_path / "s.h5", Fractions(0.0, 0.0, 0.0, 1, crossed=True), gathering.Folds(5, 1))
    assert (crossed.events, crossed.negative, crossed.sum_of_weights) == (30, 30, -60.0)
    assert crossed.effective == dict.fromkeys(("train", "combine", "test"), 30.0)
