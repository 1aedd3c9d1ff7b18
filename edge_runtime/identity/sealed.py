"""Keeps a gallery encrypted at rest: ChaCha20-Poly1305 (RFC 8439), its key in a file that only the owner can read.

It protects the gallery where the file leaves the node without its key: in a backup, in a copy sent for support, on a
share. It does not protect against whoever holds the whole card, or is root on the node: the key lies on the same card,
or the node could not start by itself. Put `identity.key` on another medium, or into systemd's credentials, to part the
two. The `cryptography` package is imported only when a gallery is read or written.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from edge_runtime.config import Config
from edge_runtime.errors import ConfigError, StorageError
from edge_runtime.identity.gallery import Gallery, from_json
from edge_runtime.whole_file import write_whole

MAGIC = b"EDGEGAL1"
KEY_BYTES = 32
NONCE_BYTES = 12
MAX_BYTES = 2**26


class GalleryFile:
    """A gallery on disk; verbs: `read` and `write`.

    Args:
        path: of the gallery.
        key: of its key.
    """

    def __init__(self, path: Path, key: Path) -> None:
        self.path, self.key = path, key

    @staticmethod
    def of(config: Config) -> GalleryFile:
        """Where the configuration says: names without a folder lie in the node's state folder."""
        state, wanted = Path(config.node.state).expanduser(), config.identity
        return GalleryFile(state / Path(wanted.gallery).expanduser(), state / Path(wanted.key).expanduser())

    def exists(self) -> bool:
        """Whether anybody was enrolled."""
        return self.path.exists()

    def changed(self) -> int | None:
        """When it was last written, in nanoseconds; None where there is none."""
        try:
            return self.path.stat().st_mtime_ns
        except OSError:
            return None

    def read(self) -> Gallery:
        """The gallery.

        Raises:
            ConfigError: nobody was enrolled, or what lies there is no gallery.
            StorageError: it or its key cannot be read, or they do not belong together.
        """
        if not self.exists():
            raise ConfigError(
                f"{self.path}: nobody is enrolled; run `edge-runtime enroll NAME PHOTO ...`, "
                "or set identity.enabled = false"
            )
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise StorageError(f"{self.path}: cannot be read ({error.strerror}); check who owns it") from None
        if not content.startswith(MAGIC) or len(content) > MAX_BYTES:
            raise ConfigError(f"{self.path}: is no gallery; check identity.gallery")
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

        head = len(MAGIC) + NONCE_BYTES
        try:
            plain = ChaCha20Poly1305(self._key()).decrypt(content[len(MAGIC) : head], content[head:], MAGIC)
        except (InvalidTag, ValueError):  # ValueError: torn within its nonce
            raise StorageError(
                f"{self.path}: does not open with {self.key}; it is torn, or the key is another's. "
                "Put back the two files that belong together, or delete the gallery and enrol again"
            ) from None
        return from_json(plain, str(self.path))

    def write(self, gallery: Gallery) -> None:
        """Keep it, whole or not at all; makes the folder and the key where there are none.

        Raises:
            StorageError: the disk is full, the folder cannot be written, or the key cannot be read.
        """
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

        nonce = os.urandom(NONCE_BYTES)
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self.key.exists():
                self.key.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                write_whole(self.key, os.urandom(KEY_BYTES), private=True)
            sealed = ChaCha20Poly1305(self._key()).encrypt(nonce, gallery.to_json(), MAGIC)
            write_whole(self.path, MAGIC + nonce + sealed, private=True)
        except OSError as error:
            raise StorageError(
                f"{self.path}: the gallery cannot be written ({error.strerror}); check --state"
            ) from None

    def _key(self) -> bytes:
        try:
            mode, key = stat.S_IMODE(self.key.stat().st_mode), self.key.read_bytes()
        except OSError as error:
            raise StorageError(
                f"{self.key}: the gallery's key cannot be read ({error.strerror}); without it the gallery is lost: "
                f"put the key back, or delete {self.path} and enrol again"
            ) from None
        if mode & 0o077:
            raise StorageError(f"{self.key}: others may read it (mode {mode:04o}); run `chmod 600 {self.key}`")
        if len(key) != KEY_BYTES:
            raise StorageError(f"{self.key}: has {len(key)} bytes, a key has {KEY_BYTES}; check identity.key")
        return key
