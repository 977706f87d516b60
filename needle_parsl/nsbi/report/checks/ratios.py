"""Checks of the ratios, with thresholds that the user can set in `[diagnostics]`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from needle_parsl.analysis import Diagnostics
from needle_parsl.nsbi.estimators.results import RatioDiagnostics
from needle_parsl.nsbi.report.checks.states import ORDER, Found, above, below, corrected, reason, worst
from needle_parsl.nsbi.report.checks.states import limits as _limits
from needle_parsl.nsbi.report.gathering import Facts
from needle_parsl.nsbi.statistics.results import SparseRegion
from needle_parsl.summary import Finding, RatioState, State


@dataclass(frozen=True)
class Run:
    """What checks of a ratio need to know of the run."""

    ratios: int = 1
    """How many there are."""
    sparse: Mapping[str, SparseRegion] = field(default_factory=dict)
    """What sparse regions do to the fit, by process; empty where ratios are not normalised at the yields."""

    @staticmethod
    def of(facts: Facts) -> Run:
        """Take it from all that is known."""
        closure = facts.inference.closure
        return Run(len(facts.diagnostics), closure.sparse if closure else {})


@dataclass(frozen=True)
class Check:
    """A question to all ratios."""

    look: Callable[[str, RatioDiagnostics, Diagnostics, Run], Found]
    """Takes name and numbers of a ratio, the thresholds, and what is known of the run."""
    good: str
    """What to say if all pass."""


def findings(diagnostics: Mapping[str, RatioDiagnostics], limits: Diagnostics, run: Run | None = None) -> list[Finding]:
    """Ask everything of every ratio; of a check that all pass there is nothing.

    Args:
        diagnostics: By ratio.
        limits: The thresholds.
        run: What is known of the run; None for ratios alone.
    """
    known = run or Run(len(diagnostics))
    return [
        Finding(check, said[0], said[1], said[2] if len(said) > 2 else None, name)
        for check, asked in CHECKS.items()
        for name, numbers in diagnostics.items()
        for said in _seen(asked, name, numbers, limits, known)
        if said[0] != "pass"
    ]


def _seen(asked: Check, name: str, numbers: RatioDiagnostics, limits: Diagnostics, run: Run) -> Found:
    """Look; what cannot be judged has failed."""
    try:
        yield from asked.look(name, numbers, limits, run)
    except Exception as error:  # noqa: BLE001  numbers that nobody has foreseen cost their check, not the report
        yield "fail", f"The ratio {name} cannot be judged: {reason(error)}"


def by_ratio(facts: Facts) -> dict[str, RatioState]:
    """Give each ratio the state of its worst check, and the checks in each state but pass."""
    said = findings(facts.diagnostics, facts.subject.thresholds, Run.of(facts))
    found = {name: [own for own in said if own.ratio == name] for name in facts.diagnostics}
    return {name: _state(own) for name, own in found.items()}


def _state(found: list[Finding]) -> RatioState:
    named = {state: tuple(dict.fromkeys(own.check for own in found if own.state == state)) for state in ORDER[1:]}
    return RatioState(worst(own.state for own in found), *named.values())


CERTAIN = 1e-3
"""Chi-squared per degree of freedom below which nothing scatters."""
SENSITIVE = 0.2
"""Deviation in a bin that closure and calibration must be able to see, to have power."""
DISTANCE = 0.15
"""Distance of two distribution functions that the check of overtraining must be able to see, to have power."""

SPARSE = {"warning": 0.3, "fail": 1.0}
"""Shift of the parameter of interest, in its error, from ratios that too few events say nothing of: as for what is injected."""


def _blind(numbers: RatioDiagnostics, bins: int, what: str) -> tuple[State, str] | None:
    """Say whether so few events are compared that a deviation of the size of `SENSITIVE` in each bin would pass."""
    effective = min(numbers.effective_events.numerator, numbers.effective_events.reweighted_denominator)
    if effective * SENSITIVE**2 >= bins:
        return None
    return "no power", (
        f"{what}: with {effective:.0f} effective events, deviations below {100 * (bins / max(effective, 1e-9)) ** 0.5:.0f} % in a bin cannot "
        f"be seen; {bins / SENSITIVE**2:.0f} effective test events would show {100 * SENSITIVE:.0f} %."
    )


def _training(name: str, numbers: RatioDiagnostics, limits: Diagnostics, _: Run) -> Found:
    failed = [m for m in numbers.training if m.reason]
    share = len(failed) / max(len(numbers.training), 1)
    for member in failed:
        yield (
            above(share, _limits(limits.failed)),
            f"Not trained: {name}, member {member.member}, fold {member.fold}: {member.reason}.",
        )


def _weights(name: str, numbers: RatioDiagnostics, _limits: Diagnostics, _: Run) -> Found:
    if numbers.fallback:
        yield (
            "fail",
            (
                f"The ratio {name} is combined by mean_log instead of wifi, without an error of its weights: {numbers.fallback}. "
                "Give more events to split.combine, or reduce negative weights."
            ),
        )


def _normalisation(name: str, numbers: RatioDiagnostics, limits: Diagnostics, _: Run) -> Found:
    value, error = numbers.normalisation.value, numbers.normalisation.error
    if abs(value - 1) > 3 * error:
        yield (
            above(abs(value - 1), _limits(limits.normalisation)),
            f"The ratio {name} is not normalised: its mean over the reference is {value:.4f} ± {error:.4f}.",
        )
    elif error > limits.normalisation[1]:
        yield (
            "no power",
            (
                f"The mean of the ratio {name} over the reference is {value:.3f} ± {error:.3f}: a deviation of {limits.normalisation[1]:g} "
                "cannot be seen; it needs more test events of the reference."
            ),
        )


def _closure(name: str, numbers: RatioDiagnostics, limits: Diagnostics, run: Run) -> Found:
    tested = {column: n for column, n in numbers.closure.items() if n.p_value is not None}
    if not tested:
        return
    column, least = min(tested.items(), key=lambda item: item[1].p_value or 0.0)
    p_value = corrected(least.p_value or 0.0, len(tested) * run.ratios)
    if all(n.chi2 < CERTAIN * n.ndf for n in tested.values()):
        yield (
            "no power",
            (
                f"The closure of {name} is certain by construction: numerator and reference are the same events, so that nothing scatters; "
                "events of its own, or injected variations, would show faults."
            ),
        )
    elif below(p_value, _limits(limits.p_value)) == "pass" and (
        blind := _blind(numbers, least.ndf + 1, f"Closure of {name}")
    ):
        yield blind
    yield (
        below(p_value, _limits(limits.p_value)),
        (
            f"The reweighted reference of {name} differs from the numerator in {column}: chi2 = {least.chi2:.0f} for "
            f"{least.ndf} degrees of freedom, p = {p_value:.2g} as the worst of all columns."
        ),
    )


def _distances(name: str, numbers: RatioDiagnostics, limits: Diagnostics, _: Run) -> Found:
    column, farthest = max(numbers.distances.items(), key=lambda item: item[1].wasserstein)
    yield (
        above(farthest.wasserstein, _limits(limits.wasserstein)),
        (
            f"The reweighted reference of {name} is {farthest.wasserstein:.2g} standard deviations away from the numerator in "
            f"{column}, by the Wasserstein distance."
        ),
    )


def _two_sample(name: str, numbers: RatioDiagnostics, limits: Diagnostics, run: Run) -> Found:
    found = numbers.two_sample
    if found.error > limits.auc[1] - 0.5:
        yield (
            "no power",
            (
                f"The classifier knows its area under the curve for {name} to ± {found.error:.3f} only, and {limits.auc[1]:g} would be a "
                "failure; it needs more test events."
            ),
        )
    if corrected(found.p_value, run.ratios) < limits.p_value[0]:
        yield (
            above(found.auc, _limits(limits.auc)),
            (
                f"A classifier distinguishes the reweighted reference of {name} from the numerator: area under its curve "
                f"{found.auc:.3f} ± {found.error:.3f}."
            ),
        )


def _calibration(name: str, numbers: RatioDiagnostics, limits: Diagnostics, run: Run) -> Found:
    found = numbers.calibration
    p_value = corrected(found.p_value, run.ratios)
    blind = _blind(numbers, found.ndf, f"Calibration of {name}")
    if blind and below(p_value, _limits(limits.p_value)) == "pass":
        yield blind
    yield (
        below(p_value, _limits(limits.p_value)),
        (
            f"The ratio {name} is not calibrated: chi2 = {found.chi2:.0f} for {found.ndf} bins, p = {p_value:.2g} as "
            f"the worst of all ratios; the expected calibration error is {found.ece:.2g}."
        ),
    )


def _overtraining(name: str, numbers: RatioDiagnostics, limits: Diagnostics, run: Run) -> Found:
    found = numbers.overtraining
    sides = {"numerator": found.numerator, "denominator": found.denominator}
    side, least = min(sides.items(), key=lambda item: item[1].p_value)
    p_value = corrected(least.p_value, 2 * run.ratios)
    effective = numbers.effective_events.numerator
    if effective * DISTANCE**2 < 1.36**2:
        yield (
            "no power",
            (
                f"Overtraining of {name}: with {effective:.0f} effective test events, distances below {1.36 / max(effective, 1e-9) ** 0.5:.2f} in "
                "the distribution function cannot be seen; it needs more of them."
            ),
        )
    yield (
        below(p_value, _limits(limits.p_value)),
        (
            f"The ratio {name} is overtrained: ln r of the {side} in training events differs from that of test events by "
            f"{least.distance:.3f} in the distribution function, p = {p_value:.2g}; the loss is "
            f"{found.loss.train:.4f} and {found.loss.test:.4f}."
        ),
    )


def _support(name: str, numbers: RatioDiagnostics, limits: Diagnostics, run: Run) -> Found:
    found = run.sparse.get(name)
    if found and found.shift is not None:
        yield _risk(found.beyond, found.shift, _limits(limits.support)), _sparse(name, found), found.shift
        return
    yield (
        above(numbers.support, _limits(limits.support)),
        f"{100 * numbers.support:.1f} % of the numerator of {name} is where the reference has fewer than 10 effective events.",
    )


def _risk(beyond: float, shift: float, limits: Mapping[str, float]) -> State:
    """Judge a sparse region by what it may do to the fit; where that is little, a large part beyond the reference is a warning."""
    large: State = "warning" if above(beyond, limits) == "fail" else "pass"
    return worst(iter([above(shift, SPARSE), large]))


def _sparse(name: str, found: SparseRegion) -> str:
    return (
        f"{100 * found.share:.1f} % of {name} is where what its ratio is learned against has {found.effective:.1f} effective events, "
        f"and {100 * found.beyond:.1f} % beyond all of them. Were ln r wrong there by as much as so few events allow, the parameter of interest would move by {found.shift:.2g} of its error."
    )


CHECKS = {
    "training": Check(_training, "All networks have trained."),
    "weights": Check(_weights, "Members are combined as configured."),
    "normalisation": Check(_normalisation, "The mean of every ratio over its reference is 1 within errors."),
    "closure": Check(_closure, "Every reweighted reference agrees with its numerator (closure)."),
    "distances": Check(_distances, "Every reweighted reference is near its numerator in each column."),
    "classifier": Check(
        _two_sample, "A classifier cannot distinguish a reweighted reference from its numerator (C2ST passed)."
    ),
    "calibration": Check(_calibration, "Every ratio is calibrated within errors."),
    "overtraining": Check(_overtraining, "No sign of overtraining."),
    "support": Check(_support, "There are events of the reference wherever ratios matter."),
}
"""In the order of the report."""
