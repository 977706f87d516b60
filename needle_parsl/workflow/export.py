"""`needle export`: what the estimators of a run are, and files of them for colleagues without needle."""

from __future__ import annotations

import pkgutil
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from needle_parsl import analysis, files, refs, rundir
from needle_parsl.analysis import extras
from needle_parsl.errors import InputError
from needle_parsl.plan import stages
from needle_parsl.workflow import evaluate, overwrite, run_state
from needle_parsl.workflow import trust as trusting

ALL = "all"
TRITON = "triton"


@dataclass(frozen=True)
class ModelOptions:
    """How the estimators of a run are served."""

    name: str = ""
    """Of the model; empty for that of the analysis."""
    gpus: int = 0
    """One instance on each of so many GPUs; 0 for the CPU."""
    instances: int = 1
    """Processes per GPU, or on the CPU."""


def described(root: Path) -> dict[str, Any]:
    """Say what is inside the estimators of a run.

    Returns:
        `analysis`, `features` in their order, each with its unit, `processes`, `ratios` with their members, combiner and
        calibration, `versions`, and `files`: what was exported in the run, or why not.

    Raises:
        InputError: The run has no estimators yet.
    """
    facts: dict[str, Any] = _task("describe", _model(root))
    state = run_state.read(root)
    return facts | {"versions": {"needle": state.get("needle", ""), **state.get("versions", {})}, "files": _notes(root)}


def _task(name: str, *arguments: Any) -> Any:
    """Call a function of `tasks.exports` here."""
    return pkgutil.resolve_name(f"needle_parsl.tasks.exports:{name}")(*arguments)


def _model(root: Path) -> Path:
    """Locate the file of all estimators."""
    path = root / stages.place("compose", ALL)
    if not path.exists():
        raise evaluate.lacking(root)
    return path


def _notes(root: Path) -> list[dict[str, Any]]:
    folder = root / "estimators"
    paths = [folder / f"{ALL}.json", *sorted(folder.glob("*/export.json"))]
    return [evaluate.exported(path) for path in paths if path.exists()]


def write(
    root: Path,
    folder: Path,
    kinds: Sequence[str],
    *,
    trust: bool = False,
    force: bool = False,
    model: ModelOptions | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> list[Path]:
    """Write files for colleagues: one per ratio and kind, and for `onnx` and `h5` one of everything.

    Args:
        root: The run directory.
        folder: Where to.
        kinds: What `--format` takes.
        trust: Whether code of somebody else's run may be executed.
        force: Whether files that needle has not written may be replaced.
        model: For `triton`, what the model is called and how it is run.
        say: Tells the user something.

    Raises:
        InputError: What is asked for was not, or cannot be, exported; the message says why.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise InputError(f'--format: "{kind}" is no format; expected {", ".join(KINDS)}')
    if model is not None and TRITON not in kinds:
        raise InputError("--name, --gpus and --instances are of models that are served; say --format triton, too")
    if {"pt2", "safetensors", TRITON} & set(kinds):
        code = trusting.code(root, analysis.read(root / rundir.ANALYSIS), networks=True, trust=trust, say=say)
        refs.grant(code.names, code.source, code.path)
    overwrite.into(folder, [name for kind in kinds for name in _names(root, kind)], root, force=force)
    folder.mkdir(parents=True, exist_ok=True)
    written = [path for kind in dict.fromkeys(kinds) if kind != TRITON for path in KINDS[kind](root, folder)]
    if written:
        overwrite.note(folder, written)
    return [*written, *(_triton(root, folder, model or ModelOptions()) if TRITON in kinds else [])]


def _names(root: Path, kind: str) -> list[str]:
    """List the files that a kind of export writes."""
    if kind == "h5":
        return [f"{ALL}.h5"]
    if kind == TRITON:  # a version is added, and none replaced
        return []
    if kind == "onnx":
        return [_flat(str(note["file"])) for note in _notes(root) if note["exported"]]
    return [f"{ratio['name']}.{kind}" for ratio in described(root)["ratios"]]


def _onnx(root: Path, folder: Path) -> list[Path]:
    notes = _notes(root)
    if not notes:
        raise InputError(f"{root}: was run without ONNX, which {extras.remedy('onnx')}, and run it again")
    if refused := [note for note in notes if not note["exported"]]:
        raise InputError("\n".join(f"{note['file']}: {note['reason']}" for note in refused))
    return [_copied(root, note["file"], folder / _flat(note["file"])) for note in notes]


def _flat(file: str) -> str:
    path = Path(file)
    return f"{path.parent.name}{path.suffix}" if path.stem == "estimator" else path.name


def _h5(root: Path, folder: Path) -> list[Path]:
    return [_copied(root, stages.place("compose", ALL), folder / f"{ALL}.h5")]


def _copied(root: Path, file: str, target: Path) -> Path:
    """Copy a file of a run, and nothing else that its files name or that is linked there: what is exported is given to others."""
    source = (root / file).resolve()
    if not source.is_relative_to(root.resolve()) or not source.is_file():
        raise InputError(f"{root}: {file} is no file of this run; nothing was exported")
    with files.atomic(target) as temporary:
        shutil.copyfile(source, temporary)
    return target


def _pt2(root: Path, folder: Path) -> list[Path]:
    written: list[Path] = _task("write", _model(root), folder, "pt2")
    return written


def _safetensors(root: Path, folder: Path) -> list[Path]:
    if not find_spec("safetensors"):
        raise InputError('--format safetensors needs safetensors, not installed here; pip install "needle-parsl[onnx]"')
    written: list[Path] = _task("write", _model(root), folder, "safetensors")
    return written


def _triton(root: Path, folder: Path, options: ModelOptions = ModelOptions()) -> list[Path]:
    if not extras.here("onnx"):
        raise InputError(f"--format {TRITON} {extras.remedy('onnx')}")
    place = _task("publish", _model(root), folder, options.name, str(root.resolve()), options.gpus, options.instances)
    return [Path(place)]


KINDS = {"onnx": _onnx, "h5": _h5, "pt2": _pt2, "safetensors": _safetensors, "triton": _triton}
"""By what `--format` takes; each takes the run directory and the folder, and lists what it wrote."""
