"""Tasks of the user's stages: a call of a function, the command line of a command and what it has written, and a merge."""

from __future__ import annotations

import inspect
import os
import shlex
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from traceback import FrameSummary, extract_tb
from typing import Any

from needle_parsl import refs
from needle_parsl.analysis.tables.stages import FIELD, suffix
from needle_parsl.errors import InputError, said
from needle_parsl.files import digest
from needle_parsl.nsbi.data import own_code
from needle_parsl.nsbi.stage_outputs import formats, merging, written_files
from needle_parsl.plan import Task, specs
from needle_parsl.records import Output, Record, writing

STARTED = ".started"
"""The file that says when a command has started; it waits for a worker first, and its end may wait to be seen."""


def work(root: str, task: Task, *_before: Any) -> Record:
    """Do a task of a stage of the user's; for a command, after it has ended well."""
    if task.stage.command:
        return _commanded(root, task)
    with writing(root, task) as out:
        out.path.mkdir()
        work = _called if isinstance(task.spec, specs.OwnCall) else _merged
        # Merges of needle's own may be threads of one process, which would hear of each other's files.
        own = task.spec.physics is not None if isinstance(task.spec, specs.OwnCall | specs.OwnMerge) else False
        with written_files.watched(Path(root).resolve(), out.path) if own else nullcontext():
            work(root, task, out.path)
    return out.record(root)


def _called(root: str, task: Task, folder: Path) -> None:
    """Call the function with what it has parameters for, and write what it returns."""
    spec = task.of(specs.OwnCall)
    assert spec.physics is not None
    before = set(sys.modules)
    function = refs.resolve(spec.work, spec.physics.source, spec.physics.path)
    paths = {name: str(folder / f"{name}{suffix(kind)}") for name, kind in spec.outputs}
    given = {**_values(spec), **{one.argument: _before(root, one) for one in spec.before}}
    own = [name for name in paths if name in _parameters(function)]
    result = _safely(function, spec.work, **given, **{name: paths[name] for name in own})
    _warn_of_modules(spec.physics, before)
    returned = tuple(one for one in spec.outputs if one[0] not in own)
    _write(folder, returned, result, spec.work)
    for name, kind in spec.outputs:
        formats.check(Path(paths[name]), kind, f'{spec.work}, output "{name}"')


def _warn_of_modules(physics: specs.Physics, before: set[str]) -> None:
    """Warn of modules of the user's that were imported only now: no key knows of them, so that changes of them go unnoticed."""
    for path in own_code.modules(set(sys.modules) - before, set()):
        if path != physics.path and own_code.digest(path) not in physics.imported:
            warnings.warn(
                f"{path}: is imported within a function, so that its changes go unnoticed; import it at the top",
                stacklevel=2,
            )


def _values(spec: specs.OwnCall) -> dict[str, Any]:
    return {name: value.path if isinstance(value, specs.File) else value for name, value in spec.given}


def _parameters(function: Callable[..., Any]) -> set[str]:
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {name for name, one in inspect.signature(function).parameters.items() if one.kind in kinds}


def _safely(function: Callable[..., Any], said_name: str, /, *given: Any, **named: Any) -> Any:
    """Call a function of the user's; what it raises is its user's to mend."""
    try:
        return function(*given, **named)
    except Exception as error:
        place = next(
            (f" ({_place(one)})" for one in reversed(extract_tb(error.__traceback__)) if own_code.own(one.filename)), ""
        )
        raise InputError(f"{said_name}: {' '.join(said(error).split())}{place}") from error


def _place(frame: FrameSummary) -> str:
    return f"{Path(frame.filename).name}, line {frame.lineno}"


def _write(folder: Path, outputs: specs.Outputs, result: Any, said: str) -> None:
    """Write what a function returned: the value of the one output, or a table of several."""
    if len(outputs) > 1 and (not isinstance(result, Mapping) or set(result) != {name for name, _ in outputs}):
        names = ", ".join(f'"{name}"' for name, _ in outputs)
        found = f"a table of {', '.join(map(str, result))}" if isinstance(result, Mapping) else type(result).__name__
        raise InputError(f"{said}: found {found}, expected a table with the outputs {names}")
    for name, kind in outputs:
        value = result[name] if len(outputs) > 1 else result
        formats.write(folder / f"{name}{suffix(kind)}", kind, value, f'{said}, output "{name}"')


def _before(root: str, one: specs.Before) -> Any:
    """Read what an earlier stage has written: a value, or several by the names of their items; of a stage of needle's, paths."""
    read = (
        (lambda place: str(Path(root) / place))
        if not one.outputs
        else (lambda place: formats.outputs(Path(root) / place, one.outputs))
    )
    if one.items:
        return {name: read(place) for name, place in zip(one.items, one.places, strict=True)}
    return read(one.places[0]) if one.places else {}


def command_line(root: str, task: Task) -> list[str]:
    """Give the command line of a call; its outputs go to a new folder."""
    spec, folder = task.of(specs.OwnCall), _folder(root, task)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / STARTED).touch()
    texts = dict(_texts(root, spec, folder))
    line = FIELD.sub(lambda found: texts[found[1]] if found[1] else found[0][0], spec.work)
    programs = Path(sys.executable).parent  # `needle` and `python` are those of this environment, activated or not
    before = f"cd {shlex.quote(spec.folder)}\nPATH={shlex.quote(str(programs))}:$PATH"
    return ["bash", "-e", "-o", "pipefail", "-c", f"{before}\n{line}"]


def _folder(root: str, task: Task) -> Path:
    """Place the outputs of a command until it has ended; with the name of what is removed if that never happens."""
    place = Path(root).resolve() / task.place
    return place.with_name(f".{place.name}.{task.key[:8]}.tmp")


def _texts(root: str, spec: specs.OwnCall, folder: Path) -> Iterator[tuple[str, str]]:
    """List what stands for each placeholder, quoted for the shell."""
    for name, value in _values(spec).items():
        yield name, _quoted(value)
    for one in spec.before:
        whole = [Path(root).resolve() / place for place in one.places]
        for output, kind in one.outputs:
            paths = [str(place / f"{output}{suffix(kind)}") for place in whole]
            yield f"{one.argument}.{output}", _quoted(paths)
            yield one.argument, _quoted(paths)
        if not one.outputs:
            yield one.argument, _quoted([str(place) for place in whole])
    for name, kind in spec.outputs:
        yield name, shlex.quote(str(folder / f"{name}{suffix(kind)}"))


def _quoted(value: Any) -> str:
    if isinstance(value, Mapping):
        value = value.get("name", "")
    values = value if isinstance(value, list | tuple) else [value]
    return " ".join(shlex.quote(str(one)) for one in values)


def _commanded(root: str, task: Task) -> Record:
    """Look at what a command has written, and give it its place."""
    spec, folder, place = task.of(specs.OwnCall), _folder(root, task), Path(root) / task.place
    began = (folder / STARTED).stat().st_mtime
    (folder / STARTED).unlink()
    ended = max((path.stat().st_mtime for path in folder.rglob("*")), default=began)
    for name, kind in spec.outputs:
        formats.check(
            folder / f"{name}{suffix(kind)}", kind, f'the command of [stages.{task.stage.name}], output "{name}"'
        )
    shutil.rmtree(place, ignore_errors=True)
    os.replace(folder, place)  # noqa: PTH105  a folder by a folder
    return replace(Output(task, place).record(root), seconds=round(max(ended - began, 0.0), 3))


def _merged(root: str, task: Task, folder: Path) -> None:
    """Merge the outputs of all calls."""
    spec = task.of(specs.OwnMerge)
    if spec.physics is None:
        merge = {"sum": merging.summed, "concatenate": merging.concatenated}[spec.how]
        for name, kind in spec.outputs:
            values = [formats.read(Path(root) / place / f"{name}{suffix(kind)}", kind) for place in spec.places]
            formats.write(
                folder / f"{name}{suffix(kind)}",
                kind,
                merge(values, name),
                f'[stages.{task.stage.name}] merge, output "{name}"',
            )
        return
    function = refs.resolve(spec.how, spec.physics.source, spec.physics.path)
    _merge_in(root, spec, function, spec.places, folder)
    _insist_on_order(root, task, spec, function, folder)


def _merge_in(
    root: str, spec: specs.OwnMerge, function: Callable[..., Any], places: Sequence[str], folder: Path
) -> None:
    values = [formats.outputs(Path(root) / place, spec.outputs) for place in places]
    paths = {name: str(folder / f"{name}{suffix(kind)}") for name, kind in spec.outputs}
    own = {name: path for name, path in paths.items() if name in _parameters(function)}
    result = _safely(function, spec.how, values, **own)
    _write(folder, tuple(one for one in spec.outputs if one[0] not in own), result, spec.how)
    for name, kind in spec.outputs:
        formats.check(Path(paths[name]), kind, f'{spec.how}, output "{name}"')


def _insist_on_order(root: str, task: Task, spec: specs.OwnMerge, function: Callable[..., Any], folder: Path) -> None:
    """Merge once more in the opposite order: bytes that depend on it would make a result depend on chance.

    Raises:
        InputError: They do.
    """
    again = folder.with_name(f"{folder.name}.again.{task.key[:8]}.tmp")
    again.mkdir()
    try:
        _merge_in(root, spec, function, spec.places[::-1], again)
        for name, kind in spec.outputs:
            file = f"{name}{suffix(kind)}"
            if digest(folder / file) != digest(again / file):
                raise InputError(
                    f'[stages.{task.stage.name}] merge = "{spec.how}": the output "{name}" depends on the order of what is merged; '
                    'sort it first, add by math.fsum, or use merge = "sum"'
                )
    finally:
        shutil.rmtree(again)
