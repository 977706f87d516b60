"""What holds of every server, the built-in one and a real Triton: the same numbers, the same refusals."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from serving.asking import ask
from serving.conftest import FEATURES, Published

from needle_parsl.errors import InputError, TaskError
from needle_parsl.nsbi.estimators.served import GraphRunner, ModelEvaluator, ServedRunner
from needle_parsl.serving import endpoint as endpoints
from needle_parsl.serving import repository

pytestmark = pytest.mark.slow

RATIOS = ("signal", "signal.jes.up")


def served(endpoint: Path, version: str = "") -> ModelEvaluator:
    return ModelEvaluator(ServedRunner(endpoint, "gaussian", version), "gaussian")


def here(published: Published, version: str = "") -> ModelEvaluator:
    return ModelEvaluator(GraphRunner(repository.one(published.folder, "gaussian").version(version)), "gaussian")


def test_numbers_are_those_of_the_graph_here_and_of_torch(
    endpoint: Path, published: Published, events: np.ndarray
) -> None:
    found, own = served(endpoint), here(published)
    for name, ratio in found.evaluate(events, RATIOS).items():
        local = own.evaluate(events, RATIOS)[name]
        np.testing.assert_array_equal(ratio.log_ratio, local.log_ratio)
        np.testing.assert_array_equal(ratio.error, local.error)
        estimator = published.versions[1][name]
        np.testing.assert_allclose(ratio.log_ratio, estimator.log_ratio(events), atol=1e-5)
        np.testing.assert_allclose(ratio.error, estimator.log_ratio_error(events), atol=1e-5)
        members = found.members(events, name)
        np.testing.assert_array_equal(members, own.members(events, name))
        np.testing.assert_allclose(members, estimator.members(events), atol=1e-5)
    assert np.isnan(found.errors(events[:3], RATIOS)["signal.jes.up"]).all()
    assert found.features == FEATURES
    assert found.name in ("built-in", "triton 2.51.0")


def test_no_number_depends_on_the_events_beside_it(endpoint: Path, events: np.ndarray) -> None:
    """So that batches, chunks and a server that is lost in between change nothing."""
    found = served(endpoint)
    whole = found.evaluate(events, RATIOS)["signal"].log_ratio
    for size in (1, 2, 7, 100, 3000):
        part = found.evaluate(events[5 : 5 + size], ("signal",))["signal"].log_ratio
        np.testing.assert_array_equal(part, whole[5 : 5 + size])
    assert found.evaluate(events[:0], RATIOS)["signal"].log_ratio.shape == (0,)


def test_versions_stand_side_by_side(endpoint: Path, published: Published, events: np.ndarray) -> None:
    x = events[:100]
    for number, latest in (("1", False), ("2", True)):
        found = served(endpoint, number).log_ratios(x, ("signal",))["signal"]
        np.testing.assert_array_equal(found, here(published, number).log_ratios(x, ("signal",))["signal"])
        assert np.array_equal(found, served(endpoint).log_ratios(x, ("signal",))["signal"]) == latest


def test_what_is_wrong_is_one_sentence(endpoint: Path, events: np.ndarray) -> None:
    found = served(endpoint)
    x = events[:4]
    with pytest.raises(InputError, match='has no ratio "sgnal"; did you mean "signal"'):
        found.evaluate(x, ("sgnal",))
    with pytest.raises(InputError, match=r"have shape \(4, 2\); expected \(N, 3\): eta, pt, d0"):
        found.evaluate(x[:, :2], RATIOS)
    lost = x.copy()
    lost[2, 1] = np.nan
    with pytest.raises(InputError, match="pt is nan in row 2, and no finite number"):
        found.evaluate(lost, RATIOS)
    for model, version in (("gausian", ""), ("gaussian", "7")):
        with pytest.raises(InputError) as caught:
            ServedRunner(endpoint, model, version)
        assert (version or model) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_server_refuses_what_a_client_let_pass(endpoint: Path) -> None:
    runner = ServedRunner(endpoint, "gaussian")

    def call(x: np.ndarray, said: dict[str, str]) -> None:
        runner.client.call(runner.version, {"features": x}, ("log_ratio",), said)

    with pytest.raises(InputError, match="the model takes eta, pt, d0, in this order"):
        call(np.zeros((2, 3), np.float32), {"features": json.dumps(["pt", "eta", "d0"])})
    with pytest.raises(InputError, match=r"shape"):
        call(np.zeros((2, 4), np.float32), {})
    with pytest.raises(InputError, match="65536"):
        call(np.zeros((65_537, 3), np.float32), {})
    with pytest.raises(InputError, match="send fewer events"):
        call(np.zeros((2**25, 3), np.float32), {})


def test_a_function_of_ragged_arrays(endpoint: Path) -> None:
    runner = ServedRunner(endpoint, "hits")
    for size in (3, 50):
        hits = np.random.default_rng(size).normal(size=(size, 3)).astype(np.float32)
        pairs = np.array([np.arange(size - 1), np.arange(1, size)])
        found = runner.client.call(runner.version, {"hits": hits, "pairs": pairs}, ("labels", "length"), {})
        np.testing.assert_array_equal(found["labels"], np.arange(size))
        np.testing.assert_allclose(found["length"], 2 * np.linalg.norm(np.diff(hits, axis=0), axis=1), rtol=1e-6)
    with pytest.raises(TaskError, match="an event without hits"):
        runner.client.call(
            runner.version, {"hits": np.zeros((0, 3), np.float32), "pairs": np.zeros((2, 0), np.int64)}, ("labels",), {}
        )
    with pytest.raises(InputError, match="is a function, and gives no ratios"):
        ModelEvaluator(runner, "hits")


def test_http_says_the_same(endpoint: Path, events: np.ndarray) -> None:
    found, x = endpoints.read(endpoint), events[:5]
    assert ask(found, "/v2/health/ready")[0] == 200
    body = {
        "inputs": [{"name": "features", "datatype": "FP32", "shape": [5, 3], "data": x.ravel().tolist()}],
        "outputs": [{"name": "log_ratio"}],
    }
    status, text = ask(found, "/v2/models/gaussian/infer", body)
    assert status == 200, text
    (output,) = json.loads(text)["outputs"]
    own = served(endpoint).log_ratios(x, RATIOS)
    np.testing.assert_array_equal(np.reshape(output["data"], output["shape"])[:, 0], own["signal"])
    assert ask(found, "/v2/models/gausian/infer", body)[0] in (400, 404)


def test_what_is_done_is_counted(endpoint: Path, events: np.ndarray) -> None:
    runner, found = served(endpoint).runner, endpoints.read(endpoint)
    assert isinstance(runner, ServedRunner)
    before = runner.client.statistics("gaussian")["inferences"]
    list(runner.run(events, ("log_ratio",)))
    assert runner.client.statistics("gaussian")["inferences"] == before + len(events)
    status, text = ask(found, "/metrics", address=found.metrics)
    assert status == 200
    assert 'nv_inference_count{model="gaussian",version="2"}' in text


def test_small_requests_are_batched_by_triton(endpoint: Path, events: np.ndarray) -> None:
    runner = ServedRunner(endpoint, "gaussian")
    if runner.endpoint.server == "built-in":
        pytest.skip("the built-in server has no batches")
    before = runner.client.statistics("gaussian")

    def ask_often(first: int) -> None:
        for k in range(30):
            x = events[32 * (first + k) : 32 * (first + k + 1)]
            runner.client.call(runner.version, {"features": x}, ("log_ratio",), {})

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(ask_often, range(16)))
    after = runner.client.statistics("gaussian")
    rows = (after["inferences"] - before["inferences"]) / (after["executions"] - before["executions"])
    assert rows > 48, "single requests have 32"


def test_ports_want_the_token(tcp_endpoint: Path, events: np.ndarray) -> None:
    found = endpoints.read(tcp_endpoint)
    assert tcp_endpoint.stat().st_mode & 0o077 == 0
    assert served(tcp_endpoint).log_ratios(events[:3], RATIOS)["signal"].shape == (3,)
    from needle_parsl.serving.client import Client

    without = Client(endpoints.Endpoint(**{**vars(found), "token": "guess"}))
    assert not without.ready()
    with pytest.raises((InputError, TaskError)):
        without.described("gaussian")
    for path in ("/v2/health/ready", "/v2/models/gaussian", "/v2/models/gaussian/stats"):
        assert ask(found, path, token="guess")[0] in (401, 403)
        assert ask(found, path)[0] == 200


SECOND_USER = """
import os, socket, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
for path in sys.argv[1:]:
    try:
        socket.socket(socket.AF_UNIX).connect(path)
    except PermissionError:
        continue
    sys.exit("somebody else could open " + path)
"""


def test_sockets_are_of_this_user_alone(endpoint: Path) -> None:
    found = endpoints.read(endpoint)
    assert not found.token
    assert endpoint.stat().st_mode & 0o077 == 0
    paths = [address.removeprefix("unix:") for address in (found.grpc, found.http, found.metrics)]
    assert all(Path(path).parent.stat().st_mode & 0o077 == 0 for path in paths)
    if os.geteuid() != 0:
        pytest.skip("only root can try as another user")
    ended = subprocess.run(
        [sys.executable, "-I", "-c", SECOND_USER, *paths], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
