from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from needle_parsl import expressions
from needle_parsl.errors import InputError

X = np.array([1.0, 2.0, 3.0, 4.0])
COLUMNS = {"x": X, "n_jets": np.array([0, 1, 2, 3]), "label": np.array(["a", "b", "a", "c"], dtype=object)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x > 2", X > 2),
        ("x >= 2 and n_jets < 3", [False, True, True, False]),
        ("not x > 2 or label == 'c'", [True, True, False, True]),
        ('label != "a"', [False, True, False, True]),
        ("1 < x <= 3", [False, True, True, False]),
        ("2 + 3 * x", 2 + 3 * X),
        ("(2 + 3) * x", 5 * X),
        ("-x**2", -(X**2)),
        ("2**-x", 2**-X),
        ("2**3**2", 512.0),
        ("x - 1 - 1", X - 2),
        ("8 / 4 / 2", 1.0),
        ("sqrt(x) * sqrt(x)", X),
        ("abs(-x) + exp(log(x))", 2 * X),
        ("1e2 + .5 + 1.", 101.5),
        ("min(x, 2, n_jets)", np.minimum(np.minimum(X, 2), [0, 1, 2, 3])),
        ("max(x, 3)", np.maximum(X, 3)),
        ("hypot(x, n_jets)", np.hypot(X, [0, 1, 2, 3])),
        ("atan2(x, 2) - arctan2(x, 2)", 0 * X),
        ("where(x > 2 and n_jets < 3, x, -1)", [-1, -1, 3, -1]),
        ("isfinite(x / n_jets)", [False, True, True, True]),
        ("log10(100) + sign(-x) + floor(0.5) + ceil(0.5)", 2 + 0 * X),
        ("arcsin(sin(0.5)) + arccos(cos(0.5)) + arctan(tan(0.5))", 1.5),
        ("arcsinh(sinh(x)) + arctanh(tanh(0.5)) - arccosh(cosh(x))", 0.5 + 0 * X),
    ],
)
def test_value_is_what_python_says(text: str, expected: object) -> None:
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(expressions.parse(text)(COLUMNS), expected)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x >", "the end was not expected"),
        ("x > 2)", '")" at character '),
        ("(x", "the end was not expected"),
        ("x ; y", '";" at character 3 is not part of the language'),
        ("x.__class__()", '"x.__class__" is no function'),
        ("eval('1')", '"eval" is no function'),
        ("sqrt(x, x)", 'found 2, expected 1 argument of "sqrt"'),
        ("sqrt()", 'found 0, expected 1 argument of "sqrt"'),
        ("min(x)", 'found 1, expected 2 or more arguments of "min"'),
        ("where(x, 1)", 'found 2, expected 3 arguments of "where"'),
        ("sqr(x)", '"sqr" is no function; did you mean "sqrt"?'),
        ("x, x", '"," at character 2 was not expected'),
        ("min(x,)", '")" at character '),
        ("", "the end was not expected"),
        ("1e999", "too large"),
        ("and", '"and" at character 1 was not expected'),
        ("x > 2 & x < 3", '"&" at character 7 is not part of the language; write "and"'),
        ("x > 2 || x < 3", 'write "or"'),
        ("!x", 'write "not"'),
        ("x = 3", 'write "=="'),
        ("x^2", 'write "**"'),
        ("x if x > 2 else 0", "write where(condition, a, b)"),
        ("x in (1, 2)", "write a == 1 or a == 2"),
        ("x[0]", "a column is one number per event"),
        ("x.max()", '"x.max" is no function; did you mean "max"?'),
        ("(" * 100 + "x" + ")" * 100, "nested deeper"),
        ("2" + "**2" * 100, "nested deeper"),
        ("x" + "+x" * 300, "more than 256"),
        ("x" * 100_000, "at most 4000"),
    ],
)
def test_what_is_not_in_the_grammar_is_refused(text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        expressions.parse(text)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 250


def test_a_billion_characters_and_deep_nesting_are_refused_in_milliseconds() -> None:
    huge = "x" * 10**9
    for text in (
        huge,
        "(" * 4000,
        "-" * 4000,
        "min(" * 1000,
        "x" + "**x" * 1300,
        " " * 4000,
        "not " * 1000,
        "'" + "a" * 3998,
    ):
        started = time.process_time()
        with pytest.raises(InputError) as caught:
            expressions.parse(text)
        assert time.process_time() - started < 0.05
        assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    "text", ["9007199254740993 ** 9007199254740993", "(2 * 9007199254740993) ** x", "x ** 9007199254740993"]
)
def test_no_power_takes_for_ever(text: str) -> None:
    with np.errstate(over="ignore"):
        assert np.max(expressions.parse(text)({**COLUMNS, "x": np.array([1, 2**40])})) == np.inf


def test_longest_allowed_expression_can_be_evaluated() -> None:
    text = "x" + "+x" * 127
    np.testing.assert_allclose(expressions.parse(text)({"x": 1.0}), 128)
    assert expressions.parse(text).names() == {"x"}
    assert float(expressions.parse(text).derivative("x")({"x": 1.0})) == 128


def test_definitions_are_ordered_by_what_they_use() -> None:
    definitions = {"m": "sqrt(m2)", "m2": "e**2 - p**2", "p": "hypot(px, py)", "unused": "m + 1"}
    assert [name for name, _ in expressions.ordered(definitions, ["m", "e"])] == ["p", "m2", "m"]
    assert expressions.ordered(definitions, ["px"]) == ()


def test_definition_that_needs_itself_is_refused_with_the_way_round() -> None:
    with pytest.raises(InputError, match="needs itself: a uses b uses c uses a"):
        expressions.ordered({"a": "b + x", "b": "c", "c": "2 * a"}, ["a"])


def test_long_chain_of_definitions_is_ordered() -> None:
    chain = {f"x{i}": f"x{i + 1} + 1" for i in range(5000)}
    assert len(expressions.ordered(chain, ["x0"])) == 5000


def test_names() -> None:
    assert expressions.parse("mu - sqrt(mu) + k*2 + 'text'").names() == {"mu", "k"}


@pytest.mark.parametrize(
    "text",
    [
        "sin(mu)**2",
        "cos(2*mu) / k",
        "sinh(mu) * cosh(mu)",
        "mu",
        "mu - sqrt(mu)",
        "1 - sqrt(mu)",
        "mu**2 * k / (1 + mu)",
        "-exp(-mu) * log(mu)",
        "3",
        "(2*mu)**0.5",
    ],
)
def test_derivative_agrees_with_differences(text: str) -> None:
    tree, h = expressions.parse(text), 1e-6
    slope = (tree({"mu": 1.3 + h, "k": 2.0}) - tree({"mu": 1.3 - h, "k": 2.0})) / (2 * h)
    assert tree.derivative("mu")({"mu": 1.3, "k": 2.0}) == pytest.approx(slope, abs=1e-8)


@pytest.mark.parametrize("text", ["mu > 1", "2**mu", "abs(mu)"])
def test_what_has_no_derivative_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        expressions.parse(text).derivative("mu")


@settings(max_examples=500, deadline=None)
@given(st.text(alphabet="xy12.()+-*/<>=!'\" andortsq", max_size=60))
def test_any_text_is_read_or_refused_cleanly(text: str) -> None:
    try:
        names = expressions.parse(text).names()
    except InputError as error:
        names, said = frozenset(), str(error)
    else:
        said = ""
    assert len(said) < 300
    assert all(isinstance(name, str) for name in names)


@settings(max_examples=200, deadline=None)
@given(st.floats(-10, 10), st.floats(0.1, 10))
def test_arithmetic_equals_pythons(a: float, b: float) -> None:
    found = expressions.parse("a + b * a - a / b + -a")({"a": a, "b": b})
    assert math.isclose(found, a + b * a - a / b + -a)
