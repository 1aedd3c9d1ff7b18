"""The `.edge` bundle: reads it safely and gives a session."""
