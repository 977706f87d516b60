"""A look into the input files before anything runs: what is wrong with them, and what they are. A program of its own.

It runs in a child process, so that the process that submits imports neither uproot nor the user's modules.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from needle_parsl import refs
from needle_parsl.errors import InputError, closest
from needle_parsl.nsbi.data import conversion, generation
from needle_parsl.nsbi.data.conversion import InputFile, Recipe
from needle_parsl.nsbi.data.events import Events, Fractions

ROWS = 1_000_000
"""Rows of each file that are looked at; conversion looks at all of them."""
TRIAL = 100
"""Events that a generator is asked for."""


@dataclass(frozen=True)
class Look:
    """One sample to look at."""

    recipe: Recipe
    files: tuple[str, ...]
    tree: str
    generate: str
    """The generator function, if it has one instead of files."""


def look(looks: list[Look], physics: tuple[str, str], fractions: Fractions, least: int) -> dict[str, Any]:
    """Look into everything that an analysis names.

    Args:
        looks: Its samples.
        physics: Text and path of the user's Python file; empty texts without one.
        fractions: How events are split.
        least: Effective events that every part of a sample must have.

    Returns:
        `problems`: one line each; `files`: digest by path; `exact`: whether `physics.py` has `log_density`.
    """
    problems: list[str] = []
    exact = _guard(problems, lambda: _has_density(*physics)) if physics[0] else False
    digests = {path: _digest(Path(path)) for path in sorted({path for item in looks for path in item.files})}
    if not problems:
        for item in looks:
            _guard(problems, lambda item=item: _sample(item, physics, digests, fractions, least))  # type: ignore[misc]
    return {"problems": list(dict.fromkeys(problems)), "files": digests, "exact": bool(exact)}


def _guard(problems: list[str], work: Callable[[], Any]) -> Any:  # noqa: ANN401
    try:
        return work()
    except InputError as error:
        problems.extend(str(error).splitlines())
        return None


def _has_density(source: str, path: str) -> bool:
    try:
        return hasattr(refs.load_source(source, path), "log_density")
    except Exception as error:
        raise InputError(f"{path}: cannot be imported: {type(error).__name__}: {error}") from error


def _sample(item: Look, physics: tuple[str, str], digests: dict[str, str], fractions: Fractions, least: int) -> None:
    if item.generate:
        columns = generation.generate(item.generate, *physics, TRIAL, seed=0)
        missing = [name for name in item.recipe.columns() if name not in columns]
        if missing:
            raise InputError(
                "\n".join(
                    f'sample {item.recipe.sample}: {item.generate} makes no column "{m}"{closest(m, columns)}'
                    for m in missing
                )
            )
        return
    files = tuple(InputFile(path, item.tree, digests[path]) for path in item.files)
    events = conversion.convert(files, item.recipe, ROWS)
    if item.recipe.sample != "observed":
        _enough(events, item.recipe.sample, fractions, least)


def _enough(events: Events, sample: str, fractions: Fractions, least: int) -> None:
    few = []
    for part in ("train", "combine", "test"):
        effective = events.part(part, fractions).effective()
        if effective < least:
            few.append(f"{effective:.0f} in {part}")
    if few:
        raise InputError(
            f"sample {sample}: has too few effective events: {', '.join(few)}; expected at least {least} in each part; "
            "use more events, another split, or set split.min_events lower"
        )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def main() -> None:
    """Read a request as JSON from standard input, and answer as the last line of standard output."""
    request = json.load(sys.stdin)
    looks = [
        Look(
            Recipe(r["sample"], tuple(r["features"]), r["weight"], tuple(r["selections"]), tuple(r["id"])),
            tuple(r["paths"]),
            r["tree"],
            r["generate"],
        )
        for r in request["looks"]
    ]
    with contextlib.redirect_stdout(sys.stderr):  # what the user's module prints is no answer
        answer = look(looks, tuple(request["physics"]), Fractions(**request["fractions"]), request["least"])
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
