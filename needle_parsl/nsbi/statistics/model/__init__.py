"""The statistical model: parameters, what multiplies processes, how they respond to nuisances, and the likelihood."""

from needle_parsl.nsbi.statistics.model.rates import Rates
from needle_parsl.nsbi.statistics.model.shapes import Shape

__all__ = ["Rates", "Shape"]
