"""Training: targets, losses, the loop."""
