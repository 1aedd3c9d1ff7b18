"""edge-runtime: camera frames in, events out over MQTT, on the node itself."""
