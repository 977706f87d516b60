"""Sixteen problems whose densities are known exactly: what is learned on them can be compared with what is true.

Each has a signal strength mu, one nuisance parameter that changes shapes (`shape`) and one that changes yields (`rate`).
`problem.simulate` gives weighted events for training, nominal and at shape = +-1; `problem.log_density` the densities behind
them; `problem.pseudo_data` unweighted data of these densities at any mu, shape and rate. The densities are those of the
families at any alpha; the model that is fitted knows those at 0 and +-1 and interpolates, as needle does, so that the
exact fit is the one with exact log ratios at +-1. Data for comparisons is therefore thrown at shape = 0, where both
agree, with auxiliary observations of unit width around 0.
"""

from problems import edges, smooth
from problems.records import RATE, SHAPE, SIDES, Array, Law, Problem, Process, Sample

PROBLEMS: dict[str, Problem] = {
    problem.name: problem
    for problem in (
        smooth.gaussian(),
        smooth.student(),
        smooth.lognormal(),
        smooth.pareto(),
        edges.threshold(),
        edges.peak(),
        smooth.wide(),
        smooth.rotated(),
        edges.seam(),
        edges.count(),
        smooth.twenty(),
        edges.placeholders(),
        smooth.negative_3(),
        smooth.negative_15(),
        smooth.interference(),
        smooth.five(),
    )
}

__all__ = ["PROBLEMS", "RATE", "SHAPE", "SIDES", "Array", "Law", "Problem", "Process", "Sample"]
