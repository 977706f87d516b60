"""The coordinate in which multipliers are polynomials: s with mu = s^2 for a parameter under a square root, else itself.

In mu the slope of sqrt(mu) at 0 has no number and a fit that touches the bound is lost; in s nothing is singular
(ATLAS, arXiv:2412.01548, has the interference term sqrt(mu)).
"""

from __future__ import annotations

from needle_parsl.expressions import Expression, number


def power(tree: Expression, name: str) -> float | None:
    """Give c if an expression is `name ** c`, `sqrt(name)` or `name`; None for any other."""
    own = Expression("name", (name,))
    if tree == own:
        return 1.0
    if not tree.operands or tree.operands[0] != own:
        return None
    if tree.operator == "sqrt":
        return 0.5
    constant = tree.operator == "**" and not tree.operands[1].names()
    return float(tree.operands[1]({})) if constant else None


def rooted(tree: Expression, name: str) -> bool:
    """Whether a half-integer power of a parameter occurs in a multiplier."""
    found = power(tree, name)
    if found is not None:
        return found % 1 == 0.5
    return any(rooted(operand, name) for operand in tree.operands if isinstance(operand, Expression))


def in_root(tree: Expression, name: str) -> Expression:
    """Rewrite a multiplier for a parameter's root: the same name now stands for s, and mu is s^2."""
    found = power(tree, name)
    if found is not None:
        root = Expression("name", (name,))
        return root if found == 0.5 else Expression("**", (root, number(2 * found)))
    operands = (in_root(o, name) if isinstance(o, Expression) else o for o in tree.operands)
    return Expression(tree.operator, tuple(operands))
