"""A server that is lost: the same bytes from the same graph here, and one sentence."""

from __future__ import annotations

import os
import signal
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from serving.conftest import KINDS, Published, chosen

from needle_parsl.errors import InputError
from needle_parsl.nsbi.estimators.ratio_cache import RatioCache
from needle_parsl.nsbi.estimators.served import GraphRunner, ModelEvaluator, ServedRunner
from needle_parsl.serving import repository

pytestmark = pytest.mark.slow


@pytest.fixture
def server(published: Published, tmp_path: Path) -> Iterator[object]:
    from needle_parsl.workflow import serving

    choice = serving.ServerChoice(
        repository=published.folder, endpoint=tmp_path / "endpoint.json", log=tmp_path / "server.log", builtin=True
    )
    with serving.started(choice, restart=True) as found:
        yield found


def kill(server: object) -> None:
    """End what serves as a machine does that fails."""
    for child in psutil.Process(server.process.pid).children():
        os.kill(child.pid, signal.SIGKILL)
    server.process.wait(20)


def test_the_end_of_a_server_changes_no_byte(server: object, published: Published, events: np.ndarray) -> None:
    path = server.choice.endpoint
    evaluator = ModelEvaluator(ServedRunner(path, "gaussian"), "gaussian")
    x = np.concatenate([events] * 3)
    graph = ModelEvaluator(GraphRunner(repository.one(published.folder, "gaussian").latest), "gaussian")
    parts = evaluator.parts(x, "signal")
    first = next(parts)
    kill(server)
    with pytest.warns(UserWarning, match="does not answer.*evaluated here instead, to the same numbers"):
        found = np.concatenate([first, *parts], axis=1)
    with warnings.catch_warnings():  # it is said once
        warnings.simplefilter("error")
        evaluator.log_ratios(x, ("signal",))
    np.testing.assert_array_equal(found, graph.members(x, "signal"))
    assert evaluator.name == "built-in, onnxruntime"
    ends = time.monotonic() + 60
    while not path.exists() and time.monotonic() < ends:  # it is started again
        time.sleep(0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluator.log_ratios(x, ("signal",))
    assert not evaluator.runner.lost
    assert server.times == 2


@pytest.mark.parametrize("late", KINDS, indirect=True)
def test_models_that_come_later(late: Path, published: Published, tmp_path: Path, events: np.ndarray) -> None:
    """As in a run: its tasks make models of the estimators when these are there."""
    from needle_parsl.nsbi.data.events import Events
    from needle_parsl.nsbi.estimators import files, opening
    from needle_parsl.nsbi.estimators.estimator import Crossed

    plain = published.versions[0]
    made = {**plain, "signal": replace(plain["signal"], crossed=Crossed(2, 7, np.array([0, 1, 0, 1, 0])))}
    paths = {name: tmp_path / f"{name}.h5" for name in made}
    for name, path in paths.items():
        files.write(path, made[name])
    ids = np.arange(len(events), dtype=np.uint64)
    simulated = Events(names=plain["signal"].features, x=events, weight=np.ones(len(events)), id=ids)
    opened = opening.estimators(paths, late)
    for name, one in opened.estimators.items():
        own = made[name]
        np.testing.assert_allclose(one.log_ratio(events), own.log_ratio(events), atol=1e-5)
        np.testing.assert_allclose(one.members(events), own.members(events), atol=1e-5)
        np.testing.assert_allclose(one.of(simulated), own.of(simulated), atol=1e-5)
    assert not np.allclose(opened.estimators["signal"].of(simulated), opened.estimators["signal"].log_ratio(events))
    assert opened.evaluator in ("built-in", "triton 2.51.0")
    again = opening.estimators(paths, late)
    assert [one.where for one in again.elsewhere] == [one.where for one in opened.elsewhere]


@pytest.fixture
def late(request: pytest.FixtureRequest, published: Published, tmp_path: Path) -> Iterator[Path]:
    """A server of models that are not there yet."""
    from needle_parsl.serving import endpoint as endpoints
    from needle_parsl.workflow import serving

    choice = replace(
        chosen(request, published, tmp_path / "serving"),
        repository=tmp_path / "serving" / endpoints.MODELS,
        explicit=True,
    )
    with serving.started(choice):
        yield choice.endpoint


def test_without_a_server_there_is_no_endpoint(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match='no server has written it, or the server has ended; "needle serve DIR" starts one'
    ):
        ServedRunner(tmp_path / "endpoint.json", "gaussian")


def test_ratios_are_kept_by_content(published: Published, events: np.ndarray, tmp_path: Path) -> None:
    class Counted(GraphRunner):
        calls = 0

        def run(self, x, outputs):
            self.calls += 1
            return super().run(x, outputs)

    versions = repository.one(published.folder, "gaussian")
    runners = [Counted(versions.version(number)) for number in ("1", "2")]
    evaluators = [ModelEvaluator(runner, "gaussian", RatioCache(tmp_path)) for runner in runners]
    first = evaluators[0].evaluate(events, ("signal",))["signal"]
    again = evaluators[0].evaluate(events.copy(), ("signal",))["signal"]
    np.testing.assert_array_equal(first.log_ratio, again.log_ratio)
    assert runners[0].calls == 1
    assert not np.array_equal(evaluators[1].log_ratios(events, ("signal",))["signal"], first.log_ratio)
    evaluators[0].evaluate(events[:-1], ("signal",))
    assert (runners[0].calls, runners[1].calls) == (2, 1)


def test_what_is_kept_has_a_bound(tmp_path: Path) -> None:
    cache = RatioCache(tmp_path, most=20_000)
    for number in range(4):
        cache.put(str(number), {"log_ratio": np.zeros(1000)})
        os.utime(tmp_path / f"{number}.npz", (number, number))
    cache.put("last", {"log_ratio": np.zeros(1000)})
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["3", "last"]
    assert cache.get("0") is None
