"""Combining: facts that hold for every combiner, renormalisation, quorum, and the file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from needle_parsl.analysis import catalogue
from needle_parsl.densities import Density
from needle_parsl.errors import TaskError
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.estimators import composing, diagnostics, estimator, files
from needle_parsl.nsbi.estimators.composing import How
from needle_parsl.nsbi.estimators.ensembles import equal, find, inverse_loss
from needle_parsl.nsbi.estimators.exact import log_mixture
from needle_parsl.nsbi.training import networks, packs
from needle_parsl.nsbi.transforms.transform import Transform

SHAPE = networks.NetworkShape(network="mlp", features=2, layers=1, nodes=4)
P = 4 * 2 + 4 + 4 + 1
RNG = np.random.default_rng(3)
EVENTS = Events(names=("a", "b"), x=RNG.normal(size=(5000, 2)).astype(np.float32), weight=RNG.uniform(0.5, 1.5, 5000), id=np.arange(5000, dtype=np.uint64))  # fmt: skip
SIGNAL = replace(EVENTS, x=EVENTS.x[::-1] + np.float32(0.3), id=EVENTS.id + np.uint64(5000))
MEMBERS = tuple(
    packs.Trained(
        member=m,
        fold=0,
        seed=m,
        weights=RNG.normal(0, 0.4, P).astype(np.float32),
        history=np.ones((1, 2)),
        best_epoch=0,
        reason="",
    )
    for m in range(5)
)
PACK = packs.Pack(SHAPE, Transform.none("ab"), MEMBERS)


@pytest.mark.parametrize("name", catalogue.COMBINERS)
def test_identical_members_give_the_member(name: str) -> None:
    log_ratios = np.tile(RNG.normal(size=7), (4, 1))
    np.testing.assert_allclose(find(name)(log_ratios, equal(4)), log_ratios[0])


@pytest.mark.parametrize("name", catalogue.COMBINERS)
def test_order_of_members_does_not_matter(name: str) -> None:
    log_ratios = RNG.normal(size=(4, 7))
    combined = find(name)(log_ratios, equal(4))
    np.testing.assert_allclose(combined, find(name)(log_ratios[::-1], equal(4)))


@pytest.mark.parametrize("members", [4, 5])
def test_combiners_do_what_their_names_say(members: int) -> None:
    log_ratios, own = RNG.normal(size=(members, 7)), RNG.dirichlet(np.ones(members))
    ratio = np.exp(log_ratios)
    score = (ratio / (1 + ratio)).mean(axis=0)
    expected = {
        "mean_ratio": ratio.mean(axis=0),
        "mean_score": score / (1 - score),
        "mean_log": np.exp(log_ratios.mean(axis=0)),
        "median_ratio": np.median(ratio, axis=0),
    }
    for name, known in expected.items():
        np.testing.assert_allclose(find(name)(log_ratios, equal(members)), np.log(known), err_msg=name)
    np.testing.assert_allclose(find("weighted")(log_ratios, own), np.log(own @ ratio))


def test_weights_are_inverse_losses() -> None:
    np.testing.assert_allclose(inverse_loss(np.array([0.5, 1.0])), [2 / 3, 1 / 3])
    with pytest.raises(ValueError, match="a validation loss is -1; "):
        inverse_loss(np.array([0.5, -1.0]))
    uneven = tuple(replace(m, history=np.full((1, 2), 0.5 + m.member)) for m in MEMBERS)
    made = composing.compose("r", replace(PACK, members=uneven), (EVENTS, EVENTS), How("weighted", 1.0))
    assert made.coefficients[0] == pytest.approx(3 * made.coefficients[1])


def test_renormalised_on_its_events() -> None:
    made = composing.compose("r", PACK, (EVENTS, EVENTS), How("mean_ratio", 1.0))
    mean, error = estimator.normalisation(made, EVENTS)
    assert mean == pytest.approx(1, abs=1e-12)
    assert error == pytest.approx(np.exp(made.log_ratio(EVENTS.x)).std() / np.sqrt(EVENTS.effective()), rel=0.05)


def test_error_of_a_mean_is_the_spread_of_its_members() -> None:
    made = composing.compose("r", PACK, (EVENTS, EVENTS), How("mean_log", 1.0))
    expected = made.members(EVENTS.x).std(axis=0, ddof=1) / np.sqrt(5)
    np.testing.assert_allclose(made.log_ratio_error(EVENTS.x), expected)
    alone = composing.compose("r", replace(PACK, members=MEMBERS[:1]), (EVENTS, EVENTS), How("mean_log", 1.0))
    assert np.isnan(alone.log_ratio_error(EVENTS.x)).all()


def test_failed_members_are_left_out_down_to_the_quorum() -> None:
    broken = replace(MEMBERS[0], reason="diverged in epoch 3", weights=np.full(P, np.nan, np.float32))
    pack = replace(PACK, members=(broken, *MEMBERS[1:]))
    made = composing.compose("r", pack, (EVENTS, EVENTS), How("mean_ratio", 0.8))
    assert len(made.weights) == 4
    assert np.isfinite(made.log_ratio(EVENTS.x)).all()
    with pytest.raises(TaskError, match=r"ratio r: 4 of 5 members have trained, the quorum is 0.9; .*epoch 3"):
        composing.compose("r", pack, (EVENTS, EVENTS), How("mean_ratio", 0.9))


@pytest.mark.parametrize("combine", catalogue.COMBINERS)
def test_chunks_do_not_show_and_the_file_reads_back(
    combine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = composing.compose("r", PACK, (SIGNAL, EVENTS), How(combine, 1.0))
    files.write(tmp_path / "e.h5", made)
    monkeypatch.setattr(estimator, "CHUNK", 999)
    np.testing.assert_allclose(files.read(tmp_path / "e.h5").log_ratio(EVENTS.x), made.log_ratio(EVENTS.x), atol=1e-6)
    np.testing.assert_allclose(
        files.read(tmp_path / "e.h5").log_ratio_error(EVENTS.x), made.log_ratio_error(EVENTS.x), atol=1e-6
    )
    assert len(made.log_ratio(EVENTS.x[:0])) == 0


def test_diagnostics_against_a_known_truth() -> None:
    made = composing.compose("r", PACK, (EVENTS, EVENTS), How("mean_ratio", 1.0))
    truth = made.log_ratio(EVENTS.x) + 0.1
    found = diagnostics.diagnose(made, (EVENTS, EVENTS), (EVENTS, EVENTS), (truth, truth))
    assert found.exact.mean_square_error == pytest.approx(0.01)
    assert found.exact.bias == pytest.approx(-0.1)
    assert found.effective_events.numerator == pytest.approx(EVENTS.effective())
    assert diagnostics.diagnose(made, (EVENTS, EVENTS), (EVENTS, EVENTS), None).exact is None


def test_some_events_of_a_mixture_are_of_all_its_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """The samples of a denominator stand one behind the other: training events are not held against those of the first alone."""
    made = composing.compose("r", PACK, (EVENTS, EVENTS), How("mean_ratio", 1.0))
    mixture = Events.join([EVENTS, replace(EVENTS, x=EVENTS.x + np.float32(3))], EVENTS.names)
    monkeypatch.setattr(diagnostics, "MOST", 2000)
    found = diagnostics.diagnose(made, (EVENTS, mixture), (EVENTS, mixture), None).overtraining
    assert found.denominator.distance < 0.05
    assert found.loss.train == pytest.approx(found.loss.test, rel=0.02)


def test_training_curves_are_numbers_or_null() -> None:
    curves = np.array([[0.7, 0.69], [np.inf, np.nan]])
    pack = replace(PACK, members=(replace(MEMBERS[0], history=curves, reason="diverged in epoch 2"), MEMBERS[1]))
    first, second = diagnostics.training(pack)
    assert (first.training_loss, first.validation_loss) == ((0.7, None), (0.69, None))
    assert (first.reason, second.reason) == ("diverged in epoch 2", None)


def test_log_mixture_of_known_densities() -> None:
    def log_density(process, x, nuisances):
        return x[:, 0] if process == "a" else np.full(len(x), nuisances.get("k", 0.0))

    x = np.linspace(-1, 1, 5)[:, None]
    found = log_mixture(log_density, [(Density("a"), 1.0), (Density("b", "k", "down"), 3.0)], x)
    np.testing.assert_allclose(found, np.log(0.25 * np.exp(x[:, 0]) + 0.75 * np.exp(-1)))


@pytest.mark.parametrize("method", ["histogram", "isotonic"])
def test_calibrated_estimators_are_normalised_and_their_files_read_back(method: str, tmp_path: Path) -> None:
    made = composing.compose("r", PACK, (SIGNAL, EVENTS), How("mean_ratio", 1.0, method))
    mean, _ = estimator.normalisation(made, EVENTS)
    assert mean == pytest.approx(1, abs=1e-12)
    files.write(tmp_path / "e.h5", made)
    np.testing.assert_array_equal(files.read(tmp_path / "e.h5").log_ratio(SIGNAL.x), made.log_ratio(SIGNAL.x))
