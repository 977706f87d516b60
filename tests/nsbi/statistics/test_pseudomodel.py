"""The pseudo-model: its file, its responses, and the columns that it insists on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from needle_parsl.densities import Cross, Shape
from needle_parsl.errors import InputError
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.estimators import composing, joint
from needle_parsl.nsbi.statistics import pseudomodel
from needle_parsl.nsbi.training import networks, packs
from needle_parsl.nsbi.transforms.transform import Transform

SHAPE = networks.NetworkShape(network="mlp", features=2, layers=1, nodes=4)
RNG = np.random.default_rng(5)
P = 4 * 2 + 4 + 4 + 1
X = RNG.normal(size=(900, 2)).astype(np.float32)


def pseudo(combine: str) -> pseudomodel.PseudoModel:
    ratios = {}
    for k, name in enumerate(("signal", "signal.jes.up", "background.jes.up")):
        rng = np.random.default_rng(k)
        members = tuple(
            packs.Trained(
                member=m,
                fold=0,
                seed=m,
                weights=rng.normal(0, 0.4, P).astype(np.float32),
                history=np.ones((1, 2)),
                best_epoch=0,
                reason="",
            )
            for m in range(3)
        )
        above, below = (
            Events(
                names=("m", "pt"),
                x=X + np.float32(d),
                weight=np.ones(len(X)),
                id=np.arange(len(X), dtype=np.uint64) + np.uint64(s),
            )
            for d, s in ((0.3, 0), (0.0, len(X)))
        )
        pack = packs.Pack(SHAPE, Transform.none("ab"), members)
        ratios[name] = composing.compose(name, pack, (above, below), composing.How(combine, 1.0))
    shapes = (
        Shape("signal", "jes", "signal.jes.up", "", "mirror"),
        Shape("background", "jes", "background.jes.up", "", "none"),
    )
    sizes = (2,)
    return pseudomodel.PseudoModel(
        name="test", features=("m", "pt"), units={"pt": "GeV"}, processes=("signal", "background"), ratios=ratios, shapes=shapes, interpolations={"jes": "poly6_exp"},
        covariance=joint.Covariance(("signal",), sizes, np.eye(2)),
    )  # fmt: skip


@pytest.mark.parametrize("combine", ["mean_ratio", "wifi"])
def test_file_reads_back(combine: str, tmp_path: Path) -> None:
    made = pseudo(combine)
    pseudomodel.write(tmp_path / "all.h5", made)
    back = pseudomodel.read(tmp_path / "all.h5")
    for kind in ("log_ratio", "log_ratio_error"):
        for process, values in getattr(made, kind)(X).items():
            np.testing.assert_array_equal(getattr(back, kind)(X)[process], values)
    assert (made.log_ratio(X)["background"] == 0).all()  # it is the reference
    np.testing.assert_array_equal(back.response("signal", X, {"jes": 0.3}), made.response("signal", X, {"jes": 0.3}))
    assert (back.units, back.features, back.shapes) == (made.units, made.features, made.shapes)


def test_responses_are_those_of_the_variations() -> None:
    made = pseudo("mean_ratio")
    up = np.exp(made.ratios["signal.jes.up"].log_ratio(X))
    np.testing.assert_allclose(made.response("signal", X, {"jes": 1.0}), up)
    np.testing.assert_allclose(made.response("signal", X, {"jes": -1.0}), 1 / up)
    np.testing.assert_allclose(made.response("signal", X, {"jes": 2.0}), up**2)
    assert (made.response("signal", X, {}) == 1).all()
    np.testing.assert_allclose(made.response("background", X, {"jes": -1.0}), 1)


def test_columns_go_by_their_names() -> None:
    made = pseudo("mean_ratio")
    expected = made.log_ratio(X)["signal"]
    columns = {"pt": X[:, 1], "other": X[:, 0], "m": X[:, 0]}
    np.testing.assert_array_equal(made.log_ratio(columns)["signal"], expected)
    np.testing.assert_array_equal(made.log_ratio(X, ["m", "pt"])["signal"], expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.log_ratio({"m": X[:, 0], "p": X[:, 1]}), r'column "pt" is missing.*; the estimator takes m, pt'),
        (lambda m: m.log_ratio(X, ["pt", "m"]), "the columns are in the order pt, m; the estimator takes m, pt, in this order"),
        (lambda m: m.log_ratio_error(X, ["m", "q"]), 'the columns lack "pt"; the estimator takes m, pt, in this order'),
        (lambda m: m.log_ratio(X[:, :1]), r"the events have shape \(900, 1\); expected \(N, 2\): m, pt"),
        (lambda m: m.response("signl", X, {}), '"signl" is no process of the model; did you mean "signal"'),
        (lambda m: m.response("signal", X, {"jer": 1}), '"jer" is no nuisance of the model; did you mean "jes"'),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_by_name(call: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(pseudo("mean_ratio"))  # type: ignore[operator]


def test_cross_terms_are_part_of_responses_and_of_the_file(tmp_path: Path) -> None:
    """At the point from which a cross term is read, the response is the ratio of that point."""
    made = pseudo("mean_log")
    ratios = {f"signal.{name}": made.ratios["signal"] for name in ("jes.up", "jes.down", "met.up", "met.down")}
    ratios["signal.jes=1,met=-1"] = made.ratios["background.jes.up"]
    model = replace(
        made,
        ratios=made.ratios | ratios,
        shapes=tuple(Shape("signal", n, f"signal.{n}.up", f"signal.{n}.down", "") for n in ("jes", "met")),
        interpolations=dict.fromkeys(("jes", "met"), "exp_quadratic"),
        covariance=None,
        crosses=(Cross("signal", "jes", "met", "signal.jes=1,met=-1", (1.0, -1.0)),),
    )
    pseudomodel.write(tmp_path / "all.h5", model)
    read = pseudomodel.read(tmp_path / "all.h5")
    assert read.crosses == model.crosses
    point = np.exp(ratios["signal.jes=1,met=-1"].log_ratio(X))
    np.testing.assert_allclose(read.response("signal", X, {"jes": 1.0, "met": -1.0}), point)
    single = np.exp(2 * 2 * ratios["signal.jes.up"].log_ratio(X))  # both sides are the same: alpha^2 times ln g
    np.testing.assert_allclose(read.response("signal", X, {"jes": 2.0}), single)
