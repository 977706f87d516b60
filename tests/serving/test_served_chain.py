"""The chain of apps/tracking as one model: the labels of a server are those of the chain here."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving.conftest import KINDS, Published, chosen

from needle_parsl import shipped
from needle_parsl.errors import InputError, TaskError
from needle_parsl.nsbi.estimators.served import ServedRunner

APP = shipped.folder("apps") / "tracking"


@pytest.fixture(scope="module")
def app() -> Any:
    """Modules of the app."""
    pytest.importorskip("awkward")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(APP))
        yield
    for name in [name for name in sys.modules if name.startswith("tracking_")]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory with the weights of a short training."""
    request.getfixturevalue("app")
    import tracking_events as toy
    import tracking_training as training

    events = toy.events_of(toy.simulate(6, 15, 1))
    embedding = training.train_embedding(events, 8, 0.5, 1)
    near = training.near_of(embedding, events)
    judged = training.train_filter(events, near, 4, 0.1, 2)
    last = training.train_interaction(events, training.filtered_by(judged, events, near), 8, 0.5, 3)
    run = tmp_path_factory.mktemp("run")
    folder = run / "stages" / "chain" / "all"
    folder.mkdir(parents=True)
    own = {"embedding": embedding, "filter": judged, "interaction": last}
    np.savez(folder / "weights.npz", **{f"{name}.{key}": one for name, w in own.items() for key, one in w.items()})
    return run


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_labels_are_those_of_the_chain_here(
    request: pytest.FixtureRequest, kind: str, trained: Path, tmp_path: Path
) -> None:
    import tracking_chain as chain
    import tracking_events as toy
    import tracking_serving

    from needle_parsl.workflow import serving

    models = tmp_path / "models"
    version = tracking_serving.publish(trained, models)
    assert tracking_serving.publish(trained, models).number == version.number == 1
    assert "max_batch_size: 0" in (models / "tracking" / "config.pbtxt").read_text()
    here = chain.load(version.folder)
    request.param = kind
    choice = chosen(request, Published(models, ()), tmp_path)
    with serving.started(choice):
        runner = ServedRunner(choice.endpoint, "tracking")

        def served(x: np.ndarray) -> np.ndarray:
            return runner.client.call(runner.version, {"FEATURES": x}, ("LABELS",), {})["LABELS"]

        for tracks in (1, 15, 60):
            (event,) = toy.events_of(toy.simulate(1, tracks, tracks))
            labels = served(event.x)
            np.testing.assert_array_equal(labels, here({"FEATURES": event.x})["LABELS"])
            assert labels.dtype == np.int64
            assert len(set(labels.tolist())) < len(event.x)
        assert served(event.x[:1]).tolist() == [0]
        with pytest.raises(TaskError, match="a hit has no finite number for r, cos_phi, sin_phi, z"):
            served(np.full((2, 4), np.nan, np.float32))
        with pytest.raises(InputError, match="shape"):
            served(event.x[:, :3])
        runner.client.close()
