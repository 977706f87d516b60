"""Batches from stores: every event once, under its own label, in an order that follows from the seed, in bounded memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch
from scipy import stats

from needle_parsl.errors import InputError
from needle_parsl.nsbi.data import store
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.data.jagged import Jagged, ends
from needle_parsl.nsbi.data.loading import modules
from needle_parsl.nsbi.data.loading.batches import InMemory, Streamed
from needle_parsl.nsbi.data.loading.parallel import Parallel
from needle_parsl.nsbi.data.loading.stretches import fold, stretches
from needle_parsl.nsbi.data.loading.transforming import fitted_to_stores
from needle_parsl.nsbi.data.loading.windows import Loading
from needle_parsl.nsbi.data.store import Schema
from needle_parsl.nsbi.transforms.wanted import Wanted

pytestmark = pytest.mark.usefixtures("one_thread")

N = 30_000
SCHEMA = Schema(("number", "y"), (), salt=5)
PLAIN = Loading(memory=400_000, seed=3)


def write(path: Path, first: int, n: int = N, particles: bool = False) -> Path:
    """Events whose first feature is their number."""
    generator = np.random.default_rng(first)
    number = np.arange(first, first + n)
    counts = number % 4
    jets = Jagged(np.repeat(number, counts).astype(np.float32)[:, None] * [[1, 2]], ends(counts)) if particles else None
    x = np.stack([number, generator.normal(3, 2, n)], axis=1).astype(np.float32)
    schema = Schema(SCHEMA.features, ("a", "b") if particles else (), SCHEMA.salt)
    if jets is not None:
        jets = Jagged(jets.values.astype(np.float32), jets.offsets)
    store.write(
        path,
        Events(
            names=SCHEMA.features, x=x, weight=generator.normal(1, 0.5, n), id=number.astype(np.uint64), particles=jets
        ),
        schema,
    )
    return path


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    folder = tmp_path_factory.mktemp("stores")
    return {str(write(folder / "s.h5", 0)): 1.0, str(write(folder / "b.h5", N, n=20_000)): 0.0}


@pytest.fixture(scope="module")
def pool() -> Any:
    with ThreadPoolExecutor(2) as found:
        yield found


def loaders(stores: dict[str, float], pool: Any, batch: int, loading: Loading = PLAIN, **ranges: Any) -> list[Any]:
    found = stretches(stores, **ranges)
    return [
        InMemory(found, batch, loading),
        Streamed(found, batch, loading),
        Streamed(found, batch, loading, prefetch=False),
        Parallel(found, batch, pool.submit, loading, ahead=2),
    ]


def collected(batches: Iterable[Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    taken = [tuple(t.clone() for t in batch[:3]) for batch in batches]
    x, label, weight = (torch.cat(column).numpy() for column in zip(*taken, strict=True))
    return x, label, weight


@pytest.mark.parametrize("batch", [128, 1000, 10**6])
def test_every_event_once_under_its_own_label(stores: dict[str, float], pool: Any, batch: int) -> None:
    for loader in loaders(stores, pool, batch):
        kept = list(loader)  # a batch stays what it is while others are made
        assert [len(b.label) for b in kept[:-1]] == [batch] * (len(loader) - 1)
        x, label, weight = collected(kept)
        numbers = x[:, 0].astype(int)
        assert np.array_equal(np.sort(numbers), np.arange(50_000))
        np.testing.assert_array_equal(label, (numbers < N).astype(np.float32))
        for kind in (0, 1):
            assert weight[label == kind].sum() == pytest.approx(25_000, rel=1e-5)


@pytest.mark.slow
def test_epochs_differ_and_follow_from_the_seed(stores: dict[str, float], pool: Any) -> None:
    first, second = loaders(stores, pool, 500), loaders(stores, pool, 500)
    epochs = [[collected(loader)[0][:, 0] for _ in range(2)] for loader in first]
    again = [[collected(loader)[0][:, 0] for _ in range(2)] for loader in second]
    for ours, theirs in zip(epochs, again, strict=True):
        np.testing.assert_array_equal(ours, theirs)
        assert (ours[0] != ours[1]).mean() > 0.99
    for other in epochs[2:]:  # threads, prefetching and pools change nothing
        np.testing.assert_array_equal(epochs[1], other)


def test_batches_are_fair_samples(stores: dict[str, float], pool: Any) -> None:
    """The number of signal events in a batch varies as it would under a perfect shuffle, or less."""
    for loader in loaders(stores, pool, 1000):
        share = np.array([float(b.label.mean()) for b in list(loader)[:-1]])
        assert abs(share.mean() - 0.6) < 0.01
    big = collected(Streamed(stretches(stores), 1000, Loading(memory=4_000_000), prefetch=False))[0][:, 0]
    first, second = big[:-1], big[1:]
    assert abs(stats.spearmanr(first, second).statistic) < 0.02  # neighbours have nothing to do with each other


@pytest.mark.slow
def test_ranges_are_disjoint_and_complete(stores: dict[str, float], pool: Any) -> None:
    for index in range(4):
        inside = collected(loaders(stores, pool, 777, ranges=fold(1, 5))[index])[0][:, 0]
        outside = collected(loaders(stores, pool, 777, ranges=((1 / 5, 2 / 5),))[index])[0][:, 0]
        assert len(np.unique(np.concatenate([inside, outside]))) == 50_000
        assert abs(len(outside) - 10_000) < 500


def test_transformed_features_and_bootstrap_weights(stores: dict[str, float], pool: Any) -> None:
    found = stretches(stores)
    wanted = Wanted.of((), {column.name: "standard" for column in fitted_to_stores(found).columns})
    transform = fitted_to_stores(found, wanted)
    first = transform.columns[0]
    plain = {
        int(n): w
        for n, w in zip(*(collected(InMemory(found, 500, PLAIN))[i] for i in (0, 2)), strict=True)
        for n in [n[0]]
    }
    for loader in loaders(stores, pool, 500, Loading(memory=PLAIN.memory, seed=3, transform=transform, bootstrap=17)):
        x, _, weight = collected(loader)
        numbers = np.rint(x[:, 0] * first.width + first.shift).astype(int)
        np.testing.assert_array_equal(np.sort(numbers), np.arange(50_000))
        factor = weight / np.array([plain[n] for n in numbers])
        np.testing.assert_allclose(factor, np.rint(factor), atol=1e-4)
        assert abs(np.rint(factor).mean() - 1) < 0.03
        assert np.rint(factor).max() >= 4


def test_particles_stay_with_their_events(tmp_path: Path, pool: Any) -> None:
    for loader in loaders({write(tmp_path / "p.h5", 0, particles=True): 1.0}, pool, 321):
        seen = 0
        for batch in loader:
            number, packed = batch.x[:, 0], batch.particles
            assert torch.equal(packed.counts, (number % 4).long())
            assert torch.equal(packed.values[:, 0], torch.repeat_interleave(number, packed.counts))
            seen += len(number)
        assert seen == N


def test_damage_is_an_error_and_no_batch(tmp_path: Path) -> None:
    path = write(tmp_path / "s.h5", 0)
    with store.Store(path) as opened:
        place = opened.places["x"][0] + 8 * 20_000
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    for make in (InMemory, Streamed):
        with pytest.raises(InputError, match="is damaged between rows"):
            list(make(stretches({path: 1.0}), 100, PLAIN))


def test_weights_without_a_sum_are_refused(tmp_path: Path) -> None:
    events = Events(
        names=("a",), x=np.ones((4, 1), np.float32), weight=np.array([1.0, -1, 1, -1]), id=np.arange(4, dtype=np.uint64)
    )
    store.write(tmp_path / "s.h5", events, Schema(("a",), (), 1))
    with pytest.raises(InputError, match="with label 1 add up to 0; expected more than 0"):
        stretches({tmp_path / "s.h5": 1.0})


class Logistic(lightning.LightningModule):
    """The smallest network that can tell the two samples apart by their first feature."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
        self.validation = 0.0

    def loss(self, batch: Any) -> torch.Tensor:
        logit = self.layer(batch[0]).squeeze(-1)
        each = torch.nn.functional.binary_cross_entropy_with_logits(logit, batch[1], reduction="none")
        return (each * batch[2]).mean()

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        return self.loss(batch)

    def validation_step(self, batch: Any, _: int) -> None:
        self.validation = float(self.loss(batch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 0.1)


def same(batch: Any) -> Any:
    """What a torch worker does here."""
    return batch


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::FutureWarning", "ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"
)
@pytest.mark.parametrize("mode", ["in_memory", "streamed", "processed", "parallel"])
def test_every_mode_trains_a_lightning_module(stores: dict[str, float], pool: Any, tmp_path: Path, mode: str) -> None:
    if mode == "processed":
        data = modules.processed(stores, same, workers=1, batch_size=500)
    elif mode == "parallel":
        data = modules.parallel(stores, pool.submit, batch_size=500)
    else:
        data = getattr(modules, mode)(stores, batch_size=500)
    network = Logistic()
    trainer = lightning.Trainer(
        max_epochs=3, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(network, data)
    assert network.validation < 0.3  # log 2 = 0.69 knows nothing


LIMITED = """
import json, resource, sys
import numpy as np
import torch
from needle_parsl.nsbi.data.loading.batches import InMemory, Streamed
from needle_parsl.nsbi.data.loading.stretches import stretches
from needle_parsl.nsbi.data.loading.windows import Loading
torch.set_num_threads(1)
torch.ones(10).split(5)
size = int(open("/proc/self/statm").read().split()[0]) * 4096 + int(sys.argv[3]) * 2**20
resource.setrlimit(resource.RLIMIT_AS, (size, size))
make = {"memory": InMemory, "streamed": Streamed}[sys.argv[2]]
seen = np.zeros(int(sys.argv[4]), np.uint8)
for batch in make(stretches({sys.argv[1]: 1.0}), 1024, Loading(memory=64 * 2**20)):
    seen[batch.x[:, 0].numpy().astype(int)] += 1
print(json.dumps({"once": bool((seen == 1).all())}))
"""


@pytest.mark.slow
def test_store_larger_than_the_memory_allowed(tmp_path: Path) -> None:
    """320 MB of events with 200 MB of address space beyond the imports: in windows every event comes once."""
    n, wide = 2_000_000, tuple(f"f{i}" for i in range(36))
    x = np.zeros((n, 36), np.float32)
    x[:, 0] = np.arange(n)
    store.write(
        tmp_path / "s.h5",
        Events(names=wide, x=x, weight=np.ones(n), id=np.arange(n, dtype=np.uint64)),
        Schema(wide, (), 1),
    )
    del x

    def limited(mode: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", LIMITED, str(tmp_path / "s.h5"), mode, "200", str(n)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert json.loads(limited("streamed").stdout) == {"once": True}
    assert "MemoryError" in limited("memory").stderr


TRAINING = """
import json, resource, sys
import lightning, torch
from needle_parsl.nsbi.data.loading import modules
from needle_parsl.nsbi.data.loading.batches import Batch
from needle_parsl.nsbi.training.networks import MLP
torch.set_num_threads(1)

class Network(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.mlp, self.seen, self.last = MLP(32, 2, 16), 0, 1.0
    def training_step(self, batch, _):
        self.seen += len(batch.label)
        each = torch.nn.functional.binary_cross_entropy_with_logits(self.mlp(batch.x), batch.label, reduction="none")
        return (each * batch.weight).mean()
    def validation_step(self, batch, _):
        self.last = float(self.training_step(batch, 0))
        self.seen -= len(batch.label)
    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 1e-3)

network = Network()
network.training_step(Batch(torch.zeros(8, 32), torch.zeros(8), torch.ones(8)), 0).backward()
size = int(open("/proc/self/statm").read().split()[0]) * 4096 + 2**30
resource.setrlimit(resource.RLIMIT_AS, (size, size))
data = modules.streamed({sys.argv[1]: 1.0, sys.argv[2]: 0.0}, batch_size=8192)
network.seen = 0
lightning.Trainer(max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
                  enable_model_summary=False, num_sanity_val_steps=0).fit(network, data)
print(json.dumps({"seen": network.seen, "loss": network.last}))
"""


@pytest.mark.campaign
def test_three_gigabytes_train_in_one(tmp_path: Path) -> None:
    """Two stores of 1.6 GB each are trained on, with 1 GiB of address space beyond the imports."""
    wide, parts, rows = tuple(f"f{i}" for i in range(32)), [], 11_000_000
    for name, shift in (("s", 0.3), ("b", 0.0)):
        parts.clear()
        for first in range(0, rows, 500_000):
            generator = np.random.default_rng([first, int(shift * 10)])
            x = generator.normal(shift, 1, size=(500_000, 32)).astype(np.float32)
            ids = np.arange(first, first + 500_000, dtype=np.uint64)
            parts.append(tmp_path / f"{name}.{first}")
            store.write(parts[-1], Events(names=wide, x=x, weight=np.ones(len(x)), id=ids), Schema(wide, (), 1), bits=6)
        store.merge(parts, tmp_path / f"{name}.h5", 2**26)
        for part in parts:
            part.unlink()
    command = [sys.executable, "-c", TRAINING, str(tmp_path / "s.h5"), str(tmp_path / "b.h5")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr[-2000:]
    found = json.loads(ended.stdout.splitlines()[-1])
    assert abs(found["seen"] - 0.9 * 2 * rows) < 20_000
    assert found["loss"] < 0.45  # 32 features shifted by 0.3
