"""Pruning: channels over dependency groups, single weights, and what goes first."""
