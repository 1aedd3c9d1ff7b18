"""edge-runtime: camera frames in, events out over MQTT, on the node itself."""

import os

# ONNX Runtime tells Microsoft of each start and of the machine (its Privacy.md), unless this is set before it is
# imported: nothing leaves a node but what its owner asked for.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
