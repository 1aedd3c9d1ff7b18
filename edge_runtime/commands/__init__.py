"""What the command line does beside watching a camera."""
