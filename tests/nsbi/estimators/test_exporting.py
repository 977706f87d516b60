"""Exported estimators: ONNX Runtime alone gives what needle gives, for every combiner, calibration and layer."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch import nn

from needle_parsl.analysis import catalogue
from needle_parsl.errors import InputError, TaskError
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.data.loading.transforming import fitted
from needle_parsl.nsbi.estimators import composing, files
from needle_parsl.nsbi.estimators.estimator import Estimator
from needle_parsl.nsbi.training import networks, packs
from needle_parsl.nsbi.transforms.transform import Transform, trial
from needle_parsl.nsbi.transforms.wanted import Wanted

onnx_file = pytest.importorskip("needle_parsl.nsbi.estimators.exporting.onnx_file")
layers = pytest.importorskip("needle_parsl.nsbi.estimators.exporting.layers")
runtime = pytest.importorskip("needle_parsl.nsbi.estimators.exporting.runtime")

RNG = np.random.default_rng(21)
SHAPE = networks.NetworkShape(network="mlp", features=3, layers=2, nodes=8)
FACTS = onnx_file.FileFacts("test", {"pt": "GeV"})


def events(mean: float, first: int, count: int = 3000) -> Events:
    """Draw events whose features have large means and small widths, as energies in MeV have."""
    x = RNG.normal(mean, 1, (count, 3)) * [1, 50, 1e-3] + [0, 9e4, 0]
    ids = np.arange(first, first + count, dtype=np.uint64)
    return Events(names=("eta", "pt", "d0"), x=x.astype(np.float32), weight=RNG.uniform(0.5, 1.5, count), id=ids)


ABOVE, BELOW = events(0.5, 0), events(0.0, 3000)
SIZE = sum(p.numel() for p in networks.empty(SHAPE).parameters())


def made(combine: str, calibration: str = "none", members: int = 5) -> Estimator:
    trained = tuple(
        packs.Trained(
            member=m,
            fold=0,
            seed=m,
            weights=np.random.default_rng(m).normal(0, 0.5, SIZE).astype(np.float32),
            history=np.ones((1, 2)),
            best_epoch=0,
            reason="",
        )
        for m in range(members)
    )
    found = composing.compose(
        "signal", packs.Pack(SHAPE, fitted([BELOW]), trained), (ABOVE, BELOW), composing.How(combine, 1.0, calibration)
    )
    return found if combine == "wifi" else replace(found, slope=0.87)


@pytest.mark.parametrize("members", [1, 4, 5])
@pytest.mark.parametrize("combine", catalogue.COMBINERS)
def test_runtime_gives_what_needle_gives(combine: str, members: int, tmp_path: Path) -> None:
    one = made(combine, members=members)
    away = onnx_file.write(tmp_path / "e.onnx", {"signal": one}, ABOVE.x, FACTS)
    assert away < 1e-5
    session = runtime.Session(tmp_path / "e.onnx")
    found = session.evaluate(BELOW.x)["signal"]
    np.testing.assert_allclose(found["log_ratio"], one.log_ratio(BELOW.x), atol=1e-5)
    assert ("log_ratio_error" in found) == (members > 1 or combine == "wifi")
    if "log_ratio_error" in found:
        np.testing.assert_allclose(found["log_ratio_error"], one.log_ratio_error(BELOW.x), atol=1e-5)
    assert float(session.properties["largest_difference"]) == pytest.approx(away, rel=1e-2)
    assert session.features == ("eta", "pt", "d0")
    assert json.loads(session.properties["units"])["pt"] == "GeV"
    assert session.evaluate(BELOW.x[:0])["signal"]["log_ratio"].shape == (0,)


@pytest.mark.parametrize("method", ["histogram", "isotonic"])
def test_calibration_is_inside(method: str, tmp_path: Path) -> None:
    one = made("mean_ratio", method)
    onnx_file.write(tmp_path / "e.onnx", {"signal": one}, ABOVE.x, FACTS)
    found = runtime.Session(tmp_path / "e.onnx").evaluate(BELOW.x)["signal"]["log_ratio"]
    away = np.abs(found - one.log_ratio(BELOW.x))
    # Where the map jumps or is steep, rounding shows: between 3000 events that made it, with few of them.
    assert (away > 1e-5).mean() < 0.01
    assert np.median(away) < 1e-12


def test_many_ratios_in_one_file_without_needle(tmp_path: Path) -> None:
    """Another process, which cannot import needle or torch, reads nothing but the file and the features."""
    several = {"signal": made("wifi"), "signal.jes.up": made("median_ratio")}
    onnx_file.write(tmp_path / "all.onnx", several, ABOVE.x, FACTS)
    np.save(tmp_path / "x.npy", BELOW.x)
    program = (
        "import sys, numpy, onnxruntime\n"
        "sys.modules['torch'] = sys.modules['needle_parsl'] = None\n"
        f"s = onnxruntime.InferenceSession({str(tmp_path / 'all.onnx')!r}, providers=['CPUExecutionProvider'])\n"
        f"out = s.run(['signal.log_ratio', 'signal.jes.up.log_ratio_error'], {{'features': numpy.load({str(tmp_path / 'x.npy')!r})}})\n"
        f"numpy.savez({str(tmp_path / 'out.npz')!r}, *out)\n"
    )
    subprocess.run([sys.executable, "-I", "-c", program], check=True, cwd=tmp_path)
    out = np.load(tmp_path / "out.npz")
    np.testing.assert_allclose(out["arr_0"], several["signal"].log_ratio(BELOW.x), atol=1e-5)
    np.testing.assert_allclose(out["arr_1"], several["signal.jes.up"].log_ratio_error(BELOW.x), atol=1e-5)


def test_a_file_that_differs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = made("mean_log")
    off = replace(one, log_norm=one.log_norm + 3e-5)
    monkeypatch.setattr(onnx_file, "build", lambda _, f, build=onnx_file.build: build({"signal": off}, f))
    with pytest.raises(TaskError, match=r"differs from needle by 3e-05 in ln r; more than 1e-05 is not exported"):
        onnx_file.write(tmp_path / "e.onnx", {"signal": one}, ABOVE.x, FACTS)
    assert not (tmp_path / "e.onnx").exists()


KINDS = {"b": "quantile", "c": "onehot", "d": "log", "e": "cyclic", "f": "arcsinh", "g": "none", "h": "standard"}


def transformed(combine: str = "mean_log") -> tuple[Estimator, np.ndarray]:
    """An estimator of features of all kinds, with placeholders and NaN, and events for it."""
    rng = np.random.default_rng(4)
    columns = [
        rng.normal(size=3000), rng.standard_t(3, 3000), rng.integers(0, 4, 3000), rng.exponential(30, 3000),
        rng.uniform(-np.pi, np.pi, 3000), rng.standard_cauchy(3000), rng.normal(size=3000), rng.normal(5e4, 3, 3000),
    ]  # fmt: skip
    x = np.column_stack(columns).astype(np.float32)
    x[::3, [0, 3]], x[::5, 7] = -25, np.nan
    both = Events(names=tuple("abcdefgh"), x=x, weight=np.ones(3000), id=np.arange(3000, dtype=np.uint64))
    transform = fitted([both], Wanted.of((-25.0, "nan"), KINDS))
    shape = networks.NetworkShape(network="mlp", features=transform.outputs, layers=2, nodes=8)
    weights = [networks.vector(networks.build(shape, m)).numpy() for m in range(3)]
    one = Estimator(
        ratio="signal",
        features=both.names,
        shape=shape,
        transform=transform,
        weights=np.stack(weights),
        combine=combine,
        log_norm=0.1,
        coefficients=np.full(3, 1 / 3),
    )
    return one, np.concatenate([x, trial(transform, rng, 500)])


@pytest.mark.slow
def test_every_file_carries_the_transform(tmp_path: Path) -> None:
    """ONNX, .pt2, safetensors and HDF5 give what needle gives, of missing values, too."""
    torch_file = pytest.importorskip("needle_parsl.nsbi.estimators.exporting.torch_file")
    safe = pytest.importorskip("safetensors")
    one, x = transformed()
    expected = one.log_ratio(x)
    assert np.isfinite(expected).all()
    onnx_file.write(tmp_path / "e.onnx", {"signal": one}, x, FACTS)
    session = runtime.Session(tmp_path / "e.onnx")
    found = {"onnx": session.evaluate(x)["signal"]["log_ratio"]}
    assert session.transforms == {"signal": one.transform}
    torch_file.write_program(tmp_path / "e.pt2", one)
    with (tmp_path / "e.pt2").open("rb") as file:
        found["pt2"] = torch.export.load(file).module()(torch.from_numpy(x)).numpy()
    torch_file.write_weights(tmp_path / "e.safetensors", one)
    with safe.safe_open(tmp_path / "e.safetensors", "pt") as file:
        assert Transform.from_json(file.metadata()["transform"]) == one.transform
        blank = torch_file.EnsembleModule(replace(one, weights=0 * one.weights))
        blank.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118  no mapping
    found["safetensors"] = blank(torch.from_numpy(x)).numpy()
    files.write(tmp_path / "e.h5", one)
    found["hdf5"] = files.read(tmp_path / "e.h5").log_ratio(x)
    for name, values in found.items():
        np.testing.assert_allclose(values, expected, atol=1e-6, err_msg=name)


def test_a_file_of_an_earlier_version_is_refused_in_a_sentence(tmp_path: Path) -> None:
    files.write(tmp_path / "e.h5", transformed()[0])
    with h5py.File(tmp_path / "e.h5", "a") as file:
        del file["transform"]
    with pytest.raises(InputError, match="was written by an earlier version of needle"):
        files.read(tmp_path / "e.h5")


class Residual(nn.Module):
    """Layers of all kinds, with connections around them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(3, 6), nn.LayerNorm(6), nn.Linear(9, 1, bias=False)
        self.parts = nn.ModuleList([nn.ReLU(), nn.Tanh(), nn.Sigmoid(), nn.ELU(0.7), nn.LeakyReLU(0.2), nn.GELU(), nn.SiLU()])  # fmt: skip
        self.dropout, self.batch = nn.Dropout(0.5), nn.BatchNorm1d(6)
        self.scale = nn.Parameter(torch.tensor([0.3]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.batch(self.norm(self.first(x)))
        for part in self.parts:
            h = h + 0.5 * part(h) * self.scale
        h = torch.tanh(nn.functional.gelu(nn.functional.silu(h))).relu() - h / 2.0
        return self.last(torch.cat([self.dropout(h), x], dim=1))[:, 0]


class Deciding(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sum(dim=1) if x.mean() > 0 else -x.sum(dim=1)


class Strange(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.own = nn.PReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.own(x)[:, 0]


class TwoInputs(nn.Module):
    def forward(self, x: torch.Tensor, particles: torch.Tensor) -> torch.Tensor:
        return x[:, 0] + particles[:, 0]


@pytest.mark.parametrize("network", [Residual, networks.MLP])
def test_networks_of_known_layers(network: type[nn.Module], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    build = {Residual: lambda *_: Residual(), networks.MLP: networks.MLP}[network]
    plain = made("mean_log")
    size = len(networks.vector(build(3, 2, 8)))
    one = replace(plain, weights=RNG.uniform(0.1, 0.7, (5, size)).astype(np.float32))
    monkeypatch.setattr(networks, "empty", lambda _: build(3, 2, 8).eval())
    assert onnx_file.write(tmp_path / "e.onnx", {"signal": one}, ABOVE.x, FACTS) < 1e-5


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Strange, "the layer PReLU is not known"),
        (
            Deciding,
            "Deciding cannot be exported: symbolically traced variables cannot be used as inputs to control flow",
        ),
        (TwoInputs, "TwoInputs cannot be exported: it takes x, particles, not features alone"),
    ],
)
def test_other_networks_say_why_not(network: type[nn.Module], message: str) -> None:
    from needle_parsl.nsbi.estimators.exporting.graph import OnnxGraph

    with pytest.raises(TaskError, match=message):
        layers.emit(OnnxGraph(), layers.traced(network()), "features")


@pytest.mark.parametrize(
    ("combine", "calibration"),
    [*((name, "none") for name in catalogue.COMBINERS), ("mean_ratio", "isotonic"), ("mean_ratio", "histogram")],
)
def test_torch_files_give_what_needle_gives(combine: str, calibration: str, tmp_path: Path) -> None:
    torch_file = pytest.importorskip("needle_parsl.nsbi.estimators.exporting.torch_file")
    one = made(combine, calibration, members=2)
    module = torch_file.EnsembleModule(one)
    with torch.no_grad():
        away = np.abs(module(torch.from_numpy(BELOW.x)).numpy() - one.log_ratio(BELOW.x))
    assert away.max() < 1e-9
    torch_file.write_weights(tmp_path / "e.safetensors", one)
    from safetensors.torch import load_file

    again = torch_file.EnsembleModule(made(combine, calibration, members=2))
    again.load_state_dict(load_file(tmp_path / "e.safetensors"))
    with torch.no_grad():
        np.testing.assert_array_equal(again(torch.from_numpy(BELOW.x)), module(torch.from_numpy(BELOW.x)))


def test_exported_program_runs_by_itself(tmp_path: Path) -> None:
    torch_file = pytest.importorskip("needle_parsl.nsbi.estimators.exporting.torch_file")
    one = made("wifi", members=2)
    torch_file.write_program(tmp_path / "e.pt2", one)
    program = torch.export.load(tmp_path / "e.pt2").module()
    np.testing.assert_allclose(program(torch.from_numpy(BELOW.x)), one.log_ratio(BELOW.x), atol=1e-5)


def test_tracing_and_the_modules_of_other_threads_do_not_meet() -> None:
    """Ratios are exported while other threads evaluate, train and export."""
    ended, failures, x = threading.Event(), [], torch.randn(4, 3)

    def evaluate() -> None:
        network = nn.Sequential(nn.Linear(3, 8), nn.SiLU(), nn.Linear(8, 1))
        while not ended.is_set():
            try:
                network(x)
            except NameError as error:  # what a patched module raises
                failures.append(error)
                return

    def trace() -> None:
        for _ in range(20):
            layers.traced(nn.Sequential(*(nn.Linear(3, 3) for _ in range(20))))

    before, evaluating = nn.Module.__call__, threading.Thread(target=evaluate)
    tracing = [threading.Thread(target=trace) for _ in range(2)]
    for thread in (evaluating, *tracing):
        thread.start()
    for thread in tracing:
        thread.join()
    ended.set()
    evaluating.join()
    assert failures == []
    assert nn.Module.__call__ is before
