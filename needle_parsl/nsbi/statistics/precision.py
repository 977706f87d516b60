"""What networks add to the variance of the parameter of interest, by source: the noise of training and the finite simulation.

An event x moves the fitted parameter by psi(x) = (C s(x))_mu with the score s = d ln lambda / d theta and C the covariance of the fit. Networks
whose psi differs by d(x) from that of others move it by a sum of d over the data, of variance E(d^2), E the sum over expected events:

    members   pairs of groups of g members, same events:  E((psi_1 - psi_2)^2) / 2 = g-th part of the noise of one member
    folds     a delete-a-group jackknife over K folds:    (K - 1) / K sum_k E(d_k^2) = S + (K - 1)^2 T
    exact     networks beside exact densities:            E((psi - psi_exact)^2) = V(M_0, N_0) + c

Groups of 1 are paired, then groups of 2 and so on up to half of the members, so that all measurements are independent. T, S and c of `needle_parsl.precision` are
fitted to all of them by least squares. The error of each measurement follows from the eigenvalues of its covariance, as for a Wishart matrix:
var(tr S) = 2 tr(Sigma^2) / nu.

References:
    B. Efron, C. Stein, Ann. Stat. 9 (1981) 586; J. Shao, C. F. J. Wu, Ann. Stat. 17 (1989) 1176; B. Efron, Ann. Stat. 7 (1979) 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from needle_parsl.nsbi.statistics.results import ParameterScatter
from needle_parsl.precision import TERMS, MeasuredVariance, PrecisionLaw

Floats = npt.NDArray[np.float64]
ROUNDS = 5
"""Of least squares: the errors of variances are taken from the fit before."""
TINY = 1e-12


def sizes(members: int) -> list[int]:
    """List the sizes of groups, 1, 2, 4 ... up to half of the members."""
    return [2**power for power in range(members.bit_length()) if 2 ** (power + 1) <= members]


def groups(members: int, size: int) -> list[slice]:
    """Cut members into an even number of groups of a size."""
    return [slice(start * size, (start + 1) * size) for start in range(members // (2 * size) * 2)]


def alike(kinds: Sequence[int], members: int) -> list[list[int]]:
    """List the members of each kind: members with other settings differ by more than the noise of their training.

    Args:
        kinds: Of each member; empty where all are alike.
        members: That there are. Where they are fewer, nobody knows which of several kinds are left.
    """
    if len(set(kinds)) < 2:
        return [list(range(members))]
    return [[k for k, own in enumerate(kinds) if own == kind] for kind in sorted(set(kinds)) if len(kinds) == members]


def pairs(kinds: Sequence[int], members: int) -> list[tuple[int, list[list[int]]]]:
    """List sizes of groups, and for each an even number of groups, those of one kind beside each other."""
    own = alike(kinds, members)
    found = [
        (size, [each[cut] for each in own for cut in groups(len(each), size)])
        for size in sizes(max(map(len, own), default=0))
    ]
    return [(size, cuts) for size, cuts in found if cuts]


def _spread(deviations: Floats, weight: Floats, freedom: int) -> tuple[float, float]:
    """Estimate E(d^2) of functions d with `freedom` degrees of freedom, and the relative error of that.

    Args:
        deviations: Shape (n, S).
        weight: Expected events, shape (S,).
        freedom: Of their scatter.
    """
    gram = (deviations * weight) @ deviations.T
    value = float(np.trace(gram)) / freedom
    square = _square(gram, freedom) / max(value**2, TINY**2)
    return value, float(np.sqrt(2 * min(max(square, 1 / len(weight)), 1.0) / freedom))


def _square(gram: Floats, freedom: int) -> float:
    """Estimate tr(Sigma^2) without bias; (tr Sigma)^2, the largest that it can be, where one degree of freedom cannot tell."""
    whole, own = float(np.trace(gram)) ** 2, float((gram**2).sum())
    if freedom < 2:
        return whole / freedom**2
    return (own - whole / freedom) / ((freedom + 2) * (freedom - 1))


def of_members(shifts: Floats, weight: Floats, *, size: int, members: int, bagging: float = 0.0) -> MeasuredVariance:
    """Measure the noise of training from pairs of groups.

    Args:
        shifts: psi of each group of each fold, an even number of them, shape (K, G, S).
        weight: Expected events, shape (S,).
        size: Members of a group.
        members: M_0.
        bagging: b.
    """
    pairs = ((shifts[:, 0::2] - shifts[:, 1::2]) / np.sqrt(2)).reshape(-1, shifts.shape[-1])
    value, error = _spread(pairs, weight, len(pairs))
    row = (members / size, bagging / size, 0.0)
    return MeasuredVariance(source="members", size=size, variance=value / len(shifts), relative_error=error, row=row)


def of_folds(shifts: Floats, weight: Floats, bagging: float = 0.0) -> MeasuredVariance:
    """Measure what networks without the events of one fold differ by.

    Args:
        shifts: psi of the mean of the members of each fold, shape (K, S).
        weight: Expected events, shape (S,).
        bagging: b / M_0.
    """
    less = len(shifts) - 1
    value, error = _spread(shifts - shifts.mean(axis=0), weight, less)
    row = (float(less**2), 1.0 + less**2 * bagging, 0.0)
    return MeasuredVariance(source="folds", variance=less**2 / len(shifts) * value, relative_error=error, row=row)


def of_exact(
    shifts: Floats, exact: Floats, weight: Floats, *, bagging: float = 0.0, relative: float = np.sqrt(2)
) -> MeasuredVariance:
    """Measure how far all networks together are from exact densities.

    Args:
        shifts: psi, the mean of all networks, shape (S,).
        exact: psi of exact densities, shape (S,).
        weight: Expected events, shape (S,).
        bagging: b / M_0.
        relative: Relative error of a variance that one such function tells.
    """
    value = float(weight @ (shifts - exact) ** 2)
    row = (1.0, 1 + bagging, 1.0)
    return MeasuredVariance(source="exact", variance=value, relative_error=float(relative), row=row)


def of_replicas(scatter: ParameterScatter, members: int, own: int, normalisation: float) -> list[MeasuredVariance]:
    """Measure both sources by the replicas of `[bootstrap]`.

    Args:
        scatter: Best values of the parameter.
        members: M_0.
        own: Members of a replica.
        normalisation: Variance of the parameter from the finite simulation beside networks, which is in replicas, too.
    """
    noise = members / own
    found = []
    for source, values, row, less in (
        ("repeats", scatter.repeated, (noise, 0.0, 0.0), 0.0),
        ("replicas", scatter.resampled, (noise, 1.0, 0.0), normalisation),
    ):
        if len(values) > 1:
            variance = max(float(np.var(values, ddof=1)) - less, 0.0)
            error = float(np.sqrt(2 / (len(values) - 1)))
            found.append(MeasuredVariance(source=source, variance=variance, relative_error=error, row=row))
    return found


def of_weights(variance: float) -> MeasuredVariance:
    """Take over what the covariance of wifi weights adds; its own error is small beside that of the others."""
    return MeasuredVariance(source="weights", variance=variance, relative_error=0.1, row=(0.0, 1.0, 0.0))


def fit_law(law: PrecisionLaw, points: Sequence[MeasuredVariance], unknown: Mapping[str, str]) -> PrecisionLaw:
    """Fit T, S and c to what was measured, by least squares.

    Args:
        law: Without terms.
        points: What was measured; those of variance 0 tell nothing of their error, and count like the others.
        unknown: Why a term may not be known.
    """
    told = _told(np.array([point.row for point in points]).reshape(-1, 3))
    rows = [point for point in points if not any(np.array(point.row)[~told])]
    design = np.array([point.row for point in rows]).reshape(-1, 3)[:, told]
    values, relative = (np.array([getattr(point, name) for point in rows]) for name in ("variance", "relative_error"))
    terms, errors, chi2 = _least_squares(design, values, relative)
    covariance, found = np.zeros((3, 3)), np.zeros(3)
    covariance[np.ix_(told, told)], found[told] = errors, np.maximum(terms, 0.0)
    training, simulation, floor = (float(value) if has else None for value, has in zip(found, told, strict=True))
    reasons = {name: unknown[name] for name, has in zip(TERMS, told, strict=True) if not has and name in unknown}
    return replace(
        law,
        training=training,
        simulation=simulation,
        floor=floor,
        covariance=tuple(map(tuple, covariance.tolist())),
        chi2=chi2,
        ndof=len(rows) - int(told.sum()),
        points=tuple(points),
        unknown=reasons,
    )


def _told(design: Floats) -> npt.NDArray[np.bool_]:
    """Say which terms the rows tell apart from the others: those without a part in what no row sees."""
    _, values, vectors = np.linalg.svd(design, full_matrices=True)
    rank = int((values > TINY * max(values.max(initial=0.0), 1.0)).sum())
    told: npt.NDArray[np.bool_] = np.abs(vectors[rank:]).max(axis=0, initial=0.0) < np.sqrt(TINY)
    return told


def _least_squares(design: Floats, values: Floats, relative: Floats) -> tuple[Floats, Floats, float]:
    """Fit values whose errors are relative to what is expected; give terms, their covariance and chi-squared."""
    terms, expected, weight = np.zeros(design.shape[1]), values, np.ones(len(values))
    floor = TINY * max(float(values.max(initial=0.0)), TINY)
    for _ in range(ROUNDS):
        weight = 1 / (relative * np.maximum(expected, floor))
        terms = np.asarray(np.linalg.lstsq(design * weight[:, None], values * weight, rcond=None)[0], np.float64)
        expected = design @ np.maximum(terms, 0.0)
    scaled = design * weight[:, None]
    chi2 = float(((values - design @ terms) ** 2 * weight**2).sum())
    return terms, np.asarray(np.linalg.pinv(scaled.T @ scaled), np.float64), chi2
