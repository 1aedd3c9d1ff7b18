"""Compression passes: each takes a model in the making and gives back a smaller or faster one."""
