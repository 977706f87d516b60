"""What a function of the user's consists of: the statements of its modules that it may reach, so that a change of another function is none of its own.

A statement counts unless it only defines names that nothing mentions which counts. What a text mentions are all its words, those in strings and comments,
too; where it may look names up otherwise, everything counts. So what is left out is certain, and what counts may be more than is needed.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.util import resolve_name
from pathlib import Path
from types import ModuleType

WORDS = re.compile(r"\w+")
LOOKING_UP = frozenset(("globals", "locals", "vars", "eval", "exec", "getattr", "__dict__", "__import__", "import_module", "importlib", "modules"))  # fmt: skip
"""Words of code that may reach names which it does not mention."""
PURE = frozenset(("cache", "lru_cache", "njit", "jit", "vectorize", "guvectorize", "dataclass", "wraps", "contextmanager", "total_ordering"))  # fmt: skip
"""Decorators that note nothing elsewhere; any other one may add what it decorates to a list."""
Imported = list[tuple[str, str | None]]
"""Modules, with the names that are taken from them; None for a module itself, and for all names."""


@dataclass(frozen=True)
class Statement:
    """A statement of a module's."""

    text: str
    defines: frozenset[str]
    """Names, if that is all that it does."""
    bases: frozenset[str]
    """Of a class: whoever uses these may find it by them."""
    imports: tuple[tuple[str, str | None], ...]

    @cached_property
    def words(self) -> frozenset[str]:
        """List what the text mentions."""
        return frozenset(WORDS.findall(self.text))


def statements(text: str, package: str = "") -> list[Statement]:
    """Cut the text of a module into its statements, without its docstring and what it does as a program.

    Args:
        text: Python.
        package: What relative imports are relative to.
    """
    lines = text.split("\n")
    body = [node for node in ast.parse(text).body if not (_is_text(node) or _is_program(node))]
    return [
        Statement(said, _defined(node), _bases(node), tuple(_imports(node, package)))
        for whole in body
        for node, said in _single(whole, "\n".join(lines[_first(whole) : whole.end_lineno]))
    ]


def _single(node: ast.stmt, text: str) -> list[tuple[ast.stmt, str]]:
    """Cut the import of several names into one of each."""
    if isinstance(node, ast.Import):
        cut: list[ast.stmt] = [ast.Import([one]) for one in node.names]
    elif isinstance(node, ast.ImportFrom):
        cut = [ast.ImportFrom(node.module, [one], node.level) for one in node.names]
    else:
        return [(node, text)]
    return [(one, ast.unparse(one)) for one in cut]


def _first(node: ast.stmt) -> int:
    decorators = getattr(node, "decorator_list", [])
    return min(node.lineno, *(one.lineno for one in decorators)) - 1 if decorators else node.lineno - 1


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_program(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("__name__ == '__main__'", "'__main__' == __name__")


def _defined(node: ast.stmt) -> frozenset[str]:
    """Name what a statement defines; nothing for one that does more, or that may."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return frozenset((node.name,)) if all(map(_is_pure, node.decorator_list)) else frozenset()
    if isinstance(node, ast.Import | ast.ImportFrom):
        names = [(one.asname or one.name.partition(".")[0]) for one in node.names]
        return frozenset(names) if "*" not in names else frozenset()
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        parts = [inner for target in targets for inner in (target.elts if isinstance(target, ast.Tuple) else [target])]
        if all(isinstance(part, ast.Name) for part in parts):
            return frozenset(part.id for part in parts if isinstance(part, ast.Name))
    return frozenset()


def _is_pure(decorator: ast.expr) -> bool:
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return getattr(called, "attr", getattr(called, "id", "")) in PURE


def _bases(node: ast.stmt) -> frozenset[str]:
    return (
        frozenset(WORDS.findall(" ".join(map(ast.unparse, node.bases))))
        if isinstance(node, ast.ClassDef)
        else frozenset()
    )


def _imports(statement: ast.stmt, package: str) -> Iterator[tuple[str, str | None]]:
    """List what a statement imports, within functions, too."""
    for node in ast.walk(statement):
        if isinstance(node, ast.Import):
            yield from ((one.name, None) for one in node.names)
        if isinstance(node, ast.ImportFrom):
            name = "." * node.level + (node.module or "")
            module = resolve_name(name, package) if node.level and package else name.lstrip(".")
            yield from ((module, None if one.name == "*" else one.name) for one in node.names)


def reached(found: list[Statement], wanted: Collection[str] | None, known: Collection[str] = ()) -> list[Statement]:
    """List the statements of a module that count, in their order.

    Args:
        found: All of them.
        wanted: Names that are used of it; None for all.
        known: Further names that others use, so that it is no sign of a use within that none is seen.
    """
    if wanted is None:
        return found
    words = set(wanted)
    counts = Counter(word for one in found for word in one.words)  # each is in that which defines it
    mentioned = {word for word, count in counts.items() if count > 1} | set(known) | words
    counted: set[int] = set()
    while True:
        more = [
            place
            for place, one in enumerate(found)
            if place not in counted
            and (not one.defines or (one.defines | one.bases) & words or not one.defines & mentioned)
        ]
        if not more:
            return [found[place] for place in sorted(counted)]
        counted.update(more)
        words.update(*(found[place].words for place in more))
        if words & LOOKING_UP:
            return found


@dataclass(frozen=True)
class Code:
    """The user's modules in this process."""

    texts: Mapping[str, tuple[str, str]]
    """Text and package of each, by its name."""
    known: Mapping[str, Collection[str]]
    """Names that the analysis uses of each."""

    @cached_property
    def cut(self) -> dict[str, list[Statement]]:
        """Cut all of them."""
        return {name: statements(*one) for name, one in self.texts.items()}

    def of(self, module: str, name: str) -> list[str]:
        """List the texts of which a function consists; those of modules that nothing imports by name are always among them."""
        wanted: dict[str, set[str] | None] = {module: {name}}
        while True:
            counted = {one: reached(self.cut[one], names, self._elsewhere(one)) for one, names in wanted.items()}
            after = self._with_imports(wanted, counted)
            if after == wanted:
                hidden = self.texts.keys() - self._imported()
                return [part.text for one in sorted({*counted, *hidden}) for part in counted.get(one, self.cut[one])]
            wanted = after

    def _elsewhere(self, module: str) -> set[str]:
        """List the words of all other modules, and the names that the analysis uses of this one."""
        others = (part.words for one, parts in self.cut.items() if one != module for part in parts)
        return set(self.known.get(module, ())).union(*others)

    def _with_imports(
        self, wanted: Mapping[str, set[str] | None], counted: Mapping[str, Iterable[Statement]]
    ) -> dict[str, set[str] | None]:
        found = {one: None if names is None else set(names) for one, names in wanted.items()}
        for module, name in [known for parts in counted.values() for part in parts for known in part.imports]:
            for one, names in self._named(module, name):
                before = found.setdefault(one, set())
                found[one] = None if names is None or before is None else before | names
        return found

    def _named(self, module: str, name: str | None) -> Iterator[tuple[str, set[str] | None]]:
        """List the user's modules that an import runs, and what it takes of each."""
        inner = f"{module}.{name}"
        for parent in [module[: found.start()] for found in re.finditer(r"\.", module)]:
            if parent in self.texts:
                yield parent, set()
        if inner in self.texts:
            yield inner, None
            name = ""
        if module in self.texts:
            yield module, None if name is None else {name} - {""}

    def _imported(self) -> set[str]:
        """Name the modules that some import statement names, and those of which the analysis names something."""
        named = [known for parts in self.cut.values() for part in parts for known in part.imports]
        return {one for module, name in named for one, _ in self._named(module, name)} | set(self.known)


def texts(modules: Iterable[ModuleType]) -> dict[str, tuple[str, str]]:
    """Read modules: text and package by name. Those that are no Python, or cannot be read any more, are left out."""
    found = {}
    for module in modules:
        path = Path(module.__file__ or "")
        if path.suffix == ".py" and path.is_file():
            found[module.__name__] = (path.read_text(encoding="utf-8"), module.__package__ or "")
    return found


def own(names: Iterable[str], paths: Collection[str]) -> list[ModuleType]:
    """List the modules of this process whose files are among some."""
    found = [sys.modules[name] for name in sorted(names) if name in sys.modules]
    return [module for module in found if getattr(module, "__file__", None) in paths]
