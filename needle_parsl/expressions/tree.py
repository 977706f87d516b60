"""A parsed expression: evaluated, asked for its names, and differentiated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from needle_parsl.errors import InputError

if TYPE_CHECKING:
    from needle_parsl.expressions.arrays import Value


@dataclass(frozen=True)
class Expression:
    """A parsed expression: an operator and its operands; leaves are `number`, `string` and `name`."""

    operator: str
    operands: tuple[Any, ...]

    def names(self) -> frozenset[str]:
        """List the columns or parameters that the expression uses."""
        if self.operator == "name":
            return frozenset(self.operands)
        return frozenset().union(*(o.names() for o in self.operands if isinstance(o, Expression)))

    def __call__(self, values: Mapping[str, Value]) -> Value:
        """Evaluate with numbers or arrays of shape (N,) for the names."""
        if self.operator == "name":
            return values[self.operands[0]]
        if self.operator in ("number", "string"):
            return self.operands[0]
        return _operators()[self.operator](*(operand(values) for operand in self.operands))

    def derivative(self, name: str) -> Expression:
        """Differentiate an arithmetic expression with respect to a parameter.

        Raises:
            InputError: The expression compares or combines truth values.
        """
        if self.operator == "name":
            return number(1.0 if self.operands[0] == name else 0.0)
        if name not in self.names():
            return number(0.0)
        if self.operator not in DERIVATIVES:
            raise InputError(f'"{self.operator}" has no derivative; a multiplier is arithmetic in the parameters')
        return DERIVATIVES[self.operator](*self.operands, *(operand.derivative(name) for operand in self.operands))


@cache
def _operators() -> Mapping[str, Callable[..., Value]]:
    from needle_parsl.expressions.arrays import OPERATORS  # noqa: PLC0415  NumPy, which parsing does without

    return OPERATORS


def number(value: float) -> Expression:
    """Make the expression of a constant."""
    return Expression("number", (value,))


def apply(operator: str, *operands: Expression) -> Expression:
    """Make the expression of an operator, with the trivial cases of derivatives folded away."""
    zeros = [o == number(0.0) for o in operands]
    ones = [o == number(1.0) for o in operands]
    if operator == "*" and any(zeros):
        return number(0.0)
    if operator == "*" and any(ones):
        return operands[ones.index(False)] if False in ones else number(1.0)
    if operator == "+" and any(zeros):
        return operands[zeros.index(False)] if False in zeros else number(0.0)
    return Expression(operator, operands)


def _power_rule(base: Expression, exponent: Expression, slope: Expression, bend: Expression) -> Expression:
    if bend != number(0.0):
        raise InputError("a parameter in an exponent has no derivative here; write it as a product")
    lowered = apply("**", base, apply("-", exponent, number(1.0)))
    return apply("*", apply("*", exponent, lowered), slope)


def _quotient_rule(a: Expression, b: Expression, da: Expression, db: Expression) -> Expression:
    return apply("/", apply("-", apply("*", da, b), apply("*", a, db)), apply("*", b, b))


DERIVATIVES: dict[str, Callable[..., Expression]] = {
    "+": lambda _a, _b, da, db: apply("+", da, db),
    "-": lambda _a, _b, da, db: apply("-", da, db),
    "*": lambda a, b, da, db: apply("+", apply("*", da, b), apply("*", a, db)),
    "/": _quotient_rule,
    "**": _power_rule,
    "negative": lambda _a, da: apply("negative", da),
    "sqrt": lambda a, da: apply("/", da, apply("*", number(2.0), apply("sqrt", a))),
    "log": lambda a, da: apply("/", da, a),
    "exp": lambda a, da: apply("*", apply("exp", a), da),
    "sin": lambda a, da: apply("*", apply("cos", a), da),
    "cos": lambda a, da: apply("negative", apply("*", apply("sin", a), da)),
    "sinh": lambda a, da: apply("*", apply("cosh", a), da),
    "cosh": lambda a, da: apply("*", apply("sinh", a), da),
}
"""For each operator: operands, then their derivatives, to the derivative."""
