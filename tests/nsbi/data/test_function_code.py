"""What a function of the user's consists of: a change that may matter is seen, and one that cannot is not."""

from __future__ import annotations

import pytest

from needle_parsl.nsbi.data.function_code import Code

PHYSICS = '''"""Some physics."""
import numpy as np
import matplotlib.pyplot as plt
from helpers import scaled, drawn
import constants
from . import beside

EDGES = np.linspace(0, 1, 5)
STYLE, SIZE = "science", 3
np.random.seed(1)
REGISTRY = {}

def registers(function):
    REGISTRY[function.__name__] = function
    return function

@registers
def hidden(x):
    return x

class Base:
    pass

class Special(Base):
    cut = 1

@np.vectorize
def _inner(x):
    return scaled(x)

def select(events):
    return _inner(events)[events > constants.CUT]

def page(spectrum):
    plt.title(STYLE)
    plt.stairs(spectrum, EDGES)
    return drawn(spectrum, Special)

def by_name(name):
    return globals()[name]

def uses(base):
    return Base.__subclasses__()

if __name__ == "__main__":
    page(select(EDGES))
'''
TEXTS = {
    "physics": (PHYSICS, "analysis"),
    "helpers": ("K = 2\n\ndef scaled(x): return K * x\n\ndef drawn(*x): return LINE, x\n\nLINE = 1\n", ""),
    "constants": ("CUT = 5\nOTHER = 6\n", ""),
    "analysis": ("VERSION = 1\n", "analysis"),
    "analysis.beside": ("import lonely_parent.child\n", "analysis"),
    "lonely_parent": ("PARENT = 1\n", "lonely_parent"),
    "lonely_parent.child": ("CHILD = 1\n", "lonely_parent"),
    "loaded_by_name": ("SECRET = 1\n", ""),
}
NAMES = {"select", "page", "by_name", "uses"}


def consists(name: str, texts: dict[str, tuple[str, str]]) -> str:
    return "\n".join(Code(texts, {"physics": NAMES}).of("physics", name))


@pytest.mark.parametrize(
    ("module", "before", "after", "changed"),
    [
        ("physics", "np.linspace(0, 1, 5)", "np.linspace(0, 1, 6)", {"page", "by_name"}),
        ("physics", '"science"', '"plain"', {"page", "by_name"}),
        ("physics", "random.seed(1)", "random.seed(2)", NAMES),
        ("physics", "return x\n", "return x + 1\n", NAMES),  # registered, found by a list
        ("physics", "cut = 1", "cut = 2", {"page", "by_name", "uses"}),
        ("physics", "return scaled(x)", "return scaled(2 * x)", {"select", "by_name"}),
        ("physics", "plt.title", "plt.xlabel", {"page", "by_name"}),
        ("physics", "page(select(EDGES))", "page(1)", set()),
        ("physics", "Some physics", "Other physics", set()),
        ("physics", "REGISTRY = {}\n", "REGISTRY = {}\n# a comment\n\n", set()),
        ("helpers", "K = 2", "K = 3", {"select", "by_name"}),
        ("helpers", "LINE = 1", "LINE = 2", {"page", "by_name"}),
        ("constants", "OTHER = 6", "OTHER = 7", {"select", "by_name"}),
        ("analysis.beside", "import", "import os, ", NAMES),
        ("lonely_parent", "PARENT = 1", "PARENT = 2", NAMES),
        ("lonely_parent.child", "CHILD = 1", "CHILD = 2", NAMES),
        ("loaded_by_name", "SECRET = 1", "SECRET = 2", NAMES),
    ],
)
def test_what_a_change_touches(module: str, before: str, after: str, changed: set[str]) -> None:
    text, package = TEXTS[module]
    assert text.count(before) == 1
    new = {**TEXTS, module: (text.replace(before, after), package)}
    assert {name for name in NAMES if consists(name, new) != consists(name, TEXTS)} == changed


@pytest.mark.parametrize(
    "text",
    [
        "A = 1\nA = A + 1\ndef f(): return A\n",
        "A, B = 1, 2\ndef f(): return B\n",
        "A: int = 1\ndef f(): return A\n",
        "from os.path import *\nA = 1\ndef f(): return A\n",
        "try:\n    A = 1\nexcept ImportError:\n    A = 2\ndef f(): return A\n",
        "class C:\n    A = 1\n\ndef f(): return C.A\n",
        "C = {}\nC['A'] = 1\ndef f(): return C\n",
        "import sys\nsys.A = 1\ndef f(): return sys\n",
        "def f():\n    def g(): return A\n    return g\nA = 1\n",
        "def f(x, a=lambda: A): return a\nA = 1\n",
        "def f(): return 'A'\nA = 1\n",
        "def g(): return A\ndef f(): return g\nA = 1\n",
        "def f(): return 'é\x0c' + A\nA = 1\n",
        "for A in [1]: pass\ndef f(): return A\n",
        "with open('/dev/null') as o: A = 1\ndef f(): return A\n",
        "(A := 1)\ndef f(): return A\n",
        "global_ = lambda: A\ndef f(): return global_()\nA = 1\n",
    ],
)
def test_forms_of_what_is_used(text: str) -> None:
    found = ["\n".join(Code({"m": (one, "")}, {"m": {"f"}}).of("m", "f")) for one in (text, text.replace("1", "2"))]
    assert found[0] != found[1]
