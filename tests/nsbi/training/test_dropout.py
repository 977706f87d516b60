"""Dropout: masks are fair, the same bits in torch and in compiled code, and whatever engine trains."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from needle_parsl.analysis import Training
from needle_parsl.errors import InputError
from needle_parsl.nsbi import compilation
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.data.jagged import Jagged, ends
from needle_parsl.nsbi.training import dropout, heads, losses, networks, state, train
from needle_parsl.nsbi.training.dropout import Dropout
from needle_parsl.nsbi.training.engines import choosing, lightning_trainer
from needle_parsl.nsbi.training.kernels import dropout_hash
from needle_parsl.nsbi.training.members import Member, Settings
from needle_parsl.nsbi.training.ratio_events import MemberView, RatioEvents

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]
needs_numba = pytest.mark.skipif(not compilation.AVAILABLE, reason="numba is not installed")
VIEW = MemberView(fold=0, folds=1, fold_salt=5, validation=0.2, validation_salt=6, bootstrap_salt=11)


def gaussian(n: int, mean: float, seed: int) -> Events:
    generator = np.random.default_rng(seed)
    counts = generator.integers(0, 4, n)
    jets = Jagged(generator.normal(mean, 1, (int(counts.sum()), 2)).astype(np.float32), ends(counts))
    x = generator.normal(mean, 1, (n, 3)).astype(np.float32)
    return Events(
        names=tuple("abc"),
        x=x,
        weight=np.ones(n),
        id=np.arange(seed * 10**6, seed * 10**6 + n, dtype=np.uint64),
        particles=jets,
    )


WITH_JETS = RatioEvents.build(gaussian(1500, 0.4, 1), gaussian(1500, 0.0, 2))
DATA = replace(WITH_JETS, particles=None)
SETTINGS = Settings(
    shape=networks.NetworkShape(network="mlp", features=3, layers=2, nodes=20),
    loss="carl",
    optimizer="adamw",
    learning_rate=1e-2,
    schedule="cosine",
    weight_decay=1e-4,
    batch_size=101,
    epochs=3,
    patience=3,
    dropout=0.3,
)  # an odd batch, whose last pair has one row


def member(number: int = 0) -> Member:
    return Member(member=number, fold=0, seed=2**63 + 100 + number, view=VIEW)


def mask(share: float, layer: int, seed: int, step: int, shape: tuple[int, int] = (400, 50)) -> torch.Tensor:
    part = Dropout(share, layer)
    part.key = dropout_hash.keyed(seed, step)
    return part.kept(*shape)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_masks_are_fair_and_independent(share: float) -> None:
    """Over rows, units, and neighbouring rows; and between steps, layers, seeds, of which each pair agrees as chance has it."""
    where = [(0, 1, 0), (0, 1, 1), (0, 1, 2), (0, 1, 10_000), (1, 1, 0), (2, 1, 0), (0, 2, 0), (0, 2**63 + 1, 0), (0, 2**32, 0)]  # fmt: skip
    masks = [mask(share, *at).double().numpy() - (1 - share) for at in where]
    variance = share * (1 - share)
    for one in masks:
        for axis in (0, 1):
            sums = (one.sum(axis=axis) ** 2 / (one.shape[axis] * variance)).sum()
            assert 1e-5 < chi2.sf(sums, one.shape[1 - axis]) < 1 - 1e-5
        for a, b in ((one[:-1], one[1:]), (one[:, :-1], one[:, 1:]), (one[:-2], one[2:])):
            assert abs((a * b).sum()) < 5 * variance * np.sqrt(a.size)
    for one, other in combinations(masks, 2):
        assert abs((one * other).sum()) < 5 * variance * np.sqrt(one.size)


def test_the_mean_of_a_unit_stays() -> None:
    part, x = Dropout(0.3, 0), torch.ones(20_000, 10)
    dropped = part(x)
    assert float(dropped.mean()) == pytest.approx(1.0, abs=5 * np.sqrt(0.3 / 0.7 / x.numel()))
    assert sorted(dropped.unique().tolist()) == pytest.approx([0.0, 1 / 0.7], rel=1e-4)
    assert torch.equal(part.eval()(x), x)


@needs_numba
@pytest.mark.parametrize(("outputs", "nodes"), [(1, 20), (3, 33)])
@pytest.mark.parametrize("share", [0.1, 0.6])
def test_compiled_masks_have_the_bits_of_torch(outputs: int, nodes: int, share: float) -> None:
    """Where activations are 0 units were dropped: every row, every unit, in the second tile of an odd batch; and the gradient."""
    from needle_parsl.nsbi.training.engines import recognition
    from needle_parsl.nsbi.training.kernels import passes, updates
    from needle_parsl.nsbi.training.kernels.layout import HERE, PADDED_OUT, TILE
    from needle_parsl.nsbi.training.kernels.passes import EventTable
    from needle_parsl.nsbi.training.kernels.trainer import CompiledTrainer, Goal
    from needle_parsl.nsbi.training.kernels.updates import UpdateRule

    shape = networks.NetworkShape(
        network="mlp", features=3, layers=2, nodes=nodes, head=heads.of_classes("abc") if outputs > 1 else ""
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        module = networks.make(shape, share).double()
    generator = np.random.default_rng(2)
    rows, seed, step = 2 * TILE - 5, 2**64 - 17, 12_345
    x = generator.normal(0, 1, (rows, 3)).astype(np.float32)
    label = generator.integers(max(2, outputs), size=rows).astype(np.float32)
    table = EventTable(x, label, generator.uniform(-0.2, 2, rows).astype(np.float32))
    (structure,) = recognition.structures(module)
    goal = Goal(passes.SOFTMAX if outputs > 1 else passes.BCE)
    trainer = CompiledTrainer(structure, goal, UpdateRule(updates.ADAM), seed)
    loss, gradient = trainer.differentiate(networks.vector(module).numpy(), table, np.arange(rows), step)

    dropout.begin(dropout.parts(module), dropout_hash.keyed(seed, step))
    for layer, part in enumerate(dropout.parts(module)):
        place = trainer.places[layer]
        own = trainer.work.values[place[HERE] : place[HERE] + (rows - TILE) * place[PADDED_OUT]]
        kept = own.reshape(rows - TILE, -1)[:, :nodes] != 0
        np.testing.assert_array_equal(kept, part.kept(rows, nodes).numpy()[TILE:])
    columns = (torch.from_numpy(column).double() for column in table[1:])
    by = losses.multiclass if outputs > 1 else losses.carl
    expected = by(module(torch.from_numpy(x).double()), *columns)
    torch.autograd.backward(expected)
    exact = torch.nn.utils.parameters_to_vector([p.grad for p in module.parameters()]).numpy()
    assert loss == pytest.approx(float(expected.detach()), rel=1e-6)
    assert np.abs(gradient - exact).max() < 3e-6 * np.abs(exact).max()


def compare(ours: object, theirs: object, tolerance: float) -> None:
    np.testing.assert_allclose(ours.history, theirs.history, atol=tolerance)  # type: ignore[attr-defined]
    np.testing.assert_allclose(ours.weights, theirs.weights, atol=10 * tolerance)  # type: ignore[attr-defined]


@pytest.mark.slow
@needs_numba
def test_compiled_code_drops_what_rows_drop(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = replace(SETTINGS, epochs=20, patience=20)
    ours = train.train(DATA, member(), settings)
    monkeypatch.setattr(compilation, "AVAILABLE", False)
    theirs = train.train(DATA, member(), settings)
    assert (ours.engine, theirs.engine) == ("native", "sequential")
    compare(ours, theirs, 2e-6)
    assert abs(ours.history - train.train(DATA, member(), replace(settings, dropout=0.0)).history).max() > 1e-3


@needs_numba
def test_members_may_drop_different_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    members = [replace(member(k), own=(("dropout", share),)) for k, share in enumerate((0.0, 0.2, 0.5))]
    found = train.train_pack(DATA, members, SETTINGS, state.State(), state.never)
    monkeypatch.setattr(compilation, "AVAILABLE", False)
    for ours, one in zip(found, members, strict=True):
        assert ours.engine == "native"
        compare(ours, train.train(DATA, one, SETTINGS), 1e-6)


def test_a_stack_drops_what_each_alone_drops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Members with different numbers of events, so of steps, too."""
    monkeypatch.setattr(compilation, "AVAILABLE", False)
    members = [member(0), replace(member(1), view=replace(VIEW, bootstrap_salt=12, validation=0.3))]
    theirs = [train.train(DATA, one, SETTINGS) for one in members]
    monkeypatch.setattr(choosing, "accelerated", lambda: True)
    for ours, other in zip(train.train_pack(DATA, members, SETTINGS, state.State(), state.never), theirs, strict=True):
        assert (ours.engine, other.engine) == ("stacked", "sequential")
        compare(ours, other, 2e-6)


def test_lightning_drops_what_rows_drop(monkeypatch: pytest.MonkeyPatch) -> None:
    import lightning

    from needle_parsl.nsbi.training import modules

    class Wrapped(lightning.LightningModule):
        def __init__(self, settings: Settings) -> None:
            super().__init__()
            self.own = modules.Classifier(networks.make(settings.shape, settings.dropout), settings)

        def training_step(self, batch, number):
            return self.own.training_step(batch, number)

        def validation_step(self, batch, number):
            self.own.log = self.log
            self.own.validation_step(batch, number)

        def configure_optimizers(self):
            return self.own.configure_optimizers()

    monkeypatch.setattr(compilation, "AVAILABLE", False)
    theirs = train.train(DATA, member(), SETTINGS)

    def build(settings: Settings, seed: int) -> Wrapped:
        torch.manual_seed(seed % 2**63)
        return Wrapped(settings)

    monkeypatch.setattr(modules, "build", build)
    course = train.prepared(DATA, member(), SETTINGS, 0)
    with torch.random.fork_rng():
        lightning_trainer.run(course, lambda: None)
    compare(course.trained(lambda: torch.zeros(1), "lightning"), theirs, 1e-6)


@pytest.mark.parametrize(("network", "drops"), [("deepset", 3), ("transformer", 4)])
def test_networks_of_particles_drop_in_training_only(network: str, drops: int) -> None:
    shape = networks.NetworkShape(network=network, features=3, layers=2, nodes=8, particles=2)
    settings = replace(SETTINGS, shape=shape, epochs=1)
    parts = dropout.parts(networks.make(shape, 0.3))
    assert [part.layer for part in parts] == list(range(drops))
    assert not dropout.parts(networks.empty(shape))
    ours, plain = (train.train(WITH_JETS, member(), replace(settings, dropout=share)) for share in (0.3, 0.0))
    assert len(ours.weights) == len(plain.weights) == len(networks.vector(networks.empty(shape)))
    assert abs(ours.weights - plain.weights).max() > 1e-4
    assert np.array_equal(ours.weights, train.train(WITH_JETS, member(), settings).weights)


def test_estimators_are_evaluated_without() -> None:
    assert not dropout.parts(networks.empty(SETTINGS.shape))
    found, plain = networks.make(SETTINGS.shape, 0.3), networks.make(SETTINGS.shape)
    assert [p.shape for p in networks.tensors(found)] == [p.shape for p in networks.tensors(plain)]


def test_settings_say_what_is_dropped_and_by_whom() -> None:
    usual = Settings.of(Training(), 3)
    assert (usual.dropout, Settings.of(Training(dropout=0.0), 3).dropout) == (0.1, 0.0)
    given = Settings.of(Training(dropout=0.3), 3)
    assert (given.dropout, given.shape) == (0.3, usual.shape)
    own = Settings.of(Training(dropout=0.1, network="lightning_modules:Leaky"), 3)
    assert networks.make(own.shape).share == 0.1
    assert networks.make(Settings.of(Training(network="lightning_modules:Leaky"), 3).shape).share == 0.5
    for network in ("flow", "lightning_modules:Plain"):
        with pytest.raises(InputError, match=r'\[training\] dropout: (flow|Plain) takes no argument "dropout"'):
            Settings.of(Training(dropout=0.1, network=network), 3)
