"""Ed25519 signatures over the manifest, which holds the digests of everything else (RFC 8032).

The `cryptography` package is imported only when a signature is made or checked.
"""

from __future__ import annotations

from pathlib import Path

from edge_runtime.errors import SignatureError

SIGNATURE_BYTES = 64
KEY_BYTES = 32


def verify(public_key: bytes, signature: bytes, manifest: bytes, origin: str) -> None:
    """Check who signed a manifest.

    Args:
        public_key: 32 raw bytes.
        signature: 64 bytes.
        manifest: the bytes of manifest.json.
        origin: the bundle, for messages.

    Raises:
        SignatureError: signed by someone else, changed since, or not a key.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if len(public_key) != KEY_BYTES:
        raise SignatureError(f"{origin}: a public key has {KEY_BYTES} bytes, this one {len(public_key)}; check it")
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, manifest)
    except InvalidSignature:
        raise SignatureError(
            f"{origin}: not signed with this key, or changed since; take the bundle or the key from who made it"
        ) from None


def read_public_key(path: Path) -> bytes:
    """The 32 raw bytes of a public key file as `edge-build keygen` writes it (PEM).

    Raises:
        SignatureError: missing, or not an Ed25519 public key.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise SignatureError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    except (ValueError, UnsupportedAlgorithm):
        raise SignatureError(f"{path}: not a public key; `edge-build keygen` writes one, KEY.pub") from None
    if not isinstance(key, Ed25519PublicKey):
        raise SignatureError(f"{path}: not an Ed25519 key; `edge-build keygen` makes one")
    return key.public_bytes_raw()
