"""Which detection is which object, over time."""
