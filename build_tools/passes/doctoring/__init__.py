"""What can ail a model on a small device, one ailment or one family of them a file."""
