"""The stages of the calibration: each reads what earlier ones have made, and calls the functions of the modules beside this file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import awkward as ak
import hist
import numpy as np
import numpy.typing as npt
import qg_method as method
import qg_results as results
import qg_selection as selection
import qg_simulation as simulation
import uproot

Array = npt.NDArray[Any]
Arrays = dict[str, Array]

VARIABLES = ("n_trk", "tagger")
"""That are calibrated."""
LUMINOSITY = 139.4
"""Of all periods, in 1/fb."""
EDGES = np.array(selection.PT_EDGES)


def training_jets(sample: str, pt_slice: Mapping[str, Any], training: int) -> Arrays:
    """Simulate jets of one flavour for the training of the tagger, as many in each slice; weights are 1."""
    generator = simulation.seeded("training", pt_slice["name"])
    made = simulation.simulate("pythia", pt_slice["low"], pt_slice["high"], training, generator)
    rows = selection.selected(
        flat(simulation.branches(made, "nominal", truth=True, vectors=False)), "jet_nTracks", 1.0, truth=True
    )
    kept = rows["gluon"].reshape(-1) == (sample == "gluon")
    return dict(zip(("pt", "n_trk", "width", "c1"), selection.features(rows)[kept].T, strict=True))


def flat(records: ak.Array) -> ak.Array:
    """Name the columns of jets as a TTree does, where an RNTuple has records of them."""
    if "jet" not in records.fields:
        return records
    jets = {f"jet_{name}": records.jet[name] for name in records.jet.fields}
    return ak.zip({**{name: records[name] for name in records.fields if name != "jet"}, **jets}, depth_limit=1)


def simulate(
    pt_slice: Mapping[str, Any],
    period: Mapping[str, Any],
    events: str,
    kind: str,
    mc: int = 0,
    data: int = 0,
    sample: str = "pythia",
    tree: str = "nominal",
) -> hist.Hist[Any]:
    """Write a file of simulated events, or of data; return the companion histogram with the sum of weights.

    Args:
        pt_slice: Range of the hard scale, `low` and `high` in GeV.
        period: With its `luminosity` in 1/fb.
        events: The path to write to.
        kind: `ttree` or `rntuple`.
        mc: Events of a file of MC.
        data: Events of data that are expected in all periods.
        sample: A generator, or `data`.
        tree: `nominal`, or that of a variation of jet energies.
    """
    low, high = pt_slice["low"], pt_slice["high"]
    generator = simulation.seeded(sample, pt_slice["name"], period["name"])
    expected = data * period["luminosity"] / LUMINOSITY * simulation.cross_section(low, high)
    made = simulation.simulate(sample, low, high, int(generator.poisson(expected)) if data else mc, generator)
    vectors = sample == "pythia" and tree == "nominal"
    simulation.write(events, tree, simulation.branches(made, tree, truth=sample != "data", vectors=vectors), kind)
    kept: hist.Hist[Any] = simulation.sum_of_weights(made["pu_weight"])
    return kept


def simulate_data(
    pt_slice: Mapping[str, Any], period: Mapping[str, Any], events: str, kind: str, data: int
) -> hist.Hist[Any]:
    """Write a file of data."""
    return simulate(pt_slice, period, events, kind, data=data, sample="data")


def select(
    simulate: Mapping[str, Any],
    pt_slice: Mapping[str, Any],
    period: Mapping[str, Any],
    tree: str = "nominal",
    tracks: str = "jet_nTracks",
) -> Arrays:
    """Select events of MC; weights are in expected events: L sigma / sum of all generated weights."""
    section = simulation.cross_section(pt_slice["low"], pt_slice["high"])
    generated = simulate["sumw"].values()[0]
    return _selected(
        simulate["events"], tree, tracks, period["luminosity"] / LUMINOSITY * section / generated, truth=True
    )


def select_data(simulate_data: Mapping[str, Any]) -> Arrays:
    """Select events of data."""
    return _selected(simulate_data["events"], "nominal", "jet_nTracks", 1.0, truth=False)


def _selected(path: str, tree: str, tracks: str, normalisation: float, *, truth: bool) -> Arrays:
    with uproot.open(path) as file:
        records = file[tree].arrays()
    found: Arrays = selection.selected(flat(records), tracks, normalisation, truth=truth)
    return found


def score(select: Arrays, combine: Mapping[str, str]) -> Arrays:
    """Evaluate the tagger, ln p_gluon / p_quark of the ensemble, for both jets; shape (N, 2)."""
    from needle_parsl.nsbi.estimators import files  # noqa: PLC0415  loads torch, which one stage of twenty needs

    estimator = files.read(Path(combine["gluon"]))
    return {"score": estimator.log_ratio(selection.features(select)).reshape(-1, 2)}


def score_data(select_data: Arrays, combine: Mapping[str, str]) -> Arrays:
    """Evaluate the tagger for data."""
    return score(select_data, combine)


def _histograms(rows: Arrays, scores: Array, weight: Array) -> dict[str, hist.Hist[Any]]:
    values = {"n_trk": rows["n_trk"], "tagger": scores}
    return {name: selection.filled(name, rows, x, weight) for name, x in values.items()}


def histogram(select: Arrays, score: Arrays, pdf: int = 0, scale: int = 0) -> dict[str, hist.Hist[Any]]:
    """Fill the histograms of MC, with the weights of a variation."""
    return _histograms(select, score["score"], selection.varied_weight(select, pdf, scale))


def histogram_data(select_data: Arrays, score_data: Arrays) -> dict[str, hist.Hist[Any]]:
    """Fill the histograms of data."""
    return _histograms(select_data, score_data["score"], select_data["weight"])


def truth(
    model: str, pt_slice: Mapping[str, Any], block: int, size: int, combine: Mapping[str, str]
) -> dict[str, hist.Hist[Any]]:
    """Fill histograms of a larger sample whose flavours are known, of data and of MC, for the true scale factors."""
    low, high = pt_slice["low"], pt_slice["high"]
    made = simulation.simulate(model, low, high, size, simulation.seeded("truth", model, pt_slice["name"], block))
    records = flat(simulation.branches({**made, "pu_weight": np.ones(size)}, "nominal", truth=True, vectors=False))
    rows = selection.selected(records, "jet_nTracks", simulation.cross_section(low, high) / size, truth=True)
    return _histograms(rows, score(rows, combine)["score"], rows["weight"])


def factors(histogram: Mapping[str, hist.Hist[Any]]) -> Arrays:
    """Pass 1: reweighting factors of both flavours, from MC alone; nothing after this stage changes them."""
    made: Arrays = {}
    for name in VARIABLES:
        values, variances = method.as_arrays(histogram[name])
        for parton, flavour in (("quark", method.QUARK), ("gluon", method.GLUON)):
            found = method.factors(values, flavour, method.thin(values, variances, flavour))
            made |= {f"{name}.{parton}": found.values, f"{name}.{parton}.pooled": found.pooled}
        made[f"{name}.none"] = np.ones_like(found.values)
    return made


def reweight(
    histogram: Mapping[str, hist.Hist[Any]],
    histogram_data: Mapping[str, hist.Hist[Any]],
    factors: Arrays,
    parton: str = "quark",
) -> Arrays:
    """Pass 2, for the tagger's own variables: multiply the central jets of MC and data; sums of weights and of their squares."""
    made: Arrays = {}
    for name in VARIABLES:
        weight = method.region_weights(factors[f"{name}.{parton}"])
        (mc, mc2), (data, data2) = (method.as_arrays(found[name]) for found in (histogram, histogram_data))
        made |= {f"{name}.mc": mc * weight[..., None, :], f"{name}.mc.variance": mc2 * weight[..., None, :] ** 2}
        made |= {f"{name}.data": data.sum(axis=-2) * weight, f"{name}.data.variance": data2.sum(axis=-2) * weight**2}
    return made


def reweight_rows(select: Arrays, score: Arrays, factors: Arrays) -> dict[str, hist.Hist[Any]]:
    """Pass 2 by weights of rows: needed for other variables, such as the width; and the tagger's own, for comparison."""
    columns = {"n_trk": select["n_trk"], "tagger": score["score"], "width": select["width"]}
    found = {}
    for name, source in (("n_trk", "n_trk"), ("tagger", "tagger"), ("width", "n_trk")):
        ratio = factors[f"{source}.quark"]
        pt = np.digitize(select["pt"], EDGES) - 1
        own = selection.bins(source, columns[source])
        weight = np.where(select["forward"] == 1, 1.0, ratio[pt, own]) * select["weight"][:, None]
        found[name] = selection.filled(name, select, columns[name], weight)
    return found


def extract(reweight: Arrays) -> Arrays:
    """Invert the matrix of quark fractions: distributions of quarks and gluons in MC and data, with variances."""
    made: Arrays = {}
    for name in VARIABLES:
        mc, data = reweight[f"{name}.mc"], reweight[f"{name}.data"]
        found = method.calibrated(mc, data, np.ones((mc.shape[0], mc.shape[-1])))
        made |= {f"{name}.{part}": array for part, array in found._asdict().items()}
        matrix = method.coefficients(found.fraction)
        variances = {
            "mc": (mc.sum(-2), reweight[f"{name}.mc.variance"].sum(-2)),
            "data": (data, reweight[f"{name}.data.variance"]),
        }
        for kind, pair in variances.items():
            made[f"{name}.{kind}.variance"] = method.extracted(method.shape_variances(*pair), matrix**2)
    return made


def working_points(extract: Arrays, points: Sequence[float]) -> Arrays:
    """Place the cuts of the working points on the extracted quarks of MC; nominal only, the same for all variations."""
    return {name: method.cuts(extract[f"{name}.mc"][:, method.QUARK], points) for name in VARIABLES}


def scale_factors(reweight: Arrays, extract: Arrays, working_points: Arrays) -> Arrays:
    """Divide the efficiencies of data by those of MC; with the statistical errors of both by linear propagation."""
    made: Arrays = {}
    for name in VARIABLES:
        cut, matrix = working_points[name], method.coefficients(extract[f"{name}.fraction"])
        found = method.Calibration(*(extract[f"{name}.{part}"] for part in method.Calibration._fields))
        made[f"{name}.sf"] = method.scale_factors(found, cut)
        for kind, shapes in (("mc", found.mc), ("data", found.data)):
            values, variances = reweight[f"{name}.{kind}"], reweight[f"{name}.{kind}.variance"]
            regions = (values.sum(-2), variances.sum(-2)) if kind == "mc" else (values, variances)
            variance = method.efficiency_variances(*regions, matrix, cut)
            made[f"{name}.{kind}.error"] = np.sqrt(variance) / method.efficiencies(shapes, cut)
    return made


def closure(histogram: Mapping[str, hist.Hist[Any]], factors: Arrays, working_points: Arrays, parton: str) -> Arrays:
    """Divide the efficiencies of extracted MC by those of its labels; `parton` none leaves pass 1 out."""
    made: Arrays = {}
    for name in VARIABLES:
        values, variances = method.as_arrays(histogram[name])
        cut, ratio = working_points[name], factors[f"{name}.{parton}"]
        found = method.calibrated(values, values.sum(axis=-2), ratio)
        true = method.efficiencies(found.truth, cut)
        weight = method.region_weights(ratio)
        regions = values.sum(-2) * weight, variances.sum(-2) * weight**2
        error = np.sqrt(method.efficiency_variances(*regions, method.coefficients(found.fraction), cut))
        made |= {f"{name}.closure": method.efficiencies(found.mc, cut) / true, f"{name}.error": error / true}
    return made


def resample(
    histogram: Mapping[str, hist.Hist[Any]],
    histogram_data: Mapping[str, hist.Hist[Any]],
    factors: Arrays,
    working_points: Arrays,
    source: str,
    block: int,
    replicas: int,
) -> Arrays:
    """Draw data with MC frozen, or MC with its factors and fractions, and calibrate each replica; shape (replicas, W, F, P)."""
    generator = simulation.seeded("bootstrap", source, block)
    made: Arrays = {}
    for name in VARIABLES:
        mc, mc2 = method.as_arrays(histogram[name])
        data = histogram_data[name].values(flow=True).sum(axis=-2)
        ratio = factors[f"{name}.quark"]
        if source == "data":
            data = method.drawn(generator, data, data, replicas)
        else:
            mc = method.drawn(generator, mc, mc2, replicas)
            ratio = method.factors(mc, method.QUARK, factors[f"{name}.quark.pooled"]).values
        made[name] = method.scale_factors(method.calibrated(mc, data, ratio), working_points[name])
    return made


def systematics(
    scale_factors: Mapping[str, Arrays], closure: Mapping[str, Arrays], resample: Mapping[str, Arrays], replicas: bool
) -> Arrays:
    """Combine the variations into relative uncertainties of the scale factors, by source."""
    made: Arrays = {}
    for name in VARIABLES:
        nominal = scale_factors["nominal"][f"{name}.sf"]
        shifts = {key: found[f"{name}.sf"] / nominal - 1 for key, found in scale_factors.items() if key != "nominal"}
        sources = results.uncertainties(shifts, replicas=replicas)
        sources["non-closure"] = np.abs(closure["quark"][f"{name}.closure"] - 1)
        for source in ("MC", "data"):
            sources[f"{source} statistics"] = resample[source][name].std(axis=0, ddof=1) / nominal
        made |= {f"{name}.{source}": size for source, size in sources.items()}
    return made


def true_factors(truth: Mapping[str, Mapping[str, hist.Hist[Any]]], factors: Arrays, cut: Array, name: str) -> Array:
    """Give the planted scale factors: efficiencies by label in the larger samples, with the weights of pass 1; shape (W, F, P)."""
    weight = method.region_weights(factors[f"{name}.quark"])[..., None, :]
    shapes = {
        model: method.normalised((found[name].values(flow=True) * weight).sum(axis=-3))
        for model, found in truth.items()
    }
    return np.asarray(method.efficiencies(shapes["data"], cut) / method.efficiencies(shapes["pythia"], cut))


def row_difference(reweight: Arrays, reweight_rows: Mapping[str, hist.Hist[Any]]) -> float:
    """Give the largest difference of pass 2 on histograms and on rows, in units of the largest bin."""
    found = []
    for name in VARIABLES:
        on_bins, on_rows = reweight[f"{name}.mc"], reweight_rows[name].values(flow=True)
        found.append(float(np.abs(on_bins - on_rows).max() / on_bins.max()))
    return max(found)


def summary(
    scale_factors: Arrays,
    systematics: Arrays,
    closure: Mapping[str, Arrays],
    truth: Mapping[str, Mapping[str, hist.Hist[Any]]],
    factors: Arrays,
    working_points: Arrays,
    extract: Arrays,
    reweight: Arrays,
    reweight_rows: Mapping[str, hist.Hist[Any]],
    points: Sequence[float],
) -> dict[str, Any]:
    """Write the section of the report, and its numbers."""
    table: list[tuple[Any, ...]] = []
    numbers: dict[str, Any] = {"row_difference": row_difference(reweight, reweight_rows)}
    drawn: dict[str, results.Drawn] = {}
    for name in VARIABLES:
        sources = {key.partition(".")[2]: size for key, size in systematics.items() if key.startswith(f"{name}.")}
        true = true_factors(truth, factors, working_points[name], name)
        columns = results.columns(scale_factors[f"{name}.sf"], true, sources)
        table += results.rows(EDGES, name, points, columns)
        quark = {key: size[0, method.QUARK] for key, size in sources.items()}
        drawn[name] = results.Drawn(columns["SF"][0, method.QUARK], true[0, method.QUARK], quark)
        without, error = (closure["none"][f"{name}.{part}"] for part in ("closure", "error"))
        numbers[name] = {
            **columns,
            **sources,
            "closure": closure["quark"][f"{name}.closure"],
            "closure_without_pass_1": without,
            "closure_without_pass_1_errors": (without - 1) / error,
            "quark_fractions": extract[f"{name}.fraction"],
            "cuts": working_points[name],
            "pooled_bins": factors[f"{name}.quark.pooled"].sum(axis=-1),
        }
    figure = results.figure(EDGES, drawn, points[0])
    return {"page": results.section(table, figure, numbers, VARIABLES), "numbers": numbers}
