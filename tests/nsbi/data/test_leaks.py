"""Events that networks have seen and are evaluated at, found by their content."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from needle_parsl.nsbi.data import hashing, store
from needle_parsl.nsbi.data.events import Events, Fractions
from needle_parsl.nsbi.data.store import Store
from needle_parsl.nsbi.report import gathering

FOLDS = gathering.Folds(5, 3)
CROSSED = Fractions(0.6, 0.15, 0.25, 7, crossed=True)


def leaks(path: Path, ids: np.ndarray, x: np.ndarray) -> tuple[float, float]:
    events = Events(names=("x",), x=x.astype(np.float32)[:, None], weight=np.ones(len(x)), id=hashing.identify([ids]))
    store.write(path, events, store.Schema(("x",), (), CROSSED.salt))
    with Store(path) as opened:
        return gathering.crossed_leaks(opened, CROSSED, FOLDS)


@pytest.mark.parametrize("compared", [500_000, 1000])
def test_copies_in_other_folds_leak_and_versions_of_one_fold_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compared: int
) -> None:
    monkeypatch.setattr(gathering, "COMPARED", compared)
    ids, x = np.arange(4000), np.random.default_rng(1).normal(size=4000)
    assert leaks(tmp_path / "own.h5", ids, x) == (0.0, 0.0)
    twice = np.concatenate([x, x])
    copied, repeated = leaks(tmp_path / "copied.h5", np.arange(8000), twice)
    assert copied == pytest.approx(0.8, abs=0.05)
    assert repeated < 0.15
    leaked, repeated = leaks(tmp_path / "versions.h5", np.concatenate([ids, ids]), twice)
    assert leaked == 0.0
    assert repeated > 0.0
