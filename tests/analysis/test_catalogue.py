"""The catalogue: the only list of what an analysis may name, true in each entry, and needed by nobody else as a list of names."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from needle_parsl.analysis import catalogue
from needle_parsl.analysis.catalogue import CatalogueEntry
from needle_parsl.nsbi import compilation
from needle_parsl.nsbi.estimators import ensembles
from needle_parsl.nsbi.training import heads, networks
from needle_parsl.nsbi.training.metrics import Judged

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "needle_parsl"
LISTS = {
    "losses": catalogue.LOSSES, "networks": catalogue.NETWORKS, "optimisers": catalogue.OPTIMIZERS, "schedules": catalogue.SCHEDULES,
    "metrics": catalogue.METRICS, "combiners": catalogue.COMBINERS, "calibrations": catalogue.CALIBRATIONS, "engines": catalogue.ENGINES,
}  # fmt: skip
ENTRIES = [
    pytest.param(entry, id=f"{kind}-{name}") for kind, entries in LISTS.items() for name, entry in entries.items()
]
ELSEWHERE = {
    "constant": "a transform of features",
    "none": "no calibration, among many other things",
    "lightning": "the name of a library, in that of modules",
    "wifi": "a group in the file of an estimator",
    "weighted": "a function of tasks.inputs",
    "mean_log": "a name in a table of results",
    "wasserstein": "a key in files of results",
    "ece": "a key in files of results",
    "mce": "a key in files of results",
    "histogram": "a kind of figure",
}
"""Names that mean something else in other modules."""
NAMES = {name for entries in LISTS.values() for name in entries} - set(ELSEWHERE)


def test_it_is_read_without_science() -> None:
    program = "import sys; import needle_parsl.analysis.catalogue; print({'torch', 'numpy'} & set(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout == "set()\n"


@pytest.mark.parametrize("entry", ENTRIES)
def test_what_an_entry_refers_to_is_there(entry: CatalogueEntry) -> None:
    if getattr(entry, "compiled", False) and not compilation.AVAILABLE:
        pytest.skip("needs numba")
    assert callable(entry.load())
    assert entry.meaning


def texts(tree: ast.AST) -> Iterator[ast.Constant]:
    """Constants by which a name is compared, looked up, or listed: not sentences, arguments or defaults."""
    for node in ast.walk(tree):
        inside: list[ast.AST | None] = []
        if isinstance(node, ast.Compare):
            inside = [node.left, *node.comparators]
        elif isinstance(node, ast.Dict):
            inside = [*node.keys]
        elif isinstance(node, ast.Subscript):
            inside = [node.slice]
        elif isinstance(node, (ast.Tuple, ast.List, ast.Set)):
            inside = [*node.elts]
        elif isinstance(node, ast.MatchValue):
            inside = [node.value]
        yield from (one for one in inside if isinstance(one, ast.Constant))
        yield from (
            one
            for each in inside
            if isinstance(each, (ast.Tuple, ast.List, ast.Set))
            for one in each.elts
            if isinstance(one, ast.Constant)
        )


@pytest.mark.slow
def test_no_other_module_compares_names() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{one.lineno}: {one.value}"
        for path in PACKAGE.rglob("*.py")
        if path.name != "catalogue.py"
        for one in texts(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(one.value, str) and one.value in NAMES
    ]
    assert found == []


@pytest.mark.parametrize("kind", [kind for kind in LISTS if kind != "engines"])
def test_each_name_is_explained_once(kind: str) -> None:
    page = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8").partition("# Names\n")[2]
    _, _, section = page.partition(f"## {kind.capitalize()}: ")
    rows = [line.split("|")[1].strip() for line in section.partition("\n## ")[0].splitlines() if line.startswith("| `")]
    assert rows[: len(LISTS[kind])] == [f"`{name}`" for name in LISTS[kind]]


@pytest.mark.parametrize("classes", [(), ("a", "b", "c")])
@pytest.mark.parametrize("name", catalogue.NETWORKS)
def test_every_network_is_built_and_gives_what_its_facts_say(name: str, classes: tuple[str, ...]) -> None:
    known = catalogue.NETWORKS[name]
    if known.extra:
        pytest.importorskip("zuko")
    if classes and not known.classifier:
        pytest.skip("of one ratio alone")
    assert networks.asks_for_particles(name) == known.particles
    head = heads.of_classes(classes) if classes else ""
    shape = networks.NetworkShape(
        network=name, features=3, layers=2, nodes=8, particles=2 if known.particles else 0, head=head
    )
    network = networks.build(shape, 1)
    with torch.no_grad():
        found = network(*networks._blank(network, shape))
    assert found.shape == ((2, len(classes)) if classes else (2,))
    assert networks.takes(name, {"dropout": 0.1}) == ({} if known.densities else {"dropout": 0.1})


@pytest.mark.parametrize("name", catalogue.OPTIMIZERS)
def test_every_optimiser_finds_a_minimum(name: str) -> None:
    parameter = torch.nn.Parameter(torch.tensor([3.0]))
    optimizer = catalogue.OPTIMIZERS[name].load()([parameter], 0.05, 0.0)
    for _ in range(400):
        optimizer.zero_grad()
        ((parameter - 1) ** 2).sum().backward()
        optimizer.step()
    assert float(parameter.detach()) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("name", catalogue.SCHEDULES)
def test_every_schedule_begins_with_the_whole_step(name: str) -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    schedule = catalogue.SCHEDULES[name].load()(optimizer, (5,))
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1)
    plateau = isinstance(schedule, torch.optim.lr_scheduler.ReduceLROnPlateau)
    for _ in range(5):
        optimizer.step()
        schedule.step(*([1.0] if plateau else []))
    left = optimizer.param_groups[0]["lr"]
    assert (left == pytest.approx(0, abs=1e-9)) == catalogue.SCHEDULES[name].vanishing


@pytest.mark.parametrize("name", catalogue.METRICS)
def test_every_metric_is_best_for_the_true_ratio(name: str) -> None:
    """Unit Gaussians at +-0.5, whose ln r is x."""
    label = np.arange(40_000) % 2 > 0
    x = np.random.default_rng(2).normal(np.where(label, 0.5, -0.5))
    right, wrong = (Judged(x[:, None], label, np.ones(len(x)), log_ratio) for log_ratio in (x, 2 * x + 0.5))
    measure = catalogue.METRICS[name].load()
    assert 0 <= measure(right) < measure(wrong) / 3


@pytest.mark.parametrize("name", catalogue.COMBINERS)
def test_every_combiner_has_the_same_facts_as_one_of_the_user_must_have(name: str) -> None:
    """It is given columns of members, and gives each event a number that depends on its own column alone."""
    ensembles.tried(name)


def test_what_is_not_in_the_catalogue_has_no_facts() -> None:
    assert catalogue.loss("physics.py:f") == catalogue.Loss("physics.py:f", catalogue.YOURS)
    assert not catalogue.combiner("physics.py:f").fitted
    assert not catalogue.network("physics.py:Net").classifier
