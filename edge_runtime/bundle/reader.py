"""Opens a `.edge` bundle, without `onnx`: every claim is checked before memory is asked for; a session comes out."""

from __future__ import annotations

import base64
import hashlib
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from edge_runtime.bundle import archive, signature
from edge_runtime.bundle.dictionary import GRAPH_DICTIONARY
from edge_runtime.bundle.format import (
    GRAPH,
    MANIFEST,
    MAX_FILE_BYTES,
    MAX_MANIFEST_BYTES,
    SIGNATURE,
    WEIGHTS,
    Storage,
)  # fmt: skip
from edge_runtime.bundle.manifest import Manifest, read_manifest
from edge_runtime.bundle.protobuf import external_initialisers, refuse_external_data
from edge_runtime.bundle.streams import decode_streams, stream_tables
from edge_runtime.errors import FormatError, IntegrityError, SignatureError

_DEFLATE_MAX_RATIO = 1032
"""No deflate stream grows by more (RFC 1951: 258 bytes for two bits, and its blocks' headers)."""


class Bundle:
    """A bundle whose manifest, digests and signature hold. Weights are decoded when asked for.

    Attributes:
        path: of the file.
        manifest: what it says of itself.
        signed: there is a signature; `verified`: it was checked against a key.
        graph: the ONNX graph without its weights, serialised.
        member_bytes: of each member as it lies in the file; `file_bytes`: of the whole file.
    """

    def __init__(
        self, path: Path, manifest: Manifest, graph: bytes, members: dict[str, archive.Member], verified: bool
    ) -> None:
        self.path, self.manifest, self.graph = path, manifest, graph
        self.signed, self.verified = SIGNATURE in members, verified
        self.member_bytes = {name: len(member.payload) for name, member in members.items()}
        self.file_bytes = archive.file_bytes(members.values())
        self._weights = memoryview(members[WEIGHTS].payload)

    def weights(self) -> dict[str, NDArray[Any]]:
        """The values of the initialisers that the graph does not hold, by name, exactly as they were written.

        Raises:
            IntegrityError: weights.bin does not decode to what the manifest says.
        """
        values = decode_streams(self.manifest.streams, self._weights, str(self.path))
        return dict(zip(self.manifest.weight_names(), values, strict=True))

    def tables(self) -> list[tuple[str, Storage, NDArray[np.float32]]]:
        """For each weight its name, how it is stored, and its scales or codebook (empty where it has none)."""
        names = iter(self.manifest.weight_names())
        return [
            (next(names), storage, table)
            for storage, table in stream_tables(self.manifest.streams, self._weights, str(self.path))
        ]

    def session(self, options: ort.SessionOptions | None = None) -> ort.InferenceSession:
        """A session on the CPU.

        Args:
            options: of the session; the weights are added to them, so use them once.

        Raises:
            FormatError: ONNX Runtime refuses the graph.
            IntegrityError: see `weights`.
        """
        options = options or ort.SessionOptions()
        weights = self.weights()
        entries = [(name, values.shape, values.dtype.name) for name, values in weights.items()]
        try:
            if weights:
                held = [ort.OrtValue.ortvalue_from_numpy(values) for values in weights.values()]
                options.add_external_initializers(list(weights), held)
            graph = self.graph + external_initialisers(entries)
            session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors share no base class
            reason = str(error).splitlines()[0].split(":", 3)[-1].strip()[:160]
            raise FormatError(f"{self.path}: not a usable model ({reason}); rebuild it with edge-build") from error
        session.edge_weights = weights  # ONNX Runtime reads them where they are, as long as the session lives
        return session


def is_bundle(path: Path) -> bool:
    """Whether the file begins like a bundle; a file that cannot be read does not."""
    try:
        with path.open("rb") as file:
            return file.read(len(archive.START)) == archive.START
    except OSError:
        return False


def open_bundle(path: Path, public_key: bytes | None = None) -> Bundle:
    """The bundle at `path`.

    Args:
        path: of the file.
        public_key: 32 raw bytes; then the bundle must be signed by this key's owner. None: signatures are not checked.

    Raises:
        FormatError: missing, torn or not a bundle; with what is wrong.
        VersionError: made for another version of the format.
        IntegrityError: a size or digest does not hold.
        SignatureError: unsigned, or signed by someone else, where a key is given.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise FormatError(f"{path}: is larger than any bundle; check the path")
        content = path.read_bytes()
    except OSError as error:
        raise FormatError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    return read_bundle(content, path, public_key)


def read_bundle(content: bytes, path: Path, public_key: bytes | None = None) -> Bundle:
    """The bundle in `content`, `path` being its name in messages; else as `open_bundle`."""
    origin = str(path)
    members = archive.split(content, origin)
    manifest_json = read_manifest_bytes(members, origin)
    if public_key is not None:
        if SIGNATURE not in members:
            raise SignatureError(f"{origin}: is not signed; sign it with `edge-build sign` or take it from who made it")
        signature.verify(public_key, bytes(members[SIGNATURE].payload), manifest_json, origin)
    manifest = read_manifest(manifest_json, origin)
    for name, wanted in ((GRAPH, manifest.graph_sha256), (WEIGHTS, manifest.weights_sha256)):
        if sha256(members[name].payload) != wanted:
            raise IntegrityError(f"{origin}: {name} does not match its digest in the manifest; copy the file again")
    if members[WEIGHTS].size != manifest.weights_bytes:
        raise IntegrityError(f"{origin}: {WEIGHTS} is not of the size the manifest says; copy the file again")
    graph = inflate(members[GRAPH].payload, manifest.graph_bytes, f"{origin}: {GRAPH}", GRAPH_DICTIONARY)
    refuse_external_data(graph, origin)
    return Bundle(path, manifest, graph, members, public_key is not None)


def read_manifest_bytes(members: dict[str, archive.Member], origin: str) -> bytes:
    """The bytes of manifest.json, inflated.

    Raises:
        FormatError: too large.
        IntegrityError: it does not inflate to the size and checksum that are said of it.
    """
    member = members[MANIFEST]
    if member.size > MAX_MANIFEST_BYTES:
        raise FormatError(f"{origin}: {MANIFEST} is larger than any manifest; rebuild it with edge-build")
    content = inflate(member.payload, member.size, f"{origin}: {MANIFEST}")
    if zlib.crc32(content) != member.crc:
        raise IntegrityError(f"{origin}: {MANIFEST} does not match its checksum; copy the file again")
    return content


def inflate(packed: bytes | memoryview, size: int, origin: str, dictionary: bytes = b"") -> bytes:
    """Raw deflate that must give exactly `size` bytes; never makes more than that.

    Raises:
        IntegrityError: it gives more or less, or is no deflate stream.
    """
    if size > len(packed) * _DEFLATE_MAX_RATIO:
        raise IntegrityError(f"{origin} cannot hold the {size:,} bytes it claims; copy the file again")
    engine = zlib.decompressobj(-zlib.MAX_WBITS, dictionary) if dictionary else zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = engine.decompress(packed, size + 1)
    except zlib.error:
        raise IntegrityError(f"{origin} is torn; copy the file again") from None
    if len(content) != size or not engine.eof or engine.unused_data:
        raise IntegrityError(f"{origin} is not of the size that is said of it; copy the file again")
    return content


def sha256(content: bytes | memoryview) -> str:
    """Digest in base64url."""
    return base64url(hashlib.sha256(content).digest())


def base64url(digest: bytes) -> str:
    """Without padding: 43 characters for a sha256, a third fewer than hexadecimal."""
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
