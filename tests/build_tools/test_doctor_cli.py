"""`edge-build doctor` from the command line: what it prints, writes and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from build_tools.cli import main
from build_tools.model import load_model
from build_tools.passes.contract import Context
from build_tools.passes.doctor import Doctor
from tests.build_tools.doctor_models import conv, model, node, outputs, random, sound

ROOT = Path(__file__).resolve().parents[2]
PEERS = sorted((ROOT.parent / "shared" / "peers").glob("*.onnx"))
OURS = sorted((ROOT / "models").glob("*.onnx"))


@pytest.fixture
def sick(tmp_path: Path) -> Path:
    nodes = [conv("x w", "a"), node("Identity", "a", "i", "same"), node("Relu", "i", "y")]
    path = tmp_path / "sick.onnx"
    onnx.save(model(nodes, {"w": random(8, 8, 3, 3)}, opset=11).proto, path)
    return path


def test_findings_are_printed_with_place_and_remedy(sick: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(sick)]) == 0
    text = capsys.readouterr().out
    assert "identity: same" in text and "-> take it out [--fix]" in text
    assert "opset: opset 11" in text


def test_sound_model_has_nothing_said_against_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnx.save(sound().proto, tmp_path / "sound.onnx")
    assert main(["doctor", str(tmp_path / "sound.onnx")]) == 0
    assert "nothing to say against it" in capsys.readouterr().out


def test_fix_writes_a_mended_model_and_json_tells_all(sick: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sick.read_bytes()
    out = sick.with_name("well.onnx")
    assert main(["doctor", str(sick), "--fix", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {f["ailment"] for f in told["findings"]} == {"identity", "opset"}
    assert told["fixed"]["mended"] == {"opset": 1, "identity": 1}
    assert told["fixed"]["remaining"] == [] and told["fixed"]["undone"] == {}
    assert sick.read_bytes() == before
    mended = load_model(out)
    assert [n.op_type for n in mended.proto.graph.node] == ["Conv", "Relu"]
    np.testing.assert_array_equal(outputs(mended)[0], outputs(load_model(sick))[0])
    assert [p.name for p in sorted(sick.parent.iterdir())] == ["sick.onnx", "well.onnx"]


def test_calibration_data_is_tried_too(sick: Path, capsys: pytest.CaptureFixture[str]) -> None:
    npz = sick.with_name("samples.npz")
    np.savez(npz, x=random(4, 8, 6, 6))
    args = ["doctor", str(sick), "--fix", str(sick.with_name("well.onnx")), "--json"]
    main(args)
    without = json.loads(capsys.readouterr().out)["fixed"]["inputs_tried"]
    assert main([*args, "--calibration", str(npz)]) == 0
    assert json.loads(capsys.readouterr().out)["fixed"]["inputs_tried"] == without + 2


def test_external_data_is_found_and_written_into_one_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = sound()
    path = tmp_path / "two_files.onnx"
    onnx.save(made.proto, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert main(["doctor", str(path), "--json", "--fix", str(tmp_path / "one.onnx")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {(f["ailment"], f["where"]) for f in told["findings"]} >= {("external-data", "w1")}
    (tmp_path / "weights.bin").unlink()
    expected = outputs(sound())[0]
    np.testing.assert_array_equal(outputs(load_model(tmp_path / "one.onnx"))[0], expected)
    assert main(["doctor", str(path)]) == 4
    error = capsys.readouterr().err
    assert "two_files.onnx" in error and "external data" in error and error.count("\n") == 1


@pytest.mark.parametrize("kind", ["text", "torn", "empty", "missing", "folder"])
def test_what_is_no_model_gives_one_line_and_code_4(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "m.onnx"
    if kind == "folder":
        path.mkdir()
    elif kind != "missing":
        whole = sound().proto.SerializeToString()
        path.write_bytes({"text": b"hello, world", "torn": whole[: len(whole) // 2], "empty": b""}[kind])
    out = tmp_path / "out.onnx"
    assert main(["doctor", str(path), "--fix", str(out)]) == 4
    error = capsys.readouterr().err
    assert error.startswith("edge-build: ") and "m.onnx" in error and error.count("\n") == 1
    assert not out.exists()


def test_model_itself_is_refused_as_the_place_of_the_mended_one(sick: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sick.read_bytes()
    assert main(["doctor", str(sick), "--fix", str(sick.parent / "." / "sick.onnx")]) == 4
    assert "never changed" in capsys.readouterr().err
    assert sick.read_bytes() == before


def test_nan_weights_are_listed_without_fix_and_refused_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "nan.onnx"
    onnx.save(model([conv("x w", "y")], {"w": np.full((8, 8, 3, 3), np.nan, np.float32)}).proto, path)
    assert main(["doctor", str(path)]) == 0
    assert "576 of 576 values are NaN" in capsys.readouterr().out
    assert main(["doctor", str(path), "--fix", str(tmp_path / "out.onnx")]) == 4
    assert "weight w" in capsys.readouterr().err
    assert not (tmp_path / "out.onnx").exists()


def test_float16_model_comes_to_compute_in_float32_and_keeps_its_interface(tmp_path: Path) -> None:
    made = sound()
    for tensor in made.proto.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    for value in (*made.proto.graph.input, *made.proto.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    path = tmp_path / "half.onnx"
    onnx.save(made.proto, path)
    # float16 rounds between layers, float32 does not: the outputs differ by that rounding
    assert main(["doctor", str(path), "--fix", str(tmp_path / "out.onnx"), "--tolerance", "0.005"]) == 0
    mended = load_model(tmp_path / "out.onnx")
    assert {n.op_type for n in mended.proto.graph.node} == {"Cast", "Conv", "Relu"}
    assert all(mended.weight(name).dtype == np.float32 for name in mended.weight_names())
    assert outputs(mended)[0].dtype == np.float16
    np.testing.assert_allclose(outputs(mended)[0], outputs(load_model(path))[0], rtol=0.02, atol=0.02)


def test_bad_shape_argument_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["doctor", "m.onnx", "--shape", "input=1xthree"])
    assert stop.value.code == 2
    assert "must look like input=1x3x240x320" in capsys.readouterr().err


@pytest.mark.parametrize("path", [*PEERS, *OURS], ids=lambda p: p.stem)
def test_real_model_is_mended_with_equal_outputs(path: Path) -> None:
    model_ = load_model(path)
    before = model_.proto.SerializeToString(deterministic=True)
    pass_ = Doctor(merge_duplicates=True, rewrite_slow=True)
    context = Context(model_, seed=7)
    pass_.requires(model_, context)
    change = pass_.run(model_, context)
    pass_.ensures(model_, change, context)
    assert model_.proto.SerializeToString(deterministic=True) == before
    assert not [line for line in change.refused if "undone" in line]
    onnx.checker.check_model(change.model.proto)
    ort.InferenceSession(change.model.proto.SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.mark.skipif(not PEERS, reason="the peers of ../shared are not there")
def test_peers_are_all_there() -> None:
    assert len(PEERS) >= 16
