"""Dijet events of a toy simulation: jets of quarks and gluons with tracks, width and C1, in a forward and a central region.

Tracks are negative binomial, width and C1 gamma distributed. Quarks and gluons differ in the shape parameter k; the other parameter, theta, depends on
|eta| alone, so that forward and central jets of the same flavour differ by a few per cent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import awkward as ak
import hist
import numpy as np
import numpy.typing as npt
import uproot

Array = npt.NDArray[Any]

FALL = 4.0
"""The spectrum of the hard scale falls as pT^-FALL."""
LOWEST, HIGHEST = 490.0, 2300.0
"""Of the hard scale, in GeV."""
PDF_WEIGHTS, SCALE_WEIGHTS = 101, 27
"""Lengths of the vectors of weights; element 0 is nominal."""
KERNEL = 23
"""The element of the scale weights that varies the splitting kernel."""
GLUON, UNMATCHED, NO_TRUTH = 21, -1, -9999
MEV = 1000.0


@dataclass(frozen=True)
class Jets:
    """How jets of a generator, or of data, look."""

    tracks: tuple[float, float] = (1.0, 1.0)
    """Factors on the mean number of tracks of quark and gluon jets."""
    shape: tuple[float, float] = (1.0, 1.0)
    """Likewise on the mean of width and C1."""
    quarks: float = 0.0
    """Added to the logit of the quark fraction."""


GENERATORS: Mapping[str, Jets] = {
    "data": Jets(tracks=(0.97, 0.95), shape=(0.99, 0.99)),
    "pythia": Jets(),
    "powheg": Jets(tracks=(1.005, 1.0), quarks=0.05),
    "herwig_angular": Jets(tracks=(1.0, 0.97), shape=(1.01, 0.99), quarks=-0.03),
    "herwig_dipole": Jets(tracks=(0.99, 0.965), shape=(1.0, 0.99), quarks=-0.03),
    "sherpa_cluster": Jets(tracks=(1.01, 1.02), quarks=0.04),
    "sherpa_lund": Jets(tracks=(1.02, 1.03), quarks=0.04),
}
"""The planted difference between data and MC is that of `data` and `pythia`."""


def seeded(*names: object) -> np.random.Generator:
    """Give random numbers that follow from names alone."""
    text = "/".join(map(str, names))
    return np.random.default_rng(int.from_bytes(blake2b(text.encode(), digest_size=8).digest()))


def cross_section(low: float, high: float) -> float:
    """Integrate the spectrum of the hard scale; 1 over its whole range."""
    power = 1 - FALL
    return float((low**power - high**power) / (LOWEST**power - HIGHEST**power))


def hard_scale(generator: np.random.Generator, events: int, low: float, high: float) -> Array:
    """Draw the falling spectrum between two values, in GeV; shape (N,)."""
    power = 1 - FALL
    u = generator.random(events)
    return np.asarray((low**power + u * (high**power - low**power)) ** (1 / power))


def kinematics(generator: np.random.Generator, scale: Array) -> tuple[Array, Array]:
    """Draw pT and eta of three jets, leading first; shapes (N, 3)."""
    steps = np.abs(generator.standard_normal((len(scale), 2)))
    third = scale * generator.uniform(0.1, 0.4, len(scale))
    pt = np.column_stack([scale * (1 + 0.04 * steps[:, 0]), scale * (1 - 0.05 * np.minimum(steps[:, 1], 4)), third])
    boost, half = generator.normal(0, 0.6, len(scale)), generator.normal(0, 0.8, len(scale))
    return pt, np.column_stack([boost + half, boost - half, generator.normal(0, 1.2, len(scale))])


def quark_probability(pt: Array, eta: Array, jets: Jets) -> Array:
    """Give the probability that a jet is one of a quark: it rises with pT and |eta|, as x does."""
    logit = -0.15 + 0.9 * np.log(pt / 800) + 1.5 * (np.abs(eta) - 0.9) + jets.quarks
    return np.asarray(1 / (1 + np.exp(-logit)))


def substructure(generator: np.random.Generator, pt: Array, eta: Array, gluon: Array, jets: Jets) -> tuple[Array, ...]:
    """Draw the number of tracks, width and C1 of jets of any shape."""
    factor = np.where(gluon, jets.tracks[1], jets.tracks[0])
    k = np.where(gluon, 20.0, 12.0) * (1 + 0.25 * np.log(pt / 500).clip(-1)) * factor
    tracks = generator.poisson(generator.gamma(k, 1.25 * (1 - 0.04 * np.abs(eta))))
    spread, narrower = np.where(gluon, jets.shape[1], jets.shape[0]), (pt / 500) ** -0.35
    tilt = 1 + 0.02 * np.abs(eta)
    width = generator.gamma(np.where(gluon, 4.0, 2.5) * spread, 0.022 * narrower * tilt)
    c1 = generator.gamma(np.where(gluon, 13.0, 10.0) * spread, 0.018 * tilt)
    return tracks, width, c1


def simulate(sample: str, low: float, high: float, events: int, generator: np.random.Generator) -> dict[str, Array]:
    """Draw events: arrays of shape (N,), and (N, 3) for jets, the first `njet` of which are there."""
    jets = GENERATORS[sample]
    pt, eta = kinematics(generator, hard_scale(generator, events, low, high))
    gluon = generator.random(pt.shape) > quark_probability(pt, eta, jets)
    tracks, width, c1 = substructure(generator, pt, eta, gluon, jets)
    label = np.where(gluon, GLUON, generator.integers(1, 6, pt.shape))
    return {
        "njet": generator.choice([1, 2, 3], events, p=[0.01, 0.54, 0.45]),
        "jet_fire": generator.random(events) < 0.99,
        "pu_weight": np.ones(events) if sample == "data" else generator.normal(1, 0.15, events).clip(0.3),
        "jet_pt": pt,
        "jet_eta": eta,
        "jet_nTracks": tracks,
        "jet_nTracks_sys_eff": generator.binomial(tracks, 0.985),
        "jet_nTracks_sys_fake": tracks + generator.poisson(0.01 * tracks),
        "jet_trackWidth": width,
        "jet_trackC1": c1,
        "jet_cleaning": np.where(generator.random(pt.shape) < 0.995, 2, 0),
        "jet_PartonTruthLabelID": np.where(generator.random(pt.shape) < 0.99, label, UNMATCHED),
    }


def shifted(pt: Array, eta: Array, tree: str) -> Array:
    """Vary the energies of jets as a tree `syst_JET_NP7__1up` says; `nominal` leaves them."""
    if tree == "nominal":
        return pt
    name, _, side = tree.rpartition("__")
    a, b, c = seeded(name).standard_normal(3)
    size = 0.004 * (a + b * np.abs(eta) / 2 + c * np.log(pt / 800))
    if "JER" in name:
        size = 0.015 * seeded(name, pt.shape).standard_normal(pt.shape)
    return np.asarray(pt * (1 + size * (1 if side == "1up" else -1)))


def weight_vectors(events: Mapping[str, Array]) -> dict[str, Array]:
    """Give the PDF weights (N, 101) and the scale weights (N, 27) of events; element 0 is 1 and the generator weight."""
    quarks = (events["jet_PartonTruthLabelID"][:, :2] != GLUON).sum(axis=1) - 1.0
    slope = np.log(events["jet_pt"][:, 0] / 800)
    a, b = seeded("pdf").standard_normal((2, PDF_WEIGHTS))
    c, d = seeded("scale").standard_normal((2, SCALE_WEIGHTS))
    a[0] = b[0] = c[0] = d[0] = 0
    scale = 1 + 0.02 * np.outer(quarks, c) + 0.05 * np.outer(slope, d)
    scale[:, KERNEL] = 1 + 0.004 * (events["jet_nTracks"][:, :2].sum(axis=1) - 35).clip(-30, 60)
    return {
        "pdf_weight": 1 + 0.03 * np.outer(quarks, a) + 0.03 * np.outer(slope, b),
        "mcEventWeightsVector": scale * events["pu_weight"][:, None],
        "mconly_weight": events["pu_weight"],
    }


TYPES = {"jet_nTracks": "i2", "jet_nTracks_sys_eff": "i2", "jet_nTracks_sys_fake": "i2", "jet_cleaning": "i1"}
"""Of branches that are no 32 bit floats."""


def branches(events: Mapping[str, Array], tree: str, *, truth: bool, vectors: bool) -> ak.Array:
    """Make records with jets of different number of them, in MeV, as a file has them."""
    there = np.arange(3) < events["njet"][:, None]
    jets = {name: array for name, array in events.items() if name.startswith("jet_") and array.ndim == 2}
    jets["jet_pt"] = MEV * shifted(events["jet_pt"], events["jet_eta"], tree)
    if not truth:
        jets["jet_PartonTruthLabelID"] = np.full(there.shape, NO_TRUTH)
    types = {**TYPES, "jet_PartonTruthLabelID": "i4"}
    nested = {
        name: ak.unflatten(array.astype(types.get(name, "f4"))[there], events["njet"]) for name, array in jets.items()
    }
    flat = {"jet_fire": events["jet_fire"].astype("i1"), "pu_weight": events["pu_weight"].astype("f4")}
    more = {name: array.astype("f4") for name, array in (weight_vectors(events) if vectors else {}).items()}
    jet = ak.zip({name.removeprefix("jet_"): array for name, array in nested.items()})
    return ak.zip({**flat, **more, "jet": jet}, depth_limit=1)


def write(path: str, tree: str, records: ak.Array, kind: str) -> None:
    """Write a TTree (`ttree`) or an RNTuple (`rntuple`)."""
    with uproot.recreate(path, compression=None) as file:
        if kind == "rntuple":
            file.mkrntuple(tree, records)
            return
        columns = {name: records[name] for name in records.fields}
        types = {name: column.type.content for name, column in columns.items()}
        file.mktree(tree, types)
        file[tree].extend(columns)


def sum_of_weights(weights: Array) -> hist.Hist[Any]:
    """Fill the companion histogram: its first bin holds the sum of all generated weights."""
    made = hist.Hist(hist.axis.Integer(0, 3, flow=False, name="kept"), storage=hist.storage.Weight())
    return made.fill(np.zeros(len(weights), int), weight=weights)
