"""inspect, export, keygen, sign and verify from the command line."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import onnx
import pytest

from build_tools.bundle.signing import read_private_key
from build_tools.bundle.writer import write_bundle
from build_tools.cli import main
from build_tools.passes.activations import session
from edge_runtime.bundle import archive
from edge_runtime.bundle.reader import open_bundle
from edge_runtime.bundle.signature import read_public_key
from edge_runtime.errors import SignatureError
from tests.bundles import outputs, rebuilt, same_bits, small_net

DIGEST = "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = tmp_path / "m.edge"
    facts = {"name": "small", "task": "other"}
    write_bundle(small_net(), path, facts=facts, provenance={"source_sha256": DIGEST, "seed": 7}, coder="raw")
    return path


@pytest.fixture
def key(tmp_path: Path) -> Path:
    assert main(["keygen", str(tmp_path / "maker")]) == 0
    return tmp_path / "maker"


def test_inspect_prints_the_figures_for_machines(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(bundle), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["bytes"] == bundle.stat().st_size
    assert found["params"] == sum(values.size for values in open_bundle(bundle).weights().values())
    assert found["signed"] is False
    assert found["made"] == {"source_sha256": DIGEST, "seed": 7}
    assert found["inputs"] == {"x": "float [n, 3, 8, 8]"}
    assert sum(layer["bytes"] for layer in found["layers"]) == found["weights_bytes"]
    first = found["layers"][0]
    assert {"name", "shape", "storage", "bits", "sparsity", "bytes", "floor_bytes"} <= first.keys()
    assert (first["read_by"], first["shape"], first["bits"]) == ("Conv_0[1]", [12, 3, 3, 3], 4)
    assert first["storage"] == "int8"
    assert found["graph_bytes"] + found["manifest_bytes"] + found["weights_bytes"] < found["bytes"]


def test_inspect_prints_a_table_for_people(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(bundle)]) == 0
    text = capsys.readouterr().out
    assert text.startswith("small: other, 17,642 parameters, ")
    assert DIGEST in text
    rows = [line for line in text.splitlines() if "Conv_" in line or "Gemm_" in line]
    assert len(rows) == 8
    assert f"= {bundle.stat().st_size:,} bytes" in text


def test_export_writes_onnx_that_runs_alike(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "plain.onnx"
    assert main(["export", str(bundle), "--onnx", str(out)]) == 0
    plain = outputs(session(onnx.load(out)), n=3)
    assert all(same_bits(a, b) for a, b in zip(plain, outputs(open_bundle(bundle).session(), n=3), strict=True))


def test_a_file_that_is_no_bundle_ends_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(small_net().proto.SerializeToString())
    for command in (["inspect", str(path)], ["export", str(path), "--onnx", str(tmp_path / "o.onnx")]):
        assert main(command) == 4
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        assert "m.onnx: is not a bundle" in lines[0]
    assert not (tmp_path / "o.onnx").exists()


def test_only_their_owner_can_read_private_keys(key: Path) -> None:
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert len(read_private_key(key)) == 32
    assert len(read_public_key(key.with_name("maker.pub"))) == 32


def test_keys_are_never_written_over(key: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = key.read_bytes()
    assert main(["keygen", str(key)]) == 4
    assert "is there already" in capsys.readouterr().err
    assert key.read_bytes() == before


def test_a_signed_bundle_is_verified_and_still_runs(bundle: Path, key: Path) -> None:
    before, size = outputs(open_bundle(bundle).session()), bundle.stat().st_size
    assert main(["verify", str(bundle), "--key", f"{key}.pub"]) == 4
    assert main(["sign", str(bundle), "--key", str(key)]) == 0
    assert main(["verify", str(bundle), "--key", f"{key}.pub"]) == 0
    opened = open_bundle(bundle, read_public_key(Path(f"{key}.pub")))
    assert opened.signed
    assert opened.verified
    assert all(same_bits(a, b) for a, b in zip(before, outputs(opened.session()), strict=True))
    assert bundle.stat().st_size == size + 64 + 76 + 2 * len("signature")


def test_signing_twice_is_signing_once(bundle: Path, key: Path) -> None:
    main(["sign", str(bundle), "--key", str(key)])
    once = bundle.read_bytes()
    main(["sign", str(bundle), "--key", str(key)])
    assert bundle.read_bytes() == once


def test_signed_while_written_is_the_same_as_signed_afterwards(bundle: Path, key: Path, tmp_path: Path) -> None:
    main(["sign", str(bundle), "--key", str(key)])
    facts = {"name": "small", "task": "other"}
    written = write_bundle(
        small_net(), tmp_path / "n.edge", facts=facts, provenance={"source_sha256": DIGEST, "seed": 7}, coder="raw",
        private_key=read_private_key(key),
    )  # fmt: skip
    assert written.content == bundle.read_bytes()


def test_another_key_does_not_verify(bundle: Path, key: Path, tmp_path: Path) -> None:
    main(["keygen", str(tmp_path / "stranger")])
    main(["sign", str(bundle), "--key", str(key)])
    assert main(["verify", str(bundle), "--key", str(tmp_path / "stranger.pub")]) == 4


def test_a_bundle_changed_after_it_was_signed_is_refused(bundle: Path, key: Path, tmp_path: Path) -> None:
    main(["sign", str(bundle), "--key", str(key)])
    signature = archive.split(bundle.read_bytes(), "m")["signature"]
    changed = rebuilt(bundle.read_bytes(), manifest=lambda m: m | {"facts": m["facts"] | {"name": "evil"}})
    members = [*archive.split(changed, "m").values(), archive.stored("signature", bytes(signature.payload))]
    forged = tmp_path / "forged.edge"
    forged.write_bytes(archive.join(members))
    assert open_bundle(forged).manifest.facts["name"] == "evil"  # nobody asked for a signature
    with pytest.raises(SignatureError, match="not signed with this key, or changed since"):
        open_bundle(forged, read_public_key(Path(f"{key}.pub")))
    assert main(["verify", str(forged), "--key", f"{key}.pub"]) == 4


@pytest.mark.parametrize("length", [0, 63, 65])
def test_a_signature_of_another_length_is_refused(bundle: Path, key: Path, length: int) -> None:
    members = archive.split(bundle.read_bytes(), "m")
    bundle.write_bytes(archive.join([*members.values(), archive.stored("signature", bytes(length))]))
    with pytest.raises(SignatureError):
        open_bundle(bundle, read_public_key(Path(f"{key}.pub")))


def test_what_is_no_key_is_refused(bundle: Path, key: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (
        ["sign", str(bundle), "--key", f"{key}.pub"],
        ["sign", str(bundle), "--key", "nowhere"],
        ["verify", str(bundle), "--key", str(key)],
        ["verify", str(bundle), "--key", str(bundle)],
    ):
        assert main(command) == 4
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_torn_bundle_is_not_signed(bundle: Path, key: Path) -> None:
    bundle.write_bytes(bundle.read_bytes()[:-30])
    before = bundle.read_bytes()
    assert main(["sign", str(bundle), "--key", str(key)]) == 4
    assert bundle.read_bytes() == before


def test_half_a_pair_of_keys_is_never_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "maker.pub.partial").mkdir()  # where the public key is written first
    assert main(["keygen", str(tmp_path / "maker")]) == 4
    assert "maker.pub: cannot be written" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["maker.pub.partial"]
