"""Numbers as they are quoted, at any scale."""

from __future__ import annotations

import numpy as np
import pytest

from needle_parsl.nsbi.report.rounding import pieces, plain, quoted, single


@pytest.mark.parametrize(
    ("value", "errors", "shown"),
    [
        (1.0401933, [0.2710308], "1.04 ± 0.27"),
        (1.04, [(0.2812, 0.2567)], "1.04 +0.28 -0.26"),
        (1.04, [(0.27, float("nan"))], "1.04 +0.27"),
        (1.0, [0.0996], "1.00 ± 0.10"),
        (1.0, [0.9964], "1.0 ± 1.0"),
        (123456.0, [789.0], "(1.2346 ± 0.0079)e+05"),
        (-0.00012345, [0.0000117], "(-1.23 ± 0.12)e-04"),
        (0.0, [2.34e-5], "(0.0 ± 2.3)e-05"),
        (1234.0, [56.0], "1234 ± 56"),
        (4321.0, [560.0], "4320 ± 560"),
        (1.5, [0.21, 0.0035], "1.50 ± 0.21 ± 0.0035"),
        (-0.001, [0.21], "0.00 ± 0.21"),
    ],
)
def test_two_digits_of_the_error_are_given(value: float, errors: list, shown: str) -> None:
    assert quoted(value, errors) == shown


def test_rounding_keeps_a_tenth_of_the_error_at_every_scale() -> None:
    rng = np.random.default_rng(1)
    for _ in range(500):
        scale = 10.0 ** rng.uniform(-12, 12)
        value, error = scale * rng.normal(), scale * rng.uniform(0.01, 2)
        text = quoted(value, [error])
        ten = 10.0 ** float(text.partition(")e")[2] or 0)
        first, _, second = text.partition(")e")[0].strip("(").partition(" ± ")
        assert float(first) * ten == pytest.approx(value, abs=0.051 * error)
        assert float(second) * ten == pytest.approx(error, rel=0.051)


def test_intervals_and_tables() -> None:
    assert pieces([[0.7751, 1.3139]], 0.271) == "[0.78, 1.31]"
    assert (
        pieces([[-1.19e-4, 2.31e-4]], 1.2e-4) == "[-1.19, 2.31]e-04"
        or pieces([[-1.19e-4, 2.31e-4]], 1.2e-4) == "[-1.2, 2.3]e-04"
    )
    assert pieces([[0.1, 0.2], [0.5, 0.9]], 0.1) == "[0.10, 0.20] and [0.50, 0.90]"
    assert pieces([], 0.1) == "none"
    assert plain(0.0123) == "0.012"
    assert plain(0.000123) == "0.00012"
    assert plain(17_000.0) == "17000"
    assert single(None) == "–"
    assert single(0.51234, 0.0123) == "0.512 ± 0.012"
