"""Looks for the best recipe."""
