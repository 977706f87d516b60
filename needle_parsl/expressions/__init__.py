"""The expression language of selections, weights, derived columns and multipliers: a small grammar of our own, never `eval`."""

from needle_parsl.expressions.definitions import ordered
from needle_parsl.expressions.functions import FUNCTIONS, RESERVED
from needle_parsl.expressions.grammar import parse, shorten
from needle_parsl.expressions.tree import Expression, number

__all__ = ["FUNCTIONS", "RESERVED", "Expression", "number", "ordered", "parse", "shorten"]
