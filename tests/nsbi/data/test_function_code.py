"""What a function of the user's consists of: a change that may matter is seen, and one that cannot is not."""

from __future__ import annotations

import types
from pathlib import Path

import pytest

from needle_parsl.nsbi.data.function_code import Code, texts

PHYSICS = '''"""Some physics."""
import functools
import numpy as np
import matplotlib.pyplot as plt
from helpers import scaled, drawn
import constants
from . import beside

EDGES = (0, 0.5, 1)
BINS = np.linspace(0, 1, 5)
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

class Plain:
    """A plain class."""
    size: int = 3

    @property
    def twice(self):
        return 2 * self.size

@functools.cache
def _inner(x):
    return scaled(x)

def select(events):
    return _inner(events)[events > constants.CUT]

def page(spectrum):
    plt.title(STYLE)
    plt.stairs(spectrum, EDGES)
    return drawn(spectrum, Special, Plain)

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


def consists(name: str, known: dict[str, tuple[str, str]]) -> str:
    return "\n".join(Code(known).of("physics", name))


@pytest.mark.parametrize(
    ("module", "before", "after", "changed"),
    [
        ("physics", "(0, 0.5, 1)", "(0, 0.4, 1)", {"page", "by_name", "uses"}),
        ("physics", "np.linspace(0, 1, 5)", "np.linspace(0, 1, 6)", NAMES),  # a call may do more than give a value
        ("physics", "return 2 * self.size", "return 3 * self.size", {"page", "by_name", "uses"}),
        ("physics", "def uses(base):", "def unused(): pass\n\ndef uses(base):", {"by_name", "uses"}),
        ("physics", '"science"', '"plain"', {"page", "by_name", "uses"}),
        ("physics", "random.seed(1)", "random.seed(2)", NAMES),
        ("physics", "return x\n", "return x + 1\n", NAMES),  # registered, found by a list
        ("physics", "cut = 1", "cut = 2", NAMES),
        ("physics", "return scaled(x)", "return scaled(2 * x)", {"select", "by_name", "uses"}),
        ("physics", "plt.title", "plt.xlabel", {"page", "by_name", "uses"}),
        ("physics", "page(select(EDGES))", "page(1)", set()),
        ("physics", "Some physics", "Other physics", set()),
        ("physics", "REGISTRY = {}\n", "REGISTRY = {}\n# a comment\n\n", set()),
        ("helpers", "K = 2", "K = 3", {"select", "by_name", "uses"}),
        ("helpers", "LINE = 1", "LINE = 2", {"page", "by_name", "uses"}),
        ("constants", "OTHER = 6", "OTHER = 7", {"select", "by_name", "uses"}),
        ("analysis.beside", "import", "import os, ", {"by_name", "uses"}),
        ("lonely_parent", "PARENT = 1", "PARENT = 2", {"by_name", "uses"}),
        ("lonely_parent.child", "CHILD = 1", "CHILD = 2", {"by_name", "uses"}),
        ("loaded_by_name", "SECRET = 1", "SECRET = 2", {"by_name", "uses"}),
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
    found = ["\n".join(Code({"m": (one, "")}).of("m", "f")) for one in (text, text.replace("1", "2"))]
    assert found[0] != found[1]


REGISTRY = "REG = []\ndef add(f):\n    REG.append(f)\n    return f\n"
PATCHED = "import helpers\nimport patches\ndef f(): return helpers.K\ndef g(): return patches.N\n"
MISSED = {
    "import for its effect": {"physics": PATCHED, "helpers": "K = 0  # patches sets it\n", "patches": "import helpers\nN = 1\nhelpers.K = 'OLD'\n"},
    "seed": {"physics": "import seeds\ndef f(): return 1\ndef g(): return seeds.N\n", "seeds": "import numpy\nN = 1\nnumpy.random.seed('OLD')\n"},
    "registered in another module": {"physics": "from reg import REG\nfrom plug import s\ndef f(): return REG\ndef g(): return s\n", "reg": REGISTRY, "plug": "from reg import add\n@add\ndef s(): return 'OLD'\n"},
    "a submodule as an attribute": {"physics": "import lib\nfrom lib.tools import a\ndef f(): return lib.tools.b()\ndef g(): return a()\n", "lib": "", "lib.tools": "def a(): return 1\ndef b(): return 'OLD'\n"},
    "else of the guard": {"physics": "if __name__ == '__main__':\n    K = 0\nelse:\n    K = 'OLD'\ndef f(): return K\n"},
    "an assignment that calls": {"physics": REGISTRY + "def step(): return 'OLD'\nFIRST = add(step)\ndef f(): return REG\ndef g(): return FIRST\n"},
    "names that are assigned twice": {"physics": "REG = []\n_ = REG.append('OLD')\n_ = REG.append(3)\ndef f(): return REG\n"},
    "a walrus": {"physics": "A = (B := 'OLD')\ndef f(): return B\ndef g(): return A\n"},
    "a default that calls": {"physics": "R = []\ndef h(x=R.append('OLD')): return x\ndef f(): return R\n"},
    "the body of a class": {"physics": "import helpers\nclass S:\n    helpers.K = 'OLD'\ndef f(): return helpers.K\ndef g(): return S\n", "helpers": "K = 0\n"},
    "a subclass": {"physics": "REG = []\nclass Base:\n    def __init_subclass__(cls): REG.append(cls)\nclass Cut(Base):\n    value = 'OLD'\ndef f(): return REG\ndef g(): return Cut\n"},
    "a metaclass": {"physics": "class Meta(type): known = []\nclass Cut(metaclass=Meta):\n    value = 'OLD'\ndef f(): return Meta.known\ndef g(): return Cut\n"},
    "a subclass in another module": {"physics": "from base import Base\nfrom plug import S\ndef f(): return Base.all()\ndef g(): return S\n", "base": "class Base: pass\n", "plug": "from base import Base\nclass S(Base):\n    v = 'OLD'\n"},
    "a decorator called cache": {"physics": REGISTRY.replace("add", "cache") + "@cache\ndef step(): return 'OLD'\ndef f(): return REG\ndef g(): return step\n"},
    "a decorator of one's own called jit": {"physics": "import reg\n@reg.jit\ndef step(): return 'OLD'\ndef f(): return reg.REG\ndef g(): return step\n", "reg": REGISTRY.replace("add", "jit")},
    "__getattr__ of a module": {"physics": "from lazy import magic\nclass P:\n    def __getattr__(self, n): return 1\ndef f(): return magic\ndef g(): return P\n", "lazy": "def __getattr__(n): return 'OLD'\n"},
    "__globals__": {"physics": "STEP_1 = 'OLD'\ndef f(): return f.__globals__['STEP_' + '1']\ndef g(): return STEP_1\n"},
    "a frame": {"physics": "import sys\nA_1 = 'OLD'\ndef f(): return sys._getframe().f_globals['A_' + '1']\n"},
    "a pickle": {"physics": "import pickle\nfrom shapes import C\nO = pickle.loads(b'')\ndef f(): return O\ndef g(): return C\n", "shapes": "class C:\n    v = 'OLD'\n"},
    "a docstring": {"physics": '"OLD"\ndef f(): return __doc__\n'},
    "a name that is built": {"physics": "import importlib\nfrom steps import other\ndef f(): return importlib.import_module('st' + 'eps').v()\ndef g(): return other\n", "steps": "def v(): return 'OLD'\ndef other(): return 3\n"},
    "a package that patches": {"physics": "from pkg import step\ndef f(): return step()\n", "pkg": "from .impl import step\nfrom . import patch\n", "pkg.patch": "from . import impl\nimpl.K = 'OLD'\n", "pkg.impl": "K = 0\ndef step(): return K\n"},
}  # fmt: skip


@pytest.mark.parametrize("kind", MISSED)
def test_changes_that_are_easily_missed(kind: str) -> None:
    packages = {name.rpartition(".")[0] for name in MISSED[kind]}
    found = []
    for new in ("OLD", "NEW"):
        known = {
            name: (text.replace("OLD", new), name if name in packages else name.rpartition(".")[0])
            for name, text in MISSED[kind].items()
        }
        found.append(consists("f", known))
    assert found[0] != found[1]


def test_files_in_other_encodings_are_read(tmp_path: Path) -> None:
    written = {
        "bom": "\ufeffK = 1\n".encode(),
        "latin": b"# -*- coding: latin-1 -*-\nK = '\xe9'\n",
        "bad": b"K = '\xe9'\n",
    }
    modules = []
    for name, content in written.items():
        (tmp_path / f"{name}.py").write_bytes(content)
        module = types.ModuleType(name)
        module.__file__ = str(tmp_path / f"{name}.py")
        modules.append(module)
    found = {name: text for name, (text, _) in texts(modules).items()}
    assert found == {"bom": "K = 1\n", "latin": "# -*- coding: latin-1 -*-\nK = 'é'\n"}
