"""Morphing: a process whose rate is a polynomial in parameters, as ordinary samples with multipliers.

    sigma(c) = sum_j m_j(c) sigma_j,   m_j(c) = sum_k phi_k(c) W_kj,   W = [phi_k(c_j)]^-1

phi_k are all monomials up to the wanted power, c_j the points at which samples were simulated.

References:
    ATLAS, ATL-PHYS-PUB-2015-047; Brehmer et al., arXiv:1805.00020; Chen et al., arXiv:2205.12976.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

from needle_parsl import expressions
from needle_parsl.analysis import polynomials
from needle_parsl.analysis.rules.common import is_name, known_as
from needle_parsl.analysis.tables import (
    Analysis,
    Model,
    Morphing,
    MorphingBasis,
    Nuisance,
    Region,
    Sample,
    Source,
    Variation,
)
from needle_parsl.errors import InputError

if TYPE_CHECKING:
    from needle_parsl.analysis.polynomials import Monomial
    from needle_parsl.analysis.rules.common import Complain

KEY = "model.morphing"
LARGE = 1e4
"""A condition number above this one is warned of."""
WIDEST = 1e3
"""Bounds beyond so many times the largest value of a parameter say nothing more of which basis is best."""
SHOWN = 8
"""Monomials that a message names."""


def expanded(analysis: Analysis, complain: Complain) -> Analysis:
    """Put ordinary processes, with their multipliers, in the place of `[model.morphing]`.

    Args:
        analysis: As it was read.
        complain: Called with key and message for each mistake; what has one gets multipliers that stand for nothing.
    """
    table = analysis.model.morphing
    if table is None:
        return analysis
    model = replace(analysis.model, morphing=None)
    if not _usable(analysis, table, complain):
        return _filled(replace(analysis, model=model), table)
    names = _processes(table)
    points = {name: _points(table)[said] for name, said in names.items()}
    try:
        found = _basis(table, model, points, complain)
    except OverflowError:
        complain(_place(table), "has values so small or large that multipliers are no numbers; use another unit")
        found = None
    if found is None or not _short(found[1], complain):
        return _filled(replace(analysis, model=model), table)
    basis, multipliers = found
    columns = {name: names[name] for name in basis.points} if table.sample else {}
    left_out = tuple(names[name] for name in basis.left_out)
    basis = replace(basis, sample=table.sample, columns=columns, left_out=left_out)
    made = _with_samples(replace(analysis, model=model, basis=basis), table, names)
    return _among(made, multipliers, [name for name in names if name not in basis.points])


def doubts(analysis: Analysis) -> Iterator[tuple[str, str]]:
    """Find what is allowed, and yet hardly meant; give the key and a message for each."""
    if analysis.basis is not None and analysis.basis.condition > LARGE:
        told = "its processes nearly cancel, and errors of their simulation are multiplied; add samples at other values"
        yield KEY, f"the basis has the condition number {analysis.basis.condition:.3g}: {told}"


def notes(analysis: Analysis) -> list[str]:
    """Say which basis is used."""
    basis = analysis.basis
    if basis is None:
        return []
    without = f"; without {', '.join(basis.left_out)}" if basis.left_out else ""
    made = f"{len(basis.monomials)} monomials from {', '.join(basis.points)}{without}"
    numbers = f"condition number {basis.condition:.3g}, mean sum of squared multipliers {basis.spread:.3g}"
    return [f"morphing in {', '.join(basis.parameters)}: {made}; {numbers}"]


def _place(table: Morphing) -> str:
    return f"{KEY}.weight_columns" if table.weight_columns else f"{KEY}.basis"


def _short(multipliers: Mapping[str, str], complain: Complain) -> bool:
    """Whether all multipliers can be read again; many parameters make them too long."""
    try:
        for multiplier in multipliers.values():
            expressions.parse(multiplier)
    except InputError as error:
        complain(f"{KEY}.parameters", f"make multipliers that are too long: {error}; name fewer, or a lower order")
        return False
    return True


def _points(table: Morphing) -> Mapping[str, Mapping[str, float]]:
    return table.weight_columns or table.basis


def _processes(table: Morphing) -> dict[str, str]:
    """Name the processes; give what the table calls each."""
    return {f"{table.sample}-{name}" if table.sample else name: name for name in _points(table)}


def _usable(analysis: Analysis, table: Morphing, complain: Complain) -> bool:
    """Check the table against the others; whether a basis can be made of it."""
    found = list[str]()

    def note(key: str, message: str) -> None:
        found.append(key)
        complain(key, message)

    if not table.parameters:
        note(f"{KEY}.parameters", "is empty; name at least one parameter")
    for number, name in enumerate(table.parameters):
        known_as(name, analysis.model.parameters, "parameter of the model", f"{KEY}.parameters[{number}]", note)
        if name in table.parameters[:number]:
            note(f"{KEY}.parameters[{number}]", f'"{name}" stands there more than once')
    _sources(analysis, table, note)
    for name, values in _points(table).items():
        for parameter in values:
            known_as(parameter, table.parameters, "parameter of the morphing", f"{_place(table)}.{name}", note)
    return not found


def _sources(analysis: Analysis, table: Morphing, complain: Complain) -> None:
    """Check where the events of the points come from."""
    if table.basis and (table.sample or table.weight_columns):
        complain(f"{KEY}.basis", "is instead of sample and weight_columns; leave one of them out")
    elif bool(table.sample) != bool(table.weight_columns):
        missing = "weight_columns" if table.sample else "sample"
        complain(f"{KEY}.{missing}", "is missing; sample and weight_columns belong together")
    elif table.sample:
        _columns(analysis, table, complain)
    elif not table.basis:
        complain(f"{KEY}.basis", "is empty; name the samples with their values, or a sample with weight_columns")
    for name in table.basis:
        known_as(name, analysis.samples, "sample", f"{KEY}.basis.{name}", complain)
        if name in analysis.model.processes:
            complain(
                f"model.processes.{name}", "gets its multiplier from [model.morphing]; leave it out of the processes"
            )


def _columns(analysis: Analysis, table: Morphing, complain: Complain) -> None:
    """Check the sample whose events have several weights."""
    known_as(table.sample, analysis.samples, "sample", f"{KEY}.sample", complain)
    if table.sample in analysis.model.processes:
        complain(
            f"model.processes.{table.sample}",
            "gets its multipliers from [model.morphing], one for each of weight_columns; leave it out of the processes",
        )
    if table.sample in analysis.samples and analysis.samples[table.sample].yield_ is not None:
        complain(
            f"samples.{table.sample}.yield",
            "cannot be stated: the yields at the points are the sums of their weights; leave it out, and scale its weight",
        )
    for process, column in _processes(table).items():
        if not is_name(process):
            complain(
                f"{KEY}.weight_columns.{column}",
                'a process is called after it, with letters, digits, "-", "_" and "+"; give the column another name in features.derived',
            )
        if process in analysis.samples:
            complain(
                f"samples.{process}",
                f"is what the process of {KEY}.weight_columns.{column} is called; choose another name",
            )


def _basis(
    table: Morphing, model: Model, points: Mapping[str, Mapping[str, float]], complain: Complain
) -> tuple[MorphingBasis, dict[str, str]] | None:
    """Choose the points and find their multipliers; None where no basis can be made of them."""
    names, terms = table.parameters, polynomials.monomials(len(table.parameters), table.order)
    exact = [[Fraction(str(point.get(name, 0.0))) for name in names] for point in points.values()]
    rows = [polynomials.values(point, terms) for point in exact]
    if not _enough(table, terms, rows, complain):
        return None
    scales = [max(abs(point[k]) for point in exact) for k in range(len(names))]
    scaled = [polynomials.values([x / s for x, s in zip(point, scales, strict=True)], terms) for point in exact]
    ranges = [_range(model, name, float(scale)) for name, scale in zip(names, scales, strict=True)]
    over = polynomials.moments(ranges, terms)
    nominal = [Fraction(str(model.parameters[name].nominal)) for name in names]
    chosen = polynomials.best(scaled, over, [k for k, point in enumerate(exact) if point == nominal][:1])
    inside = polynomials.inverse([scaled[k] for k in chosen])
    products = polynomials.squares([list(map(float, row)) for row in inside], over)
    sizes = polynomials.values(scales, terms)
    weights = [[value / size for value in row] for row, size in zip(inside, sizes, strict=True)]
    kept = [list(points)[k] for k in chosen]
    coefficients = dict(zip(kept, zip(*weights, strict=True), strict=True))
    first = [sum(powers) < 2 for powers in terms]
    linear = {
        name: polynomials.text([v if low else Fraction(0) for v, low in zip(own, first, strict=True)], names, terms)
        for name, own in coefficients.items()
    }
    basis = MorphingBasis(
        parameters=names,
        points={name: dict(points[name]) for name in kept},
        left_out=tuple(name for name in points if name not in kept),
        monomials=tuple(_shown(terms, names)),
        condition=polynomials.size([scaled[k] for k in chosen]) * polynomials.size(inside),
        spread=sum(products[k][k] for k in range(len(kept))),
        linear=linear if table.linear else {},
    )
    return basis, {name: polynomials.text(own, names, terms) for name, own in coefficients.items()}


def _range(model: Model, name: str, scale: float) -> tuple[float, float]:
    """Give the range over which multipliers are to be small; bounds that are none are complained of elsewhere."""
    low, high = model.parameters[name].bounds
    return (max(low / scale, -WIDEST), min(high / scale, WIDEST)) if low < high else (-1.0, 1.0)


def _shown(terms: Sequence[Monomial], names: Sequence[str]) -> Iterator[str]:
    for place in range(len(terms)):
        yield polynomials.text([Fraction(k == place) for k in range(len(terms))], names, terms)


def _enough(table: Morphing, terms: Sequence[Monomial], rows: Sequence[Sequence[Fraction]], complain: Complain) -> bool:
    """Check that the points determine the polynomial; name what they cannot tell."""
    what, names = ("weight columns" if table.weight_columns else "samples"), table.parameters
    listed = list(_shown(terms, names))
    if len(rows) < len(terms):
        some = ", ".join(listed[:SHOWN]) + (", ..." if len(listed) > SHOWN else "")
        complain(
            _place(table),
            f"has {len(rows)} {what}; order = {table.order} in {', '.join(names)} needs {len(terms)}, one for each of {some}",
        )
        return False
    if (polynomial := polynomials.vanishing(rows)) is not None:
        complain(
            _place(table),
            f"is singular: {polynomials.text(polynomial, names, terms)} is 0 at all points, so that they cannot tell how much of it is in the rate; "
            "add a point where it is not",
        )
        return False
    return True


def _with_samples(analysis: Analysis, table: Morphing, names: Mapping[str, str]) -> Analysis:
    """Add the samples that are made of weight columns, with the rates of nuisance parameters that the common sample has."""
    if not table.sample:
        return analysis
    common = analysis.samples[table.sample]
    samples = {name: _weighted(common, column) for name, column in names.items()}
    nuisances = {name: _shared(own, table.sample, names) for name, own in analysis.model.nuisances.items()}
    regions = {name: _scattered(own, table.sample, names) for name, own in analysis.model.regions.items()}
    used = (*analysis.ratios.reference, *analysis.ratios.targets)
    others = {name: own for name, own in analysis.samples.items() if name != table.sample or name in used}
    return replace(
        analysis, samples={**others, **samples}, model=replace(analysis.model, nuisances=nuisances, regions=regions)
    )


def _shared(nuisance: Nuisance, sample: str, names: Mapping[str, str]) -> Nuisance:
    if sample not in nuisance.rate:
        return nuisance
    rate = {name: own for name, own in nuisance.rate.items() if name != sample}
    return replace(nuisance, rate={**rate, **dict.fromkeys(names, nuisance.rate[sample])})


def _scattered(region: Region, sample: str, names: Mapping[str, str]) -> Region:
    """Give each point factors of its own in the bins of a region, where the common sample has them."""
    if sample not in region.shapesys:
        return region
    return replace(region, shapesys=(*(name for name in region.shapesys if name != sample), *names))


def _weighted(sample: Sample, column: str) -> Sample:
    """Make the sample of one weight column; variations keep their own weights beside it."""
    variations = {name: _varied(variation, column) for name, variation in sample.variations.items()}
    together = tuple(
        one if one.weight == "" else replace(one, weight=_product(one.weight, column)) for one in sample.joint
    )
    return replace(sample, weight=_product(sample.weight, column), variations=variations, joint=together)


def _varied(variation: Variation, column: str) -> Variation:
    return replace(variation, up=_side(variation.up, column), down=_side(variation.down, column))


def _side(source: Source | None, column: str) -> Source | None:
    moved = source is not None and source.weight != ""
    return replace(source, weight=_product(source.weight, column)) if source is not None and moved else source


def _product(weight: str | float, column: str) -> str:
    return column if weight == 1.0 else f"({weight}) * {column}"


def _among(analysis: Analysis, multipliers: Mapping[str, str], dropped: Sequence[str]) -> Analysis:
    """Make the points processes, of which ratios are learned where any are; what the basis does without is no sample, unless it is the reference."""
    model, ratios = analysis.model, analysis.ratios
    model = replace(_without(model, dropped), processes={**multipliers, **model.processes})
    if ratios.reference or ratios.targets:
        targets = dict.fromkeys((*(t for t in ratios.targets if t not in dropped), *multipliers))
        ratios = replace(ratios, targets=tuple(targets))
    unused = [name for name in dropped if name not in ratios.reference]
    samples = {name: sample for name, sample in analysis.samples.items() if name not in unused}
    return replace(analysis, model=model, ratios=ratios, samples=samples)


def _without(model: Model, dropped: Sequence[str]) -> Model:
    """Leave out what is said of points that the basis does without."""
    nuisances = {
        name: replace(own, rate={process: sides for process, sides in own.rate.items() if process not in dropped})
        for name, own in model.nuisances.items()
    }
    regions = {
        name: replace(own, shapesys=tuple(process for process in own.shapesys if process not in dropped))
        for name, own in model.regions.items()
    }
    return replace(model, nuisances=nuisances, regions=regions)


def _filled(analysis: Analysis, table: Morphing) -> Analysis:
    """Let samples have multipliers that stand for nothing, so that the search for mistakes can go on after one."""
    named = [name for name in (*table.basis, table.sample) if name in analysis.samples]
    names = named or [name for name in analysis.samples if name not in analysis.model.processes]
    return _among(analysis, dict.fromkeys(names, " + ".join(["1", *analysis.model.parameters])), [])
