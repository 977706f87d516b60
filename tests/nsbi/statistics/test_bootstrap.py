"""Replicas: their scatter is that of independent simulations, and its parts add up."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from needle_parsl.analysis import Model, Parameter
from needle_parsl.errors import TaskError
from needle_parsl.nsbi.data import hashing
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.estimators import composing
from needle_parsl.nsbi.estimators.estimator import Estimator
from needle_parsl.nsbi.statistics import bootstrap
from needle_parsl.nsbi.statistics.dataset import Dataset
from needle_parsl.nsbi.statistics.fits.fitting import minimise
from needle_parsl.nsbi.statistics.model.builder import Builder
from needle_parsl.nsbi.training import networks, packs
from needle_parsl.nsbi.training import train as engine
from needle_parsl.nsbi.training.members import Member, Settings
from needle_parsl.nsbi.training.ratio_events import MemberView, RatioEvents
from needle_parsl.salts import key

NAMES = ("x", "y")
MEAN = {"signal": 0.8, "background": 0.0}
YIELDS = {"signal": 100.0, "background": 300.0}
TRAIN, COMBINE, FITTED, MEMBERS = 1000, 500, 1000, 2
SETTINGS = Settings(
    shape=networks.NetworkShape(network="mlp", features=2, layers=1, nodes=6),
    loss="carl",
    optimizer="adamw",
    learning_rate=2e-2,
    schedule="cosine",
    weight_decay=1e-4,
    batch_size=250,
    epochs=8,
    patience=8,
)
MODEL = Builder.of(Model({"mu": Parameter(1.0, (0.0, 10.0))}, {"signal": "mu", "background": "1"}, {}), ())
POINTS = np.random.default_rng(5).normal(0.4, 1.0, (200, 2)).astype(np.float32)


def drawn(process: str, events: int, seed: int) -> Events:
    rng = np.random.default_rng((seed, *process.encode()))
    x = rng.normal(MEAN[process], 1.0, (events, 2)).astype(np.float32)
    return Events(
        names=NAMES, x=x, weight=np.ones(events), id=hashing.mix(np.arange(events, dtype=np.uint64), key(seed, process))
    )


@dataclass(frozen=True)
class Simulation:
    """Events to learn from."""

    train: tuple[Events, Events]
    combine: tuple[Events, Events]

    @staticmethod
    def made(seed: int) -> Simulation:
        own = [tuple(drawn(p, n, seed + k) for p in MEAN) for k, n in ((0, TRAIN), (1, COMBINE))]
        return Simulation(*own)  # type: ignore[arg-type]  # two pairs

    def estimator(self, seed: int, salt: int | None, members: int = MEMBERS, *, own: bool = False) -> Estimator:
        """Train and combine as a run does: resampled with a salt, each member with a bootstrap of its own if `own`."""
        events = RatioEvents.build(*self.train)
        salts = [key("own", seed, m) if own else salt for m in range(members)]
        trained = tuple(
            engine.train(
                events,
                Member(
                    member=m,
                    fold=0,
                    seed=key(seed, m),
                    view=MemberView(
                        fold=0,
                        folds=1,
                        fold_salt=1,
                        validation=0.1,
                        validation_salt=3,
                        bootstrap_salt=salts[m],
                        replica=not own,
                    ),
                ),
                SETTINGS,
            )
            for m in range(members)
        )
        above, below = (e if salt is None else e.resampled(salt) for e in self.combine)
        pack = packs.Pack(SETTINGS.shape, events.transform, trained)
        return composing.compose("signal", pack, (above, below), composing.How("mean_ratio", 1.0))


def replica(estimator: Estimator) -> bootstrap.Replica:
    """Fit the same Asimov data with an estimator."""
    x = np.concatenate([drawn(p, FITTED, 77).x for p in MEAN])
    weight = np.concatenate([np.full(FITTED, YIELDS[p] / FITTED) for p in MEAN])
    data = Dataset.of(
        x, {"signal": estimator.log_ratio(x)}, weight=weight, samples=dict.fromkeys(MEAN, FITTED), yields=YIELDS
    )
    likelihood = MODEL.likelihood(data, data)
    fit = bootstrap.ReplicaValues.of(minimise(likelihood, likelihood.rates, errors=False))
    return bootstrap.Replica("", {"asimov": fit}, {"signal": estimator.log_ratio(POINTS)})


def value(one: bootstrap.Replica) -> float:
    return float(one.fits["asimov"].values[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "simulations", "own"),
    [
        (40, 4, False),
        pytest.param(400, 20, False, marks=pytest.mark.campaign),
        pytest.param(400, 20, True, marks=pytest.mark.campaign),
    ],
)
@pytest.mark.usefixtures("one_thread")
def test_replicas_scatter_as_independent_simulations_do(count: int, simulations: int, own: bool) -> None:
    """The variance of mu, and of ln r over 200 points; the replicas are of several simulations, whose variances are averaged."""
    truth = [replica(Simulation.made(1000 + 10 * k).estimator(k, None, own=own)) for k in range(count)]
    found = []
    for s in range(simulations):
        events, size = Simulation.made(50_000 + 10 * s), count // simulations
        again = [replica(events.estimator(7000 + k, None)) for k in range(size)]
        resampled = [replica(events.estimator(9000 + k, key("replica", s, k))) for k in range(size)]
        found.append(bootstrap.summarise(resampled, again, bootstrap.NetworkCounts(MEMBERS, MEMBERS, own)))
    one, other = (
        np.var([value(t) for t in truth], ddof=1),
        np.mean([f.fits["asimov"]["mu"].total ** 2 for f in found]),
    )
    points = np.array([t.ratios["signal"] for t in truth]).var(axis=0, ddof=1).mean()
    learned = np.mean([f.log_ratio["signal"].total ** 2 for f in found])
    parts = np.mean(
        [[getattr(f.fits["asimov"]["mu"], n) ** 2 for n in ("training", "simulation")] for f in found], axis=0
    )
    print(  # noqa: T201  for the docs
        f"{count} simulations, {simulations} x {count // simulations} replicas, own bootstrap {own}: replicas over true variance of mu "
        f"{other / one:.3f} (training {parts[0] / one:.3f}, simulation {parts[1] / one:.3f}), of ln r {learned / points:.3f}"
    )
    factor = (
        2.5 if own else 1.0
    )  # the total is 1.5 V(replicas) - 0.5 V(repeats) with bootstraps of two members, else V(replicas)
    width = 3 * np.sqrt(2 / (count - 1) + factor * 2 / (count - simulations))
    assert abs(np.log(other / one)) < width
    assert abs(np.log(learned / points)) < width
    for each in found:
        for numbers in (
            each.fits["asimov"]["mu"],
            each.log_ratio["signal"],
            *each.log_ratio["signal"].bins,
        ):
            assert numbers.total**2 == pytest.approx(numbers.training**2 + numbers.simulation**2)


def scattered(variance: float, count: int) -> np.ndarray:
    """Numbers whose variance is exactly this."""
    found = np.random.default_rng(count).normal(size=count)
    return np.sqrt(variance) * (found - found.mean()) / found.std(ddof=1)


def test_split_has_the_parts_that_were_put_in() -> None:
    plain = bootstrap.split(scattered(5.0, 30), scattered(2.0, 20), bootstrap.NetworkCounts(2, 2, own=False))
    assert (plain.total**2, plain.training**2, plain.simulation**2) == pytest.approx((5.0, 2.0, 3.0))
    larger = bootstrap.split(scattered(5.0, 30), scattered(2.0, 20), bootstrap.NetworkCounts(2, 10, own=True))
    assert (larger.total**2, larger.training**2, larger.simulation**2) == pytest.approx((3.7, 0.7, 3.0))
    none = bootstrap.split(scattered(1.0, 30), scattered(2.0, 20), bootstrap.NetworkCounts(2, 2, own=True))
    assert (none.total**2, none.training**2, none.simulation) == pytest.approx((2.0, 2.0, 0.0))
    assert min(vars(none.uncertainty).values()) > 0


def test_uncertainties_of_the_split_are_the_scatter_of_its_parts() -> None:
    rng, counts = np.random.default_rng(9), bootstrap.NetworkCounts(1, 4, own=True)
    found = [bootstrap.split(rng.normal(0, 3, 60), rng.normal(0, 1, 40), counts) for _ in range(2000)]
    parts = np.array([(one.total, one.training, one.simulation) for one in found])
    said = np.mean([list(vars(one.uncertainty).values()) for one in found], axis=0)
    np.testing.assert_allclose(parts.std(axis=0) / said, 1.0, atol=0.06)  # 2000 of them: 0.016, and first order
    np.testing.assert_allclose(parts.mean(axis=0), np.sqrt([8 + 2.25, 2.25, 8]), rtol=0.02)


def test_replicas_without_ratios_or_fit_are_counted_and_left_out(tmp_path: Path) -> None:
    def one(number: int, *, converged: bool = True) -> bootstrap.Replica:
        fit = bootstrap.ReplicaValues(("mu",), np.array([float(number)]), converged, ("mu",) if number == 0 else ())
        return bootstrap.Replica("", {"asimov": fit}, {"signal": np.array([0.0, 1.0]) + number})

    failed = bootstrap.Replica("ratio signal: 0 of 2 members have trained", {}, {})
    kept = [one(0), one(4), failed]
    for number, replica_ in enumerate(kept):
        bootstrap.write(tmp_path / f"{number}.h5", replica_)
    kept = [bootstrap.read(tmp_path / f"{number}.h5") for number in range(3)]
    counts = bootstrap.NetworkCounts(1, 1, own=False)
    found = bootstrap.summarise(kept, [one(1), one(2), one(50, converged=False)], counts)
    assert (found.failed, found.reasons) == (1, (failed.reason,))
    numbers = found.fits["asimov"]["mu"]
    assert (numbers.at_bound, numbers.failed, numbers.resampled, numbers.repeated) == (1, 1, (0, 4), (1, 2))
    assert numbers.total == pytest.approx(np.sqrt(8.0))
    with pytest.raises(TaskError, match="fewer than two replicas of a kind were trained: ratio signal"):
        bootstrap.summarise([kept[0], failed], [one(1), one(2)], counts)


def test_a_replica_takes_as_many_steps_and_resamples_what_decides_when_to_stop() -> None:
    events, view = (
        RatioEvents.build(*Simulation.made(4).train),
        MemberView(fold=0, folds=1, fold_salt=1, validation=0.1, validation_salt=3, bootstrap_salt=9),
    )
    plain, (own, _), (whole, judged) = (
        events.look(v) for v in (replace(view, bootstrap_salt=None), view, replace(view, replica=True))
    )
    assert len(whole) == len(plain[0])
    assert len(judged) == len(plain[1])
    assert len(own) == int((whole.weight > 0).sum()) < 0.7 * len(whole)
    share = whole.weight[whole.weight > 0] / whole.weight.sum()
    assert torch.allclose(share, own.weight / own.weight.sum())
    assert (judged.weight == 0).any()


def test_an_event_has_one_weight_in_a_replica_wherever_it_is() -> None:
    events = drawn("signal", 5000, 3)
    some = events.take(slice(1000, 3000)).resampled(7)
    whole = events.resampled(7)
    weights = dict(zip(whole.id.tolist(), whole.weight, strict=True))
    assert [weights[i] for i in some.id.tolist()] == some.weight.tolist()
    assert abs(whole.weight.sum() - 5000) < 4 * np.sqrt(5000)
    assert set(np.setdiff1d(events.id, whole.id)) and (whole.weight > 0).all()  # noqa: PT018  some are not drawn, the others are
