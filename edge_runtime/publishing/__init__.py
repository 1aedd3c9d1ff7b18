"""What leaves the node: rows on disk first, then JSON lines and MQTT."""
