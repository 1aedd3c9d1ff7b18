"""Which plate it is: where it is on a vehicle, its text, and whether the text is on a list."""
