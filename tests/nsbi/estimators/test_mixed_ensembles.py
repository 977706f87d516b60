"""Ensembles of networks of several shapes: each member is what it is alone, in packs, estimators and exported files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from needle_parsl.analysis import Training
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.estimators import composing, diagnostics, files
from needle_parsl.nsbi.training import networks, packs, ratio_events, state, train
from needle_parsl.nsbi.training.members import Member, Settings
from needle_parsl.nsbi.training.networks import NetworkShape
from needle_parsl.nsbi.transforms.transform import Transform

pytestmark = pytest.mark.usefixtures("one_thread")
WIDE, DEEP = (
    NetworkShape(network="mlp", features=3, layers=1, nodes=16),
    NetworkShape(network="mlp", features=3, layers=3, nodes=4),
)
HOW = composing.How("mean_log", 0.5, normalise="none")
X = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)


def pack(shape: NetworkShape, members: range, settings: str = "", *, lengths: bool = True) -> packs.Pack:
    def trained(member: int) -> packs.Trained:
        own = networks.vector(networks.build(shape, member)).numpy()
        history = np.array([[0.7, 0.6], [0.6, 0.5]])
        return packs.Trained(
            member=member,
            fold=0,
            seed=member,
            weights=own,
            history=history,
            best_epoch=1,
            reason="",
            kept={1: own, 2: own + 1} if lengths else {},
            settings=settings,
        )

    return packs.Pack(shape, Transform.none("abc"), tuple(map(trained, members)))


def test_members_of_several_shapes_are_evaluated_each_by_its_own_network(tmp_path: Path) -> None:
    for number, one in enumerate((pack(WIDE, range(2)), pack(DEEP, range(2, 4), "layers = 3, nodes = 4"))):
        packs.write(tmp_path / f"{number}.h5", one)
    joined = packs.join([packs.read(tmp_path / f"{number}.h5") for number in (1, 0)])
    found = composing.combined("signal", joined, ("a", "b", "c"), HOW)
    files.write(tmp_path / "e.h5", found)
    again = files.read(tmp_path / "e.h5")
    assert again.shapes == (WIDE, WIDE, DEEP, DEEP)
    for member, (shape, row) in enumerate(zip(again.shapes, again.members(X), strict=True)):
        network = networks.build(shape, member)
        networks.fill(network, networks.vector(network) + 1)
        np.testing.assert_array_equal(row, network(torch.from_numpy(X)).detach().double().numpy())
    assert [one.settings for one in diagnostics.training(joined)] == [None, None, *["layers = 3, nodes = 4"] * 2]


def test_an_ensemble_of_one_shape_has_no_list_of_shapes() -> None:
    found = composing.combined(
        "signal", packs.join([pack(WIDE, range(1)), pack(WIDE, range(1, 3))]), ("a", "b", "c"), HOW
    )
    assert found.shapes == ()


def test_a_head_is_that_of_all_shapes() -> None:
    joined = packs.headed(
        packs.join([pack(WIDE, range(1)), pack(DEEP, range(1, 2))]), lambda shape: replace(shape, head="h")
    )
    assert [m.shape.head if m.shape else joined.shape.head for m in joined.members] == ["h", "h"]


def test_members_that_differ_choose_their_lengths_among_themselves() -> None:
    """Those of one kind are best after one epoch, those of the other after two."""
    early = replace(pack(WIDE, range(1)).members[0], history=np.array([[0.7, 0.4], [0.6, 0.5]]))
    late = pack(DEEP, range(1, 2), "layers = 3").members[0]
    assert [m.best_epoch for m in packs.settled([early, late])] == [0, 1]


def test_exported_files_hold_all_shapes(tmp_path: Path) -> None:
    onnx_file = pytest.importorskip("needle_parsl.nsbi.estimators.exporting.onnx_file")
    from needle_parsl.nsbi.estimators.exporting import torch_file

    found = composing.combined(
        "signal",
        packs.join([pack(s, m, lengths=False) for s, m in ((WIDE, range(2)), (DEEP, range(2, 3)))]),
        ("a", "b", "c"),
        HOW,
    )
    assert onnx_file.write(tmp_path / "e.onnx", {"signal": found}, X, onnx_file.FileFacts("mixed", {})) < 1e-5
    np.testing.assert_allclose(
        torch_file.EnsembleModule(found)(torch.from_numpy(X)).numpy(), found.log_ratio(X), atol=1e-6
    )


def test_members_with_their_own_step_size_are_those_of_a_pack_of_their_own() -> None:
    """Compiled and sequential engines, each member alone and with others: the same bits."""

    def gaussian(mean: float, seed: int) -> Events:
        x = np.random.default_rng(seed).normal(mean, 1, (200, 3)).astype(np.float32)
        return Events(
            names=tuple("abc"), x=x, weight=np.ones(200), id=np.arange(seed * 1000, seed * 1000 + 200, dtype=np.uint64)
        )

    data = ratio_events.RatioEvents.build(gaussian(0.4, 1), gaussian(0.0, 2))
    view = ratio_events.MemberView(fold=0, folds=1, fold_salt=5, validation=0.2, validation_salt=6, bootstrap_salt=None)
    common = Settings.of(Training(layers=1, nodes=4, epochs=2, batch_size=64, dropout=0.0), 3)
    members = [
        Member(member=0, fold=0, seed=7, view=view),
        Member(member=1, fold=0, seed=8, view=view, own=(("learning_rate", 0.1), ("weight_decay", 0.0))),
    ]
    together = train.train_pack(data, members, common, state.State(), state.never)
    alone = train.train(
        data, Member(member=1, fold=0, seed=8, view=view), replace(common, learning_rate=0.1, weight_decay=0.0)
    )
    np.testing.assert_array_equal(together[1].weights, alone.weights)
    assert not np.array_equal(together[0].weights, together[1].weights)
