"""The pseudo-model: every ratio of an analysis with its variations in one object, that a colleague can evaluate.

model = pseudomodel.read("runs/gaussian/estimators/all.h5")
model.log_ratio(x)["signal"]                        # ln p_signal / p_reference
model.log_ratio_error(x)["signal"]                  # its error
model.response("signal", x, {"jes": 0.5})           # p_signal(x | jes = 0.5) / p_signal(x), before normalisation
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from needle_parsl import __version__
from needle_parsl.densities import Cross, Shape
from needle_parsl.errors import InputError, closest
from needle_parsl.nsbi.data import hdf5
from needle_parsl.nsbi.estimators import files, joint
from needle_parsl.nsbi.estimators.estimator import Estimator
from needle_parsl.nsbi.statistics.model.interpolation import INTERPOLATIONS

Floats = npt.NDArray[np.float64]
Columns = Mapping[str, npt.ArrayLike]


@dataclass(frozen=True, kw_only=True)
class PseudoModel:
    """All learned ratios, and how they make up the processes of a model."""

    name: str
    """Of the analysis."""
    features: tuple[str, ...]
    """What x holds, in this order."""
    units: Mapping[str, str]
    """Of features, where they are known."""
    processes: tuple[str, ...]
    ratios: Mapping[str, Estimator]
    """By numerator, `signal` or `signal.jes.up`; a process that is the reference has none, and ln r = 0."""
    shapes: tuple[Shape, ...]
    """Which ratios say how a process responds to a nuisance."""
    interpolations: Mapping[str, str]
    """By nuisance."""
    covariance: joint.Covariance | None = None
    """Of the weights of all wifi ratios."""
    crosses: tuple[Cross, ...] = ()
    """Which ratios say how it responds to two nuisances together."""

    def log_ratio(self, events: npt.ArrayLike | Columns, names: Sequence[str] | None = None) -> dict[str, Floats]:
        """Evaluate ln r_j of each process: shape (N,).

        Args:
            events: Features (N, F) in the order of `features`, or columns by name.
            names: What the columns of an array are, if that should be checked.

        Raises:
            InputError: A column is missing, or the order is another one.
        """
        x = self.arranged(events, names)
        return {process: self._of(process, x).get("log_ratio", np.zeros(len(x))) for process in self.processes}

    def log_ratio_error(self, events: npt.ArrayLike | Columns, names: Sequence[str] | None = None) -> dict[str, Floats]:
        """Estimate sigma of ln r_j of each process: shape (N,); arguments as those of `log_ratio`."""
        x = self.arranged(events, names)
        return {process: self._of(process, x).get("log_ratio_error", np.zeros(len(x))) for process in self.processes}

    def _of(self, ratio: str, x: npt.NDArray[np.float32]) -> dict[str, Floats]:
        if ratio not in self.ratios:
            return {}
        return {"log_ratio": self.ratios[ratio].log_ratio(x), "log_ratio_error": self.ratios[ratio].log_ratio_error(x)}

    def response(
        self,
        process: str,
        events: npt.ArrayLike | Columns,
        nuisances: Mapping[str, float],
        names: Sequence[str] | None = None,
    ) -> Floats:
        """Evaluate prod_k g_jk(x, alpha_k), times exp(c_jkl(x) alpha_k alpha_l) where that is known, of a process, shape (N,).

        A nuisance that is not named is 0.

        Args:
            process: j.
            events: As in `log_ratio`.
            nuisances: alpha by name.
            names: As in `log_ratio`.

        Raises:
            InputError: There is no such process or nuisance, or a column is missing.
        """
        for kind, name, known in (
            ("process", process, self.processes),
            *(("nuisance", n, tuple(self.interpolations)) for n in nuisances),
        ):
            if name not in known:
                raise InputError(f'"{name}" is no {kind} of the model{closest(name, known)}')
        x, alpha = self.arranged(events, names), {name: float(value) for name, value in nuisances.items() if value}
        product, sides = np.ones(len(x)), {}
        for shape in self.shapes:
            if shape.process == process and shape.nuisance in alpha:
                values = {side: self.ratios[side].log_ratio(x) for side in (shape.up, shape.down) if side}
                up, down = sides[shape.nuisance] = shape.sides(values)
                curve = INTERPOLATIONS[self.interpolations[shape.nuisance]]
                product *= curve(np.array([[alpha[shape.nuisance]]]), up[None], down[None]).value[0]
        for cross in (one for one in self.crosses if one.process == process and {one.first, one.second} <= set(alpha)):
            term = cross.term(self.ratios[cross.ratio].log_ratio(x), sides[cross.first], sides[cross.second])
            product *= np.exp(term * alpha[cross.first] * alpha[cross.second])
        return product

    def arranged(self, events: npt.ArrayLike | Columns, names: Sequence[str] | None = None) -> npt.NDArray[np.float32]:
        """Make an array of features; what does not fit is refused by name."""
        return arranged(self.features, events, names)


def arranged(
    features: Sequence[str], events: npt.ArrayLike | Columns, names: Sequence[str] | None = None
) -> npt.NDArray[np.float32]:
    """Put columns in the order that an estimator wants.

    Args:
        features: That order.
        events: An array (N, F), or columns by name.
        names: What the columns of an array are.

    Raises:
        InputError: A column is missing, the order of an array is another one, or its width is.
    """
    wanted = ", ".join(features)
    if isinstance(events, Mapping):
        for name in features:
            if name not in events:
                raise InputError(
                    f'column "{name}" is missing{closest(name, list(events))}; the estimator takes {wanted}'
                )
        return np.column_stack([np.asarray(events[name], np.float32) for name in features])
    x = np.asarray(events, np.float32)
    if names is not None and tuple(names) != tuple(features):
        missing = [name for name in features if name not in names]
        what = f'lack "{missing[0]}"' if missing else f"are in the order {', '.join(names)}"
        raise InputError(f"the columns {what}; the estimator takes {wanted}, in this order")
    if x.ndim != 2 or x.shape[1] != len(features):
        raise InputError(f"the events have shape {x.shape}; expected (N, {len(features)}): {wanted}")
    return x


def write(path: Path, model: PseudoModel) -> None:
    """Write a pseudo-model."""
    with h5py.File(path, "w") as file:
        facts = {"processes": model.processes, "shapes": [asdict(shape) for shape in model.shapes]}
        facts |= {"crosses": [asdict(cross) for cross in model.crosses]} if model.crosses else {}
        file.attrs["model"] = json.dumps({**facts, "interpolations": dict(model.interpolations)})
        file.attrs["name"], file.attrs["needle"] = model.name, __version__
        file.attrs["features"], file.attrs["units"] = json.dumps(model.features), json.dumps(dict(model.units))
        for name, estimator in model.ratios.items():
            files.put(file.create_group(f"ratios/{name}"), estimator)
        if model.covariance is not None:
            joint.put(file.create_group("covariance"), model.covariance)


def read(path: Path | str) -> PseudoModel:
    """Read a pseudo-model; nothing in the file is executed."""
    with hdf5.opened(path, "set of estimators") as file:
        facts = json.loads(file.attrs["model"])
        return PseudoModel(
            name=str(file.attrs["name"]),
            features=tuple(json.loads(file.attrs["features"])),
            units=json.loads(file.attrs["units"]),
            processes=tuple(facts["processes"]),
            ratios={name: files.take(group) for name, group in file.get("ratios", {}).items()},
            shapes=tuple(Shape(**shape) for shape in facts["shapes"]),
            interpolations=facts["interpolations"],
            covariance=joint.take(file["covariance"]) if "covariance" in file else None,
            crosses=tuple(Cross(**{**cross, "at": tuple(cross["at"])}) for cross in facts.get("crosses", ())),
        )
