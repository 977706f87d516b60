"""Write `docs/reference.md`: every key of `analysis.toml` and of site files, from the dataclasses that declare them.

    python scripts/write_reference.py           # writes it
    python scripts/write_reference.py --check   # fails where it is not what it would write

A key's unit and example stand in its docstring, as `Unit: events.` and ``Example: `50_000`.``; a default that says
something is an example, too.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import sys
from collections.abc import Mapping
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any, get_args, get_origin

from needle_parsl import reading
from needle_parsl.analysis import Analysis, catalogue
from needle_parsl.expressions.functions import FUNCTIONS
from needle_parsl.expressions.grammar import DEEPEST, LONGEST, MOST_TOKENS
from needle_parsl.expressions.tree import DERIVATIVES
from needle_parsl.reading.schema import PLURALS, Key, describe, keys, limits, required, tables_of
from needle_parsl.site import Site

PAGE = Path(__file__).parent.parent / "docs" / "reference.md"
HEAD = """# Every key

Written by `scripts/write_reference.py` from the dataclasses in `needle_parsl/analysis/tables/` and `needle_parsl/site/tables.py`.
`NAME` is a name that you choose. A key without a default is required. `needle run --set KEY=VALUE` overrides any key of an
analysis; environment variables, `$NAME` or `${NAME}`, are filled in in site files only.
"""
EXPRESSIONS = f"""Selections, weights, derived columns and multipliers: numbers, `'texts'`, names of columns (multipliers: of
parameters), `+ - * / **`, `< <= > >= == !=`, `and or not`, brackets, and these functions, named as in NumPy;
`where(condition, a, b)` is a where the condition holds, else b. An expression has at most {LONGEST} characters, {MOST_TOKENS} names,
numbers and operators, and {DEEPEST} levels of brackets. A multiplier must have a derivative: of the functions it may use
{", ".join(f"`{name}`" for name in FUNCTIONS if name in DERIVATIVES)}.
"""
CATALOGUE = """From `needle_parsl/analysis/catalogue.py`. `training.loss` and `ensemble.combine` may be functions of yours, `training.network` a class, by
reference: [training.md](training.md), [estimators.md](estimators.md).
"""
NAMED: tuple[tuple[str, str, Mapping[str, catalogue.CatalogueEntry]], ...] = (
    ("Losses", "training.loss", catalogue.LOSSES),
    ("Networks", "training.network", catalogue.NETWORKS),
    ("Optimisers", "training.optimizer", catalogue.OPTIMIZERS),
    ("Schedules", "training.schedule", catalogue.SCHEDULES),
    ("Metrics", "training.metrics", catalogue.METRICS),
    ("Combiners", "ensemble.combine", catalogue.COMBINERS),
    ("Calibrations", "ensemble.calibration", catalogue.CALIBRATIONS),
)
UNIT = re.compile(r"\s*Unit: ([^.]+)\.")
EXAMPLE = re.compile(r"\s*Example: `(.+?)`\.")
USUAL = {"files": '["inputs/signal_*.root"]', "generate": '"physics.py:signal"', "tree": '"events"'}
"""Examples of keys that several tables have."""


@cache
def docstrings(kind: type) -> dict[str, str]:
    """Give the docstring under each field of a dataclass, those of the one it extends included."""
    (tree,) = ast.parse(inspect.cleandoc(inspect.getsource(kind))).body
    assert isinstance(tree, ast.ClassDef)
    found = docstrings(kind.__base__) if dataclasses.is_dataclass(kind.__base__) else {}
    for line, after in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and isinstance(after, ast.Expr):
            assert isinstance(after.value, ast.Constant)
            found[line.target.id] = " ".join(str(after.value.value).split())
    return found


def said(key: Key) -> str:
    """Give the docstring of a key; of a table without one, that of its dataclass."""
    inner = [kind.__doc__ or "" for kind, _ in tables_of(key.kind)]
    return docstrings(key.owner).get(key.field.name) or inner[0].rpartition("`: ")[2].capitalize()


def unit(key: Key) -> str:
    """Give the unit of a number."""
    found = UNIT.search(said(key))
    return found[1] if found else ""


def meaning(key: Key) -> str:
    """Give what a key means, with its bounds."""
    text = EXAMPLE.sub("", UNIT.sub("", said(key)))
    return f"{text} A number {limits(key.field.metadata)}." if "low" in key.field.metadata else text


def default(key: Key) -> Any:
    """Give the default of a key as TOML would have it; None where it is left out."""
    if required(key.field):
        return None
    factory = key.field.default_factory
    made = key.field.default if factory is dataclasses.MISSING else factory()
    return None if dataclasses.is_dataclass(made) else made


def toml(value: Any) -> str:
    """Write a value as TOML does."""
    if isinstance(value, dict):
        inside = ", ".join(f"{name} = {toml(item)}" for name, item in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(toml, value))}]"
    return reading.dump({"x": value}).removeprefix("x = ").strip()


def example(key: Key) -> str:
    """Give a value that a key may have; empty for a table that has a section of its own."""
    found = EXAMPLE.search(said(key))
    if found:
        return found[1]
    usual = default(key)
    if usual is not None and (usual or isinstance(usual, (bool, int, float))):
        return toml(usual)
    return "" if any(True for _ in tables_of(key.kind)) else USUAL[key.name]


def rows(table: str, found: list[Key]) -> list[str]:
    """Write the keys of a table."""
    lines = [f"## `[{table}]`" if table else "## At the top of the file", ""]
    lines += ["| key | type | unit | default | example | meaning |", "|---|---|---|---|---|---|"]
    for key in found:
        usual = "required" if required(key.field) else "none" if default(key) is None else f"`{toml(default(key))}`"
        shown = f"`{key.name} = {example(key)}`" if example(key) else f"`[{key.path}]`"
        cells = [f"`{key.name}`", _type(key), unit(key), usual, shown, meaning(key)]
        lines.append(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |")
    return [*lines, ""]


def _type(key: Key) -> str:
    """Say the type; of a table, what may stand in it."""
    if get_origin(key.kind) is not dict:
        return describe(key.kind)
    inner = describe(get_args(key.kind)[1])
    return f"a table of {PLURALS.get(inner, inner)} by name"


def names() -> list[str]:
    """Write the names that keys of an analysis may hold, and what they stand for."""
    lines = ["# Names", "", CATALOGUE]
    for title, key, entries in NAMED:
        lines += [f"## {title}: `{key}`", "", "| name | meaning | code |", "|---|---|---|"]
        lines += [f"| `{name}` | {entry.meaning} | `{entry.reference}` |" for name, entry in entries.items()]
        lines.append("")
    return lines


def page() -> str:
    """Write the page."""
    lines = [HEAD]
    for title, kind in (("# `analysis.toml`", Analysis), ("# Site files", Site)):
        lines += [title, ""]
        for table, found in groupby(keys(kind), key=lambda key: key.table):
            lines += rows(table, list(found))
    lines += names()
    lines += ["# Expressions", "", EXPRESSIONS, "| function | arguments |", "|---|---|"]
    lines += [f"| `{name}` | {function.arity()} |" for name, function in FUNCTIONS.items()]
    return "\n".join([*lines, ""])


def main() -> None:
    """Write the page, or compare it with what is there."""
    if sys.argv[1:] != ["--check"]:
        PAGE.write_text(page(), encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page():
        sys.exit(f"{PAGE}: is not up to date; run python scripts/write_reference.py")


if __name__ == "__main__":
    main()
