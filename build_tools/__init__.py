"""edge-build: trains, measures and compresses the models the runtime runs."""

import edge_runtime  # noqa: F401 - before ONNX Runtime: it silences what that tells others
