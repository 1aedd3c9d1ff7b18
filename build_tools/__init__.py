"""edge-build: trains, measures and compresses the models the runtime runs."""
