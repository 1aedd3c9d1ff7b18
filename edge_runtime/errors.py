"""Everything the runtime raises on purpose, and the exit code each kind ends the program with.

EdgeRuntimeError (1)
├── ConfigError (2)        the command line, the configuration file, `--set`
├── PhotoError (2)         a photo that cannot be enrolled
├── CaptureError (3)       a camera, stream or clip
├── BundleError (4)        a model file
│   ├── FormatError        not a model, or a torn one
│   ├── VersionError       made for another version of the format
│   ├── IntegrityError     a digest or size does not hold
│   └── SignatureError     unsigned, or signed by someone else
├── InferenceError (1)     a model failed while it ran
├── StorageError (5)       the outbox, the state folder, an output file
└── PublishError (6)       the broker, where the user asked to fail without one
"""

from __future__ import annotations


class EdgeRuntimeError(Exception):
    """Root of the tree. The text is one line: what, where, and the remedy."""

    exit_code = 1


class ConfigError(EdgeRuntimeError):
    """A setting is unknown, of the wrong type, or out of its range."""

    exit_code = 2


class PhotoError(EdgeRuntimeError):
    """A photo shows no one face well enough to know a person by it."""

    exit_code = 2


class CaptureError(EdgeRuntimeError):
    """A camera, stream or clip cannot be opened, or stopped giving frames."""

    exit_code = 3


class BundleError(EdgeRuntimeError):
    """A model file cannot be used."""

    exit_code = 4


class FormatError(BundleError):
    """The file is not a model, is torn, or does not have the inputs and outputs its task needs."""


class VersionError(BundleError):
    """The file was made for another version of the format."""


class IntegrityError(BundleError):
    """A digest or a size in the file does not hold."""


class SignatureError(BundleError):
    """The file is unsigned or signed by a key that is not trusted."""


class InferenceError(EdgeRuntimeError):
    """A model failed while it ran."""


class StorageError(EdgeRuntimeError):
    """The outbox, the state folder or an output file cannot be written or read."""

    exit_code = 5


class PublishError(EdgeRuntimeError):
    """The broker cannot be used and the user asked to fail in that case."""

    exit_code = 6
