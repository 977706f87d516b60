"""Metrics of a search against other libraries and exact answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from needle_parsl.analysis import Model, Parameter, catalogue
from needle_parsl.nsbi.search import metrics
from needle_parsl.nsbi.search.metrics import Fitted, Replica

MODEL = Model({"mu": Parameter(1.0, (0.0, 5.0), role="poi")}, {"signal": "mu", "background": "1"}, {})
YIELDS = {"signal": 100.0, "background": 1000.0}
FITTED = Fitted(model=MODEL, poi="mu", classes=("background", "signal"), yields=YIELDS, networks=10)


def replica(events: int = 20_000, seed: int = 1, slope: float = 1.0, offset: float = 0.0) -> Replica:
    """Two classes of one feature whose ln r is x - 1/2, learned with a slope and an offset."""
    rng = np.random.default_rng(seed)
    x = np.r_[rng.normal(0, 1, events), rng.normal(1, 1, events)]
    label = np.repeat([0, 1], events)
    ratio = slope * (x - 0.5) + offset
    weight = np.ones(2 * events)
    return Replica(
        loss=0.5, x=x[:, None], label=label, weight=weight, logit=np.column_stack([np.zeros_like(ratio), ratio])
    )


def one(name: str, *replicas: Replica) -> list[float]:
    return metrics.measure([name], replicas, FITTED)[name]


def test_area_is_that_of_another_library() -> None:
    made = replica(3000)
    ratio, weight = made.logit[:, 1].round(1), np.random.default_rng(2).exponential(size=6000)
    rounded = replace(made, logit=np.column_stack([np.zeros_like(ratio), ratio]), weight=weight)
    (found,) = one("auc", rounded)
    assert found == pytest.approx(roc_auc_score(made.label, ratio, sample_weight=weight), abs=1e-9)


def test_right_ratios_are_better_by_every_metric_of_rightness() -> None:
    right, wrong = replica(), replica(slope=1.3, offset=0.2)
    for name in ("closure_chi2", "wasserstein", "ece", "mce", "normalisation", "expected_bias"):
        assert one(name, right)[0] < one(name, wrong)[0], name


def test_area_does_not_see_a_monotone_change() -> None:
    assert one("auc", replica()) == pytest.approx(one("auc", replica(slope=1.3, offset=0.2)))
    (exact,) = one("auc", replica(200_000))
    assert exact == pytest.approx(stats.norm.cdf(1 / np.sqrt(2)), abs=2e-3)


def test_error_of_the_fit_is_that_of_the_information() -> None:
    (found,) = one("expected_error", replica(200_000))
    x = np.linspace(-8, 9, 20_001)
    s, b = YIELDS["signal"] * stats.norm.pdf(x, 1), YIELDS["background"] * stats.norm.pdf(x)
    information = np.trapezoid(s**2 / (s + b), x)
    assert found == pytest.approx(information**-0.5, rel=0.01)


def test_scatter_of_replicas_adds_to_the_error_as_that_of_an_ensemble() -> None:
    replicas = [replica(offset=offset) for offset in (-0.1, 0.0, 0.1)]
    values, errors = np.array([metrics._fit(own, FITTED) for own in replicas]).T
    together = np.array(one("expected_error", *replicas))
    assert (together**2).mean() == pytest.approx((errors**2).mean() + values.var(ddof=1) / FITTED.networks, rel=1e-6)


def test_bias_is_that_of_the_mean() -> None:
    both = one("expected_bias", replica(offset=0.2), replica(offset=-0.2))
    assert abs(np.mean(both)) < np.abs(both).max() / 5
    assert np.mean(both) >= 0
    assert np.mean(one("expected_bias", replica(offset=0.2))) > 0.1


@pytest.mark.parametrize("bounds", [(0.0, 5.0), (-5.0, 1.5), (0.9, 1.1)])
@pytest.mark.parametrize("offset", [-3.0, -0.4, 0.4, 3.0])
def test_a_minimum_at_a_bound_has_an_error(bounds: tuple[float, float], offset: float) -> None:
    """A network of a few steps may be so wrong: its trial is a bad one, not one that has failed, and its error is no better than it would be with right ratios."""
    model = replace(MODEL, parameters={"mu": Parameter(1.0, bounds, role="poi")})
    fitted = replace(FITTED, model=model)
    names = ["expected_error", "expected_bias"]
    wrong, right = (metrics.measure(names, [replica(offset=own)], fitted) for own in (offset, 0.0))
    if bounds[0] >= 0 and bounds != (0.9, 1.1):
        assert wrong["expected_error"][0] > 0.7 * right["expected_error"][0]
    if bounds == (0.9, 1.1):
        assert wrong["expected_bias"][0] == pytest.approx(0.1, abs=1e-4)


def test_the_error_at_a_bound_is_that_of_the_fit_where_both_are_known() -> None:
    bound = replace(MODEL, parameters={"mu": Parameter(1.0, (0.9999, 1.0001), role="poi")})
    made = replica(offset=0.1)
    assert metrics._fit(made, replace(FITTED, model=bound))[1] == pytest.approx(
        metrics._fit(replica(), FITTED)[1], rel=0.1
    )


def test_spread_is_the_standard_deviation_between_replicas() -> None:
    made = [replica(2000, slope=slope) for slope in (0.9, 1.0, 1.1)]
    seen = [replace(own, others=tuple(other.logit for other in made if other is not own)) for own in made]
    x = made[0].x[:, 0]
    assert one("spread", *seen) == pytest.approx([0.1 * np.sqrt(((x - 0.5) ** 2).mean())] * 3)


def test_a_replica_that_has_not_trained_makes_everything_no_number() -> None:
    lost = replica(100)
    lost = replace(lost, logit=lost.logit * np.nan)
    found = metrics.measure(list(catalogue.SEARCH_METRICS), [replica(100), lost], FITTED)
    assert all(np.isnan(values).all() for values in found.values())


def test_ratios_of_two_classes_are_measured_alike() -> None:
    """One output for a ratio, or one for each class: the same numbers."""
    made = replica(4000)
    alone = replace(made, logit=made.logit[:, 1])
    for name in ("val_loss", "closure_chi2", "wasserstein", "ece", "mce", "auc", "normalisation"):
        assert one(name, alone) == pytest.approx(one(name, made)), name
