"""From a `[model]` table, learned ratios and simulated events to the likelihood of a dataset."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from needle_parsl.analysis import Model as ModelTable
from needle_parsl.densities import Cross, Shape, knot
from needle_parsl.nsbi.statistics.model.constraints import Constraints
from needle_parsl.nsbi.statistics.model.interpolation import logarithm
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
from needle_parsl.nsbi.statistics.model.normalisation import Simulation
from needle_parsl.nsbi.statistics.model.process_errors import ProcessErrors
from needle_parsl.nsbi.statistics.model.rates import Rates
from needle_parsl.nsbi.statistics.model.responses import ResponseEntry, Responses
from needle_parsl.nsbi.statistics.model.rows import Table
from needle_parsl.nsbi.statistics.model.splines import SplineResponse
from needle_parsl.nsbi.statistics.model.staterror import Staterror
from needle_parsl.nsbi.statistics.model.template_smoothing import smoothed_template

if TYPE_CHECKING:
    from needle_parsl.nsbi.statistics.dataset import Dataset  # brings h5py, which plans do without

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Counts:
    """A binned region: what is expected in its bins, and what was counted."""

    name: str
    expected: Mapping[str, Floats]
    """Events in each bin by process and varied process, `background.jes.up`; shape (B,)."""
    observed: Floats | None = None
    """Shape (B,); None stands for what the nominal parameters expect."""
    errors: Mapping[str, Floats] = field(default_factory=dict)
    """Statistical error of `expected` by process, from the simulation; shape (B,). None where it is left out of the fit."""
    own: tuple[str, ...] = ()
    """Processes whose simulation has a factor of its own in each bin; that of all others is common."""
    threshold: float = 0.0
    """Share of a bin below which an error from the simulation is left out."""


@dataclass(frozen=True, kw_only=True)
class Builder:
    """What the tables of one model have in common."""

    table: ModelTable
    shapes: Sequence[Shape]
    rates: Rates
    constraints: Constraints
    places: Mapping[str, int] = field(default_factory=dict)
    """Of the nuisance parameters."""
    crosses: Sequence[Cross] = ()

    @staticmethod
    def of(table: ModelTable, shapes: Sequence[Shape], crosses: Sequence[Cross] = ()) -> Builder:
        """Read a `[model]` table.

        Args:
            table: As the user wrote it.
            shapes: The learned responses.
            crosses: Learned cross terms of two nuisances, each of which has a response of its own.
        """
        places = {name: place for place, name in enumerate(table.nuisances)}
        return Builder(
            table=table,
            shapes=shapes,
            rates=Rates.build(table),
            constraints=Constraints.build(table),
            places=places,
            crosses=crosses,
        )

    def likelihood(self, data: Dataset, simulation: Dataset, counts: Sequence[Counts] = ()) -> Likelihood:
        """Prepare the likelihood of a dataset.

        Args:
            data: The events that are fitted.
            simulation: Weighted events of all processes, for Z_j; their yields are what is expected.
            counts: The binned regions.
        """
        return self.joint({"": (data, simulation)}, counts)

    def joint(self, regions: Mapping[str, tuple[Dataset, Dataset]], counts: Sequence[Counts] = ()) -> Likelihood:
        """Prepare the likelihood of several unbinned regions, each with features, ratios and yields of its own.

        Args:
            regions: By name the events that are fitted, and the simulation there, as for `likelihood`. Parameters are common.
            counts: The binned regions.
        """
        tables = [table for name, events in regions.items() for table in self.acting(name).unbinned(name, *events)]
        return Likelihood(
            self.rates, (*tables, *(self.acting(region.name).binned(region) for region in counts)), self.constraints
        )

    def acting(self, region: str) -> Builder:
        """Leave out what the nuisance parameters that do not act in a region would change there."""
        known = self.table.nuisances
        if all(nuisance.acts(region) for nuisance in known.values()):
            return self
        still = {name: n if n.acts(region) else replace(n, rate={}) for name, n in known.items()}
        return replace(
            self,
            table=replace(self.table, nuisances=still),
            shapes=[shape for shape in self.shapes if known[shape.nuisance].acts(region)],
            crosses=[c for c in self.crosses if all(known[k].acts(region) for k in (c.first, c.second))],
        )

    def counting(self, counts: Sequence[Counts]) -> Likelihood:
        """Prepare the likelihood of binned regions alone; what is done to events finds none.

        Args:
            counts: The binned regions.
        """
        processes, none = len(self.rates.processes), Responses.of((), 0)
        nothing = Table(
            name="",
            kind="events",
            y=np.empty((processes, 0)),
            responses=none,
            gains=Responses.of((), 1),
            rate=np.empty(0),
            count=np.empty(0),
        )
        return Likelihood(
            self.rates, (nothing, *(self.acting(region.name).binned(region) for region in counts)), self.constraints
        )

    def unbinned(self, name: str, data: Dataset, simulation: Dataset) -> tuple[Table, Table]:
        """Make the tables of an unbinned region: its events, and its total."""
        processes, size = self.rates.processes, len(data.weight)
        yields = np.array([simulation.yields[process] for process in processes])
        gains = self._gains(simulation.yields)
        flat = np.zeros(size)
        y = np.array([nu * np.exp(data.ratios.get(p, flat)) for p, nu in zip(processes, yields, strict=True)])
        responses = self._responses(data.ratios, size)
        simulations = tuple(self._simulation(j, simulation) for j in range(len(processes)))
        none = Responses.of((), 1)
        events = Table(
            name=name,
            kind="events",
            y=y,
            responses=responses,
            gains=gains,
            rate=np.zeros(size),
            count=data.weight,
            simulation=simulations,
        )
        return events, Table(
            name=name, kind="total", y=yields[:, None], responses=none, gains=gains, rate=np.ones(1), count=np.zeros(1)
        )

    def binned(self, region: Counts) -> Table:
        """Make the table of a binned region."""
        y = np.array([region.expected[process] for process in self.rates.processes])
        bins = y.shape[1]
        entries, gains = [], []
        for shape in self.shapes:
            entries += self._bins(shape, region.expected)
        logs = {
            name: self._relative(expected, y[self.rates.processes.index(process)])
            for name, expected in region.expected.items()
            if (process := name.partition(".")[0]) in {c.process for c in self.crosses}
        }
        for nuisance, entry in self.table.nuisances.items():
            for process, (up, down) in entry.rate.items():
                gains.append(self._entry(process, nuisance, np.array([up]), np.array([down])))
        table = Table(
            name=region.name,
            kind="bins",
            y=y,
            responses=Responses.of(entries, bins, *self._crossed(logs, bins)),
            gains=Responses.of(gains, 1),
            rate=np.ones(bins),
            count=np.zeros(bins),
        )
        start, f = self.rates.start, self.rates.factors(self.rates.start)[0]
        asimov = table.densities(f, self.rates.moved(start))
        seen = asimov if region.observed is None else region.observed
        return replace(table, count=seen, staterror=self._scatter(region, f, asimov, f[:, None] * y))

    def _scatter(self, region: Counts, f: Floats, asimov: Floats, nominal: Floats) -> Staterror | ProcessErrors | None:
        """Say what the simulation lets bins scatter by, from the expectation of bins, (B,), and of each process, (J, B)."""
        processes = self.rates.processes
        errors = {p: np.abs(f[j]) * region.errors[p] for j, p in enumerate(processes) if p in region.errors}
        if set(region.own) & set(errors):
            return ProcessErrors.of(processes, nominal, errors, region.own, region.threshold)
        if not errors:
            return None
        square = np.sum([own**2 for own in errors.values()], axis=0)
        return Staterror.of(asimov, np.where(square > (region.threshold * asimov) ** 2, square, 0.0))

    def _entry(self, process: str, nuisance: str, up: Floats, down: Floats) -> ResponseEntry:
        place, kind = self.rates.processes.index(process), self.table.nuisances[nuisance].interpolation
        return ResponseEntry(place, self.places[nuisance], kind, logarithm(up), logarithm(down))

    def _bins(self, shape: Shape, expected: Mapping[str, Floats]) -> list[ResponseEntry]:
        """Respond bin by bin as the varied samples do; of a stated rate only the shape is theirs."""
        nominal = expected[shape.process]
        own = self.table.nuisances[shape.nuisance]
        stated, logs = shape.process in own.rate, {}
        for name in (shape.up, shape.down):
            if name:
                template = smoothed_template(expected[name], nominal) if own.smooth else expected[name]
                total = expected[name].sum()  # of nothing there is no shape, and the stated rate is all that is known
                varied = template * (nominal.sum() / total) if stated and total > 0 else nominal if stated else template
                logs[name] = self._relative(varied, nominal)
        up, down = map(np.exp, shape.sides(logs))
        if stated and shape.symmetric and nominal.any():  # means of bins have another sum than the sides
            up, down = (own * (nominal.sum() / (nominal * own).sum()) for own in (up, down))
        return [self._entry(shape.process, shape.nuisance, up, down)]

    @staticmethod
    def _relative(varied: Floats, nominal: Floats) -> Floats:
        """Give the logarithm of what bins hold over the nominal content; 0 where that is nothing."""
        return logarithm(np.where(nominal > 0, varied / np.where(nominal > 0, nominal, 1.0), 1.0))

    def _gains(self, yields: Mapping[str, float]) -> Responses:
        """Relative yields at plus and minus one sigma, and with two moved; a stated rate wins over the variations'."""
        names = [(s.process, n) for s in self.shapes for n in (s.up, s.down) if n] + [
            (c.process, c.ratio) for c in self.crosses
        ]
        logs = {name: np.array([np.log(yields[name] / yields[process])]) for process, name in names}
        sides = {(s.process, s.nuisance): tuple(map(np.exp, s.sides(logs))) for s in self.shapes}
        for nuisance, entry in self.table.nuisances.items():
            for process, (up, down) in entry.rate.items():
                sides[process, nuisance] = np.array([up]), np.array([down])
        return Responses.of([self._entry(*key, *pair) for key, pair in sides.items()], 1, *self._crossed(logs, 1))

    def _responses(self, ratios: Mapping[str, Floats], size: int, process: str = "") -> Responses:
        """Respond event by event as the learned ratios say; of one process, or of all."""
        entries = [
            self._entry(s.process, s.nuisance, *map(np.exp, s.sides(ratios)))
            for s in self.shapes
            if process in ("", s.process)
        ]
        crossed = self._crossed(ratios, size, process)
        return Responses.of(entries, size, *crossed, list(self._splines(ratios, process)))

    def _crossed(
        self, logs: Mapping[str, Floats], size: int, process: str = ""
    ) -> tuple[list[tuple[int, int, int]], Floats]:
        """Give process, nuisances and c of each cross term, shape (Q, N); of one process, or of all.

        Args:
            logs: ln g by ratio, shape (N,) each.
            size: N.
            process: Which one.
        """
        own = [c for c in self.crosses if process in ("", c.process)]
        index, places = self.rates.processes.index, self.places
        sides = {(s.process, s.nuisance): s.sides(logs) for c in own for s in self.shapes if s.process == c.process}
        terms = [c.term(logs[c.ratio], *(sides[c.process, name] for name in (c.first, c.second))) for c in own]
        pairs = [(index(c.process), places[c.first], places[c.second]) for c in own]
        return pairs, np.array(terms).reshape(len(own), size)

    def _splines(self, ratios: Mapping[str, Floats], process: str) -> Iterator[SplineResponse]:
        """Respond event by event to the parameter of the simulation, as ratios at its knots say; of one process, or of all."""
        for place, parameter in enumerate(p for p in self.table.parameters.values() if p.grid):
            grid = np.array(parameter.knots())
            for name in self.rates.processes if not process else (process,):
                if knot(name, 0) in ratios:
                    logs = np.array([ratios[knot(name, number)] for number in range(len(grid))]) - ratios[name]
                    yield SplineResponse(self.rates.processes.index(name), len(self.places) + place, grid, logs)

    def _simulation(self, place: int, simulation: Dataset) -> Simulation:
        process = self.rates.processes[place]
        own = simulation.sample == simulation.samples.index(process)
        if not (simulation.priors and any(shape.process == process for shape in self.shapes)):
            weight = simulation.weight[own]
            values = {name: log_ratio[own] for name, log_ratio in simulation.ratios.items()}
            return Simulation(place, weight / weight.sum(), self._responses(values, len(weight), process))
        weight, nominal = _mixture(simulation, process), simulation.weight * own
        responses = self._responses(simulation.ratios, len(weight), process)
        return Simulation(place, weight / weight.sum(), responses, nominal / nominal.sum())


def _mixture(simulation: Dataset, process: str) -> Floats:
    """Give w_i P_ij of all simulated events: how much of a process each of them is, at the yields at which ratios are normalised.

    Responses are centred with the same weights, so that nuisance parameters of simulated events come out at their nominal values.
    """
    names = list(simulation.priors)
    yields = np.array([simulation.priors[name] for name in names])
    flat = np.zeros(len(simulation.weight))
    log = np.array([np.log(nu) + simulation.ratios.get(name, flat) for name, nu in zip(names, yields, strict=True)])
    share = softmax(log, axis=0)[names.index(process)]
    scale = np.array([simulation.priors[name] / simulation.yields[name] for name in simulation.samples])
    weight: Floats = simulation.weight * scale[simulation.sample] * share
    return weight
