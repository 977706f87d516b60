"""How fits of toys are compiled: sums become vector instructions, in which the order of additions is LLVM's.

`reassoc`, `contract`, `arcp` and `nsz` alone: infinities and NaN keep their meaning. Results are the same to the last bit on one
type of processor, and differ in the last digits between types.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from needle_parsl.nsbi import compilation

F = TypeVar("F", bound=Callable[..., Any])

AVAILABLE = compilation.AVAILABLE
FAST = ("reassoc", "contract", "arcp", "nsz")


def compiled(function: F) -> F:
    """Compile a function with vector sums."""
    return compilation.compiled(function, FAST) if AVAILABLE else function


def exactly(function: F) -> F:
    """Compile a function in which the order of operations matters."""
    return compilation.compiled(function) if AVAILABLE else function
