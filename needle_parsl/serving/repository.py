"""A model repository: what is in it, whether it is what was written, and which versions are served.

DIR/NAME/config.pbtxt                 for Triton's Python backend, and the built-in server
DIR/NAME/configs/onnxruntime.pbtxt    for Triton's ONNX Runtime backend, of a model that is a graph
DIR/NAME/needle.json                  which versions are served, and digests of these
DIR/NAME/VERSION/needle.json          what the version is, and digests of all that lies beside it
DIR/NAME/VERSION/model.py, model.onnx ...
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from needle_parsl import files, kinds, ownership
from needle_parsl.errors import InputError, closest, printable
from needle_parsl.serving import onnx_contents

FACTS, CONFIG, FLAVOUR = "needle.json", "config.pbtxt", "configs/onnxruntime.pbtxt"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
"""Of a model: a folder's name, and a part of an address."""
VERSION = re.compile(r"[1-9][0-9]{0,8}")
ESTIMATOR, FUNCTION = "estimator", "function"
"""Kinds of models: a graph with needle's own `model.py`, or somebody's function."""
FORM: Mapping[str, type | tuple[type, ...]] = {
    "kind": str, "files": dict, "digest": str, "run": str, "made": str, "needle": str, "facts": dict,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Version:
    """A version of a model, as its `needle.json` says."""

    name: str
    """Of the model."""
    number: int
    folder: Path
    kind: str
    files: Mapping[str, str]
    """Digests of what lies beside `needle.json`, by name."""
    digest: str
    """Of all of these: what the version is."""
    run: str
    """Which run made it; empty for a function."""
    made: str
    """When, in UTC."""
    needle: str
    """By which version of needle."""
    facts: Mapping[str, Any]
    """What its kind says of it: features, units, ratios with their members, and how well it agreed with the run."""


@dataclass(frozen=True)
class Model:
    """All versions of a model."""

    name: str
    folder: Path
    versions: tuple[Version, ...]
    """In ascending order."""
    served: tuple[int, ...]
    """Which of them are; the last is the `latest`, which clients get that ask for none."""

    @property
    def latest(self) -> Version:
        """Give the newest version that is served."""
        return self.version(str(self.served[-1]))

    def version(self, number: str) -> Version:
        """Give a version by its number, or by `latest`.

        Raises:
            InputError: There is none, or it is not served.
        """
        if number in ("", "latest"):
            return self.latest
        found = next((one for one in self.versions if str(one.number) == number), None)
        if found is None or found.number not in self.served:
            known = ", ".join(map(str, self.served))
            raise InputError(f"{self.folder}: has no version {printable(number)} that is served; there are {known}")
        return found


def read(folder: Path) -> dict[str, Model]:
    """Read what is in a repository, by name; files are not looked at.

    Raises:
        InputError: It is no folder, holds no model, or a description is damaged.
    """
    if not folder.is_dir():
        raise InputError(f'{folder}: is no folder of models; "needle export RUN --format triton -o {folder}" makes one')
    names = sorted(path.name for path in folder.iterdir() if (path / FACTS).is_file() and NAME.fullmatch(path.name))
    if not names:
        raise InputError(
            f'{folder}: holds no model of needle\'s; "needle export RUN --format triton -o {folder}" writes one'
        )
    return {name: one(folder, name) for name in names}


def one(folder: Path, name: str) -> Model:
    """Read a model.

    Raises:
        InputError: There is none of this name, or its description is damaged.
    """
    own = folder / name
    if not NAME.fullmatch(name) or not (own / FACTS).is_file():
        known = [path.name for path in folder.iterdir() if (path / FACTS).is_file()] if folder.is_dir() else []
        raise InputError(f'{folder}: has no model "{printable(name)}"{closest(name, known)}')
    numbers = sorted(int(path.name) for path in own.iterdir() if VERSION.fullmatch(path.name))
    served = described(own / FACTS, {"served": list, "files": dict})["served"]
    if not served or any(number not in numbers for number in served) or sorted(served) != served:
        raise InputError(f"{own / FACTS}: says that versions are served that are not there; export the model again")
    return Model(name, own, tuple(_version(own, name, number) for number in numbers), tuple(served))


def _version(folder: Path, name: str, number: int) -> Version:
    path = folder / str(number)
    return Version(name=name, number=number, folder=path, **described(path / FACTS, FORM))


def described(path: Path, form: Mapping[str, type | tuple[type, ...]]) -> dict[str, Any]:
    """Read a description.

    Raises:
        InputError: It is none.
    """
    found: Any = files.read_json(path)
    if not isinstance(found, dict) or any(not isinstance(found.get(key), kind) for key, kind in form.items()):
        raise InputError(f"{path}: is no description of a model; export it again")
    return {key: found[key] for key in form}


def verify(model: Model) -> None:
    """Insist on files that are what was written, lie in their folder, and name no others.

    Raises:
        InputError: One is changed, missing, added, a link, or an ONNX file with data elsewhere.
    """
    _insist(model.folder, described(model.folder / FACTS, {"files": dict})["files"], below=False)
    for version in model.versions:
        if version.number in model.served:
            _insist(version.folder, version.files, below=True)
            if digest_of(version.files) != version.digest:
                raise InputError(
                    f"{version.folder / FACTS}: its digest is not that of its files; export the model again"
                )


def digest_of(listed: Mapping[str, str]) -> str:
    """Give one digest of files: that of their names and digests."""
    return files.digest_of("".join(f"{name} {listed[name]}\n" for name in sorted(listed)).encode())


def _insist(folder: Path, listed: Mapping[str, Any], *, below: bool) -> None:
    """Insist on files that are listed; `below` says whether there may be no others."""
    if folder.is_symlink():
        raise InputError(f"{folder}: is a link; a model lies in its own folder")
    for path in _all(folder) if below else ():
        if path.is_symlink():
            raise InputError(f"{path}: is a link that may point outside of its folder; nothing behind it is served")
        if path.is_file() and str(path.relative_to(folder)) not in (FACTS, *listed):
            raise InputError(f"{path}: is not listed in {folder / FACTS}; nothing was served")
    for name, digest in listed.items():
        _insist_on_file(folder, name, digest)


def _insist_on_file(folder: Path, name: str, digest: str) -> None:
    """Insist on a file that is what its digest says, and lies in its folder."""
    path = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise InputError(f'{folder / FACTS}: names "{printable(name)}", which lies outside of its folder')
    if wrong := kinds.unreadable(path):
        raise InputError(f"{path}: {wrong}; export the model again")
    if path.is_symlink() or not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{path}: is a link that may point outside of its folder; nothing behind it is served")
    if files.digest(path) != digest:
        raise InputError(f"{path}: is not what was exported (its digest differs); export the model again")
    if path.suffix == ".onnx":
        onnx_contents.whole(path.read_bytes(), str(path))


COMPILED = "__pycache__"
"""Where a server's Python keeps `model.py` compiled, which it compares with that itself."""


def _all(folder: Path) -> list[Path]:
    """List files, folders and links of a version."""
    found = [Path(above, name) for above, folders, names in os.walk(folder) for name in (*folders, *names)]
    return [path for path in found if path.is_symlink() or COMPILED not in path.parts]


def insist_on_owner(folder: Path, models: Sequence[Model]) -> None:
    """Refuse models that somebody else could have changed: serving them executes their `model.py`.

    Raises:
        InputError: There is one.
    """
    for path in (folder, *(model.folder for model in models), *(v.folder for m in models for v in m.versions)):
        if wrong := ownership.fault(path):
            raise InputError(f"{path}: {wrong}, and a model is code that the server executes; copy it, or say --trust")
