"""Random statistical models of many kinds, each as needle's likelihood and as one of its own, written with NumPy alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from needle_parsl.analysis import Model, Nuisance, Parameter
from needle_parsl.densities import Shape
from needle_parsl.nsbi.statistics.dataset import Dataset
from needle_parsl.nsbi.statistics.model.builder import Builder, Counts
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood

SMOOTH = ("poly6_exp", "code4p", "exp_quadratic")
KINKED = ("code1", "linear")
SIMULATED = 200
"""Simulated events of each process in an unbinned region."""
LARGEST = 1.5
"""|ln g| of an event at one sigma, at most: 200 events do not tell Z_j of responses without bounds."""
Values = Mapping[str, float]
Multiplier = tuple[str, Callable[[Values], float]]


@dataclass(frozen=True)
class Problem:
    """A model with its data."""

    model: Model
    multipliers: Mapping[str, Callable[[Values], float]]
    shapes: list[Shape]
    bins: list[Counts]
    regions: dict[str, tuple[Dataset, Dataset]] = field(default_factory=dict)

    def likelihood(self) -> Likelihood:
        return Builder.of(self.model, self.shapes).joint(self.regions, self.bins)


def response(kind: str, alpha: float, up: np.ndarray, down: np.ndarray) -> np.ndarray:
    """What a variation does, from the definition of each interpolation."""
    if kind == "exp_quadratic":
        return np.exp(alpha * np.log(up / down) / 2 + alpha**2 * np.log(up * down) / 2)
    if kind == "code1" or (kind in {"poly6_exp", "code4"} and abs(alpha) >= 1):
        return up**alpha if alpha >= 0 else down**-alpha
    if kind in {"poly6_exp", "code4"}:  # six conditions: value, slope and bend at both ends
        n = np.arange(1, 7)
        rows = [[s**n, n * s ** (n - 1), n * (n - 1) * s ** np.maximum(n - 2, 0)] for s in (1.0, -1.0)]
        ends = [up - 1, up * np.log(up), up * np.log(up) ** 2, down - 1, -down * np.log(down), down * np.log(down) ** 2]
        return 1 + np.tensordot(alpha**n, np.linalg.solve(np.concatenate(rows), np.array(ends)), 1)
    if kind == "linear" or abs(alpha) >= 1:
        return np.maximum(1 + (alpha * (up - 1) if alpha >= 0 else alpha * (1 - down)), 1e-6)
    half, bent = (up - down) / 2, (up + down - 2) / 16
    return np.maximum(1 + half * alpha + bent * (15 * alpha**2 - 10 * alpha**4 + 3 * alpha**6), 1e-6)


Sides = tuple[np.ndarray, np.ndarray]


def filled(shape: Shape, up: np.ndarray | None, down: np.ndarray | None) -> Sides:
    """Put the mirror image, or nothing, in the place of a side that is missing."""
    one = up if up is not None else down
    assert one is not None
    other = 1 / one if shape.one_sided == "mirror" else np.ones_like(one)
    return (one if up is not None else other), (down if down is not None else other)


@dataclass(frozen=True)
class Independent:
    """-ln L as a function of the values of the parameters, from the formulae alone."""

    problem: Problem

    def __call__(self, values: Values) -> float:
        made = self.problem
        f = {process: multiplier(values) for process, multiplier in made.multipliers.items()}
        pulls = sum(self.alpha(values, name) ** 2 / 2 for name in made.model.nuisances)
        bins = sum(self.bins(values, f, region) for region in made.bins)
        return pulls + bins + sum(self.events(values, f, *pair) for pair in made.regions.values())

    def alpha(self, values: Values, name: str) -> float:
        own = self.problem.model.nuisances[name]
        return math.log(values[name]) / own.sigma if own.constraint == "lognormal" else values[name]

    def stated(self, shape: Shape) -> bool:
        """Whether the yield of a variation is stated, so that its shape alone counts."""
        return shape.process in self.problem.model.nuisances[shape.nuisance].rate

    def product(self, values: Values, process: str, sides: Callable[[Shape], Sides]) -> np.ndarray:
        found = np.ones(1)
        for shape in (shape for shape in self.problem.shapes if shape.process == process):
            kind = self.problem.model.nuisances[shape.nuisance].interpolation
            found = found * response(kind, self.alpha(values, shape.nuisance), *sides(shape))
        return found

    def rate(self, values: Values, process: str) -> float:
        moved = {name: n for name, n in self.problem.model.nuisances.items() if process in n.rate}
        sides = {name: map(np.array, n.rate[process]) for name, n in moved.items()}
        return math.prod(
            float(response(n.interpolation, self.alpha(values, name), *sides[name])) for name, n in moved.items()
        )

    def bins(self, values: Values, f: Values, region: Counts) -> float:
        def sides(shape: Shape) -> Sides:
            nominal = region.expected[shape.process]
            varied = [region.expected[name] if name else None for name in (shape.up, shape.down)]
            scale = [nominal.sum() / y.sum() if y is not None and self.stated(shape) else 1.0 for y in varied]
            return filled(shape, *(None if y is None else y / nominal * k for y, k in zip(varied, scale, strict=True)))

        expected = {p: region.expected[p] * self.product(values, p, sides) for p in f}
        lam = sum(f[p] * self.rate(values, p) * y for p, y in expected.items())
        if not (lam > 0).all():
            return math.inf
        return float(poisson(lam, region.observed, self.delta(region)).sum())

    def delta(self, region: Counts) -> np.ndarray:
        """Relative error of the simulation in each bin, at the nominal parameters."""
        nominal = {name: p.nominal for name, p in self.problem.model.parameters.items()}
        f = {p: multiplier(nominal) for p, multiplier in self.problem.multipliers.items()}
        whole = sum(f[p] * region.expected[p] for p in f)
        return np.sqrt(sum((f[p] * error) ** 2 for p, error in region.errors.items()) + 0 * whole) / whole

    def events(self, values: Values, f: Values, data: Dataset, simulation: Dataset) -> float:
        total, density = 0.0, np.zeros(len(data.weight))
        for place, process in enumerate(simulation.samples):
            own = simulation.sample == place
            whole = (
                f[process]
                * simulation.yields[process]
                * self.rate(values, process)
                * self.gain(values, process, simulation)
            )
            g, nominal = (self.local(values, process, sample) for sample in (data, simulation))
            z = np.average(np.broadcast_to(nominal, own.shape)[own], weights=simulation.weight[own])
            total += whole
            density += whole * np.exp(data.ratios.get(process, 0.0)) * g / z
        return math.inf if not (density > 0).all() else float(total - np.log(density).sum())

    def local(self, values: Values, process: str, sample: Dataset) -> np.ndarray:
        """The response event by event, before it is normalised."""

        def sides(shape: Shape) -> Sides:
            return filled(shape, *(np.exp(sample.ratios[name]) if name else None for name in (shape.up, shape.down)))

        return self.product(values, process, sides)

    def gain(self, values: Values, process: str, simulation: Dataset) -> float:
        """The response of the yield, where it is not stated."""

        def sides(shape: Shape) -> Sides:
            own = [simulation.yields[name] if name else None for name in (shape.up, shape.down)]
            if self.stated(shape):
                return np.ones(1), np.ones(1)
            return filled(shape, *(None if y is None else np.array([y / simulation.yields[process]]) for y in own))

        return float(self.product(values, process, sides)[0])


def poisson(lam: np.ndarray, count: np.ndarray, delta: np.ndarray) -> np.ndarray:
    """-ln of the probability of counts, where the expectation has a relative error, which is fitted along."""
    b = delta**2 * lam - 1
    gamma = (-b + np.sqrt(b**2 + 4 * delta**2 * count)) / 2
    pull = (gamma - 1) ** 2 / np.where(delta > 0, 2 * delta**2, 1.0)
    return gamma * lam - np.where(count > 0, count * np.log(np.maximum(gamma * lam, 1e-300)), 0.0) + pull


class Dice:
    """Draws one model of some kind."""

    def __init__(self, seed: int, spread: float = 0.2) -> None:
        self.rng, self.spread = np.random.default_rng(seed), spread

    def nuisances(self, count: int, kinds: tuple[str, ...], **more: object) -> dict[str, Nuisance]:
        return {f"n{k}": Nuisance(interpolation=str(self.rng.choice(kinds)), **more) for k in range(count)}  # type: ignore[arg-type]

    def shapes(self, processes: list[str], nuisances: Mapping[str, Nuisance], one_sided: float = 0.0) -> list[Shape]:
        """Each nuisance moves at least one process."""
        found = []
        for name in nuisances:
            moved = [p for p in processes if self.rng.random() < 0.6] or [str(self.rng.choice(processes))]
            for p in moved:
                missing, kind = self.rng.random() < one_sided, str(self.rng.choice(["mirror", "none"]))
                up, down = f"{p}.{name}.up", f"{p}.{name}.down"
                lost = int(self.rng.integers(2)) if missing else -1
                found.append(
                    Shape(p, name, "" if lost == 0 else up, "" if lost == 1 else down, kind if missing else "")
                )
        return found

    def counts(self, problem: Problem, truth: Values, nominal: Mapping[str, np.ndarray], name: str = "sr") -> Counts:
        """Vary the expected bins, and throw data at the truth: of another strength in each bin, so that the model is strained."""
        expected, rng = dict(nominal), self.rng
        for shape in problem.shapes:
            tilt = rng.normal(0, self.spread)
            for side, sign in ((shape.up, 1), (shape.down, rng.choice([-1, -1, 1]))):
                if side:
                    expected[side] = nominal[shape.process] * np.exp(
                        sign * tilt + rng.normal(0, self.spread, len(nominal[shape.process]))
                    )
        f = {process: multiplier(truth) for process, multiplier in problem.multipliers.items()}
        lam = sum(f[p] * nominal[p] for p in problem.model.processes) * np.exp(
            rng.normal(0, 0.15, len(next(iter(nominal.values()))))
        )
        errors = (
            {p: np.abs(y) * rng.uniform(0.02, 0.2, len(y)) for p, y in nominal.items()} if rng.random() < 0.3 else {}
        )
        return Counts(name, expected, rng.poisson(np.maximum(lam, 0.1)).astype(float), errors)

    def events(self, problem: Problem, truth: Values, yields: Mapping[str, float]) -> tuple[Dataset, Dataset]:
        """One feature; processes are Gaussians over a reference, and variations are any functions: Z_j normalises them."""
        rng, places = self.rng, {p: float(self.rng.normal(0, 1.2)) for p in yields}
        waves = {name: rng.normal(0, self.spread, 3) for s in problem.shapes for name in (s.up, s.down) if name}
        tilts = {s.nuisance: rng.normal(0, 1.5 * self.spread) for s in problem.shapes}

        def ratios(x: np.ndarray) -> dict[str, np.ndarray]:
            found = {p: place * x - place**2 / 2 for p, place in places.items()}
            for shape in problem.shapes:
                for name, sign in ((shape.up, 1), (shape.down, -1)):
                    if name:
                        a, b, c = waves[name]
                        wave = (sign * tilts[shape.nuisance] + a) * x + b * np.sin(2 * x) + c * np.cos(3 * x)
                        found[name] = LARGEST * np.tanh(wave / LARGEST)
            return found

        names = [name for s in problem.shapes for name in (s.up, s.down) if name]
        varied = {n: yields[n.split(".")[0]] * math.exp(rng.normal(0, self.spread / 2)) for n in names}
        x = np.concatenate([rng.normal(places[p], 1, SIMULATED) for p in yields])
        weight = np.repeat([yields[p] / SIMULATED for p in yields], SIMULATED)
        simulation = Dataset.of(
            x, ratios(x), weight=weight, samples=dict.fromkeys(yields, SIMULATED), yields={**yields, **varied}
        )
        f = {process: multiplier(truth) for process, multiplier in problem.multipliers.items()}
        numbers = [rng.poisson(max(f[p] * yields[p], 0.0)) for p in yields]
        data = np.concatenate([rng.normal(places[p] + 0.2, 1.1, n) for p, n in zip(yields, numbers, strict=True)])
        return Dataset.of(data, ratios(data)), simulation

    def bins(self, low: float, high: float, count: int) -> np.ndarray:
        return self.rng.uniform(low, high) * self.rng.dirichlet(np.full(count, 2.0))


SIGNAL: dict[str, Multiplier] = {"s": ("mu", lambda v: v["mu"]), "b": ("1", lambda _: 1.0)}


def problem(
    parameters: dict[str, Parameter],
    processes: Mapping[str, Multiplier],
    nuisances: dict[str, Nuisance],
    shapes: list[Shape],
) -> Problem:
    texts = {name: text for name, (text, _) in processes.items()}
    return Problem(Model(parameters, texts, nuisances), {n: f for n, (_, f) in processes.items()}, shapes, [])


def strength(
    dice: Dice, kinds: tuple[str, ...], count: int, one_sided: float = 0.0, **more: object
) -> tuple[Problem, Values]:
    """A signal of free strength over one or two backgrounds."""
    processes = {**SIGNAL, **({"c": ("1", lambda _: 1.0)} if dice.rng.random() < 0.5 else {})}
    nuisances = dice.nuisances(count, kinds, **more)
    made = problem(
        {"mu": Parameter(1.0, (0.0, 8.0))}, processes, nuisances, dice.shapes(list(processes), nuisances, one_sided)
    )
    return made, {"mu": float(dice.rng.uniform(0, 4))}


def in_bins(dice: Dice, made: Problem, truth: Values, regions: int = 1) -> Problem:
    for k in range(regions):
        size = int(dice.rng.integers(2, 7))
        nominal = {p: dice.bins(20, 60, size) if p == "s" else dice.bins(50, 400, size) for p in made.model.processes}
        made.bins.append(dice.counts(made, truth, nominal, f"r{k}"))
    return made


def in_events(dice: Dice, made: Problem, truth: Values, regions: int = 1) -> Problem:
    for k in range(regions):
        yields = {
            p: float(dice.rng.uniform(10, 30) if p == "s" else dice.rng.uniform(40, 120)) for p in made.model.processes
        }
        made.regions[f"u{k}"] = dice.events(made, truth, yields)
    return made


def shapes_in_bins(dice: Dice) -> Problem:
    made, truth = strength(dice, SMOOTH, int(dice.rng.integers(1, 5)))
    return in_bins(dice, made, truth)


def shapes_of_events(dice: Dice) -> Problem:
    made, truth = strength(dice, SMOOTH, int(dice.rng.integers(1, 4)))
    return in_events(dice, made, truth)


def interference(dice: Dice) -> Problem:
    """Off-shell Higgs: mu S + sqrt(mu) I + B with |I| at most 2 sqrt(S B), in the basis S, SBI, B."""
    root = math.sqrt
    processes: dict[str, Multiplier] = {
        "s": ("mu - sqrt(mu)", lambda v: v["mu"] - root(v["mu"])),
        "sbi": ("sqrt(mu)", lambda v: root(v["mu"])),
        "b": ("1 - sqrt(mu)", lambda v: 1 - root(v["mu"])),
    }
    nuisances = {
        f"n{k}": Nuisance(rate=dict.fromkeys(processes, dice.rng.uniform([1.02, 0.8], [1.2, 0.98])))
        for k in range(int(dice.rng.integers(0, 3)))
    }
    made = problem({"mu": Parameter(1.0, (0.0, float(dice.rng.uniform(4, 12))))}, processes, nuisances, [])
    truth = {"mu": float(dice.rng.uniform(0, 4))}
    for k in range(int(dice.rng.integers(1, 3))):
        size = int(dice.rng.integers(1, 6))
        s, b = dice.bins(10, 60, size), dice.bins(30, 100, size)
        nominal = {"s": s, "sbi": s + b + 2 * dice.rng.uniform(-1, 0.3, size) * np.sqrt(s * b), "b": b}
        made.bins.append(dice.counts(made, truth, nominal, f"r{k}"))
    return made


def amplitudes(dice: Dice, size: int, couplings: int) -> np.ndarray:
    """Complex amplitudes of the standard model and of each coupling in each bin, shape (1 + C, size)."""
    real, imaginary = dice.rng.normal(0, 1, (2, 1 + couplings, size))
    return (
        np.sqrt([[80.0], *([dice.rng.uniform(2, 20)] for _ in range(couplings))])
        * (real + 1j * imaginary)
        / math.sqrt(2 * size)
        + 0.3
    )


def quadratic(dice: Dice, couplings: int = 1) -> Problem:
    """EFT: |a_0 + sum_k c_k a_k|^2 in the basis of as many points as it has terms, some of whose multipliers are negative."""
    names = [f"c{k}" for k in range(1, couplings + 1)]
    points = [{**dict.fromkeys(names, 0.0)}, *({**dict.fromkeys(names, 0.0), n: s} for n in names for s in (1.0, -1.0))]
    points += [dict.fromkeys(names, 1.0)] if couplings == 2 else []

    def terms(v: Values) -> list[float]:
        own = [v[n] for n in names]
        return [1.0, *own, *(x * x for x in own), *([own[0] * own[1]] if couplings == 2 else [])]

    text = ["1", *names, *(f"{n}**2" for n in names), *(["c1*c2"] if couplings == 2 else [])]
    inverse = np.linalg.inv(np.array([terms(point) for point in points]))
    processes: dict[str, Multiplier] = {}
    for j in range(len(points)):
        factors = inverse[:, j]
        written = " + ".join(f"({c:.17g})*{t}" for c, t in zip(factors, text, strict=True) if abs(c) > 1e-12)
        processes[f"p{j}"] = (written, lambda v, own=factors: float(np.dot(own, terms(v))))
    nuisances = {
        f"n{k}": Nuisance(rate=dict.fromkeys(processes, dice.rng.uniform([1.02, 0.8], [1.2, 0.98])))
        for k in range(int(dice.rng.integers(0, 3)))
    }
    made = problem({n: Parameter(0.0, (-5.0, 5.0)) for n in names}, processes, nuisances, [])
    truth = {n: float(dice.rng.uniform(-3, 3)) for n in names}
    for k in range(int(dice.rng.integers(1, 3))):
        size = (
            int(dice.rng.integers(1, 6)) if couplings == 1 else int(dice.rng.integers(4, 8))
        )  # few would not tell them apart
        a = amplitudes(dice, size, couplings)
        nominal = {
            f"p{j}": np.abs(a[0] + sum(point[n] * own for n, own in zip(names, a[1:], strict=True))) ** 2 + 2
            for j, point in enumerate(points)
        }
        made.bins.append(dice.counts(made, truth, nominal, f"r{k}"))
    return made


def one_sided(dice: Dice) -> Problem:
    bounds = (0.0, 5.0) if dice.rng.random() < 0.3 else None
    made, truth = strength(dice, (*SMOOTH, *KINKED), int(dice.rng.integers(1, 4)), 0.8, bounds=bounds)
    return (in_bins if dice.rng.random() < 0.6 else in_events)(dice, made, truth)


def regions(dice: Dice) -> Problem:
    made, truth = strength(dice, SMOOTH, int(dice.rng.integers(1, 4)))
    return in_bins(dice, in_events(dice, made, truth, 2), truth)


def lognormal(dice: Dice) -> Problem:
    made, truth = strength(
        dice, SMOOTH, int(dice.rng.integers(1, 4)), constraint="lognormal", sigma=float(dice.rng.uniform(0.2, 1.0))
    )
    return (in_bins if dice.rng.random() < 0.6 else in_events)(dice, made, truth)


def products(dice: Dice) -> Problem:
    """Two strengths that are measured as a product, a square and a difference."""
    processes: dict[str, Multiplier] = {
        "s": ("mu*k", lambda v: v["mu"] * v["k"]),
        "t": ("k**2", lambda v: v["k"] ** 2),
        "b": ("1", lambda _: 1.0),
    }
    nuisances = dice.nuisances(int(dice.rng.integers(0, 3)), SMOOTH)
    low = float(dice.rng.choice([0.0, -0.5]))
    made = problem(
        {"mu": Parameter(1.0, (low, 5.0)), "k": Parameter(1.0, (0.0, 4.0), role="free")},
        processes,
        nuisances,
        dice.shapes(["b"], nuisances),
    )
    truth = {"mu": float(dice.rng.uniform(0, 4)), "k": float(dice.rng.uniform(0, 3))}
    return in_bins(dice, made, truth, int(dice.rng.integers(1, 3)))


def kinked(dice: Dice) -> Problem:
    made, truth = strength(dice, KINKED, int(dice.rng.integers(1, 4)))
    return (in_bins if dice.rng.random() < 0.6 else in_events)(dice, made, truth)


def two_couplings(dice: Dice) -> Problem:
    return quadratic(dice, 2)


KINDS: dict[str, Callable[[Dice], Problem]] = {
    "shapes in bins": shapes_in_bins,
    "shapes of events": shapes_of_events,
    "interference": interference,
    "one coupling": quadratic,
    "two couplings": two_couplings,
    "one-sided": one_sided,
    "regions": regions,
    "log-normal": lognormal,
    "products": products,
    "kinked": kinked,
}


def drawn(kind: str, seed: int) -> Problem:
    """Draw a model; every third one has variations of 50 %, the others of 15 or 30 %."""
    return KINDS[kind](Dice(1000 * list(KINDS).index(kind) + seed, (0.15, 0.3, 0.5)[seed % 3]))
