"""Metrics of combined networks: what they are of known networks, and their errors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from needle_parsl.nsbi.estimators import ensembles
from needle_parsl.nsbi.search import combined, metrics
from needle_parsl.nsbi.search.combined import Combination
from needle_parsl.nsbi.search.metrics import Replica
from needle_parsl.nsbi.search.trials import measured

PLAIN = Combination(combine="mean_log", calibration="none")


def replicas(count: int, noise: float, folds: int = 1, slope: float = 1.0, events: int = 4000) -> list[Replica]:
    """Networks that know the ratio of two Gaussians up to noise; each knows what all others say of its events."""
    rng = np.random.default_rng(3)
    label = np.arange(events) % 2
    x = rng.normal(label - 0.5, 1.0)
    off = rng.normal(0, noise, (count, 4))

    def says(place: int) -> np.ndarray:
        return slope * x + off[place] @ np.stack([np.ones_like(x), x, np.sin(3 * x), np.cos(2 * x)])

    every = [says(place) for place in range(count)]
    return [
        Replica(
            loss=0.6 + 0.01 * place,
            x=x[:, None],
            label=label,
            weight=np.full(events, 2 / events),
            logit=every[place],
            others=tuple(own for k, own in enumerate(every) if k != place),
            fold=place % folds,
        )
        for place in range(count)
    ]


@pytest.mark.parametrize("how", ["mean_ratio", "mean_score", "mean_log", "median_ratio", "weighted"])
@pytest.mark.parametrize("folds", [1, 2])
def test_the_mean_is_that_of_the_combination(how: str, folds: int) -> None:
    made = replicas(6, 0.3, folds)
    found = combined.measure(["ece", "val_loss"], made, None, replace(PLAIN, combine=how))
    assert found["val_loss"] == [replica.loss for replica in made]
    values = []
    for fold in range(folds):
        own = [replica for replica in made if replica.fold == fold]
        losses = np.array([one.loss for one in own])
        coefficients = ensembles.inverse_loss(losses) if how == "weighted" else ensembles.equal(len(own))
        logit = ensembles.find(how)(np.stack([one.logit for one in own]), coefficients)
        values += metrics.measure(["ece"], [replace(own[0], logit=logit)], None)["ece"]
    assert np.mean(found["ece"]) == pytest.approx(np.mean(values), rel=1e-12)
    assert np.mean(found["ece"]) < np.mean(
        metrics.measure(["ece"], made, None)["ece"]
    )  # noise of networks averages out


def test_errors_are_those_of_the_jackknife() -> None:
    """For a mean of networks in a metric that is linear in them, the standard error of the mean."""
    made = replicas(5, 0.3)
    values = np.array([one.logit[0] for one in made])

    def first(own: list[Replica], _: object) -> list[float]:
        return [float(one.logit[0]) for one in own]

    found = combined.measure(["auc"], made, None, PLAIN)["auc"]
    assert len(found) == len(made)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "measure", lambda names, own, fitted: {name: first(own, fitted) for name in names})
        linear = measured(combined.measure(["auc"], made, None, PLAIN)["auc"])
    assert (linear.value, linear.error) == pytest.approx((values.mean(), values.std(ddof=1) / np.sqrt(5)))


def test_a_calibration_is_judged_by_events_that_it_was_not_fitted_to() -> None:
    """It mends networks that are too sure of themselves; where ln r is right it cannot do better than the truth."""
    sure, right = replicas(4, 0.0, slope=3.0), replicas(4, 0.0)
    histogram = replace(PLAIN, calibration="histogram")
    assert np.mean(combined.measure(["ece"], sure, None, histogram)["ece"]) < 0.3 * np.mean(
        combined.measure(["ece"], sure, None, PLAIN)["ece"]
    )
    before, after = (np.mean(combined.measure(["auc"], right, None, how)["auc"]) for how in (PLAIN, histogram))
    assert after < before


def test_classes_are_combined_ratio_by_ratio() -> None:
    two = replicas(3, 0.3)
    classes = [
        replace(
            one,
            logit=np.column_stack([-one.logit / 2, one.logit / 2]),
            others=tuple(np.column_stack([-own / 2, own / 2]) for own in one.others),
        )
        for one in two
    ]
    for how in (PLAIN, Combination(combine="mean_ratio", calibration="histogram")):
        joined = combined.together(classes, (0, 1, 2), how)
        np.testing.assert_allclose(
            joined.logit[:, 1] - joined.logit[:, 0], combined.together(two, (0, 1, 2), how).logit
        )


def test_settings_say_how_networks_are_combined() -> None:
    assert combined.of_settings({"layers": 2}, "mean_log", "none") is None
    assert combined.of_settings({"ensemble.combine": "mean_ratio"}, "mean_log", "none") == replace(
        PLAIN, combine="mean_ratio"
    )
