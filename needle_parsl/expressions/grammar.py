"""The grammar of expressions, and what bounds them: length, depth, and how many names and numbers.

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
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from needle_parsl.errors import InputError, closest, printable
from needle_parsl.expressions.functions import FUNCTIONS
from needle_parsl.expressions.tree import Expression, number

LONGEST = 4_000
"""Characters that an expression may have."""
MOST_TOKENS = 256
"""Names, numbers and operators that an expression may have; a bound on the depth of its tree, too."""
WHOLE = 2**53
"""The largest whole number up to which floats hold all of them."""
DEEPEST = 32
"""Levels that an expression may be nested."""

TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<string>'[^']*'|\"[^\"]*\")"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_.]*)|(?P<operator>\*\*|<=|>=|==|!=|[-+*/<>(),]))"
)


INSTEAD = {
    "&": 'write "and"', "|": 'write "or"', "!": 'write "not"', "=": 'write "=="', "^": 'write "**"',
    "if": "write where(condition, a, b)", "in": "write a == 1 or a == 2", "[": "a column is one number per event",
    "%": "there is no remainder", "$": "there are no variables",
}  # fmt: skip
"""What people write who know another language."""


@dataclass(frozen=True)
class Token:
    """A name, number, text or operator."""

    kind: str
    text: str
    place: int
    """Its first character, counted from 1."""


class _Parser:
    """Recursive descent over the tokens of one expression."""

    def __init__(self, text: str) -> None:
        self.text, self.tokens, self.place, self.depth = text, _tokens(text), 0, 0

    def peek(self) -> Token | None:
        """Look at the next token; None at the end."""
        return self.tokens[self.place] if self.place < len(self.tokens) else None

    def take(self, *choices: str) -> str | None:
        """Consume the next token if it is one of the choices."""
        token = self.peek()
        if token is None or token.kind == "string" or token.text not in choices:
            return None
        self.place += 1
        return token.text

    def refuse(self) -> InputError:
        """Say that the next token does not fit."""
        token = self.peek()
        if token is None:
            return InputError(f'cannot read "{shorten(self.text)}": the end was not expected here')
        return InputError(f'cannot read "{shorten(self.text)}": {_shown(token)} was not expected here{_instead(token)}')

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
        token = self.peek()
        if token is None or token.kind == "operator" or token.text in ("and", "or", "not"):
            raise self.refuse()
        self.place += 1
        if token.kind == "number":
            return _finite(token.text)
        if token.kind == "string":
            return Expression("string", (token.text[1:-1],))
        return self.call(token.text) if self.take("(") else Expression("name", (token.text,))

    def call(self, name: str) -> Expression:
        """Read the arguments of a function, whose bracket is open."""
        if name not in FUNCTIONS:
            near = closest(name, FUNCTIONS) or f"; there are {', '.join(FUNCTIONS)}"
            raise InputError(f'cannot read "{shorten(self.text)}": "{name}" is no function{near}')
        arguments: list[Expression] = []
        empty = self.take(")")
        while not empty and (not arguments or self.take(",")):
            arguments.append(self.either())
        tree, function = Expression(name, tuple(arguments)), FUNCTIONS[name]
        if not function.least <= len(arguments) <= function.most:
            found = f"found {len(arguments)}, expected {function.arity()}"
            raise InputError(f'cannot read "{shorten(self.text)}": {found} of "{name}"')
        return self.closed(tree)

    def closed(self, tree: Expression) -> Expression:
        """Insist on a closing bracket."""
        if not self.take(")"):
            raise self.refuse()
        return tree


def _finite(text: str) -> Expression:
    if text.isdecimal() and int(text) >= WHOLE:
        return Expression("number", (int(text),))  # as a float, it would be another number
    value = float(text)
    if not math.isfinite(value):
        raise InputError(f"the number {shorten(text)} is too large")
    return number(value)


def _tokens(text: str) -> list[Token]:
    tokens: list[Token] = []
    place, end = 0, len(text.rstrip())
    while place < end:
        if len(tokens) == MOST_TOKENS:
            raise InputError(f'"{shorten(text)}" has more than {MOST_TOKENS} names, numbers and operators')
        match = TOKEN.match(text, place)
        if match is None or match.lastgroup is None:
            rest = text[place:].lstrip()
            wrong = Token("", rest[:1], 1 + text.index(rest, place))
            raise InputError(
                f'cannot read "{shorten(text)}": {_shown(wrong)} is not part of the language{_instead(wrong)}'
            )
        tokens.append(Token(match.lastgroup, match[match.lastgroup], 1 + match.start(match.lastgroup)))
        place = match.end()
    return tokens


def _shown(token: Token) -> str:
    return f'"{shorten(token.text, 20)}" at character {token.place}'


def _instead(token: Token) -> str:
    return f"; {INSTEAD[token.text]}" if token.text in INSTEAD else ""


def shorten(text: str, most: int = 60) -> str:
    """Cut a long text for a message, which has one line."""
    return printable(text if len(text) <= most else text[: most - 3] + "...")


def parse(text: str) -> Expression:
    """Read an expression.

    Raises:
        InputError: The text is too long, too deep, or not in the grammar.
    """
    if len(text) > LONGEST:  # before anything else looks at the whole of it
        raise InputError(f'"{shorten(text)}" has {len(text)} characters; an expression has at most {LONGEST}')
    return _parse(text)


@lru_cache(maxsize=1024)
def _parse(text: str) -> Expression:
    parser = _Parser(text)
    tree = parser.either()
    if parser.peek():
        raise parser.refuse()
    return tree
