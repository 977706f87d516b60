"""The selection of dijet events, the features of the tagger, and weighted histograms of the selected jets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import awkward as ak
import hist
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

PT_EDGES = (500.0, 600.0, 800.0, 1000.0, 1200.0, 1500.0, 2000.0)
"""Of the bins in the pT of a jet, in GeV."""
AXES: Mapping[str, tuple[int, float, float]] = {
    "n_trk": (60, 0.0, 60.0),
    "tagger": (100, -5.0, 5.0),
    "width": (60, 0.0, 0.4),
}
"""Bins of each variable; below and above there is one more."""
GLUON = 21


def leading(records: Any, tracks: str) -> dict[str, Array]:
    """Take the two leading jets of events that have two; shapes (N, 2), energies in GeV."""
    jets = ak.zip(
        {
            name: records[f"jet_{name}"]
            for name in ("pt", "eta", "trackWidth", "trackC1", "cleaning", "PartonTruthLabelID")
        }
    )
    jets["tracks"] = records[tracks]
    order = ak.argsort(jets.pt, ascending=False)
    pair = jets[order][:, :2]
    found = {name: ak.to_numpy(pair[name]) for name in pair.fields}
    return {
        "pt": found["pt"] / 1000.0,
        "eta": found["eta"],
        "n_trk": found["tracks"],
        "width": found["trackWidth"],
        "c1": found["trackC1"],
        "clean": found["cleaning"] == 2,
        "label": found["PartonTruthLabelID"],
    }


def passes(jets: Mapping[str, Array], weight: Array, *, truth: bool) -> Array:
    """Say which events pass: shape (N,)."""
    pt, eta = jets["pt"], jets["eta"]
    kept = (pt[:, 1] > PT_EDGES[0]) & (pt[:, 0] < PT_EDGES[-1]) & (pt[:, 0] < 1.5 * pt[:, 1]) & (np.abs(weight) < 100)
    every = (np.abs(eta) < 2.1) & jets["clean"] & (jets["n_trk"] > 1)
    if truth:
        every = every & (jets["label"] > 0)
    return np.asarray(kept & every.all(axis=1))


def selected(records: Any, tracks: str, normalisation: float, *, truth: bool) -> dict[str, Array]:
    """Select events and give their jets, two columns each.

    Args:
        records: As `qg_simulation.branches` makes them, with a column for each branch.
        tracks: The branch with the number of tracks.
        normalisation: What a weight of the file is multiplied by.
        truth: Whether jets have a label that is asked for.
    """
    records = records[(records.jet_fire != 0) & (ak.num(records.jet_pt) >= 2)]
    jets = leading(records, tracks)
    weight = ak.to_numpy(records.pu_weight).astype(float) * normalisation
    kept = passes(jets, weight, truth=truth)
    rows = {name: jets[name][kept] for name in ("pt", "eta", "n_trk", "width", "c1")}
    size = np.abs(rows["eta"])
    return {
        **rows,
        "weight": weight[kept],
        "gluon": (jets["label"][kept] == GLUON).astype("i1"),
        "forward": np.column_stack([size[:, 0] >= size[:, 1], size[:, 0] < size[:, 1]]).astype("i1"),
        **_vectors(records, kept),
    }


def _vectors(records: Any, kept: Array) -> dict[str, Array]:
    """Give the relative weights of variations, where the file has them; shapes (N, weights)."""
    if "pdf_weight" not in records.fields:
        return {}
    scale = ak.to_numpy(records.mcEventWeightsVector)[kept] / ak.to_numpy(records.mconly_weight)[kept, None]
    return {"pdf": ak.to_numpy(records.pdf_weight)[kept], "scale": scale}


def features(rows: Mapping[str, Array]) -> Array:
    """Give what the tagger sees of each jet: pT in GeV, tracks, width and C1; shape (2 N, 4)."""
    return np.column_stack([rows[name].reshape(-1) for name in ("pt", "n_trk", "width", "c1")]).astype(np.float32)


def varied_weight(rows: Mapping[str, Array], pdf: int = 0, scale: int = 0) -> Array:
    """Give the weights of events under a PDF or scale variation; 0 is the nominal one."""
    weight = rows["weight"]
    if pdf:
        weight = weight * rows["pdf"][:, pdf]
    return np.asarray(weight * rows["scale"][:, scale] if scale else weight)


def filled(variable: str, rows: Mapping[str, Array], x: Array, weight: Array) -> hist.Hist[Any]:
    """Fill a histogram: pT bin x region (0 central, 1 forward) x flavour (0 quark, 1 gluon; data is 0) x variable.

    Args:
        variable: One of `AXES`.
        rows: Selected events.
        x: Its values; shape (N, 2).
        weight: Of the jets, shape (N, 2); of events, shape (N,).
    """
    jets = weight if weight.ndim == 2 else np.repeat(weight[:, None], 2, axis=1)
    made = hist.Hist(
        hist.axis.Variable(PT_EDGES, flow=False, name="pt", label="jet pT [GeV]"),
        hist.axis.Integer(0, 2, flow=False, name="forward"),
        hist.axis.Integer(0, 2, flow=False, name="gluon"),
        hist.axis.Regular(*AXES[variable], name=variable),
        storage=hist.storage.Weight(),
    )
    columns = (rows["pt"], rows["forward"], rows["gluon"], x)
    return made.fill(*(column.reshape(-1) for column in columns), weight=jets.reshape(-1))


def bins(variable: str, x: Array) -> Array:
    """Give the place of values in arrays of a histogram with the bins below and above its range."""
    axis: Any = hist.axis.Regular(*AXES[variable])
    return np.asarray(axis.index(x)) + 1
