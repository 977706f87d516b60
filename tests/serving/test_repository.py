"""What a repository must not hold, versions, and the text of configurations."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from serving.conftest import Published, estimator

from needle_parsl.errors import InputError, TaskError
from needle_parsl.serving import config_text, publishing, repository, triton
from needle_parsl.serving.config_text import Word
from needle_parsl.workflow import serving

pytest.importorskip("grpc")
text_format = pytest.importorskip("google.protobuf.text_format")
kserve = pytest.importorskip("needle_parsl.serving.kserve")


@pytest.fixture
def models(published: Published, tmp_path: Path) -> Path:
    """A repository of one's own."""
    return Path(shutil.copytree(published.folder, tmp_path / "models"))


def outside(folder: Path) -> None:
    path = folder / "gaussian" / "2" / "model.onnx"
    path.rename(folder / "elsewhere.onnx")
    path.symlink_to(folder / "elsewhere.onnx")


def named_outside(folder: Path) -> None:
    path = folder / "gaussian" / "2" / "needle.json"
    facts = json.loads(path.read_text())
    facts["files"]["../../../secret"] = "0"
    path.write_text(json.dumps(facts))


def external(folder: Path) -> None:
    """Let a tensor name a file, with digests that fit."""
    import onnx

    from needle_parsl import files

    version = folder / "gaussian" / "2"
    model = onnx.load(version / "model.onnx")
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    (version / "model.onnx").write_bytes(model.SerializeToString())
    facts = json.loads((version / "needle.json").read_text())
    facts["files"]["model.onnx"] = files.digest(version / "model.onnx")
    facts["digest"] = repository.digest_of(facts["files"])
    (version / "needle.json").write_text(json.dumps(facts))


def append(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        with (folder / "gaussian" / name).open("a") as file:
            file.write("#\n")

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (append("2/model.py"), r"model.py: is not what was exported \(its digest differs\)"),
        (append("2/model.onnx"), r"model.onnx: is not what was exported \(its digest differs\)"),
        (append("config.pbtxt"), r"config.pbtxt: is not what was exported"),
        (append("2/more.py"), r"more.py: is not listed in"),
        (outside, "model.onnx: is a link that may point outside of its folder"),
        (named_outside, r'names "../../../secret", which lies outside of its folder'),
        (external, "keeps data in another file, which is not read"),
        (lambda folder: (folder / "gaussian" / "2" / "model.py").unlink(), "model.py: no such file"),
        (lambda folder: (folder / "gaussian" / "needle.json").write_text("{}"), "is no description of a model"),
        (lambda folder: folder.chmod(0o777), "may be written to by others"),
    ],
)
def test_what_is_changed_is_not_served(
    models: Path, tmp_path: Path, change: Callable[[Path], object], message: str
) -> None:
    change(models)
    choice = serving.ServerChoice(
        repository=models, endpoint=tmp_path / "endpoint.json", log=tmp_path / "log", builtin=True
    )
    with pytest.raises(InputError, match=message) as caught, serving.started(choice):
        pass
    assert "\n" not in str(caught.value)
    assert not choice.endpoint.exists()


def test_an_equal_version_is_none(models: Path, published: Published) -> None:
    from needle_parsl.nsbi.estimators import model_export

    again = model_export.publish(models, "gaussian", published.versions[1], {"pt": "GeV"}, "/runs/later")
    assert (again.number, again.run) == (2, "/runs/1")
    assert [one.number for one in repository.one(models, "gaussian").versions] == [1, 2]


def test_rolled_back_and_on_again(models: Path, published: Published) -> None:
    from needle_parsl.nsbi.estimators import model_export

    assert publishing.use(models, "gaussian", "1").number == 1
    model = repository.one(models, "gaussian")
    assert model.served == (1,)
    repository.verify(model)
    with pytest.raises(InputError, match="has no version 2 that is served; there are 1"):
        model.version("2")
    third = model_export.publish(models, "gaussian", published.versions[1], {}, "")
    assert (third.number, repository.one(models, "gaussian").served) == (3, (1, 3))
    assert publishing.use(models, "gaussian", "2").number == 2
    for name, number, message in (("gaussian", "9", "has no version 9; there are 1, 2, 3"), ("gaus", "1", "no model")):
        with pytest.raises(InputError, match=message):
            publishing.use(models, name, number)


def test_other_features_need_another_name(models: Path) -> None:
    from needle_parsl.nsbi.estimators import model_export

    with pytest.raises(InputError, match="takes or gives something else in version 2; choose another name"):
        model_export.publish(models, "gaussian", {"other": estimator("other", 2, 3)}, {}, "")
    with pytest.raises(InputError, match="is no name of a model"):
        model_export.publish(models, "../gaussian", {"other": estimator("other", 2, 3)}, {}, "")


def test_configurations_are_what_triton_reads(models: Path) -> None:
    for name, backend, platform in (
        ("config.pbtxt", "python", ""),
        ("configs/onnxruntime.pbtxt", "", "onnxruntime_onnx"),
    ):
        text = (models / "gaussian" / name).read_text()
        found = text_format.Parse(text, kserve.messages.ModelConfig())
        assert (found.name, found.backend, found.platform) == ("gaussian", backend, platform)
        assert (found.max_batch_size, found.dynamic_batching.max_queue_delay_microseconds) == (65_536, 300)
        assert [list(one.dims) for one in found.output] == [[2], [2], [-1]]
        assert list(found.version_policy.specific.versions) == [1, 2]
        facts = {one.key: one.value.string_value for one in found.parameters}
        assert json.loads(facts["features"]) == ["eta", "pt", "d0"]
        assert json.loads(facts["units"])["pt"] == "GeV"


def test_an_instance_on_each_gpu() -> None:
    interface = publishing.Interface(inputs=(), outputs=(), gpus=2, instances=3)
    versions = {1: {"kind": "estimator", "facts": {}, "digest": "", "run": ""}}
    text = config_text.message(publishing.configuration(interface, versions, [1]))
    (group,) = text_format.Parse(text, kserve.messages.ModelConfig()).instance_group
    assert (group.count, group.kind, list(group.gpus)) == (3, 1, [0, 1])


@pytest.mark.parametrize("text", ['a"b\\c', "x\n}\nname: 'other'", "müon µ", "\x00\x1f", "'", ""])
def test_texts_stay_texts(text: str) -> None:
    """Whatever a name holds: it ends no string, and begins no field."""
    written = config_text.message({"name": text, "parameters": [{"key": text, "value": {"string_value": text}}]})
    found = text_format.Parse(written, kserve.messages.ModelConfig())
    (one,) = found.parameters
    assert (found.name, one.key, one.value.string_value, found.backend) == (text, text, text, "")


@pytest.mark.parametrize("fields", [{"na me": 1}, {"name": Word("TYPE FP32")}, {"name": 0.5}, {"name": None}])
def test_what_is_no_configuration_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="is no"):
        config_text.message(fields)


def test_the_table_is_triton_s_protocol() -> None:
    """The numbers and types of fields are those of Triton's own client, where that is installed."""
    generated = pytest.importorskip("tritonclient.grpc").service_pb2
    for name in ("ModelInferRequest", "ModelInferResponse", "ModelConfigResponse", "ServerMetadataResponse"):
        for field in getattr(kserve.messages, name).DESCRIPTOR.fields:
            other = getattr(generated, name).DESCRIPTOR.fields_by_name[field.name]
            assert (field.number, field.type) == (other.number, other.type), (name, field.name)


def test_a_model_without_its_backend(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        "E1201 model_lifecycle.cc:642] failed to load 'g' version 1: Invalid argument: unable to find backend library for "
        "backend 'onnxruntime', try specifying runtime on the model configuration.\n"
    )
    assert "has no backend 'onnxruntime', which a model needs" in str(serving.refusal(log, "tritonserver"))
    assert isinstance(serving.refusal(log, "tritonserver"), InputError)
    log.write_text("Traceback\nModuleNotFoundError: No module named 'onnxruntime'\n")
    assert "a model needs the module onnxruntime" in str(serving.refusal(log, "tritonserver"))
    log.write_text("")
    assert isinstance(serving.refusal(log, "tritonserver"), TaskError)


def test_a_folder_that_is_too_deep_for_sockets(
    published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 90)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    choice = serving.ServerChoice(
        repository=published.folder, endpoint=tmp_path / "e", log=tmp_path / "l", builtin=True
    )
    with pytest.raises(InputError, match="too long a name for sockets; set TMPDIR"), serving.started(choice):
        pass


def test_a_server_is_looked_for_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(triton.VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert triton.find() is None
    for name in ("named", "variable", "fetched"):
        place = triton.cache() / "pytriton" / "tritonserver" / "bin" if name == "fetched" else tmp_path / name
        place.mkdir(parents=True, mode=0o755)
        (place / "tritonserver").write_text("#!/bin/sh\n")
        (place / "tritonserver").chmod(0o755)
    fetched = triton.find()
    assert fetched is not None
    assert fetched.program.is_relative_to(tmp_path / "cache")
    monkeypatch.setenv(triton.VARIABLE, str(tmp_path / "variable" / "tritonserver"))
    named = str(tmp_path / "named" / "tritonserver")
    assert [triton.find(said).program.parent.name for said in ("", named)] == ["variable", "named"]
    with pytest.raises(InputError, match="--tritonserver /nowhere: is no program"):
        triton.find("/nowhere")
