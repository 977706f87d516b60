"""Writing a new version of a model into a repository, with the configurations that servers read."""

from __future__ import annotations

import fcntl
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from needle_parsl import __version__, files
from needle_parsl.errors import InputError, printable
from needle_parsl.serving import backend, config_text, repository
from needle_parsl.serving.config_text import Word
from needle_parsl.serving.repository import CONFIG, ESTIMATOR, FACTS, FLAVOUR, FUNCTION, NAME, VERSION, Version

ROWS = 65_536
"""Events of a request, or of several that are batched, at most."""
LOCK = ".needle-lock"
"""Held by whoever writes to a repository."""
DELAY = 300
"""Microseconds that a request may wait for others."""
TYPES = {
    "float32": "TYPE_FP32",
    "float64": "TYPE_FP64",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
    "bool": "TYPE_BOOL",
}
"""NumPy's names of what models take and give, and Triton's."""


@dataclass(frozen=True)
class TensorShape:
    """An input or output of a model."""

    name: str
    kind: str
    """Of its numbers, as NumPy names it: `float32`."""
    dims: tuple[int, ...]
    """Lengths of its axes, without that of the batch; -1 for any."""


@dataclass(frozen=True, kw_only=True)
class Interface:
    """What a model takes and gives, and how it is run."""

    inputs: tuple[TensorShape, ...]
    outputs: tuple[TensorShape, ...]
    rows: int = ROWS
    """Of a batch, at most; 0 for a model whose arrays have no common first axis."""
    gpus: int = 0
    """One instance on each of so many GPUs; 0 for the CPU."""
    instances: int = 1
    """Per GPU, or on the CPU; each is a process of its own. Unit: instances."""
    batching: bool = True
    """Whether requests that come at the same time are put together, where arrays have a common first axis."""


def publish(
    folder: Path,
    name: str,
    kind: str,
    interface: Interface,
    write: Callable[[Path], Mapping[str, Any]],
    run: str = "",
) -> Version:
    """Add a version to a model, and serve it as the latest; what is equal to the latest is that.

    Args:
        folder: The repository.
        name: Of the model.
        kind: `estimator` or `function`.
        interface: What it takes and gives; that of all versions.
        write: Writes files into a folder, and says what the version is.
        run: Which run made it.

    Raises:
        InputError: The name is none, or the model takes or gives something else so far.
    """
    if not NAME.fullmatch(name):
        raise InputError(f'"{printable(name)}" is no name of a model; use letters, digits, ".", "-" and "_"')
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        return _published(folder, name, kind, interface, write, run)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one process at a time write to a repository."""
    with (folder / LOCK).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _published(
    folder: Path, name: str, kind: str, interface: Interface, write: Callable[[Path], Mapping[str, Any]], run: str
) -> Version:
    own = folder / name
    before = repository.one(folder, name) if (own / FACTS).is_file() else None
    if before is None and own.exists():
        raise InputError(f"{own}: is there, and is no model of needle's; choose another name")
    number = max((one.number for one in before.versions), default=0) + 1 if before else 1
    with tempfile.TemporaryDirectory(dir=folder, prefix=".needle-") as inside:
        made = Path(inside) / "version"
        said = _filled(made, kind, write, run)
        if before and before.latest.digest == said["digest"]:
            return before.latest
        if before and _shape(before.latest.facts) != _shape(said["facts"]):
            raise InputError(
                f"{own}: takes or gives something else in version {before.latest.number}; choose another name"
            )
        own.mkdir(exist_ok=True)
        made.replace(own / str(number))
    _configure(own, interface, [*(before.served if before else ()), number])
    return repository.one(folder, name).latest


def _filled(folder: Path, kind: str, write: Callable[[Path], Mapping[str, Any]], run: str) -> dict[str, Any]:
    """Write the files of a version, and what it says of itself."""
    folder.mkdir()
    facts = dict(write(folder))
    (folder / "model.py").write_text(_program(kind), encoding="utf-8")
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    listed = {str(path.relative_to(folder)): files.digest(path) for path in paths}
    said = {
        "kind": kind,
        "files": listed,
        "digest": repository.digest_of(listed),
        "run": run,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "needle": __version__,
        "facts": facts,
    }
    files.write_json(folder / FACTS, said)
    return said


SHARED = "from needle_parsl.serving.backend.arrays import array_of, tensor_of\n"
"""The line of a backend's text in whose place that module stands, so that needle is not needed where it runs."""


def _program(kind: str) -> str:
    """Give the text of `model.py`."""
    own, shared = (
        Path(backend.__file__).with_name(f"{name}.py").read_text(encoding="utf-8") for name in (kind, "arrays")
    )
    assert SHARED in own
    return own.replace(SHARED, shared)


SHAPE = ("features", "ratios", "inputs", "outputs")


def _shape(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Give what must not change from version to version: features and names of ratios, or inputs and outputs."""
    found = {key: facts[key] for key in SHAPE if key in facts}
    return {key: list(value) for key, value in found.items()}


def _configure(folder: Path, interface: Interface, served: Sequence[int]) -> None:
    """Write the configurations of a model, and which of its versions are served."""
    versions = {
        int(path.name): repository.described(path / FACTS, repository.FORM)
        for path in folder.iterdir()
        if VERSION.fullmatch(path.name)
    }
    config = configuration(interface, versions, served)
    files.write_text(folder / CONFIG, config_text.message({"name": folder.name, "backend": "python", **config}))
    written = [CONFIG]
    if versions[served[-1]]["kind"] == ESTIMATOR:
        graph = {"name": folder.name, "platform": "onnxruntime_onnx", **config}
        files.write_text(folder / FLAVOUR, config_text.message(graph))
        written.append(FLAVOUR)
    digests = {name: files.digest(folder / name) for name in written}
    files.write_json(folder / FACTS, {"served": list(served), "files": digests, "interface": _plain(interface)})


def configuration(
    interface: Interface, versions: Mapping[int, Mapping[str, Any]], served: Sequence[int]
) -> dict[str, Any]:
    """Make what the configurations of all backends have in common.

    Args:
        interface: What the model takes and gives.
        versions: What each version says of itself.
        served: Which of them are.
    """
    latest = versions[served[-1]]
    facts = {
        "kind": latest["kind"],
        **{key: json.dumps(latest["facts"][key]) for key in ("features", "units") if key in latest["facts"]},
    }
    facts |= {f"version.{n}": json.dumps(_short(versions[n])) for n in served}
    group: dict[str, Any] = {"count": interface.instances, "kind": Word("KIND_CPU")}
    if interface.gpus:
        group = {"count": interface.instances, "kind": Word("KIND_GPU"), "gpus": list(range(interface.gpus))}
    return {
        "max_batch_size": interface.rows,
        "version_policy": {"specific": {"versions": list(served)}},
        "input": [_tensor(one) for one in interface.inputs],
        "output": [_tensor(one) for one in interface.outputs],
        "instance_group": [group],
        **(
            {"dynamic_batching": {"max_queue_delay_microseconds": DELAY}}
            if interface.rows and interface.batching
            else {}
        ),
        "parameters": [{"key": key, "value": {"string_value": value}} for key, value in facts.items()],
    }


def _short(version: Mapping[str, Any]) -> dict[str, Any]:
    """Give what clients are told of a version."""
    own = {key: value for key, value in version["facts"].items() if key != "transforms"}
    return {"digest": version["digest"], "run": version["run"], "facts": own}


def _tensor(shape: TensorShape) -> dict[str, Any]:
    return {"name": shape.name, "data_type": Word(TYPES[shape.kind]), "dims": list(shape.dims)}


def _plain(interface: Interface) -> dict[str, Any]:
    tensors = {
        side: [[t.name, t.kind, list(t.dims)] for t in getattr(interface, side)] for side in ("inputs", "outputs")
    }
    return {
        **tensors,
        "rows": interface.rows,
        "gpus": interface.gpus,
        "instances": interface.instances,
        "batching": interface.batching,
    }


def _interface(folder: Path) -> Interface:
    found = repository.described(folder / FACTS, {"interface": dict})["interface"]
    inputs, outputs = (tuple(TensorShape(n, k, tuple(d)) for n, k, d in found[side]) for side in ("inputs", "outputs"))
    rows, gpus, instances = (int(found[key]) for key in ("rows", "gpus", "instances"))
    return Interface(
        inputs=inputs, outputs=outputs, rows=rows, gpus=gpus, instances=instances, batching=found.get("batching", True)
    )


def use(folder: Path, name: str, number: str) -> Version:
    """Make a version the latest that is served: those after it stay, and are served no more until they are chosen.

    Raises:
        InputError: There is no such model or version.
    """
    model = repository.one(folder, name)
    known = [one.number for one in model.versions]
    if number not in map(str, known):
        raise InputError(f"{model.folder}: has no version {printable(number)}; there are {', '.join(map(str, known))}")
    with _alone(folder):
        _configure(model.folder, _interface(model.folder), [one for one in known if one <= int(number)])
    return repository.one(folder, name).latest


def publish_function(
    folder: Path, name: str, reference: str, interface: Interface, extra: Sequence[Path] = ()
) -> Version:
    """Add a version of a model that is a function of named arrays, with what it needs beside it.

    Args:
        folder: The repository.
        name: Of the model.
        reference: `file.py:load`; `load(folder)` gives a function that takes arrays by name and gives such. The file must not
            need what stands beside it, unless that is in `extra`.
        interface: What it takes and gives; with `rows=0` each call is a request of arrays of any length.
        extra: Files that lie in `folder` then, such as weights.

    Raises:
        InputError: A file is not there, or the name is none.
    """
    path, _, function = reference.rpartition(":")
    for source in (Path(path), *extra):
        if not source.is_file():
            raise InputError(f"{source}: no such file; nothing was exported")

    def write(target: Path) -> dict[str, Any]:
        shutil.copyfile(path, target / "function.py")
        for source in extra:
            shutil.copyfile(source, target / source.name)
        return {
            "function": function,
            "inputs": {one.name: one.kind for one in interface.inputs},
            "outputs": {one.name: one.kind for one in interface.outputs},
        }

    return publish(folder, name, FUNCTION, interface, write)
