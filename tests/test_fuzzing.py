"""Whatever is written into a config, an expression or a ledger: it is understood, or refused with clean sentences.

20,000 inputs in every run of the tests; a million with `-m campaign`.
"""

from __future__ import annotations

import json
import re
import shutil
import warnings
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from needle_parsl import analysis, expressions, reading, records, rundir
from needle_parsl.analysis import Analysis
from needle_parsl.errors import InputError
from needle_parsl.expressions.arrays import OPERATORS
from needle_parsl.reading.schema import NAME
from needle_parsl.records import Record
from needle_parsl.workflow import ledger

SCALE = pytest.mark.parametrize("times", [0.4, pytest.param(50, marks=pytest.mark.campaign)])
"""Of the numbers of inputs below."""


def fuzz(check: Callable[..., None], inputs: float, **strategies: st.SearchStrategy[Any]) -> None:
    settings(max_examples=int(inputs), deadline=None, database=None, suppress_health_check=list(HealthCheck))(
        given(**strategies)(check)
    )()


def clean(error: InputError) -> None:
    """A sentence or two for each mistake, short enough to be read."""
    for problem in error.listed():
        assert problem.message.strip()
        assert "\n" not in str(problem)
        assert len(problem.message) < 3000, problem
        assert "Traceback" not in problem.message


# The TOML reader: 8,000 inputs.


@pytest.mark.slow
@SCALE
def test_any_bytes_as_a_config_file(times: float, tmp_path: Path) -> None:
    path = tmp_path / "a.toml"

    def check(content: bytes) -> None:
        path.write_bytes(content)
        try:
            assert isinstance(reading.load(path), dict)
        except InputError as error:
            clean(error)

    toml = st.text("[]{}=,.\"'#\n ax1-_:T\\\u0007\u2028", max_size=60).map(str.encode)
    fuzz(check, 4000 * times, content=st.binary(max_size=60) | toml)


KEYS = [key.path.split(".") for key in reading.keys(Analysis)]
WORDS = st.sampled_from(
    ["signal", "mu", "jes", "x1", "mlp", "physics.py:signal", "1", "mu > 1", "", "a/b", "é", "$HOME", "x" * 300]
)
LEAF = WORDS | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.dates()
VALUE = LEAF | st.lists(LEAF, max_size=3) | st.dictionaries(WORDS, LEAF, max_size=2) | st.just([[1, 2], [{}]])


@st.composite
def tables(draw: st.DrawFn) -> dict[str, Any]:
    """Tables with keys of the analysis, and some that are none; values of any type."""
    table: dict[str, Any] = {}
    for path in draw(st.lists(st.sampled_from(KEYS), max_size=8)):
        place = table
        for part in path[:-1]:
            name = draw(st.sampled_from(["signal", "mu", "jes"])) if part == NAME else part
            inner = place.setdefault(name, {})
            place = inner if isinstance(inner, dict) else {}
        place[draw(st.sampled_from([path[-1]] * 4 + ["unknown", path[-1][:-1]]))] = draw(VALUE)
    return table


@pytest.mark.slow
@SCALE
def test_any_table_as_an_analysis(times: float) -> None:
    def check(table: dict[str, Any]) -> None:
        reader = reading.TableReader(reading.Places("a.toml"))
        found = reader.table(Analysis, table)
        assert isinstance(found, Analysis)
        if reader.problems:
            clean(InputError.of(reader.problems))

    fuzz(check, 2000 * times, table=tables())


@pytest.mark.slow
@SCALE
def test_any_change_of_a_good_analysis(times: float, small_inputs: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(small_inputs, tmp_path / "analysis")
    path = folder / "analysis.toml"
    text = path.read_text()
    table = reading.load(path)

    def check(start: int, length: int, word: str, key: list[str], value: Any) -> None:
        path.write_text(text[:start] + word + text[start + length :], encoding="utf-8", errors="replace")
        setting = f"{'.'.join(key).replace(NAME, 'signal')}={value}"
        try:
            loaded = analysis.read(folder, [setting])
        except InputError as error:
            clean(error)
            return
        if loaded.problems:
            clean(InputError.of(loaded.problems))
        else:
            reading.dump(loaded.table)

    assert tomli_w.dumps(table)
    fuzz(
        check,
        2000 * times,
        start=st.integers(0, len(text)),
        length=st.integers(0, 30),
        word=st.text("ax1[]{}=\"'\n., #", max_size=6) | WORDS,
        key=st.sampled_from(KEYS),
        value=LEAF,
    )


# The expression language: 8,000 inputs.

TOKENS = [
    "x", "n", "label", "'a'", "1", "2.5", "1e300", "0", "+", "-", "*", "/", "**", "<", "<=", "==", "!=", "and", "or", "not", "(", ")",
    "(", ")", ",", *expressions.FUNCTIONS, "&", "mu.x", "__class__", "if",
]  # fmt: skip
LOGIC = re.compile(r"\b(and|or|not)\b|<|==")
NAMED = st.sampled_from(["x", "n", "m", "1.0", "2.5", "0.0", "1e300"])
TREE = st.recursive(
    NAMED,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "**", "<", "==", "and", "or"]), inner).map(lambda t: f"({' '.join(t)})"),
        st.tuples(st.sampled_from(["-", "not "]), inner).map("".join),
        st.tuples(st.sampled_from([n for n, f in expressions.FUNCTIONS.items() if f.most == 1]), inner).map(lambda t: f"{t[0]}({t[1]})"),
        st.tuples(st.sampled_from(["min", "max", "hypot", "atan2"]), inner, inner).map(lambda t: f"{t[0]}({t[1]}, {t[2]})"),
        st.tuples(inner, inner, inner).map(lambda t: f"where({', '.join(t)})"),
    ),
    max_leaves=12,
)  # fmt: skip


def read_or_refuse(text: str) -> None:
    try:
        tree = expressions.parse(text)
    except InputError as error:
        clean(error)
    else:
        assert all(isinstance(name, str) for name in tree.names())
        for name in tree.names():
            try:
                tree.derivative(name)
            except InputError as error:
                clean(error)


@pytest.mark.slow
@SCALE
def test_any_text_as_an_expression(times: float) -> None:
    fuzz(read_or_refuse, 2500 * times, text=st.text(max_size=80) | st.text("x1.()+-*/<>=!'\", andortwhe", max_size=80))


@pytest.mark.slow
@SCALE
def test_any_tokens_as_an_expression(times: float) -> None:
    fuzz(read_or_refuse, 2500 * times, text=st.lists(st.sampled_from(TOKENS), max_size=300).map(" ".join))


def python(text: str, names: dict[str, Any]) -> list[Any]:
    """Give Python's answer with arrays of NumPy, if there is one."""
    try:
        return [eval(text, {"__builtins__": {}}, names)]
    except (
        TypeError,
        ValueError,
    ):  # `--isfinite(x)`: NumPy negates no booleans, and needle sees that the signs cancel; `n ** -n`
        return []


@pytest.mark.slow
@SCALE
def test_any_expression_of_the_grammar_is_evaluated_as_python_does(times: float) -> None:
    """Arrays of one element and numbers agree with Python's own arithmetic where that has an answer."""
    values = {"x": 1.5, "n": 3, "m": -2.0}
    arrays = {name: np.array([value]) for name, value in values.items()}
    floats = {name: np.array([value], float) for name, value in values.items()}  # NumPy's whole numbers wrap around
    own = {name: OPERATORS[name] for name in expressions.FUNCTIONS}

    def check(text: str) -> None:
        try:
            tree = expressions.parse(text)
        except InputError as error:
            clean(error)
            return
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            try:
                found = np.asarray(tree(arrays))
            except (ArithmeticError, TypeError, ValueError):
                return  # conversion says so, with the name of the expression
            assert found.dtype.kind in "biufc"
            if not LOGIC.search(text):
                expected = [answer for kind in (arrays, floats) for answer in python(text, {**own, **kind})]
                assert not expected or any(np.allclose(found, e, rtol=1e-9, atol=0, equal_nan=True) for e in expected)

    fuzz(check, 3000 * times, text=TREE)


# The ledger reader: 4,000 inputs.

GOOD = Record(
    key="a",
    stage="train",
    what="signal.0000",
    worker="host:1:t",
    seconds=1.5,
    output="packs/signal.0000.h5",
    digest="d",
    reason="",
)


@pytest.mark.slow
@SCALE
def test_any_bytes_behind_a_ledger(times: float, tmp_path: Path) -> None:
    path = tmp_path / rundir.LEDGER

    def check(lines: list[bytes]) -> None:
        path.unlink(missing_ok=True)
        ledger.append(tmp_path, GOOD)
        with path.open("ab") as file:
            file.write(b"\n".join(lines))
        assert ledger.read(tmp_path)["a"] == GOOD

    fuzz(check, 2000 * times, lines=st.lists(st.binary(max_size=80), max_size=6))


@pytest.mark.slow
@SCALE
def test_any_json_in_a_ledger(times: float, tmp_path: Path) -> None:
    path = tmp_path / rundir.LEDGER
    value = (
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20) | st.just([]) | st.just({"a": 1})
    )
    changed = st.tuples(st.sampled_from([*(f.name for f in fields(Record)), "unknown"]), value)
    near = changed.map(lambda change: {**asdict(GOOD), change[0]: change[1]})

    def check(entries: list[Any]) -> None:
        path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
        found = ledger.read(tmp_path)
        assert all(isinstance(record, Record) and isinstance(key, str) for key, record in found.items())
        for record in found.values():
            records.holds(tmp_path, record)

    fuzz(check, 2000 * times, entries=st.lists(near | value, max_size=4))
