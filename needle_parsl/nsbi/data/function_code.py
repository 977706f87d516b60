"""What a function of the user's consists of: the statements of its modules that it may reach, so that a change of another function is none of its own.

Left out are functions, plain classes, constants and imported names that nothing mentions which counts. What a text mentions are all its words, those in
strings and comments, too. Everything counts where names may be looked up otherwise, and whatever does more than define a name always counts, in every module.
"""

from __future__ import annotations

import ast
import re
import sys
import tokenize
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.util import resolve_name
from types import ModuleType

WORDS = re.compile(r"\w+")
LOOKING_UP = frozenset((
    "globals", "locals", "vars", "eval", "exec", "getattr", "__dict__", "__globals__", "f_globals", "_getframe", "inspect", "attrgetter", "__subclasses__",
    "__import__", "import_module", "importlib", "modules", "pickle", "dill", "cloudpickle", "joblib", "__builtins__", "gc",
))  # fmt: skip
"""Words of code that may reach names which it does not mention."""
PURE = ("functools", "numba", "dataclasses", "contextlib")
"""Modules whose decorators note nothing elsewhere; any other one may add what it decorates to a list."""
DOING = (ast.Call, ast.NamedExpr, ast.Await, ast.Yield, ast.YieldFrom)
"""What an expression may hold that does more than give a value."""
METHODS = ("property", "staticmethod", "classmethod")


@dataclass(frozen=True)
class Statement:
    """A statement of a module's."""

    text: str
    defines: frozenset[str]
    """Names, if that is all that it does."""
    imports: tuple[tuple[str, str | None], ...]
    """Modules, with the names that are taken from them; None for a module itself, and for all names."""

    @cached_property
    def words(self) -> frozenset[str]:
        """List what the text mentions."""
        return frozenset(WORDS.findall(self.text))


def statements(text: str, package: str = "") -> list[Statement]:
    """Cut the text of a module into its statements, without what it does as a program, and without its docstring where nobody asks for that.

    Args:
        text: Python.
        package: What relative imports are relative to.
    """
    lines, tree = text.split("\n"), ast.parse(text)
    origins = {name: module.partition(".")[0] for node in tree.body for name, module in _bound(node)}
    body = [node for node in tree.body if not (_is_text(node) and "__doc__" not in text) and not _is_program(node)]
    return [
        Statement(said, _defined(node, origins), tuple(_imports(node, package)))
        for whole in body
        for node, said in _single(whole, "\n".join(lines[_first(whole) : whole.end_lineno]))
    ]


def _bound(node: ast.stmt) -> Iterator[tuple[str, str]]:
    """List the names that an import binds, with the modules that they come from."""
    if isinstance(node, ast.Import):
        yield from ((one.asname or one.name.partition(".")[0], one.name) for one in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield from ((one.asname or one.name, "." * node.level + (node.module or "")) for one in node.names)


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
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(one.lineno for one in decorators)]) - 1


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_program(node: ast.stmt) -> bool:
    guard = isinstance(node, ast.If) and ast.unparse(node.test) in ("__name__ == '__main__'", "'__main__' == __name__")
    return guard and not getattr(node, "orelse", [])


def _defined(node: ast.stmt, origins: Mapping[str, str]) -> frozenset[str]:
    """Name what a statement defines; nothing for one that does more, or that may."""
    names: list[str] = []
    if isinstance(node, ast.Import | ast.ImportFrom):
        names = [name for name, _ in _bound(node)]
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        names = [node.name] if _only_defines(node, origins) else []
    elif isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        parts = [inner for target in targets for inner in (target.elts if isinstance(target, ast.Tuple) else [target])]
        plain = all(isinstance(part, ast.Name) for part in parts) and not _does(node.value)
        names = [part.id for part in parts if isinstance(part, ast.Name)] if plain else []
    return frozenset(names) if not any(name == "*" or name.startswith("__") for name in names) else frozenset()


def _only_defines(node: ast.stmt, origins: Mapping[str, str]) -> bool:
    """Whether a function or class leaves no trace elsewhere when it is defined: classes that have bases may be listed by these."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        given = [*node.args.defaults, *node.args.kw_defaults]
        return all(_is_pure(one, origins) for one in node.decorator_list) and not any(map(_does, given))
    if isinstance(node, ast.ClassDef):
        whole = not node.bases and not node.keywords and all(_is_pure(one, origins) for one in node.decorator_list)
        return whole and all(_only_defines(inner, origins) for inner in node.body)
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return all(isinstance(target, ast.Name) for target in targets) and not _does(node.value)
    return _is_text(node) or isinstance(node, ast.Pass)


def _does(value: ast.expr | None) -> bool:
    return value is not None and any(isinstance(inner, DOING) for inner in ast.walk(value))


def _is_pure(decorator: ast.expr, origins: Mapping[str, str]) -> bool:
    found = decorator.func if isinstance(decorator, ast.Call) else decorator
    while isinstance(found, ast.Attribute):
        found = found.value
    return isinstance(found, ast.Name) and (
        origins.get(found.id) in PURE or (found.id in METHODS and found.id not in origins)
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


def reached(found: list[Statement], wanted: Collection[str] | None) -> list[Statement]:
    """List the statements of a module that count, in their order.

    Args:
        found: All of them.
        wanted: Names that are used of it; None for all.
    """
    if wanted is None:
        return found
    words = set(wanted)
    counted: set[int] = set()
    while True:
        more = [
            place
            for place, one in enumerate(found)
            if place not in counted and (not one.defines or one.defines & words)
        ]
        if not more:
            return [found[place] for place in sorted(counted)]
        counted.update(more)
        words.update(*(found[place].words for place in more))


@dataclass(frozen=True)
class Code:
    """The user's modules in this process."""

    texts: Mapping[str, tuple[str, str]]
    """Text and package of each, by its name."""

    @cached_property
    def cut(self) -> dict[str, list[Statement]]:
        """Cut all of them."""
        return {name: statements(*one) for name, one in self.texts.items()}

    def of(self, module: str, name: str) -> list[str]:
        """List the texts of which a function consists; of each module what is always done is among them."""
        if module not in self.texts:
            return []
        wanted: dict[str, set[str] | None] = {one: set() for one in self.texts} | {module: {name}}
        while True:
            counted = {one: reached(self.cut[one], names) for one, names in wanted.items()}
            if any(part.words & LOOKING_UP for parts in counted.values() for part in parts):
                counted = self.cut
            after = self._with_imports(wanted, counted)
            if after == wanted:
                return [part.text for one in sorted(counted) for part in counted[one]]
            wanted = after

    def _with_imports(
        self, wanted: Mapping[str, set[str] | None], counted: Mapping[str, Iterable[Statement]]
    ) -> dict[str, set[str] | None]:
        found = {one: None if names is None else set(names) for one, names in wanted.items()}
        for module, name in [known for parts in counted.values() for part in parts for known in part.imports]:
            for one, names in self._named(module, name):
                before = found[one]
                found[one] = None if names is None or before is None else before | names
        return found

    def _named(self, module: str, name: str | None) -> Iterator[tuple[str, set[str] | None]]:
        """List the user's modules of which an import takes something, and what: names, or all that there is, in the modules below it, too."""
        whole = f"{module}.{name}" if name else module
        if name is None or whole in self.texts:
            top = whole.partition(".")[0] if name is None else whole
            yield from ((one, None) for one in self.texts if one == whole or f"{one}.".startswith(f"{top}."))
        elif module in self.texts:
            yield module, {name}


def texts(modules: Iterable[ModuleType]) -> dict[str, tuple[str, str]]:
    """Read modules: text and package by name. Those that are no Python, or cannot be read any more, are left out."""
    found = {}
    for module in modules:
        try:
            with tokenize.open(module.__file__ or "") as file:
                text = file.read()
            ast.parse(text)
        except (OSError, SyntaxError, ValueError):
            continue
        found[module.__name__] = (text, module.__package__ or "")
    return found


def own(names: Iterable[str], paths: Collection[str]) -> list[ModuleType]:
    """List the modules of this process whose files are among some."""
    found = [sys.modules[name] for name in sorted(names) if name in sys.modules]
    return [module for module in found if getattr(module, "__file__", None) in paths]
