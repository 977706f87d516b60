"""The statistical model: parameters, what multiplies processes, how they respond to nuisances, and the likelihood."""

from needle_parsl.nsbi.statistics.model.rates import Rates

__all__ = ["Rates"]
