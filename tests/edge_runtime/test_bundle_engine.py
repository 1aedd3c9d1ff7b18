"""The engine runs bundles as it runs plain ONNX."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from build_tools.bundle.signing import generate_keys, read_private_key
from build_tools.bundle.writer import settled, write_bundle
from build_tools.model import load_model, save_onnx
from edge_runtime.bundle.dictionary import GRAPH_DICTIONARY
from edge_runtime.bundle.signature import read_public_key
from edge_runtime.engine import OnnxEngine, open_model, open_session
from edge_runtime.errors import BundleError, FormatError, SignatureError
from tests.bundles import plain_onnx, same_bits, small_net


@pytest.fixture(scope="module")
def attention(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped attention network as a bundle, and beside it as the plain ONNX that it decodes to."""
    folder = tmp_path_factory.mktemp("models")
    model = load_model(plain_onnx("scene_attention", folder))
    write_bundle(model, folder / "scene.edge", facts={}, provenance={}, coder="raw")
    save_onnx(settled(model, True), folder / "scene.onnx")
    return folder / "scene.edge"


def test_a_bundle_runs_as_the_onnx_it_was_made_of(attention: Path) -> None:
    bgr = np.random.default_rng(0).uniform(0, 255, (1, 3, 64, 96)).astype(np.float32)
    bundle, plain = OnnxEngine(attention, "attention"), OnnxEngine(attention.with_suffix(".onnx"), "attention")
    assert bundle.facts == plain.facts
    assert all(same_bits(a, b) for a, b in zip(bundle.run(bgr), plain.run(bgr), strict=True))


def test_a_bundle_for_another_task_is_refused(attention: Path, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="is for attention, but detector is needed"):
        open_model(str(attention), "detector")
    write_bundle(small_net(), tmp_path / "m.edge", facts={}, provenance={}, coder="raw")
    with pytest.raises(FormatError, match="is for other, but detector is needed"):
        open_model(str(tmp_path / "m.edge"), "detector")
    with pytest.raises(FormatError, match="field 'classes' of its facts is missing"):
        OnnxEngine(tmp_path / "m.edge")


@pytest.mark.parametrize("keep", [3, 30, 5000])
def test_a_torn_bundle_is_refused(attention: Path, tmp_path: Path, keep: int) -> None:
    torn = tmp_path / "torn.edge"
    torn.write_bytes(attention.read_bytes()[:keep])
    with pytest.raises(BundleError) as refused:
        OnnxEngine(torn)
    assert str(refused.value).startswith(str(torn))
    assert "\n" not in str(refused.value)


def test_a_node_that_trusts_one_key_runs_only_what_it_signed(attention: Path, tmp_path: Path) -> None:
    public = read_public_key(generate_keys(tmp_path / "maker"))
    signed = tmp_path / "signed.edge"
    write_bundle(
        load_model(plain_onnx("scene_attention", tmp_path)), signed, facts={}, provenance={}, coder="raw",
        private_key=read_private_key(tmp_path / "maker"),
    )  # fmt: skip
    assert OnnxEngine(signed, "attention", public).facts.name == "scene_attention"
    for path, message in ((attention, "is not signed"), (attention.with_suffix(".onnx"), "has no signature")):
        with pytest.raises(SignatureError, match=message):
            OnnxEngine(path, "attention", public)


def test_the_weights_live_as_long_as_the_session(attention: Path) -> None:
    session, told = open_session(attention)
    bgr = np.zeros((1, 3, 64, 64), np.float32)
    first = session.run(None, {"bgr": bgr})
    junk = [np.full(1 << 16, np.nan, np.float32) for _ in range(64)]  # takes over memory that was let go
    assert all(same_bits(a, b) for a, b in zip(first, session.run(None, {"bgr": bgr}), strict=True))
    assert len(junk) == 64
    assert told["task"] == "attention"


def test_opening_a_bundle_needs_neither_onnx_nor_cryptography(attention: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from edge_runtime.engine import OnnxEngine\n"
        f"OnnxEngine(Path({str(attention)!r}))\n"
        "print(*(m for m in ('onnx', 'cryptography', 'build_tools', 'torch', 'scipy') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_the_dictionary_of_format_1_never_changes() -> None:
    digest = hashlib.sha256(GRAPH_DICTIONARY).hexdigest()
    assert digest == "7eece0057e39686ee6357e2d24540f81bdfe3ae2f226ae9b96a4e5dda6d81575"
