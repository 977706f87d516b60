"""What simulation knows jointly of an event, from the analysis file through stores and trainings to the ratio."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from needle_parsl.nsbi.data import store
from needle_parsl.nsbi.estimators import files

TRUTH = "-0.7 * x1 + 0.3"
"""ln r of the target; another than that of the samples, so that labels could not give it."""
JOINT = {"alice": f"1 / (1 + exp(-({TRUTH})))", "regression": f"exp({TRUTH})"}


@pytest.mark.parametrize("loss", ["alice", pytest.param("regression", marks=pytest.mark.campaign)])
def test_a_ratio_is_learned_from_what_is_known_jointly(
    needle: Callable[..., Any], small_inputs: Path, tmp_path: Path, loss: str
) -> None:
    """The expression stands for what a generator knows. It depends on x alone, so that each loss has it as its minimum."""
    settings = {
        "training.loss": loss, "training.epochs": 40, "training.members": 1, "training.folds": 1,
        "training.bootstrap": "false", "ensemble.normalise": "reference", "training.patience": 40, "ratios.joint": f'{{ signal = "{JOINT[loss]}" }}',
    }  # fmt: skip
    ended = needle(
        "run", small_inputs, "--until", "combine", *(a for k, v in settings.items() for a in ("--set", f"{k}={v}"))
    )
    assert ended.code == 0, ended
    (root,) = (tmp_path / "runs").iterdir()
    with h5py.File(root / "events" / "background.h5") as file:
        assert file["joint/signal"].dtype == np.float32
    with h5py.File(root / "events" / "signal.h5") as file:
        assert ("joint" in file) == (loss == "alice")
    events = store.read(root / "events" / "background.h5")
    found = files.read(root / "estimators" / "signal" / "estimator.h5").log_ratio(events.x)
    slope, _ = np.polyfit(events.x[:, 0], found, 1)
    assert slope == pytest.approx(-0.7, abs=0.1)
    # The ratio of a variation, of which nothing is known jointly, is learned from labels.
    varied = files.read(root / "estimators" / "background.jes.up" / "estimator.h5").log_ratio(events.x)
    assert np.abs(varied).mean() < 0.5
