"""The expression language of selections, weights, derived columns and multipliers: a small grammar of our own, never `eval`.

    or   := and ("or" and)*            cmp  := sum (("<" | "<=" | ">" | ">=" | "==" | "!=") sum)*
    and  := not ("and" not)*           sum  := term (("+" | "-") term)*
    not  := "not" not | cmp            term := unary (("*" | "/") unary)*
    unary := "-" unary | power         power := atom ("**" unary)?
    atom := number | "string" | name | function "(" or ("," or)* ")" | "(" or ")"

A chain of comparisons means what it means in Python: `20 < pt < 50` is `20 < pt and pt < 50`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache, reduce
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any

from needle_parsl.errors import InputError, closest

if TYPE_CHECKING:
    Value = Any  # a float, a string or an array of shape (N,)

LONGEST = 4_000
"""Characters that an expression may have."""
MOST_TOKENS = 256
"""Names, numbers and operators that an expression may have; a bound on the depth of its tree, too."""
DEEPEST = 32
"""Levels that an expression may be nested."""

TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<string>'[^']*'|\"[^\"]*\")"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_.]*)|(?P<operator>\*\*|<=|>=|==|!=|[-+*/<>(),]))"
)


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
        return OPERATORS[self.operator](*(operand(values) for operand in self.operands))

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
    "min": Function(_pairwise("minimum"), 2, MOST_TOKENS),
    "max": Function(_pairwise("maximum"), 2, MOST_TOKENS),
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


class _Parser:
    """Recursive descent over the tokens of one expression."""

    def __init__(self, text: str) -> None:
        self.text, self.tokens, self.place, self.depth = text, _tokens(text), 0, 0

    def peek(self) -> str:
        """Look at the next token; empty at the end."""
        return self.tokens[self.place][1] if self.place < len(self.tokens) else ""

    def take(self, *choices: str) -> str | None:
        """Consume the next token if it is one of the choices."""
        if (
            self.tokens[self.place : self.place + 1]
            and self.tokens[self.place][0] != "string"
            and self.peek() in choices
        ):
            self.place += 1
            return self.tokens[self.place - 1][1]
        return None

    def refuse(self) -> InputError:
        """Say that the next token does not fit."""
        found = f'"{self.peek()}"' if self.peek() else "the end"
        return InputError(f'cannot read "{shorten(self.text)}": {found} was not expected here')

    def left(self, inner: Callable[[], Expression], *operators: str) -> Expression:
        """Read operands joined by left-associative operators."""
        tree = inner()
        while operator := self.take(*operators):
            tree = Expression(operator, (tree, inner()))
        return tree

    def either(self) -> Expression:
        """Read `or`; every level of nesting passes here."""
        self.depth += 1
        if self.depth > DEEPEST:
            raise InputError(f'"{shorten(self.text)}" is nested deeper than {DEEPEST} levels')
        tree = self.left(self.both, "or")
        self.depth -= 1
        return tree

    def both(self) -> Expression:
        """Read `and`."""
        return self.left(self.negation, "and")

    def negation(self) -> Expression:
        """Read `not`."""
        flips = 0
        while self.take("not"):
            flips += 1
        tree = self.comparison()
        return Expression("not", (tree,)) if flips % 2 else tree

    def comparison(self) -> Expression:
        """Read a chain of comparisons as the `and` of its links."""
        left = self.sum()
        links: list[Expression] = []
        while operator := self.take("<", "<=", ">", ">=", "==", "!="):
            right = self.sum()
            links.append(Expression(operator, (left, right)))
            left = right
        if not links:
            return left
        tree = links[0]
        for link in links[1:]:
            tree = Expression("and", (tree, link))
        return tree

    def sum(self) -> Expression:
        """Read `+` and `-`."""
        return self.left(self.term, "+", "-")

    def term(self) -> Expression:
        """Read `*` and `/`."""
        return self.left(self.unary, "*", "/")

    def unary(self) -> Expression:
        """Read signs."""
        signs = 0
        while self.take("-"):
            signs += 1
        tree = self.power()
        return Expression("negative", (tree,)) if signs % 2 else tree

    def power(self) -> Expression:
        """Read `**`, which associates to the right."""
        base = self.atom()
        if not self.take("**"):
            return base
        self.depth += 1
        if self.depth > DEEPEST:
            raise InputError(f'"{shorten(self.text)}" is nested deeper than {DEEPEST} levels')
        tree = Expression("**", (base, self.unary()))
        self.depth -= 1
        return tree

    def atom(self) -> Expression:
        """Read a number, text, name, call or bracket."""
        if self.take("("):
            return self.closed(self.either())
        if self.place == len(self.tokens):
            raise self.refuse()
        kind, text = self.tokens[self.place]
        if kind == "operator" or text in ("and", "or", "not"):
            raise self.refuse()
        self.place += 1
        if kind == "number":
            return _finite(text)
        if kind == "string":
            return Expression("string", (text[1:-1],))
        return self.call(text) if self.take("(") else Expression("name", (text,))

    def call(self, name: str) -> Expression:
        """Read the arguments of a function, whose bracket is open."""
        if name not in FUNCTIONS:
            near = closest(name, FUNCTIONS) or f"; there are {', '.join(FUNCTIONS)}"
            raise InputError(f'cannot read "{shorten(self.text)}": "{name}" is no function{near}')
        arguments = [] if self.peek() == ")" else [self.either()]
        while self.take(","):
            arguments.append(self.either())
        function = FUNCTIONS[name]
        if not function.least <= len(arguments) <= function.most:
            found = f"found {len(arguments)}, expected {function.arity()}"
            raise InputError(f'cannot read "{shorten(self.text)}": {found} of "{name}"')
        self.closed(arguments[-1])
        return Expression(name, tuple(arguments))

    def closed(self, tree: Expression) -> Expression:
        """Insist on a closing bracket."""
        if not self.take(")"):
            raise self.refuse()
        return tree


def _finite(text: str) -> Expression:
    value = float(text)
    if not math.isfinite(value):
        raise InputError(f"the number {shorten(text)} is too large")
    return number(value)


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens: list[tuple[str, str]] = []
    place, end = 0, len(text.rstrip())
    while place < end:
        if len(tokens) == MOST_TOKENS:
            raise InputError(f'"{shorten(text)}" has more than {MOST_TOKENS} names, numbers and operators')
        match = TOKEN.match(text, place)
        if match is None or match.lastgroup is None:
            rest = text[place:].lstrip()
            raise InputError(f'cannot read "{shorten(text)}": "{rest[:1]}" is not part of the language')
        tokens.append((match.lastgroup, match.group(match.lastgroup)))
        place = match.end()
    return tokens


def shorten(text: str, most: int = 60) -> str:
    """Cut a long text for a message."""
    return text if len(text) <= most else text[: most - 3] + "..."


@lru_cache(maxsize=1024)
def parse(text: str) -> Expression:
    """Read an expression.

    Raises:
        InputError: The text is too long, too deep, or not in the grammar.
    """
    if len(text) > LONGEST:
        raise InputError(f'"{shorten(text)}" has {len(text)} characters; an expression has at most {LONGEST}')
    parser = _Parser(text)
    tree = parser.either()
    if parser.place < len(parser.tokens):
        raise parser.refuse()
    return tree


def ordered(definitions: Mapping[str, str], wanted: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """List the definitions that some names need, each after those it uses.

    Args:
        definitions: Expressions by name; they may use each other.
        wanted: Names, of which some are defined.

    Raises:
        InputError: A definition needs itself; the message has the way round.
    """
    uses: dict[str, list[str]] = {}
    left = sorted(set(wanted) & definitions.keys())
    while left:
        if (name := left.pop()) not in uses:
            uses[name] = sorted(parse(definitions[name]).names() & definitions.keys())
            left += uses[name]
    try:
        return tuple((name, definitions[name]) for name in TopologicalSorter(uses).static_order())
    except CycleError as error:
        raise InputError(f"needs itself: {' uses '.join(reversed(error.args[1]))}") from error
