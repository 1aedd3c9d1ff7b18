"""Keys and signatures of bundles: Ed25519, private keys as PEM files that only their owner can read."""

from __future__ import annotations

import os
from pathlib import Path

from build_tools.errors import ModelError
from build_tools.model import write_whole
from edge_runtime.bundle import archive
from edge_runtime.bundle.format import SIGNATURE
from edge_runtime.bundle.reader import read_bundle, read_manifest_bytes

PRIVATE_MODE = 0o600


def generate_keys(path: Path) -> Path:
    """Write a new private key to `path` and its public key beside it, with `.pub` added to the name.

    Returns:
        The public key's path.

    Raises:
        ModelError: one of the files is there already, or cannot be written.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    public_path = path.with_name(f"{path.name}.pub")
    for file in (path, public_path):
        if file.exists():
            raise ModelError(f"{file}: is there already; a lost key cannot be made again, so choose another name")
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The mode is the file's from its first moment: nobody else can open it in between.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_MODE)
        with os.fdopen(descriptor, "wb") as file_:
            file_.write(private)
            file_.flush()
            os.fsync(file_.fileno())
    except OSError as error:
        if not isinstance(error, FileExistsError):
            path.unlink(missing_ok=True)
        raise ModelError(f"{path}: cannot be written ({error.strerror}); choose another place") from error
    try:
        write_whole(public_path, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    except ModelError:
        path.unlink()  # half a pair is of no use, and its name would be taken
        raise
    return public_path


def read_private_key(path: Path) -> bytes:
    """The 32 raw bytes of a private key file.

    Raises:
        ModelError: missing, or not an Ed25519 private key without a password.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ModelError(f"{path}: not a private key; `edge-build keygen` makes one") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ModelError(f"{path}: not an Ed25519 key; `edge-build keygen` makes one")
    return key.private_bytes_raw()


def sign(private_key: bytes, manifest: bytes) -> bytes:
    """The 64 bytes of the signature over a manifest.

    Args:
        private_key: 32 raw bytes.
        manifest: the bytes of manifest.json.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(private_key).sign(manifest)


def sign_bundle(path: Path, private_key: bytes) -> None:
    """Sign the bundle at `path` in place; an earlier signature is replaced.

    Raises:
        BundleError: it is not a sound bundle; then it is not signed.
        ModelError: it cannot be written.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    read_bundle(content, path).weights()  # never sign what does not open
    members = archive.split(content, str(path))
    members[SIGNATURE] = archive.stored(SIGNATURE, sign(private_key, read_manifest_bytes(members, str(path))))
    write_whole(path, archive.join(members.values()))
