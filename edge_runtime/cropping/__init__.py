"""Which windows of the frame are looked at closely."""
