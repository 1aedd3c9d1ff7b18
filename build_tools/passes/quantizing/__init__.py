"""Quantising: ranges, rounding, equalisation, shared values, int8 islands."""
