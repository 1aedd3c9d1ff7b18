"""Writes, signs and exports `.edge` bundles."""
