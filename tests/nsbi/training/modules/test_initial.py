"""Weights to start from: read by name from files of all kinds without executing anything, and kept where they are frozen."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from needle_parsl.analysis import Training
from needle_parsl.errors import InputError
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.programs import try_network
from needle_parsl.nsbi.training import heads, initial, modules, networks, packs, ratio_events, train
from needle_parsl.nsbi.training.members import Member, Settings
from needle_parsl.nsbi.transforms.transform import Transform

pytestmark = pytest.mark.usefixtures("one_thread")
SHAPE = networks.NetworkShape(network="mlp", features=3, layers=2, nodes=8)


class Ours(nn.Module):
    """A body that may come from elsewhere, and a head of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.SiLU())
        self.head = nn.Linear(8, 1)


def weights(seed: int = 1) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return {name: torch.randn_like(value) for name, value in networks.make(SHAPE).state_dict().items()}


def put(path: Path, network: nn.Module) -> initial.Taken:
    return initial.read([str(path)]).only(0, 0).put(network)


def write(path: Path, how: str) -> dict[str, torch.Tensor]:
    """Write weights as one of the kinds of files."""
    given = weights()
    if how == "safetensors":
        pytest.importorskip("safetensors.torch").save_file(given, path)
    elif how == "checkpoint":  # as Lightning writes it
        more = {
            "epoch": 3,
            "pytorch-lightning_version": "2.6.6",
            "optimizer_states": [{"state": {}}],
            "hyper_parameters": {"width": 64},
        }
        torch.save({"state_dict": {f"net.{name}": value for name, value in given.items()}, **more}, path)
    elif how == "parallel":
        torch.save({"model": {f"module.{name}": value for name, value in given.items()}}, path)
    elif how == "old":
        torch.save(given, path, _use_new_zipfile_serialization=False)
    else:
        torch.save(given, path)
    return given


@pytest.mark.parametrize(
    ("how", "name"),
    [
        ("plain", "w.pt"),
        ("old", "w.pth"),
        ("safetensors", "w.safetensors"),
        ("checkpoint", "w.ckpt"),
        ("parallel", "w.pt"),
    ],
)
def test_weights_of_all_kinds_of_files_are_taken(tmp_path: Path, how: str, name: str) -> None:
    given, network = write(tmp_path / name, how), networks.make(SHAPE)
    taken = put(tmp_path / name, network)
    assert str(taken) == "6 of 6 parameters and buffers are taken"
    for key, value in network.state_dict().items():
        torch.testing.assert_close(value, given[key], rtol=0, atol=0)


def test_a_body_of_another_project_is_found_by_its_names(tmp_path: Path) -> None:
    """The names of a file may be those of a part; what it lacks, and what is not used, is said."""
    body = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.SiLU())
    torch.save(
        {f"mod.{name}": value for name, value in body.state_dict().items()} | {"fc.weight": torch.zeros(10, 8)},
        tmp_path / "w.pt",
    )
    ours = Ours()
    taken = put(tmp_path / "w.pt", ours)
    assert str(taken) == (
        '7 of 9 parameters and buffers are taken, as its part "backbone"; not in it, and starting at random: head.weight, head.bias; '
        "not used: fc.weight"
    )
    torch.testing.assert_close(ours.backbone[0].weight, body[0].weight, rtol=0, atol=0)


def test_what_fits_in_two_ways_is_not_guessed(tmp_path: Path) -> None:
    twice = nn.ModuleDict({"a": nn.Linear(3, 8), "b": nn.Linear(3, 8)})
    torch.save(nn.Linear(3, 8).state_dict(), tmp_path / "w.pt")
    with pytest.raises(InputError, match='fits in several ways, "a" from bias and "b" from bias'):
        put(tmp_path / "w.pt", twice)


def test_lazy_layers_take_the_shape_of_the_file(tmp_path: Path) -> None:
    torch.save(nn.Linear(3, 8).state_dict(), tmp_path / "w.pt")
    lazy = nn.LazyLinear(8)
    put(tmp_path / "w.pt", lazy)
    assert lazy(torch.zeros(2, 3)).shape == (2, 8)


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("how", ["pickle", "torch", "old", "inside"])
def test_code_in_a_file_is_never_executed(tmp_path: Path, how: str) -> None:
    mark, path = tmp_path / "executed", tmp_path / "w.ckpt"
    if how == "pickle":
        path.write_bytes(pickle.dumps(Payload(mark)))
    elif how == "inside":  # of a file that is otherwise sound
        torch.save({"state_dict": weights(), "callbacks": Payload(mark)}, path)
    else:
        torch.save(Payload(mark), path, _use_new_zipfile_serialization=how == "torch")
    with pytest.raises(InputError, match=r"w\.ckpt: .*holds more than weights(, posix\.mkdir)?, which is not executed"):
        initial.read([str(path)])
    assert not mark.exists()
    with pytest.raises(FileExistsError):  # it would have been
        mark.mkdir() or pickle.loads(pickle.dumps(Payload(mark)))


def broken(path: Path, how: str) -> None:
    """Write a file that nothing can start from."""
    given = weights()
    buffer = io.BytesIO()
    torch.save(given, buffer)
    whole = buffer.getvalue()
    name, value = next(iter(given.items()))
    table = {
        "shapes": {**given, name: torch.zeros(8, 5)},
        "nan": {**given, name: torch.full_like(value, torch.nan)},
        "complex": {**given, name: value + 0j},
        "meta": {**given, name: torch.empty(8, 3, device="meta")},
        "strides": {**given, name: torch.zeros(1).expand(10**7, 10**7)},
        "bits": {**given, name: torch.zeros(8, 3, dtype=torch.uint8).view(torch.bits8)},
        "nested": {**given, name: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)])},
        "others": {"lstm.weight_hh": torch.zeros(4, 4)},
        "nothing": {"epoch": 3},
        "number": 3,
    }
    if how in table:
        torch.save(table[how], path)
    elif how == "truncated":
        path.write_bytes(whole[: len(whole) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "text":
        path.write_text("network = mlp\n")
    elif how == "archive":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("data.pkl", "no")
    elif how == "module":
        torch.save(nn.Linear(3, 1), path)
    else:
        torch.jit.save(torch.jit.script(nn.Linear(3, 1)), path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("shapes", r"w\.pt: stack\.0\.weight has the shape \[8, 5\] in the file and \[8, 3\] in the network"),
        ("nan", r"w\.pt: stack\.0\.weight has values that are no finite numbers"),
        ("complex", r"w\.pt: stack\.0\.weight has values of the kind torch\.complex64"),
        ("meta", r"w\.pt: stack\.0\.weight has a shape, \[8, 3\], and not the values for it"),
        ("strides", r"w\.pt: stack\.0\.weight has a shape, \[10000000, 10000000\], and not the values for it"),
        ("bits", r"w\.pt: stack\.0\.weight has values of the kind torch\.bits8"),
        ("nested", r"w\.pt: stack\.0\.weight has values of the kind torch\.float32"),
        ("others", r"w\.pt: has no parameter of the network; it has lstm\.weight_hh, and the network stack\.0\.weight"),
        ("nothing", r"w\.pt: holds no weights by name, as module\.state_dict\(\) gives them"),
        ("number", r"w\.pt: holds no weights by name"),
        ("truncated", r"w\.pt: is no file of weights that can be read"),
        ("empty", r"w\.pt: is no file of weights that can be read"),
        ("text", r"w\.pt: is no file of weights"),
        ("archive", r"w\.pt: "),
        (
            "module",
            r"w\.pt: holds more than weights, torch\.nn\.modules\.linear\.Linear, which is not executed; write them alone",
        ),
        ("script", r"w\.pt: "),
    ],
)
def test_what_nothing_can_start_from_is_refused_in_a_sentence(tmp_path: Path, how: str, message: str) -> None:
    broken(tmp_path / "w.pt", how)
    with pytest.raises(InputError, match=message) as refused:
        put(tmp_path / "w.pt", networks.make(SHAPE))
    assert len(str(refused.value).splitlines()) == 1


def test_broken_safetensors_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    (tmp_path / "w.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(InputError, match="is no file of safetensors that can be read"):
        initial.read([str(tmp_path / "w.safetensors")])


def trained(member: int, fold: int, seed: int) -> packs.Trained:
    own = networks.vector(networks.build(SHAPE, seed)).numpy()
    return packs.Trained(
        member=member, fold=fold, seed=seed, weights=own, history=np.ones((1, 2)), best_epoch=0, reason=""
    )


def packed(path: Path, names: tuple[str, ...] = ("a", "b", "c")) -> dict[tuple[int, int], packs.Trained]:
    members = [trained(member, fold, 10 * member + fold) for member in range(2) for fold in range(2)]
    failed = replace(members[0], member=2, reason="diverged")
    packs.write(path, packs.Pack(SHAPE, Transform.none(names), (*members, failed)))
    return {(m.member, m.fold): m for m in members}


def test_members_start_from_those_of_an_earlier_run_that_did_not_see_their_fold(tmp_path: Path) -> None:
    members = packed(tmp_path / "p.h5")
    found = initial.read([str(tmp_path / "p.h5")])
    assert found.features == ("a", "b", "c")
    for name, source in {(0, 0): (0, 0), (1, 1): (1, 1), (2, 1): (0, 1), (5, 0): (1, 0), (0, 4): (0, 0)}.items():
        network = networks.make(SHAPE)
        found.only(*name).put(network)
        np.testing.assert_array_equal(networks.vector(network).numpy(), members[source].weights)


def test_packs_of_another_network_are_refused(tmp_path: Path) -> None:
    packed(tmp_path / "p.h5")
    with pytest.raises(
        InputError, match=r"p\.h5: the network has \d+ weights, and the file 113; its networks are others"
    ):
        put(tmp_path / "p.h5", networks.make(networks.NetworkShape(network="mlp", features=3, layers=3, nodes=8)))


def test_as_many_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    """Those of a pack have no names: a network with the same classes in another order has as many."""
    there, here = (replace(SHAPE, head=heads.of_classes(names)) for names in (["a", "b"], ["b", "a"]))
    own = networks.vector(networks.build(there, 1)).numpy()
    member = packs.Trained(member=0, fold=0, seed=1, weights=own, history=np.ones((1, 2)), best_epoch=0, reason="")
    packs.write(tmp_path / "p.h5", packs.Pack(there, Transform.none(("a", "b", "c")), (member,)))
    found = initial.read([str(tmp_path / "p.h5")]).only(0, 0)
    found.put(networks.make(there), there)
    with pytest.raises(InputError, match=r"p\.h5: its networks are others than those of this analysis: other classes"):
        found.put(networks.make(here), here)
    with pytest.raises(InputError, match=r"of this analysis: layers = 2 instead of 3$"):
        found.put(networks.make(there), replace(there, layers=3))


# --- in training


def gaussian(n: int, mean: float, seed: int) -> Events:
    x = np.random.default_rng(seed).normal(mean, 1, (n, 3)).astype(np.float32)
    return Events(
        names=tuple("abc"), x=x, weight=np.ones(n), id=np.arange(seed * 10**6, seed * 10**6 + n, dtype=np.uint64)
    )


DATA = ratio_events.RatioEvents.build(gaussian(300, 0.4, 1), gaussian(300, 0.0, 2))
MEMBER = Member(
    member=0,
    fold=0,
    seed=7,
    view=ratio_events.MemberView(fold=0, folds=1, fold_salt=5, validation=0.2, validation_salt=6, bootstrap_salt=None),
)
OWN = """import lightning, torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce


class Mine(lightning.LightningModule):
    def __init__(self, features):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(features, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.SiLU())
        self.head = nn.Linear(8, 1)

    def forward(self, x):
        return self.head(self.backbone(x)).squeeze(-1)

    def training_step(self, b, i):
        return bce(self(b[0]), b[1])

    def validation_step(self, b, i):
        self.log("val_loss", bce(self(b[0]), b[1]))

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-2, weight_decay=0.5)
"""


def settings(source: str, **table: object) -> Settings:
    given = {"epochs": 3, "batch_size": 64, "layers": 2, "nodes": 8, "dropout": 0.0, "weight_decay": 0.5} | table
    given = given if not source else {n: v for n, v in given.items() if n != "dropout"} | {"network": "physics.py:Mine"}
    return Settings.of(Training(**given), 3, 0, source, "/somewhere/physics.py")


@pytest.mark.parametrize("network", ["mlp", "deepset", "transformer"])
def test_names_are_the_same_with_dropout(network: str) -> None:
    """A file of one fits the other."""
    shape = networks.NetworkShape(
        network=network, features=3, layers=2, nodes=8, particles=0 if network == "mlp" else 2
    )
    plain, dropping = (networks.make(shape, dropout).state_dict() for dropout in (0.0, 0.1))
    assert list(plain) == list(dropping)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("how", ["needle", "sequential", "lightning"])
def test_frozen_parts_stay_as_they_came_whatever_the_engine(tmp_path: Path, how: str) -> None:
    """Weights, running means and dropout; AdamW would shrink them."""
    source = "" if how == "needle" else OWN
    part = "stack.0" if how == "needle" else "backbone"
    own = settings(source, frozen=[part], trainer={"gradient_clip_val": 1.0} if how == "lightning" else {})
    torch.manual_seed(0)
    made = networks.make(own.shape).state_dict().items()
    given = {name: value + 0.1 if value.is_floating_point() else value for name, value in made}
    torch.save(given, tmp_path / "w.pt")
    found = train.train(DATA, MEMBER, replace(own, initial=initial.read([str(tmp_path / "w.pt")])))
    assert (found.reason, found.engine) == ("", "lightning" if how == "lightning" else "sequential")
    network = networks.make(own.shape)
    networks.fill(network, torch.from_numpy(found.weights))
    moved = {name for name, value in network.state_dict().items() if not torch.equal(value, given[name])}
    assert moved == {name for name in given if not name.startswith(part)}


@pytest.mark.parametrize("network", ["", OWN])
def test_training_starts_where_the_weights_are(tmp_path: Path, network: str) -> None:
    """A second training with a step size of almost nothing ends where the first did."""
    own = settings(network)
    first = train.train(DATA, MEMBER, own)
    packs.write(tmp_path / "p.h5", packs.Pack(own.shape, DATA.transform, (first,)))
    start = initial.read([str(tmp_path / "p.h5")])
    module = modules.build(replace(own, initial=start.only(0, 0)), 3)
    inner = module.network if isinstance(module, modules.Classifier) else module
    np.testing.assert_array_equal(networks.vector(inner).numpy(), first.weights)
    again = train.train(DATA, MEMBER, replace(own, initial=start, learning_rate=1e-12, weight_decay=0.0))
    if not network:
        assert again.history[0, 1] == pytest.approx(first.history[first.best_epoch, 1], abs=1e-6)


# --- at check


def looked(start: try_network.Start, **table: object) -> dict[str, object]:
    return try_network.look(Training(layers=2, nodes=8, dropout=0.0, **table), 3, 0, ("", ""), start)


def start(path: Path, features: tuple[str, ...] = ("a", "b", "c"), name: str = "") -> try_network.Start:
    return try_network.Start(path.name, {name: [str(path)]}, {"signal": [], "background.jes.up": []}, features)


def test_check_says_what_was_taken(tmp_path: Path) -> None:
    write(tmp_path / "w.pt", "plain")
    found = looked(start(tmp_path / "w.pt"))
    assert (found["problems"], found["notes"]) == ([], ["w.pt: 6 of 6 parameters and buffers are taken"])


def test_check_refuses_a_run_with_other_features_and_ratios(tmp_path: Path) -> None:
    packed(tmp_path / "p.h5", ("a", "b", "z"))
    (problem,) = looked(start(tmp_path / "p.h5"))["problems"]
    assert problem[0] == "initial"
    assert problem[1].endswith("p.h5: was trained with the features a, b, z; those of this analysis are a, b, c")
    (problem,) = looked(start(tmp_path / "p.h5", name="@classes"))["problems"]
    assert problem == ("initial", '"p.h5" has networks of @classes, and none of signal, background.jes.up')
    packed(tmp_path / "p.h5")
    found = looked(start(tmp_path / "p.h5", name="signal"))
    assert found["problems"] == []
    assert found["notes"][1] == "p.h5: has no networks of background.jes.up, which start at random"


def test_check_refuses_a_frozen_part_that_is_not_there() -> None:
    found = try_network.look(Training(frozen=("stak",)), 3, 0, ("", ""))
    (problem,) = found["problems"]
    assert problem == ("frozen", 'the network has no part "stak"; did you mean "stack"?')


def test_check_refuses_to_freeze_everything() -> None:
    found = try_network.look(Training(layers=2, nodes=8, frozen=("stack",)), 3, 0, ("", ""))
    assert found["problems"] == [("frozen", "no parameter of the network is left to train")]


def test_members_of_a_mixed_run_are_held_against_those_of_their_number(tmp_path: Path) -> None:
    """Members 0 and 1 have another shape than member 2, which starts from member 2."""
    packed(tmp_path / "a.h5")
    deep = networks.NetworkShape(network="mlp", features=3, layers=3, nodes=8)
    own = networks.vector(networks.build(deep, 5)).numpy()
    member = packs.Trained(member=2, fold=0, seed=5, weights=own, history=np.ones((1, 2)), best_epoch=0, reason="")
    packs.write(tmp_path / "b.h5", packs.Pack(deep, Transform.none(("a", "b", "c")), (member,)))
    files = {"signal": [str(tmp_path / "a.h5"), str(tmp_path / "b.h5")]}

    def problems(layers: int, *members: int) -> list[tuple[str, str]]:
        start = try_network.Start("run", files, {"signal": []}, ("a", "b", "c"), members)
        return try_network.look(Training(layers=layers, nodes=8, dropout=0.0), 3, 0, ("", ""), start)["problems"]

    assert (problems(2, 0, 1), problems(3, 2)) == ([], [])
    (wrong,) = problems(2, 1, 2)
    assert wrong[1].endswith("its networks are others than those of this analysis: layers = 3 instead of 2")


def test_layers_that_depend_on_the_events_are_those_of_the_weights(tmp_path: Path) -> None:
    """Nobody knows at check how many events there are, and so how many layers where nothing is said of them."""
    deep = networks.make(networks.NetworkShape(network="mlp", features=3, layers=3, nodes=8))
    torch.save(deep.state_dict(), tmp_path / "w.pt")
    table = Training(nodes=8, frozen=("stack.0",))
    assert try_network.look(table, 3, 0, ("", ""), start(tmp_path / "w.pt"))["problems"] == []
    ((key, message),) = try_network.look(replace(table, layers=2), 3, 0, ("", ""), start(tmp_path / "w.pt"))["problems"]
    assert key == "initial"
    assert "stack.4.weight has the shape [8, 8] in the file and [1, 8] in the network" in message
