"""Pixels: crops, the small picture, colour, drawing."""
