"""Checks of toys: bias, pulls, coverage, and whether there are enough of them; and of the Neyman construction."""

from __future__ import annotations

from needle_parsl.nsbi.report.checks.states import UNLIKELY, Found, Said, above, below, corrected
from needle_parsl.nsbi.report.gathering import Facts
from needle_parsl.nsbi.statistics.results import CoveragePoint

BIASED = {"warning": 0.2, "fail": 0.5}
"""Bias beyond two of its errors, in units of the spread."""
PULLED = {"warning": 0.1, "fail": 0.3}
"""|pull width - 1|, beyond 2.5 of its own errors; pulls are taken in the coordinate of the fit."""
BLURRED = {"warning": 0.2, "fail": 0.5}
"""Statistical error of a critical value over its value."""
VETOED = {"warning": 1e-3, "fail": 2e-2}
"""Share of the expected events of toys that could not be drawn."""
FEW_TOYS = {"toys": 100, "coverage": 0.05}
"""Toys at a truth, and the error of their coverage, from which on these checks have power."""
TOYS_LOST = {"warning": 0.0, "fail": 0.05}
"""Fraction of the toys whose fit failed."""


def toys(facts: Facts) -> Found:
    """Look at the toys of each truth, and at the coverage of each of their intervals."""
    known = facts.inference.coverage.points if facts.inference.coverage else ()
    # What these toys leave out, other ensembles, is in intervals with the ensemble error: they should cover more often. Toys with
    # other ensembles are of the method and not of these ratios, and those of one replica are not independent.
    points = [point for point in known if point.method in ("profile", "neyman")]
    seen: set[str] = set()
    for point in points:
        truth = ", ".join(f"{name} = {value:g}" for name, value in point.truth.items())
        if truth not in seen:
            seen.add(truth)
            yield from _estimates(truth, point)
        if point.toys:
            yield _covered(truth, point, len(points))


def good_toys(facts: Facts) -> str:
    """Say that toys are as expected; nothing without toys."""
    if not facts.inference.coverage:
        return ""
    return (
        f"Bias, pulls and coverage of {sum(len(block.t) for block in facts.inference.toys)} toys are consistent with expectation ("
        f"{len(facts.inference.toys)} test point{'s' * (len(facts.inference.toys) > 1)})."
    )


def _covered(truth: str, point: CoveragePoint, tests: int) -> Said:
    assert point.error is not None  # with toys
    assert point.coverage is not None
    if point.error > FEW_TOYS["coverage"]:
        return "no power", (
            f"At {truth} {point.toys} toys tell the coverage at {point.level:g} to ± {100 * point.error:.0f} % only; "
            f"{round(point.level * (1 - point.level) / FEW_TOYS['coverage'] ** 2) + 1} toys would tell it to {100 * FEW_TOYS['coverage']:.0f} %."
        )
    from scipy.stats import binomtest  # noqa: PLC0415  most of a second of every report

    held = round(point.coverage * point.toys)
    p_value = corrected(float(binomtest(held, point.toys, point.level).pvalue), tests)
    return below(p_value, UNLIKELY), (
        f"At {truth} the {point.method} interval at {point.level:g} covers in {100 * point.coverage:.1f} ± "
        f"{100 * point.error:.1f} % of {point.toys} toys, p = {p_value:.2g} as one of {tests} such tests."
    )


def _estimates(truth: str, point: CoveragePoint) -> Found:
    total = point.toys + point.failed
    yield (
        above(point.failed / total, TOYS_LOST),
        (f"At {truth} the fits of {point.failed} of {total} toys failed; no number has them in it."),
    )
    if 0 < total < FEW_TOYS["toys"]:
        yield (
            "no power",
            (
                f"At {truth} there are {total} toys, which tell a bias to {total**-0.5:.2f} of their spread; {FEW_TOYS['toys']} would tell one of "
                f"{BIASED['warning']:g} with two of its errors."
            ),
        )
    if point.bias is not None and point.bias_error is not None and point.spread:
        size = max(abs(point.bias) - 2 * point.bias_error, 0.0) / point.spread
        yield (
            above(size, BIASED),
            (
                f"At {truth} toys are biased by {point.bias:+.3g} ± {point.bias_error:.2g}, "
                f"{abs(point.bias) / point.spread:.2f} of their spread."
            ),
            size,
        )
    if point.pull_width is not None and point.pull_width_error is not None:
        excess = max(abs(point.pull_width - 1) - 2.5 * point.pull_width_error, 0.0)
        yield (
            above(excess, PULLED),
            (f"At {truth} pulls have the width {point.pull_width:.2f} ± {point.pull_width_error:.2f}."),
        )


def belt(facts: Facts) -> Found:
    """Look at the toys behind the Neyman construction, and at how well they give its critical values."""
    found = facts.inference.belt
    if facts.inference.no_belt:
        yield "fail", f"There is no Neyman construction: {facts.inference.no_belt}."
    if found is None:
        return
    for level in found.open:
        yield (
            "warning",
            f"The {level} interval of the Neyman construction leaves its grid, or spans a value without a fit.",
        )
    worst = max(p.failed / (p.failed + p.toys) for p in found.points)
    yield (
        above(worst, TOYS_LOST),
        f"Up to {100 * worst:.1f} % of the toys at a value of the grid have a fit that failed.",
    )
    vetoed = max(p.vetoed for p in found.points)
    yield (
        above(vetoed, VETOED),
        f"Up to {100 * vetoed:.2g} % of the expected events of the belt's toys cannot be drawn.",
    )
    for level in found.intervals:
        blur = max(p.critical_error[level] / max(p.critical[level], 1e-9) for p in found.points)
        yield (
            above(blur, BLURRED),
            (
                f"At {level} the critical values of the Neyman construction are uncertain by up to {100 * blur:.0f} %; "
                "ask for more intervals.toys_per_point."
            ),
        )


def region(facts: Facts) -> Found:
    """Look at the toys behind the Neyman construction of two parameters."""
    found = facts.inference.region
    if found is None:
        return
    for level in found.open:
        yield (
            "warning",
            f"The {level} region of {' and '.join(found.parameters)} leaves its grid, or a fit of the data failed on it.",
        )
    near = found.near()
    worst = max(p.failed / max(p.failed + p.toys, 1) for p in near)
    yield (
        above(worst, TOYS_LOST),
        f"Up to {100 * worst:.1f} % of the toys at a point of the region's grid have a fit that failed.",
    )
    vetoed = max(p.vetoed for p in near)
    yield (
        above(vetoed, VETOED),
        f"Up to {100 * vetoed:.2g} % of the expected events of the region's toys cannot be drawn.",
    )
    for level in found.asymptotic:
        blur = max(p.critical_error[level] / max(p.critical[level], 1e-9) for p in near)
        yield (
            above(blur, BLURRED),
            (
                f"At {level} the critical values of the region of {' and '.join(found.parameters)} are uncertain by up to {100 * blur:.0f} %; "
                "ask for more intervals.toys_per_point."
            ),
        )


def good_region(facts: Facts) -> str:
    """Say that critical values are known well; nothing without a region."""
    return "The critical values of the region are well known." if facts.inference.region else ""


def good_belt(facts: Facts) -> str:
    """Say that critical values are known well; nothing without a construction."""
    return "The critical values of the belt are well known." if facts.inference.belt else ""
