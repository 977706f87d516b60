"""What an expression may compute: its operators and a fixed set of functions, on numbers and on arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    Value = Any  # a float, a string or an array of shape (N,)

MANY = 1_000
"""Arguments of a function that takes as many as there are."""


def _numpy(name: str) -> Callable[..., Value]:
    def call(*arguments: Value) -> Value:
        import numpy as np

        return getattr(np, name)(*arguments)

    return call


@dataclass(frozen=True)
class Function:
    """What may be called in an expression."""

    call: Callable[..., Value]
    least: int = 1
    """Arguments that it needs."""
    most: int = 1
    """Arguments that it takes."""

    def arity(self) -> str:
        """Say how many arguments it takes."""
        if self.least < self.most:
            return f"{self.least} or more arguments"
        return f"{self.least} argument{'s' if self.least > 1 else ''}"


def _pairwise(name: str) -> Callable[..., Value]:
    return lambda *arguments: reduce(_numpy(name), arguments)


ONE_ARGUMENT = (
    "abs", "sign", "floor", "ceil", "sqrt", "exp", "log", "log10", "isfinite", "sin", "cos", "tan", "arcsin", "arccos",
    "arctan", "sinh", "cosh", "tanh", "arcsinh", "arccosh", "arctanh",
)  # fmt: skip
FUNCTIONS: dict[str, Function] = {
    **{name: Function(_numpy(name)) for name in ONE_ARGUMENT},
    "arctan2": Function(_numpy("arctan2"), 2, 2),
    "atan2": Function(_numpy("arctan2"), 2, 2),
    "hypot": Function(_numpy("hypot"), 2, 2),
    "min": Function(_pairwise("minimum"), 2, MANY),
    "max": Function(_pairwise("maximum"), 2, MANY),
    "where": Function(_numpy("where"), 3, 3),
}
"""The functions, named as in NumPy; `where(condition, a, b)` is a where the condition holds, else b."""

OPERATORS: dict[str, Callable[..., Value]] = {
    "or": _numpy("logical_or"), "and": _numpy("logical_and"), "not": _numpy("logical_not"),
    "<": lambda a, b: a < b, "<=": lambda a, b: a <= b, ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b, "!=": lambda a, b: a != b,
    "+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b, "/": lambda a, b: a / b,
    "**": lambda a, b: a**b, "negative": lambda a: -a,
    **{name: function.call for name, function in FUNCTIONS.items()},
}  # fmt: skip

RESERVED = frozenset({"and", "or", "not", *FUNCTIONS})
"""Words that cannot be names."""
