"""A bundle that lies is refused in one line, before memory is asked for, and never half believed."""

from __future__ import annotations

import functools
import json
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from build_tools.bundle.writer import bundle_bytes
from edge_runtime.bundle import archive
from edge_runtime.bundle.format import MAX_PARAMETERS
from edge_runtime.bundle.manifest import read_manifest
from edge_runtime.bundle.reader import Bundle, open_bundle, read_bundle, read_manifest_bytes
from edge_runtime.errors import BundleError, FormatError, IntegrityError, VersionError
from tests.bundles import raw_deflate, rebuilt, same_bits, small_net

PATH = Path("hostile.edge")


@functools.cache
def sound() -> bytes:
    return bundle_bytes(small_net(), facts={"name": "sound"}, provenance={"seed": 1}, coder="rans", half=False).content


def opened(content: bytes) -> Bundle:
    bundle = read_bundle(content, PATH)
    bundle.session()
    return bundle


def test_the_sound_bundle_opens_and_stays_sound_when_rebuilt() -> None:
    bundle = opened(sound())
    again = opened(rebuilt(sound()))
    assert bundle.manifest == again.manifest
    assert not bundle.signed


def header(content: bytes, mark: bytes, offset: int, form: str, value: int, nth: int = 0) -> bytes:
    """The file with one field of its nth header of this kind overwritten."""
    at = -1
    for _ in range(nth + 1):
        at = content.index(mark, at + 1)
    changed = bytearray(content)
    struct.pack_into(form, changed, at + offset, value)
    return bytes(changed)


LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"


def with_members(change: Callable[[list[archive.Member]], list[archive.Member]]) -> bytes:
    return archive.join(change(list(archive.split(sound(), "sound").values())))


def renamed(name: str) -> bytes:
    return with_members(lambda m: [m[0], archive.stored(name, bytes(m[1].payload)), m[2]])


def bomb() -> bytes:
    """A manifest that says it is small and inflates to 64 MB."""
    packed = raw_deflate(bytes(1 << 26))
    return with_members(lambda m: [archive.Member("manifest.json", packed, m[0].size, m[0].crc), *m[1:]])


def unlike() -> bytes:
    """A manifest with a checksum that is not its own, alike in both headers."""
    return with_members(lambda m: [archive.Member("manifest.json", m[0].payload, m[0].size, m[0].crc ^ 1), *m[1:]])


def vast() -> bytes:
    return with_members(lambda m: [archive.Member("manifest.json", m[0].payload, 1 << 31, m[0].crc), *m[1:]])


def mixed_up() -> bytes:
    return with_members(lambda m: [m[0], m[2], m[1]])


def flipped(name: str) -> bytes:
    """A member changed, its checksum put right, its digest not."""

    def change(members: list[archive.Member]) -> list[archive.Member]:
        spoilt = {m.name: bytes(m.payload) for m in members}[name]
        spoilt = spoilt[:-1] + bytes([spoilt[-1] ^ 1])
        return [archive.stored(name, spoilt) if m.name == name else m for m in members]

    return with_members(change)


LAYOUT: dict[str, tuple[Callable[[], bytes], str]] = {
    "an empty file": (lambda: b"", "not a bundle"),
    "text": (lambda: b"hello, this is not a model at all", "not a bundle"),
    "cut in half": (lambda: sound()[: len(sound()) // 2], "torn"),
    "cut by a byte": (lambda: sound()[:-1], "torn"),
    "junk behind": (lambda: sound() + b"x", "torn"),
    "junk before": (lambda: b"x" + sound(), "not a bundle"),
    "another bundle behind": (lambda: sound() + sound(), "does not end where"),
    "a comment": (lambda: header(sound() + b"hi", END, 20, "<H", 2), "torn"),
    "several disks": (lambda: header(sound(), END, 4, "<H", 1), "one file of"),
    "a member too many": (lambda: with_members(lambda m: [*m, m[2], m[2]]), "3 or 4 members"),
    "a member too few": (lambda: with_members(lambda m: m[:2]), "3 or 4 members"),
    "a duplicate member": (lambda: with_members(lambda m: [m[0], m[1], m[1]]), "where weights.bin must be"),
    "an unknown fourth": (lambda: with_members(lambda m: [*m, archive.stored("x.py", b"")]), "where signature must be"),
    "an absolute name": (lambda: renamed("/etc/passwd"), "where graph.onnx.z must be"),
    "a name that climbs": (lambda: renamed("../model.onnx"), "where graph.onnx.z must be"),
    "another order": (mixed_up, "where graph.onnx.z must be"),
    "encryption": (lambda: header(sound(), CENTRAL, 8, "<H", 1), "form that bundles do not have"),
    "encryption, local only": (lambda: header(sound(), LOCAL, 6, "<H", 1), "one thing of manifest.json before it"),
    "a data descriptor": (lambda: header(sound(), CENTRAL, 8, "<H", 8), "form that bundles do not have"),
    "zip64 sizes": (lambda: header(sound(), CENTRAL, 20, "<I", 0xFFFFFFFF, 2), "form that bundles do not have"),
    "an extra field": (lambda: header(sound(), CENTRAL, 30, "<H", 4), "form that bundles do not have"),
    "another method": (lambda: header(sound(), CENTRAL, 10, "<H", 12), "form that bundles do not have"),
    "a symbolic link": (lambda: header(sound(), CENTRAL, 38, "<I", 0xA1FF0000), "form that bundles do not have"),
    "an overlapping member": (lambda: header(sound(), CENTRAL, 42, "<I", 0, 1), "form that bundles do not have"),
    "a size lying in front": (lambda: header(sound(), LOCAL, 22, "<I", 7), "one thing of manifest.json before it"),
    "a name lying in front": (lambda: header(sound(), LOCAL, 30, "<B", ord("M")), "one thing of manifest.json"),
    "a directory elsewhere": (lambda: header(sound(), END, 16, "<I", 5), "does not end where"),
    "a checksum that fails": (lambda: header(sound(), b"weights.bin", 11, "<B", 77), "does not match its checksum"),
    "a checksum of the manifest": (unlike, "manifest.json does not match its checksum"),
    "a manifest that is a bomb": (bomb, "not of the size"),
    "a manifest of 2 GB": (vast, "larger than any manifest"),
    "a changed graph": (lambda: flipped("graph.onnx.z"), "graph.onnx.z does not match its digest"),
    "changed weights": (lambda: flipped("weights.bin"), "weights.bin does not match its digest"),
}


@pytest.mark.parametrize("name", LAYOUT)
def test_a_file_in_any_other_form_is_refused(name: str) -> None:
    make, message = LAYOUT[name]
    with pytest.raises(BundleError, match=message) as refused:
        read_bundle(make(), PATH)
    assert str(refused.value).startswith("hostile.edge")
    assert "\n" not in str(refused.value)
    assert refused.value.exit_code == 4


def field(name: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda manifest: manifest | {name: value}


def first_row(index: int, value: Any) -> Callable[[dict[str, Any]], Any]:
    def change(manifest: dict[str, Any]) -> dict[str, Any]:
        row = list(manifest["tensors"][0])
        row[index] = value
        return manifest | {"tensors": [row, *manifest["tensors"][1:]]}

    return change


def without(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda manifest: {key: value for key, value in manifest.items() if key != name}


CLAIMS: dict[str, tuple[Callable[[dict[str, Any]], Any], type[BundleError], str]] = {
    "no JSON": (lambda m: b"{", FormatError, "not sound JSON"),
    "not UTF-8": (lambda m: b'{"facts":"\xff"}', FormatError, "not sound JSON"),
    "no object": (lambda m: b"[]", FormatError, "not a JSON object"),
    "nested without end": (lambda m: b"[" * 100_000, FormatError, "not sound JSON"),
    "a key twice": (lambda m: b'{"format":1,"format":1}', FormatError, "a key stands twice"),
    "not a number": (lambda m: json.dumps(m).replace('"seed": 1', '"seed": NaN').encode(), FormatError, "NaN"),
    "a number of 5000 digits": (lambda m: b'{"format":' + b"9" * 5000 + b"}", FormatError, "not sound JSON"),
    "a later format": (field("format", 2), VersionError, "made for format 2"),
    "a format that is a text": (field("format", "1"), FormatError, "format is missing or not a whole number"),
    "a format that is true": (field("format", True), FormatError, "format is missing"),
    "an unknown field": (field("code", "import os"), FormatError, "code is not a field"),
    "facts without a task": (field("facts", {"name": "x"}), FormatError, "facts needs the texts name and task"),
    "a name that moves the cursor": (field("facts", {"name": "\x1b[2J", "task": "x"}), FormatError, "printable"),
    "facts that are a list": (field("facts", []), FormatError, "facts needs"),
    "a made that nests": (field("made", {"a": []}), FormatError, "made must hold"),
    "a prefix of letters": (field("prefix", "../"), FormatError, "prefix must be"),
    "a graph of 4 GB": (field("graph", [2**32, "A" * 43]), FormatError, "graph must be"),
    "a graph without digest": (field("graph", [100]), FormatError, "graph must be"),
    "a short digest": (field("weights", [100, "A" * 42]), FormatError, "weights must be"),
    "tensors that are a text": (field("tensors", "all"), FormatError, "tensors must be a list"),
    "a row that is a text": (field("tensors", ["int4"]), FormatError, r"tensors\[0\] must be \[storage"),
    "an unknown storage": (first_row(0, "pickle"), FormatError, r"tensors\[0\] has the unknown storage 'pickle'"),
    "a storage of 17 bits": (first_row(0, "int17"), FormatError, "unknown storage"),
    "a codebook of 257": (first_row(0, "codebook257"), FormatError, "unknown storage"),
    "an unknown type": (first_row(0, "native object"), FormatError, "unknown storage"),
    "sparse tables": (first_row(0, "sparse tables fp16"), FormatError, "unknown storage"),
    "an unknown coder": (first_row(1, "zstd"), FormatError, r"tensors\[0\] has the coder 'zstd'"),
    "too many coders": (first_row(1, "rans+rans+rans"), FormatError, "has the coder"),
    "coders written twice": (lambda m: first_row(1, "raw+raw")(first_row(0, "fp16")(m)), FormatError, "canonical"),
    "bytes below zero": (first_row(2, -1), FormatError, "bytes that are not a whole number"),
    "bytes that are a fraction": (first_row(2, 10.5), FormatError, "bytes that are not a whole number"),
    "bytes beyond the member": (first_row(2, 10**6), FormatError, "describes 1,00.,... bytes, weights.bin has"),
    "a side of zero": (first_row(3, [0, 4]), FormatError, "sides out of range"),
    "a side below zero": (first_row(3, [-2, -2]), FormatError, "sides out of range"),
    "a side that is true": (first_row(3, [True]), FormatError, "sides out of range"),
    "a side of 2**63": (first_row(3, [2**63]), FormatError, "sides out of range"),
    "sides that multiply to 2**64": (first_row(3, [2**16] * 4), FormatError, "more than"),
    "nine sides": (first_row(3, [1] * 9), FormatError, "at most 8 sides"),
    "a shape that is a number": (first_row(3, 5), FormatError, "not a list"),
    "an axis beyond the shape": (lambda m: first_row(3, [4])(first_row(0, "int4 axis3")(m)), FormatError, "axis 3"),
    "more scales than there are": (first_row(0, "codebook200 f32"), FormatError, "scales and codebook entries"),
    "too many values together": (
        lambda m: m | {"tensors": [["fp16", "raw", 0, [MAX_PARAMETERS]], ["fp16", "raw", m["weights"][0], [1]]]},
        FormatError, "more than 268,435,456 values",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CLAIMS)
def test_a_manifest_that_claims_what_cannot_be_is_refused_with_its_field(name: str) -> None:
    change, error, message = CLAIMS[name]
    tracemalloc.start()
    with pytest.raises(error, match=message) as refused:
        read_bundle(rebuilt(sound(), manifest=change), PATH)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "\n" not in str(refused.value)
    assert peak < 32 << 20


@pytest.mark.parametrize("name", ["facts", "format", "graph", "made", "tensors", "weights"])
def test_a_missing_field_is_named(name: str) -> None:
    with pytest.raises(FormatError, match=f"manifest.json: {name} is missing"):
        read_bundle(rebuilt(sound(), manifest=without(name)), PATH)


def test_a_graph_that_is_larger_or_smaller_than_said_is_refused() -> None:
    for claimed in (10, 1 << 20, 1 << 26):
        with pytest.raises(IntegrityError, match=r"graph\.onnx\.z (is not of the size|cannot hold)"):
            read_bundle(rebuilt(sound(), manifest=lambda m, n=claimed: m | {"graph": [n, m["graph"][1]]}), PATH)


def test_streams_that_trade_bytes_with_each_other_are_refused() -> None:
    def shifted(manifest: dict[str, Any]) -> dict[str, Any]:
        rows = [list(row) for row in manifest["tensors"]]
        rows[0][2] += 1
        rows[1][2] -= 1
        return manifest | {"tensors": rows}

    with pytest.raises(BundleError, match=r"weights\.bin"):
        opened(rebuilt(sound(), manifest=shifted))


def test_an_index_beyond_its_codebook_is_refused() -> None:
    def smaller(manifest: dict[str, Any]) -> dict[str, Any]:
        rows = [list(row) for row in manifest["tensors"]]
        book = next(row for row in rows if row[0].startswith("codebook"))
        tables = next(row for row in rows if row[0] == "tables fp32")
        book[0], tables[3] = "codebook7 f32", [tables[3][0] - 1]
        return manifest | {"tensors": rows}

    with pytest.raises(BundleError, match=r"weights\.bin"):
        opened(rebuilt(sound(), manifest=smaller))


def test_a_shape_that_the_graph_does_not_have_is_refused() -> None:
    def turned(manifest: dict[str, Any]) -> dict[str, Any]:
        rows = [list(row) for row in manifest["tensors"]]
        for row in rows:
            if row[3:] == [[256, 64]]:
                row[3] = [64, 256]
        return manifest | {"tensors": rows}

    with pytest.raises(FormatError, match="not a usable model"):
        opened(rebuilt(sound(), manifest=turned))


def external(key: str, location: str, nested: bool) -> bytes:
    """A graph that asks ONNX Runtime to read a tensor from elsewhere."""
    tensor = onnx.TensorProto(name="stolen", dims=[4], data_type=onnx.TensorProto.FLOAT)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key=key, value=location)
    output = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [4])
    if nested:
        node = helper.make_node("Constant", [], ["y"], value=tensor)
        graph = helper.make_graph([node], "g", [], [output])
    else:
        graph = helper.make_graph([helper.make_node("Identity", ["stolen"], ["y"])], "g", [], [output], [tensor])
    return helper.make_model(graph).SerializeToString()


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("location", ["/etc/passwd", "../secret.bin", "*/_ORT_MEM_ADDR_/*"])
def test_a_graph_that_would_read_other_files_or_memory_is_refused(location: str, nested: bool) -> None:
    with pytest.raises(FormatError, match="reads data from outside the bundle"):
        read_bundle(rebuilt(sound(), graph=external("location", location, nested)), PATH)


def test_an_output_called_location_is_no_offence() -> None:
    model = small_net()
    model.proto.graph.node[-1].output[0] = model.proto.graph.output[0].name = "location"
    content = bundle_bytes(model, facts={}, provenance={}, coder="raw").content
    assert [o.name for o in read_bundle(content, PATH).session().get_outputs()] == ["location"]


@pytest.mark.parametrize("graph", [b"", b"\xff" * 50, b"location" * 9, bytes(range(256))])
def test_a_graph_that_is_none_is_refused(graph: bytes) -> None:
    with pytest.raises(FormatError):
        opened(rebuilt(sound(), graph=graph))


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.edge", tmp_path):
        with pytest.raises(FormatError, match="cannot be read"):
            open_bundle(path)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_flipped_bits_are_refused_or_change_nothing(data: st.DataObject) -> None:
    content = bytearray(sound())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] ^= 1 << data.draw(st.integers(0, 7))
    try:
        bundle = read_bundle(bytes(content), PATH)
        found = bundle.weights()
    except BundleError:
        return
    truth = read_bundle(sound(), PATH)
    assert bundle.graph == truth.graph
    assert all(same_bits(values, found[name]) for name, values in truth.weights().items())


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_weights_changed_by_one_who_fixes_the_digests_decode_or_are_refused(data: st.DataObject) -> None:
    weights = bytearray(archive.split(sound(), "sound")["weights.bin"].payload)
    for _ in range(data.draw(st.integers(1, 8))):
        weights[data.draw(st.integers(0, len(weights) - 1))] = data.draw(st.integers(0, 255))
    bundle = read_bundle(rebuilt(sound(), weights=bytes(weights)), PATH)
    try:
        found = bundle.weights()
    except BundleError as error:
        assert str(error).startswith("hostile.edge: weights.bin")
        return
    shapes = [s for stream in bundle.manifest.streams if stream.storage.kind != "tables" for s in stream.shapes]
    assert [values.shape for values in found.values()] == shapes


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_manifest_with_changed_characters_is_refused_or_read(data: st.DataObject) -> None:
    raw = bytearray(read_manifest_bytes(archive.split(sound(), "sound"), "sound"))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.sampled_from(b'0123456789[]{},:"-. a\x00\xff'))
    try:
        manifest = read_manifest(bytes(raw), "hostile.edge")
    except BundleError as error:
        assert str(error).startswith("hostile.edge")
        return
    assert sum(stream.bytes for stream in manifest.streams) == manifest.weights_bytes
