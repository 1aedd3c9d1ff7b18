"""The papers we are measured against: their models and their tables."""
