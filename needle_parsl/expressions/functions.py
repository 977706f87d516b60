"""What an expression may compute: a fixed set of functions, by name and number of arguments."""

from __future__ import annotations

from dataclasses import dataclass

MANY = 1_000
"""Arguments of a function that takes as many as there are."""


@dataclass(frozen=True)
class Function:
    """What may be called in an expression."""

    least: int = 1
    """Arguments that it needs."""
    most: int = 1
    """Arguments that it takes."""

    def arity(self) -> str:
        """Say how many arguments it takes."""
        if self.least < self.most:
            return f"{self.least} or more arguments"
        return f"{self.least} argument{'s' if self.least > 1 else ''}"


ONE_ARGUMENT = (
    "sign", "floor", "ceil", "sqrt", "exp", "log", "log10", "isfinite", "sin", "cos", "tan", "arcsin", "arccos",
    "arctan", "sinh", "cosh", "tanh", "arcsinh", "arccosh", "arctanh",
)  # fmt: skip
FUNCTIONS: dict[str, Function] = {
    "abs": Function(),
    **dict.fromkeys(ONE_ARGUMENT, Function()),
    "arctan2": Function(2, 2),
    "atan2": Function(2, 2),
    "hypot": Function(2, 2),
    "min": Function(2, MANY),
    "max": Function(2, MANY),
    "where": Function(3, 3),
}
"""The functions, named as in NumPy; `where(condition, a, b)` is a where the condition holds, else b, also where it is unknown."""

RESERVED = frozenset({"and", "or", "not", *FUNCTIONS})
"""Words that cannot be names."""
