"""`loss = "multiclass"` from the analysis file to the estimators: one pack of networks for all nominal ratios."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from needle_parsl import plan
from needle_parsl.analysis import load
from needle_parsl.nsbi.data import store
from needle_parsl.nsbi.estimators import files

SETTINGS = ("training.loss=multiclass", "training.folds=1", "ratios.reference=['signal', 'background']")


def planned(folder: Path, *settings: str) -> plan.Plan:
    loaded = load(folder, [*SETTINGS, *settings])
    files = {name: (plan.File(path="f", digest=name, borders=(0, 100)),) for name in plan.sources(loaded.analysis)}
    return plan.build(
        loaded.analysis, plan.Inputs(files=files, physics=plan.Physics(loaded.source, "p"), exact=True), 2
    )


def test_nominal_ratios_share_their_packs(small_inputs: Path) -> None:
    made = planned(small_inputs)
    trains = {task.name: task for task in made.tasks if task.stage.name == "train"}
    names = ("@background", "@classes")
    assert sorted(trains) == [f"{name}.{n:04d}" for name in names for n in (0, 1)]
    assert made.networks == 2 * 3
    losses = {name: task.of(plan.Train).training.loss for name, task in trains.items()}
    assert set(losses.values()) == {"multiclass"}
    again = planned(small_inputs, "bootstrap.replicas=2", "bootstrap.repeats=2")
    assert again.networks == 2 * 3 * (1 + 2 + 2)


@pytest.mark.campaign  # a whole run; what it is made of is tested in tests/nsbi
def test_one_network_gives_both_ratios(needle: Callable[..., Any], small_inputs: Path, tmp_path: Path) -> None:
    """c_s r_s + c_b r_b = 1 for the samples of the reference, but for the renormalisation of each."""
    more = ("training.members=1", "training.epochs=15", "ensemble.normalise=reference")
    ended = needle("run", small_inputs, "--until", "diagnose", *(a for s in (*SETTINGS, *more) for a in ("--set", s)))
    assert ended.code == 0, ended
    (root,) = (tmp_path / "runs").iterdir()
    with h5py.File(root / "packs" / "@classes.0000.h5") as file:
        assert json.loads(json.loads(file.attrs["shape"])["head"]) == {"classes": ["signal", "background"]}
    x = store.read(root / "events" / "background.h5").x
    ratios = {name: files.read(root / "estimators" / name / "estimator.h5") for name in ("signal", "background")}
    r = {name: np.exp(one.log_ratio(x) + one.log_norm) for name, one in ratios.items()}
    np.testing.assert_allclose(80 / 480 * r["signal"] + 400 / 480 * r["background"], 1, atol=1e-5)
    assert np.ptp(np.log(r["signal"])) > 1
