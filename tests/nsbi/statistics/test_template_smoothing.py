"""Smoothed and symmetrised variations: what stays, what goes, and what a fit of them says."""

from __future__ import annotations

import numpy as np
import pytest

from needle_parsl.analysis import Model, Nuisance, Parameter
from needle_parsl.densities import Shape
from needle_parsl.nsbi.statistics.model.builder import Builder, Counts
from needle_parsl.nsbi.statistics.model.template_smoothing import smooth, smoothed_template


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 12])
def test_straight_lines_stay(size: int) -> None:
    line = 1 + 0.03 * np.arange(size)
    np.testing.assert_allclose(smooth(line), line, atol=1e-12)


def test_a_single_bin_that_sticks_out_goes_and_a_step_stays() -> None:
    flat = np.ones(15)
    spike = flat.copy()
    spike[7] = 1.4
    assert np.abs(smooth(spike) - 1).max() < 0.05
    step = np.where(np.arange(15) < 7, 1.0, 1.2)
    np.testing.assert_allclose(smooth(step)[[0, 3, 11, 14]], step[[0, 3, 11, 14]], atol=1e-12)


def test_noise_about_a_curve_is_less_than_before() -> None:
    """200 variations of 20 bins with an error of 3 %: the mean square distance from the curve is less than half."""
    rng, x = np.random.default_rng(1), np.linspace(-1, 1, 20)
    curve = 1 + 0.1 * x - 0.05 * x**2
    noisy = curve + 0.03 * rng.standard_normal((200, 20))
    after = np.array([smooth(one) for one in noisy])
    assert ((after - curve) ** 2).mean() < 0.5 * ((noisy - curve) ** 2).mean()


def test_yield_of_a_variation_stays() -> None:
    rng = np.random.default_rng(2)
    nominal = np.array([120.0, 80.0, 0.0, 40.0, 10.0, 5.0])
    varied = nominal * 1.1 * np.exp(0.1 * rng.standard_normal(6))
    found = smoothed_template(varied, nominal)
    assert found.sum() == pytest.approx(varied.sum())
    assert found[2] == 0
    assert not np.allclose(found, varied)


def expected(symmetric: bool, **more: bool) -> list[np.ndarray]:
    """Expected bins at alpha = 1 and -1."""
    model = Model({"mu": Parameter()}, {"b": "mu"}, {"jes": Nuisance(interpolation="code1", **more)})
    nominal = np.array([100.0, 100.0, 100.0, 100.0])
    bins = {"b": nominal, "b.jes.up": nominal * [1.2, 1.1, 1.1, 1.1], "b.jes.down": nominal * [1.05, 0.9, 0.9, 0.9]}
    shape = Shape("b", "jes", "b.jes.up", "b.jes.down", "", symmetric=symmetric)
    made = Builder.of(model, [shape]).joint({}, [Counts("sr", bins)])
    return [made.counts(made.rates.at({"jes": side}))[0] for side in (1.0, -1.0)]


def test_symmetric_sides_are_inverse_to_each_other() -> None:
    up, down = expected(symmetric=True)
    np.testing.assert_allclose(up * down, 100.0**2)
    assert up[0] == pytest.approx(100 * np.sqrt(1.2 / 1.05))
    plain = expected(symmetric=False)
    assert (plain[0][0], plain[1][0]) == pytest.approx((120, 105))


def test_smooth_variation_of_a_region() -> None:
    up, _ = expected(symmetric=False, smooth=True)
    assert up.sum() == pytest.approx(450)
    assert up[0] < 119
